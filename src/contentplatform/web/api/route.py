"""What every route of the API shares: strict parameters, and how its problems are described."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.convertors import Convertor, register_url_convertor

from contentplatform.accounts.port import Scope
from contentplatform.web import problems
from contentplatform.web.api.serving import ENTRANCES
from contentplatform.web.idempotency import IDEMPOTENCY_KEY, once

SCOPE: Final = "x-scope"
"""Where the description tells the right that a route needs."""
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "Why a request failed (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "description": "Which sort of problem: what a program goes by."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was being done, and why it failed."},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "hint": {"type": "string", "description": "What can be done next."},
        "error": {"type": "string", "description": "The platform's class of the error."},
        "code": {"type": "string", "description": "Why a file can't be processed."},
        "errors": {
            "type": "array",
            "description": "Fields that are wrong.",
            "items": {
                "type": "object",
                "required": ["where", "what"],
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
            },
        },
    },
}

ETAG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": {"ETag": {"description": "The state, for If-Match.", "schema": {"type": "string"}}}}
}

TOLD_ONCE: Final[dict[str, Any]] = {"x-told-once": True}
"""Marks a route whose answer has a secret in it: it is kept nowhere, not even for a repeated request."""
NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "You have this state already."}}
BYTES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The bytes.",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            "ETag": {"schema": {"type": "string"}},
            "Accept-Ranges": {"schema": {"type": "string"}},
        },
    },
    206: {
        "description": "A part of the bytes.",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "You have these bytes already."},
}


_EVERYWHERE: Final = (400, 401, 403, 429, 500, 501, 503)
"""What any route may answer."""
_WITH_BODY: Final = (413,)
_REPEATABLE: Final = (409, 422)
"""What a repetition may be answered with."""
_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again under the same key within a day, the write is done once, and answered as it was.",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer, for its description; those that any may are among them."""
    return {status: _described(HTTPStatus(status)) for status in sorted({*_EVERYWHERE, *statuses})}


def completed(operation: dict[str, Any], method: str) -> None:
    """Add to an operation's description what holds for all of its sort; take out what is FastAPI's own."""
    answers = operation["responses"]
    for status in [status for status, answer in answers.items() if "HTTPValidationError" in str(answer)]:
        del answers[status]
    wanted = (*(_WITH_BODY if "requestBody" in operation else ()), *(_REPEATABLE if method == "post" else ()))
    for status in wanted:
        answers.setdefault(str(status), _described(HTTPStatus(status)))
    if method == "post":
        operation.setdefault("parameters", []).append(_KEY_PARAMETER)


def _described(status: HTTPStatus) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": status.phrase, "content": {problems.MEDIA_TYPE: {"schema": schema}}}


class FileIdConvertor(Convertor[str]):
    """A file's identifier in a path: what else stands there is another path, or none."""

    regex = "[0-9a-f]{32}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("fileid", FileIdConvertor())


class StrictRoute(APIRoute):
    """Refuses what it doesn't know, so that nothing that was meant is passed over; does a repeated write once."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        super().__init__(path, endpoint, **given)
        scope = _scope_of(self.dependant)
        if scope is not None:
            self.openapi_extra = {**(self.openapi_extra or {}), SCOPE: scope.value}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with the checks before it, and the reply to a repetition instead of it."""
        handle = super().get_route_handler()
        known = frozenset(_query_names(self.dependant))
        told_once = (self.openapi_extra or {}).get("x-told-once", False)
        repeatable = "POST" in (self.methods or ())

        async def checked(request: Request) -> Response:
            check_query(request, known)
            key = request.headers.get(IDEMPOTENCY_KEY) if repeatable else None
            if key is None:
                return await handle(request)
            return await once(request, key, handle, told_once=told_once)

        return checked


def _scope_of(dependant: Dependant) -> Scope | None:
    """The right that a route needs, by the entrance that it depends on."""
    calls = {id(dependency.call) for dependency in dependant.dependencies}
    return next((scope for scope, entrance in ENTRANCES.items() if id(entrance) in calls), None)


def _query_names(dependant: Dependant) -> Iterator[str]:
    """The names of every parameter in the query, those of models one by one, also of what the handler depends on."""
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from kind.model_fields
        else:
            yield field.alias
    for other in dependant.dependencies:
        yield from _query_names(other)


def check_query(request: Request, known: frozenset[str]) -> None:
    """Raise a refusal for parameters that are not known or came twice."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise problems.Refusal(problems.INVALID_REQUEST, f"There is no parameter {name[:80]!r} here")
        if name in seen:
            raise problems.Refusal(problems.INVALID_REQUEST, f"The parameter {name!r} came twice")
        seen.add(name)


def new_router(tag: str) -> APIRouter:
    """A router of strict routes."""
    return APIRouter(tags=[tag], route_class=StrictRoute)
