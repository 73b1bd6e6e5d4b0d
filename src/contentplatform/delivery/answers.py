"""What the edge is asked, and what its parts answer: the seam between the server and whoever makes content for it.

A handler is mounted on a prefix (``EdgeApp.mount``). It says what the content is (``Content``) or why there is none
(``Refusal``). Everything else is done once, for all of them: methods, conditional requests, a single range, ``HEAD``,
the security headers of ``rules``, ``X-Cache``, counting and the access log.

A handler runs on the event loop: what blocks, it gives to a thread. It is asked for the whole content even where the
viewer wants a part of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from contentplatform.delivery.rules import PLAIN_HEADERS, HeaderPolicy

Headers = tuple[tuple[bytes, bytes], ...]


class Result(StrEnum):
    """Where content came from, in CloudFront's words; ``X-Cache`` and the access log say it."""

    HIT = "Hit"
    """It was kept, and still is what there is."""
    REFRESH_HIT = "RefreshHit"
    """It was kept, and something had changed since: it was looked at again, and is still the same."""
    MISS = "Miss"
    """It had to be fetched, or made."""
    ERROR = "Error"
    """It was refused."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as handlers see it; its method is GET or HEAD, which they need not tell apart."""

    path: str
    """Percent-encoded as it was sent, without the query. ``rules.key_of`` reads it."""
    query: str
    """As it was sent, without the question mark."""
    headers: Headers
    """Names in lower case."""
    client: str
    """The viewer's address; behind a trusted proxy the one that it tells."""

    def header(self, name: bytes) -> str:
        """The value of a header, those that came several times joined with commas; empty if there is none."""
        values = [value for given, value in self.headers if given == name]
        return b", ".join(values).decode("latin-1")


@dataclass(frozen=True, slots=True)
class Content:
    """What is under a path: bytes in memory, or a file that never changes while it is sent."""

    content_type: str
    etag: str
    """Opaque, without quotes, of ``[A-Za-z0-9._-]``; the same for the same bytes only."""
    cache_control: str
    body: bytes = b""
    file: Path | None = None
    """Instead of ``body``."""
    size_bytes: int = 0
    """Of the file."""
    modified_at: datetime | None = None
    disposition: str = ""
    """``Content-Disposition``; empty: shown where the browser likes. ``attachments.disposition`` writes it."""
    vary: str = ""
    """``Vary``, where the answer depends on request headers; origins are never part of it."""
    policy: HeaderPolicy = PLAIN_HEADERS
    result: Result = Result.MISS
    headers: Headers = ()
    """Further ones; names in lower case."""
    original: str = ""
    """The key of the original that this was made of: that it was asked for is remembered."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no content."""

    status: int
    text: str
    """A short sentence for anybody's eyes."""
    headers: Headers = ()
    cache_control: str = "no-store"
    policy: HeaderPolicy = PLAIN_HEADERS


Handler = Callable[[Request], Awaitable[Content | Refusal]]
"""Answers for the paths under its prefix. A PlatformError that it raises becomes the refusal that fits it."""
