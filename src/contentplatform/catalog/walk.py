"""How the aws home walks ordered listings: candidates for a page, the newest first.

Every listing (an index of the records, a term of the search table) has places in the order of upload as its sort key.
A file that is asked for by several of them must stand in all. So they are read in rounds, a piece of each from the same
place on; the piece that reaches furthest into the past belongs to the rarest condition there, and its places are the
candidates, less those that the other pieces, as far as they reach, don't have. What remains is verified by the records
themselves, a hundred a request. A listing that ends within its first piece needs no help of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from contentplatform.catalog.dynamodb import Expression, Tables
from contentplatform.catalog.items import Item
from contentplatform.catalog.tables import Index, Table

FIRST_PIECE: Final = 100
_LARGEST_PIECE: Final = 4_000
_LOWEST: Final = " "
_HIGHEST: Final = "~"
"""Every place begins with a digit, which stands between these two."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing: a partition of a table or index, with a filter on what it holds."""

    table: Table
    index: Index | None
    partition: str
    only: Expression | None = None

    @property
    def sort_key(self) -> str:
        """The attribute that holds the place."""
        return str((self.index or self.table).sort_key)

    def read(self, tables: Tables, span: Span, limit: int, doing: str) -> Piece:
        """At most ``limit`` of its rows, counted before the filter."""
        source = self.index or self.table
        key = Expression(
            f"#{source.partition_key} = :partition AND #{source.sort_key} BETWEEN :low AND :high",
            {"partition": {"S": self.partition}, "low": {"S": span.low}, "high": {"S": span.before}},
        )
        rows = tables.query(self.table, self.index, key, doing, only=self.only, limit=limit, newest_first=True)
        places = {item[self.sort_key]["S"]: item for item in rows.items}
        places.pop(span.before, None)
        reached = None if rows.last_key is None else str(rows.last_key[self.sort_key]["S"])
        return Piece(places, reached)


@dataclass(frozen=True, slots=True)
class Span:
    """Which places to look at: from ``low`` on, before ``before``."""

    low: str = _LOWEST
    before: str = _HIGHEST


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one listing, by their place, the newest first, and how far down it was read; None: to its end."""

    rows: dict[str, Item]
    reached: str | None

    def may_hold(self, place: str) -> bool:
        """Whether the listing has this place, or was not read so far."""
        return place in self.rows or (self.reached is not None and place < self.reached)


def candidates(
    tables: Tables, listings: Sequence[Listing], span: Span, wanted: int, doing: str
) -> Iterator[tuple[str, Item]]:
    """Places that may stand in all ``listings``, the newest first, each with a row of one of them.

    ``wanted`` is how many the caller is likely to take.
    """
    limit = min(max(wanted, FIRST_PIECE), _LARGEST_PIECE)
    while span.low <= span.before:
        pieces: list[Piece] = []
        for listing in listings:
            pieces.append(listing.read(tables, span, limit, doing))
            if pieces[-1].reached is None and len(pieces[-1].rows) <= FIRST_PIECE:
                break
        leader = min(pieces, key=_reach)
        for place, item in leader.rows.items():
            if all(piece.may_hold(place) for piece in pieces):
                yield place, item
        if leader.reached is None:
            return
        span = Span(span.low, leader.reached)
        limit = min(limit * 2, _LARGEST_PIECE)


def _reach(piece: Piece) -> str:
    return piece.reached or ""
