"""How the aws home counts: counters in table ``content-search`` that its feed keeps, and what they add up to.

Beside its rows each file has one that names the counters in which it counts one. To count a file anew is one
transaction on condition that this row still says what was read: it names other counters then, and these have changed.
So it doesn't matter how often, or in which order, a file is counted. The counters:

=====================  ====================================  =====================================================
``term``               ``newest_first``                      counts
=====================  ====================================  =====================================================
``count library``      a number: one of several parts        in ``all``, ``kind image``, … all files, without deleted
``count tag``          a blank, and the tag                  in ``files`` those with the tag
``count <folder>``     what a subfolder adds to its path     in ``files`` those in the subfolder, and below
=====================  ====================================  =====================================================
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from contentplatform.catalog.dynamodb import Expression, Tables, action
from contentplatform.catalog.facets import countable_folders, countable_tags, most_frequent, parent_of
from contentplatform.catalog.items import Item, is_key
from contentplatform.catalog.port import Facets, Figure, Folder, Record
from contentplatform.catalog.tables import SEARCH
from contentplatform.catalog.terms import readable
from contentplatform.clock import Clock
from contentplatform.errors import Unavailable
from contentplatform.media import MediaKind, ProcessingStatus

Tally = tuple[str, str, str]
"""Term, place and attribute of a counter."""

_LIBRARY: Final = "count library"
_TAG: Final = "count tag"
_FILES: Final = "files"
_PARTS: Final = 16
"""Every file counts in the library, and DynamoDB takes a thousand writes a second for one item."""
_SHARDS: Final = tuple(f"counted {number:02x}" for number in range(256))
_AT_ONCE: Final = 90
"""A transaction has a hundred parts."""
_TRIES: Final = 6


def tallies(record: Record | None) -> frozenset[Tally]:
    """The counters in which a file counts one."""
    if record is None or record.deleted_at is not None:
        return frozenset()
    library = (_LIBRARY, f"{_number(record.file_id):02}")
    folders = ((parent_of(folder), folder) for folder in countable_folders(record.file_path))
    return frozenset(
        {
            (*library, "all"),
            (*library, f"kind {record.kind.value}"),
            (*library, f"status {record.status.value}"),
            *((_TAG, f" {tag}", _FILES) for tag in countable_tags(record.tags)),
            *((_folder_term(parent), folder.removeprefix(parent), _FILES) for parent, folder in folders),
        }
    )


def _number(file_id: str) -> int:
    return int(file_id[:2], 16) % _PARTS if f"counted {file_id[:2]}" in _SHARDS else 0


def _folder_term(parent: str) -> str:
    return f"count folder {readable(parent)}"


def count(tables: Tables, clock: Clock, file_id: str, wanted: frozenset[Tally], doing: str) -> None:
    """Let a file count in exactly these counters.

    Raises:
        Unavailable: others keep counting the same.
    """
    place = _counted_key(file_id)
    for attempt in range(_TRIES):
        there = tables.get(SEARCH, place, doing)
        known = _read(there) if there is not None else frozenset()
        change = [(each, 1) for each in sorted(wanted - known)] + [(each, -1) for each in sorted(known - wanted)]
        if not change:
            break
        # A file with more tags than fit is counted in several steps, each of them whole.
        step = change[:_AT_ONCE]
        reached = (known | {each for each, by in step if by > 0}) - {each for each, by in step if by < 0}
        try:
            done = not tables.transact([_named(place, there, reached), *_added(step)], doing)
        except Unavailable:
            if attempt == _TRIES - 1:
                raise
            done = False
        if done and reached == wanted:
            break
        if not done:
            clock.wait(threading.Event(), 0.05 * 2**attempt)
    else:
        raise Unavailable(doing, "others keep counting the same", hint="Try again")
    if not wanted:
        tables.write_many(SEARCH, (), [place], doing)


def counted(tables: Tables, file_ids: Sequence[str], doing: str) -> dict[str, frozenset[Tally]]:
    """In which counters these files count, as far as they do."""
    found = tables.get_many(SEARCH, [_counted_key(each) for each in file_ids], doing)
    return {item["newest_first"]["S"]: _read(item) for item in found}


def _read(item: Item) -> frozenset[Tally]:
    return frozenset((term, place, attribute) for term, place, attribute in json.loads(item["counted"]["S"]))


def _named(place: Item, there: Item | None, reached: frozenset[Tally]) -> dict[str, Any]:
    """The part of a transaction that says in which counters a file counts."""
    new = {"S": json.dumps(sorted(reached))}
    condition = Expression("attribute_not_exists(#counted)", {"new": new})
    if there is not None:
        condition = Expression("#counted = :old", {"new": new, "old": there["counted"]})
    return action("Update", SEARCH, place, condition, "SET #counted = :new")


def _added(step: list[tuple[Tally, int]]) -> Iterator[dict[str, Any]]:
    """The parts of a transaction that change the counters: one for each item, however many of its counters change."""
    items: dict[tuple[str, str], dict[str, int]] = {}
    for (term, place, attribute), by in step:
        items.setdefault((term, place), {})[attribute] = by
    for (term, place), changes in items.items():
        names = {f"#a{number}": attribute for number, attribute in enumerate(changes)}
        values = {f":a{number}": {"N": str(by)} for number, by in enumerate(changes.values())}
        yield {
            "Update": {
                "TableName": SEARCH.name,
                "Key": _key(term, place),
                "UpdateExpression": "ADD " + ", ".join(f"#a{number} :a{number}" for number in range(len(changes))),
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
            }
        }


def _counted_key(file_id: str) -> Item:
    shard = f"counted {file_id[:2]}"
    return _key(shard if shard in _SHARDS else _SHARDS[0], file_id)


def _key(term: str, place: str) -> Item:
    return {"term": {"S": term}, "newest_first": {"S": place}}


# -- what they add up to -------------------------------------------------------------------------------------


def library_facets(tables: Tables, doing: str) -> Facets:
    """The facets of the whole library."""
    sums = library_sums(tables, doing)
    return Facets(
        Figure(max(sums["all"], 0)),
        most_frequent({kind: sums[f"kind {kind.value}"] for kind in MediaKind}),
        most_frequent({status: sums[f"status {status.value}"] for status in ProcessingStatus}),
        most_frequent(dict(_counted(tables, _TAG, " ", "", doing))),
        largest_folders(tables, "", doing),
    )


def library_sums(tables: Tables, doing: str) -> Counter[str]:
    """The counters of the library, all parts together."""
    sums: Counter[str] = Counter()
    for item in tables.query_all(SEARCH, None, Expression("#term = :term", {"term": {"S": _LIBRARY}}), doing):
        sums.update({name: int(value["N"]) for name, value in item.items() if "N" in value})
    return sums


def tag_total(tables: Tables, tag: str, doing: str) -> int:
    """How many files have a tag."""
    place = f" {tag}"
    item = tables.get(SEARCH, _key(_TAG, place), doing) if is_key(place, 1_024) else None
    return 0 if item is None else max(int(item[_FILES]["N"]), 0)


def folder_total(tables: Tables, folder: str, doing: str) -> int:
    """How many files are in a folder, and below."""
    parent = parent_of(folder)
    place = folder.removeprefix(parent)
    item = tables.get(SEARCH, _key(_folder_term(parent), place), doing) if is_key(place, 1_024) else None
    return 0 if item is None else max(int(item[_FILES]["N"]), 0)


def largest_folders(tables: Tables, parent: str, doing: str) -> dict[str, Figure]:
    """The largest folders right below one."""
    return most_frequent(dict(_counted(tables, _folder_term(parent), "", parent, doing)))


def folders_below(tables: Tables, parent: str, after: str, limit: int, doing: str) -> list[Folder]:
    """Folders right below one, by name."""
    found: list[Folder] = []
    term = Expression("#term = :term", {"term": {"S": _folder_term(parent)}})
    last = _key(_folder_term(parent), after.removeprefix(parent)) if after else None
    while len(found) < limit:
        rows = tables.query(SEARCH, None, term, doing, only=_LIVING, limit=limit - len(found), after=last)
        found += [Folder(parent + item["newest_first"]["S"], int(item[_FILES]["N"])) for item in rows.items]
        last = rows.last_key
        if last is None:
            break
    return found


_LIVING: Final = Expression("#files > :nothing", {"nothing": {"N": "0"}})


def _counted(tables: Tables, term: str, before: str, parent: str, doing: str) -> Iterator[tuple[str, int]]:
    for item in tables.query_all(SEARCH, None, Expression("#term = :term", {"term": {"S": term}}), doing):
        yield parent + item["newest_first"]["S"].removeprefix(before), int(item[_FILES]["N"])
