"""The pages' templates and the files they need: style sheet, icons, scripts; each under a name that changes with it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from contentplatform.web.console import words

_WEB: Final = Path(__file__).resolve().parents[1]
_FOLDERS: Final = (_WEB / "style", _WEB / "static")
"""What is written by hand, and what esbuild bundled; without the latter the pages have no scripts."""
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
}
_VERSION_LENGTH: Final = 16
IMMUTABLE: Final = "public, max-age=31536000, immutable"


@functools.cache
def _version(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_VERSION_LENGTH]


def _found(name: str) -> Path | None:
    """The file of that name; only names that really are there are ever joined to a folder."""
    return next((path for folder in _FOLDERS for path in folder.glob("*") if path.name == name), None)


def static_url(name: str) -> str:
    """Where a file of the pages is; empty if it was not built."""
    path = _found(name)
    return "" if path is None or path.suffix not in _TYPES else f"/static/{quote(name)}?v={_version(path)}"


async def static_file(request: Request) -> Response:
    """One style sheet, script or set of icons."""
    path = _found(request.path_params["name"])
    if path is None or path.suffix not in _TYPES:
        return PlainTextResponse("There is no such file.", 404, {"Cache-Control": "no-store"})
    etag = f'"{_version(path)}"'
    # Chunks of scripts are named by their content; everything else is asked for with its version.
    is_fixed = request.query_params.get("v") == _version(path) or path.name.startswith("chunk-")
    headers = {
        "Cache-Control": IMMUTABLE if is_fixed else "no-cache",
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=headers)


@functools.cache
def templates() -> Environment:
    """The templates: everything is escaped, a name that is not there is an error."""
    made = Environment(
        loader=FileSystemLoader(_WEB / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "size": words.size,
        "moment": words.moment,
        "day": words.day,
        "clock": words.length,
        "shown": words.shown,
        "grouped": words.grouped,
        "segment": functools.partial(quote, safe=""),
    }
    made.globals |= {
        "static": static_url,
        "count": words.count,
        "lasted": words.lasted,
        "name_of": words.name_of,
        "kind_words": words.KIND_WORDS,
        "status_words": words.STATUS_WORDS,
        "execution_words": words.EXECUTION_WORDS,
        "step_words": words.STEP_WORDS,
    }
    return made


def render(template: str, **told: Any) -> str:
    """A page's text."""
    return templates().get_template(template).render(**told)
