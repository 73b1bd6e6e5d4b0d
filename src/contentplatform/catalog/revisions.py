"""Why a conditional write lost, in words: the same in every home."""

from __future__ import annotations

from contentplatform.errors import Conflict


def refuse_stale(doing: str, *, expected: int, stored: int | None) -> None:
    """Raise Conflict unless the stored revision is the expected one; 0 and None stand for "not stored"."""
    if (stored or 0) == expected:
        return
    if stored is None:
        raise Conflict(doing, "it was removed meanwhile")
    if expected == 0:
        raise Conflict(doing, "it exists already", hint="Read it, then change what you read")
    raise Conflict(
        doing,
        f"somebody else changed it meanwhile (revision {stored} is stored, {expected} was read)",
        hint="Read it again, then change what you read",
    )


def refuse_collision(doing: str, *, file_path: str, stored_path: str) -> None:
    """Raise Conflict if another key is stored under the same file_id."""
    if file_path != stored_path:
        raise Conflict(
            doing,
            f"its name has the same MD5 digest as {stored_path}, and only one of the two can be kept",
            hint="Choose another name",
        )
