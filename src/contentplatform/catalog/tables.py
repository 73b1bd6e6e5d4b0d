"""The catalog's tables on AWS, as data: the adapter reads and writes by it, the templates are rendered from it.

Every key is text. Nothing is ever scanned: each listing that a port promises has an index of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index; sparse where an item lacks its keys."""

    name: str
    partition_key: str
    sort_key: str | None = None
    attributes: tuple[str, ...] | None = None
    """What it holds beside the keys of table and index (projection INCLUDE); none named: these keys only (KEYS_ONLY);
    None: whole items (ALL). What an index does not hold costs no write when it changes."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: on demand, encrypted, deletion protected, recoverable to any second of the last 35 days."""

    name: str
    holds: str
    partition_key: str
    sort_key: str | None = None
    indexes: tuple[Index, ...] = ()
    streamed: bool = False
    """Whether its changes (new and old images) feed the search index."""


METADATA: Final = Table(
    name="content-metadata",
    holds="one record an original, and a redirect where one was moved away",
    partition_key="file_id",
    indexes=(
        Index("by-upload-time", "listing", "listing_order", ("size",)),
        Index("by-kind", "listing_kind", "listing_order", ("size",)),
        Index("by-status", "listing_status", "listing_order", ("size",)),
        Index("by-file-hash", "file_hash", "listing_order", ()),
        Index("by-redirect-target", "moved_to", attributes=()),
    ),
    streamed=True,
)
LEDGER: Final = Table(
    name="content-ledger",
    holds="what happened to each version, and the executions with their history",
    partition_key="file_id",
    sort_key="version",
    indexes=(
        Index("by-content", "content_recipe", attributes=()),
        Index("by-entry-status", "entry_status", "entry_order", ("kind", "recipe")),
        Index("executions-by-time", "execution_listing", "execution_order"),
        Index("executions-by-status", "execution_status", "execution_order"),
        Index("executions-by-file", "execution_file", "execution_order"),
    ),
)
SEARCH: Final = Table(
    name="content-search",
    holds="a row a word, tag or folder and record, the newest first; made from the records' stream",
    partition_key="term",
    sort_key="newest_first",
)
TABLES: Final = (METADATA, LEDGER, SEARCH)

POINT_IN_TIME_RECOVERY_DAYS: Final = 35
