"""The seam between the edge and a server that asks it before it asks by ASGI (``web.quick``).

Most clients send the same headers with request after request. What the edge reads in them is read once (``Asked``);
then a path, and the two headers that differ from one request to the next, are enough for an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from contentplatform.delivery.access_log import Asker
from contentplatform.delivery.origin import OpenFile


class Asked(NamedTuple):
    """What one client's headers ask for, whatever the path, ``If-None-Match`` and ``Range``."""

    takes_gzip: bool
    is_secure: bool
    asker: Asker


class FilePart(NamedTuple):
    """The body of an answer that is sent without being read: bytes of an open file."""

    opened: OpenFile
    first: int
    length: int
    """At least one."""
    ended: Callable[[OSError | None], None]
    """To be called once: with None when the system has all bytes, or with why it will never have them."""


AtOnce = tuple[bytes, bytes | FilePart]
"""Everything before the blank line, as HTTP/1.1 writes it, and the body."""
