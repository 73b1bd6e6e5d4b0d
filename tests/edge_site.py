"""An edge over a real home in a folder of its own, asked in process: no socket, one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from contentplatform import config
from contentplatform.app import LocalHome, open_local
from contentplatform.delivery.rules import original_of, path_of
from contentplatform.delivery.serving import EdgeApp
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions

PRIVATE_PREFIX: Final = "private/"


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]
    """Every header, those that came several times, too."""
    body: bytes

    @property
    def result(self) -> str:
        """Where it came from."""
        return self.headers.get("x-cache", "").partition(" ")[0]


class EdgeSite:
    """A home, its edge, and who asks it."""

    def __init__(self, home: LocalHome) -> None:
        self.home = home
        self.app: EdgeApp = home.edge_app()
        self.loop = asyncio.new_event_loop()

    def ask(self, target: str, method: str = "GET", scheme: str = "http", **headers: str) -> Got:
        """One request; underscores in names of headers are hyphens."""
        return self.loop.run_until_complete(self.answer(target, method, scheme, None, **headers))

    async def answer(
        self, target: str, method: str = "GET", scheme: str = "http", app: EdgeApp | None = None, **headers: str
    ) -> Got:
        """The same, on the loop; of another edge, perhaps."""
        messages: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            messages.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        scope = scope_of(target, method, scheme, headers)
        await (app or self.app)(scope, receive, send)
        start, *parts = messages
        pairs = tuple((name.decode(), value.decode("latin-1")) for name, value in start["headers"])
        return Got(start["status"], dict(pairs), pairs, b"".join(part.get("body", b"") for part in parts))

    def publish(self, key: str, body: bytes, content_type: str = "image/jpeg") -> ObjectVersion:
        """Put a rendition under a public key, with an original."""
        original = original_of(key)
        if self.home.store.current_id(BucketRole.PRIMARY, original) is None:
            self.home.store.put(BucketRole.PRIMARY, original, BytesIO(b"original"), PutOptions())
        return self.home.store.put(BucketRole.PROCESSED, key, BytesIO(body), PutOptions(content_type=content_type))

    def keep_original(self, key: str, body: bytes = b"original") -> None:
        """Take an original in, as an upload does; its type is what its bytes are."""
        self.home.platform.library.add(key, BytesIO(body), claimed_type="text/html")
        self.home.take_in_all()

    def close(self) -> None:
        """Let go of everything."""
        self.app.close()
        self.loop.close()
        self.home.close()


def scope_of(target: str, method: str, scheme: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """A request as a server tells it."""
    path, _, query = target.partition("?")
    pairs = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {
        "type": "http",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "http_version": "1.1",
        "headers": [(b"host", b"edge.example"), *pairs],
        "client": ("192.0.2.77", 40_000),
    }


def link_to(version: ObjectVersion) -> str:
    """The link that names these bytes."""
    return path_of(version.key, version.sha256 or "")


@contextmanager
def edge_site(folder: Path, **delivery: Any) -> Iterator[EdgeSite]:
    """An edge over a new home in ``folder``."""
    environment = {f"CONTENTPLATFORM_DELIVERY_{name.upper()}": str(value) for name, value in delivery.items()}
    site = EdgeSite(open_local(config.load(data_folder=folder, environment=environment)))
    try:
        yield site
    finally:
        site.close()
