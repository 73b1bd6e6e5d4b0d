"""One range of bytes, as a viewer asks for it (RFC 9110, section 14).

Several ranges at once are answered with the whole: nobody needs them, and they have brought servers down. So is
whatever is not written as the standard says. Reading takes time linear in the header's length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SINGLE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.ASCII | re.IGNORECASE)
"""At most 18 digits: a longer number is no offset of any file."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes ``first`` to ``last`` of a whole of ``size_bytes``, both included."""

    first: int
    last: int
    size_bytes: int

    @property
    def length(self) -> int:
        """How many bytes these are."""
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        """The value of ``Content-Range``."""
        return f"bytes {self.first}-{self.last}/{self.size_bytes}"


class Unsatisfiable(Exception):  # noqa: N818 - an answer to a viewer, not a fault
    """No byte of the content is in the range."""


def asked_for(header: str, size_bytes: int) -> Slice | None:
    """What a ``Range`` header means for content of this size; None: send the whole.

    Raises:
        Unsatisfiable: it begins behind the end, or asks for the last none.
    """
    found = _SINGLE.fullmatch(header)
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        length = int(found[2])
        if length == 0 or size_bytes == 0:
            raise Unsatisfiable
        return Slice(max(0, size_bytes - length), size_bytes - 1, size_bytes)
    first = int(found[1])
    last = int(found[2]) if found[2] else size_bytes - 1
    if found[2] and last < first:
        return None
    if first >= size_bytes:
        raise Unsatisfiable
    return Slice(first, min(last, size_bytes - 1), size_bytes)
