"""How the search table follows the records: what the function ``content-search-indexer`` does with the table's stream.

A change tells what a record was and what it became; what it is now is read from the table. From these, without any
memory of its own, the feed writes the rows that the record has now and did not have before the change, and deletes
those that it had before or after the change and hasn't now. Why that ends right, however late, often or out of order
changes come, as long as each comes at least once and one file's are not worked on twice at a time (a stream's shard
keeps to that):

* A row that belongs there came in with some change; whoever works on that change finds it in the record and missing
  before, and writes it. Nobody deletes it later, as it is in the record.
* A row that doesn't belong there went with some change; whoever works on that one deletes it. It was written before
  that, as whoever reads the record afterwards doesn't find it there.

A stale row does no harm: a search reads the records themselves. Behind its rows each file has a marker with their
digest, so that a change that was lost for good can be found (``index_gaps``) and made good (``requeue``).

By the same changes the feed counts the files (tally.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contentplatform.catalog.dynamodb import Expression, Tables
from contentplatform.catalog.items import Item, is_record, item_to_record
from contentplatform.catalog.port import Record
from contentplatform.catalog.tables import METADATA, SEARCH
from contentplatform.catalog.tally import Tally, count, tallies
from contentplatform.catalog.terms import Rows, digest, rows
from contentplatform.clock import Clock
from contentplatform.drivers.boto import Aws
from contentplatform.errors import PlatformError

_LOG: Final = logging.getLogger(__name__)
_SHARDS: Final = tuple(f"marker {number:02x}" for number in range(256))
"""Partitions of the markers; a file's is that of the first two digits of its file_id, which is a digest."""


@dataclass(frozen=True, slots=True)
class _Change:
    """One record of the stream."""

    file_id: str
    sequence_number: str
    before: Item | None
    after: Item | None

    @property
    def is_forced(self) -> bool:
        """Whether somebody asked for all rows anew."""
        token = (self.after or {}).get("reindex")
        return token is not None and token != (self.before or {}).get("reindex")


class SearchFeed:
    """Brings changed records into the search table."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self._tables = Tables(aws, clock)
        self._clock = clock

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a batch of the stream of ``content-metadata`` as Lambda gives it; name what failed.

        The answer makes Lambda begin again with the first change that failed. Repeating is harmless.
        """
        changes: dict[str, list[_Change]] = {}
        for record in event["Records"]:
            change = _read(record["dynamodb"])
            changes.setdefault(change.file_id, []).append(change)
        failed = []
        for file_id, of_one_file in changes.items():
            try:
                self._follow(file_id, of_one_file)
            except PlatformError as error:
                _LOG.warning("file %s was not indexed: %s %s", file_id, error, error.private)
                failed.append(of_one_file[0].sequence_number)
        return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}

    def _follow(self, file_id: str, changes: Sequence[_Change]) -> None:
        doing = f"indexing file {file_id}"
        forced = any(each.is_forced for each in changes)
        is_found_otherwise = forced or any(_rows_of(each.before) != _rows_of(each.after) for each in changes)
        counts_otherwise = forced or any(_tallies_of(each.before) != _tallies_of(each.after) for each in changes)
        if not is_found_otherwise and not counts_otherwise:
            return
        item = self._tables.get(METADATA, {"file_id": {"S": file_id}}, doing)
        if is_found_otherwise:
            self._index(file_id, changes, item, doing)
        if counts_otherwise:
            count(self._tables, self._clock, file_id, _tallies_of(item), doing)

    def _index(self, file_id: str, changes: Sequence[_Change], item: Item | None, doing: str) -> None:
        were = [{} if each.is_forced else _rows_of(each.before) for each in changes]
        became = [_rows_of(each.after) for each in changes]
        wanted = _rows_of(item)
        known_before = [row for row in were[0].items() if all(row in old.items() for old in were)]
        missing = dict(wanted.items() - known_before)
        old_rows = {key for each in changes for key in _rows_of(each.before)}
        stale = {*old_rows, *(key for new in became for key in new)} - wanted.keys()
        self._tables.write_many(SEARCH, _items(missing), [_row_key(*key) for key in sorted(stale)], doing)
        marker = marker_key(file_id)
        if is_record(item):
            self._tables.write_many(SEARCH, [{**marker, "digest": {"S": digest(wanted)}}], (), doing)
        else:
            self._tables.write_many(SEARCH, (), [marker], doing)


# -- markers -------------------------------------------------------------------------------------------------


def markers(tables: Tables, file_ids: Sequence[str], doing: str) -> dict[str, str]:
    """The markers of these files that have one."""
    found = tables.get_many(SEARCH, [marker_key(each) for each in file_ids], doing)
    return {item["newest_first"]["S"]: item["digest"]["S"] for item in found}


def is_indexed(record: Record | None, marker: str | None) -> bool:
    """Whether a file's marker says what its record says."""
    return marker == (None if record is None else digest(rows(record)))


def marked_files(tables: Tables, doing: str) -> Iterator[str]:
    """Every file that has a marker."""
    for shard in _SHARDS:
        for item in tables.query_all(SEARCH, None, Expression("#term = :shard", {"shard": {"S": shard}}), doing):
            yield item["newest_first"]["S"]


def marker_key(file_id: str) -> Item:
    """Where the marker of a file is."""
    shard = f"marker {file_id[:2]}"
    return _row_key(shard if shard in _SHARDS else _SHARDS[0], file_id)


# -- rows ----------------------------------------------------------------------------------------------------


def _read(change: Mapping[str, Any]) -> _Change:
    return _Change(
        change["Keys"]["file_id"]["S"], change["SequenceNumber"], change.get("OldImage"), change.get("NewImage")
    )


def _rows_of(item: Item | None) -> Rows:
    return rows(item_to_record(item)) if item is not None and is_record(item) else {}


def _tallies_of(item: Item | None) -> frozenset[Tally]:
    return tallies(item_to_record(item)) if item is not None and is_record(item) else frozenset()


def _row_key(term: str, place: str) -> Item:
    return {"term": {"S": term}, "newest_first": {"S": place}}


def _items(wanted: Rows) -> list[Item]:
    return [
        {**_row_key(term, place), **({"words": {"S": words}} if words else {})}
        for (term, place), words in sorted(wanted.items())
    ]
