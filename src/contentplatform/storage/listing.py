"""Pages of a listing: in the order of keys' UTF-8 bytes, each begun where the one before ended, by seeking.

Strings are compared by their code points, which is the order of their UTF-8 bytes and that of SQLite's text.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final

from contentplatform.drivers.sqlite import Connection, Row
from contentplatform.errors import InvalidRequest
from contentplatform.storage.port import LIST_PAGE_SIZE, BucketRole, Listing
from contentplatform.storage.versions import VERSION_COLUMNS, StoredVersion, load

_TOKEN_FORMAT: Final = 1
_MOST_VERSIONS: Final = 2**63 - 1
_FIRST_BATCH: Final = 4
"""Rows that a listing with a delimiter reads before it knows whether they are objects or one common prefix."""


def list_objects(
    connection: Connection, bucket: BucketRole, prefix: str, delimiter: str, continuation: str | None, limit: int
) -> Listing:
    """A page of current objects and common prefixes. See ``ObjectStore.list``."""
    _check_limit(limit)
    start = max(prefix, _Token.parse(continuation, "list").text if continuation is not None else "")
    found = _entries(connection, bucket, prefix, delimiter, start, limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return Listing(
        objects=load(connection, [entry.commit_seq for entry in page if entry.commit_seq is not None]),
        common_prefixes=tuple(entry.text for entry in page if entry.commit_seq is None),
        continuation=_Token("list", page[-1].next_start() or "").text_form() if more else None,
    )


def list_versions(
    connection: Connection, bucket: BucketRole, prefix: str, continuation: str | None, limit: int
) -> Listing:
    """A page of versions and delete markers. See ``ObjectStore.list_versions``."""
    _check_limit(limit)
    rows: list[Row] = []
    start = prefix
    if continuation is not None:
        token = _Token.parse(continuation, "versions")
        start = max(prefix, token.text + "\0")
        if token.text.startswith(prefix):
            rows = connection.rows(
                f"SELECT {VERSION_COLUMNS} FROM object_versions v WHERE v.bucket = ? AND v.key = ?"
                " AND v.version_no < ? AND v.tombstoned_at IS NULL ORDER BY v.version_no DESC LIMIT ?",
                (bucket, token.text, token.number, limit + 1),
            )
    end, end_value = _end_clause("v.key", prefix)
    rows += connection.rows(
        f"SELECT {VERSION_COLUMNS} FROM object_versions v WHERE v.bucket = ? AND v.key >= ?{end}"
        " AND v.tombstoned_at IS NULL ORDER BY v.key, v.version_no DESC LIMIT ?",
        (bucket, start, *end_value, limit + 1 - len(rows)),
    )
    found = [StoredVersion.from_row(row) for row in rows]
    last = found[:limit][-1] if len(found) > limit else None
    return Listing(
        objects=tuple(stored.as_version() for stored in found[:limit]),
        common_prefixes=(),
        continuation=_Token("versions", last.key, last.version_no).text_form() if last is not None else None,
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a listing: an object, or a common prefix where ``commit_seq`` is None."""

    text: str
    commit_seq: int | None

    def next_start(self) -> str | None:
        """The least key that may follow this entry; None if none can."""
        if self.commit_seq is not None:
            return self.text + "\0"  # no key has a NUL, so this is the very next string
        return end_of_prefix(self.text)


@dataclass(frozen=True, slots=True)
class _Token:
    """Where the next page begins. Opaque to callers."""

    listing: str
    text: str
    number: int = 0

    def text_form(self) -> str:
        return base64.urlsafe_b64encode(
            json.dumps([_TOKEN_FORMAT, self.listing, self.text, self.number]).encode()
        ).decode()

    @classmethod
    def parse(cls, continuation: str, listing: str) -> _Token:
        try:
            form, of_listing, text, number = json.loads(base64.b64decode(continuation, altchars=b"-_", validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise _foreign_token() from error
        ours = form == _TOKEN_FORMAT and of_listing == listing and isinstance(text, str) and isinstance(number, int)
        if not ours or not 0 <= number <= _MOST_VERSIONS:
            raise _foreign_token()
        return cls(listing, text, number)


def _foreign_token() -> InvalidRequest:
    return InvalidRequest("listing objects", "this store did not give that continuation", hint="Begin again without it")


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIST_PAGE_SIZE:
        raise InvalidRequest("listing objects", f"a page has 1 to {LIST_PAGE_SIZE} entries, not {limit}")


def _entries(
    connection: Connection, bucket: BucketRole, prefix: str, delimiter: str, start: str, count: int
) -> list[_Entry]:
    """The first ``count`` entries from ``start`` on. Seeks past each common prefix instead of reading through it."""
    end, end_value = _end_clause("key", prefix)
    sql = f"SELECT key, commit_seq FROM object_current WHERE bucket = ? AND key >= ?{end} ORDER BY key LIMIT ?"
    # With a delimiter most rows may belong to one common prefix: few at first, more as long as they are objects.
    batch = _FIRST_BATCH if delimiter else count
    found: list[_Entry] = []
    at: str | None = start
    while at is not None and len(found) < count:
        rows = connection.rows(sql, (bucket, at, *end_value, batch))
        for key, commit_seq in rows:
            if found and found[-1].commit_seq is None and key.startswith(found[-1].text):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            found.append(_Entry(key, commit_seq) if cut < 0 else _Entry(key[: cut + len(delimiter)], None))
            if len(found) == count:
                return found
        at = found[-1].next_start() if len(rows) == batch else None
        batch = _FIRST_BATCH if found and found[-1].commit_seq is None else min(4 * batch, count)
    return found


def end_of_prefix(prefix: str) -> str | None:
    """The least string greater than every string with this prefix; None where there is none.

    Strings are ordered by code points, which is the order of their UTF-8 bytes.
    """
    stem = prefix.rstrip(chr(0x10FFFF))
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no characters


def _end_clause(column: str, prefix: str) -> tuple[str, tuple[str, ...]]:
    end = end_of_prefix(prefix)
    return ("", ()) if end is None else (f" AND {column} < ?", (end,))
