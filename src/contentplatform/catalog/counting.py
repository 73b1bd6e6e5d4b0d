"""How the local home counts: counters that change with the records, and what a facet of few matches is counted from.

* ``catalog_counts`` says of the whole library, without deleted files: how many there are, and how many of each kind,
  status, tag and folder (with all below it). A write changes only the counters of what it changed, in its own unit of
  work; so they are exact at every commit, whoever asks.
* ``catalog_tags`` holds a record's tags beside its narrow row, so that counting a thousand matches reads none of their
  documents; ``catalog_likeness`` the parts of its perceptual hash, each with the whole of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from contentplatform.catalog.facets import (
    Traits,
    countable_folders,
    countable_tags,
    facets_of,
    is_whole_folder,
    parent_of,
    traits_of,
)
from contentplatform.catalog.index import Placed, found_statement
from contentplatform.catalog.likeness import hash_of, parts_of, probes
from contentplatform.catalog.port import COUNT_LIMIT, FACET_VALUES, Facets, Figure, Folder, SearchQuery
from contentplatform.catalog.search import TextQuery
from contentplatform.drivers.sqlite import Connection, Transaction
from contentplatform.media import MediaKind, ProcessingStatus

_Counter = tuple[str, str, str]
_PART_BITS: Final = 16
_HASH_BYTES: Final = 8
_ALL: Final = ("all", "", "")

_SURROGATES: Final = " OR ".join(f"instr(CAST(value AS BLOB), x'ED{byte:02X}')" for byte in range(0xA0, 0xC0))
_ABOVE: Final = "substr(rtrim({0}, replace({0}, '/', '')), 1, length(rtrim({0}, replace({0}, '/', ''))) - 1)"

COUNTS: Final = f"""
    SELECT 'all' AS sort, '' AS parent, '' AS name, count(*) AS files FROM catalog_records WHERE NOT deleted
    HAVING count(*) > 0
    UNION ALL SELECT 'kind', '', kind, count(*) FROM catalog_records WHERE NOT deleted GROUP BY kind
    UNION ALL SELECT 'status', '', status, count(*) FROM catalog_records WHERE NOT deleted GROUP BY status
    UNION ALL SELECT 'tag', '', value, count(*) FROM catalog_records JOIN catalog_tags USING (position)
        JOIN json_each(tags) WHERE NOT deleted GROUP BY value
    UNION ALL SELECT 'folder', {_ABOVE.format("folder")}, folder, sum(files) FROM (
        WITH RECURSIVE above (folder, files) AS (
            SELECT {_ABOVE.format("file_path")} AS folder, count(*) FROM catalog_records
            WHERE NOT deleted GROUP BY folder
            UNION ALL SELECT {_ABOVE.format("folder")}, files FROM above WHERE folder <> ''
        )
        SELECT folder, files FROM above WHERE folder <> ''
        AND octet_length(folder) - octet_length(rtrim(folder, replace(folder, '/', ''))) <= 900
    ) GROUP BY folder
"""  # noqa: S608 - nothing but literals of this module
"""Every counter, counted anew from the records and their tags."""

_TAGS: Final = f"""
    SELECT position, json_group_array(value) AS tags FROM (
        SELECT DISTINCT position, value FROM catalog_documents JOIN json_each(document, '$.tags')
        WHERE octet_length(value) <= 900 AND NOT ({_SURROGATES})
    ) GROUP BY position
"""  # noqa: S608 - nothing but literals of this module
_LIKENESS: Final = """
    SELECT column1 || substr(hash, 13 - 4 * column1, 4) AS part, position, unhex(hash) AS hash FROM (
        SELECT position, json_extract(document, '$.processing_metadata.perceptual_hash') AS hash
        FROM catalog_records JOIN catalog_documents USING (position) WHERE NOT deleted
    ) JOIN (VALUES (0), (1), (2), (3))
    WHERE typeof(hash) = 'text' AND length(hash) = 16 AND NOT hash GLOB '*[^0-9a-f]*'
"""
_FOLLOWING: Final = {"catalog_tags": _TAGS, "catalog_likeness": _LIKENESS, "catalog_counts": COUNTS}
"""What each table that follows the records should hold, those first from which others are made."""

COUNTING: Final = f"""
    CREATE TABLE catalog_counts (
        sort TEXT NOT NULL,
        parent TEXT NOT NULL,
        name TEXT NOT NULL,
        files INTEGER NOT NULL,
        PRIMARY KEY (sort, parent, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX catalog_counts_by_files ON catalog_counts (sort, parent, files DESC, name);

    CREATE TABLE catalog_tags (position INTEGER PRIMARY KEY, tags TEXT NOT NULL) STRICT;

    CREATE TABLE catalog_likeness (
        part TEXT NOT NULL,
        position INTEGER NOT NULL,
        hash BLOB NOT NULL,
        PRIMARY KEY (part, position)
    ) STRICT, WITHOUT ROWID;

    INSERT INTO catalog_tags SELECT position, json_group_array(value) FROM (
        SELECT DISTINCT position, value FROM catalog_documents JOIN json_each(document, '$.tags')
        WHERE octet_length(value) <= 900 AND NOT ({_SURROGATES})
    ) GROUP BY position;

    INSERT INTO catalog_likeness
        SELECT column1 || substr(hash, 13 - 4 * column1, 4), position, unhex(hash) FROM (
            SELECT position, json_extract(document, '$.processing_metadata.perceptual_hash') AS hash
            FROM catalog_records JOIN catalog_documents USING (position) WHERE NOT deleted
        ) JOIN (VALUES (0), (1), (2), (3))
        WHERE typeof(hash) = 'text' AND length(hash) = 16 AND NOT hash GLOB '*[^0-9a-f]*';

    INSERT INTO catalog_counts {COUNTS};
"""  # noqa: S608 - nothing but literals of this module
"""The migration that makes these tables, and fills them from what is there."""


# -- keeping up ----------------------------------------------------------------------------------------------


def change_counts(transaction: Transaction, old: Placed | None, new: Placed | None) -> None:
    """Bring all counters, tags and hashes from what a record was to what it is; None: it did not exist, or does not."""
    before, after = _counters(old), _counters(new)
    if before != after:
        changed = [(*key, 1) for key in sorted(after - before)] + [(*key, -1) for key in sorted(before - after)]
        transaction.run_many(
            "INSERT INTO catalog_counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET files = files + excluded.files",
            changed,
        )
        transaction.run_many(
            "DELETE FROM catalog_counts WHERE sort = ? AND parent = ? AND name = ? AND files = 0",
            sorted(before - after),
        )
    _change_tags(transaction, old, new)
    were, are = set(_likeness(old)), set(_likeness(new))
    if were != are:
        transaction.run_many(
            "DELETE FROM catalog_likeness WHERE part = ? AND position = ?", [row[:2] for row in sorted(were - are)]
        )
        transaction.run_many("INSERT INTO catalog_likeness VALUES (?, ?, ?)", sorted(are - were))


def _counters(placed: Placed | None) -> set[_Counter]:
    """The counters in which a record counts one."""
    if placed is None or placed.record.deleted_at is not None:
        return set()
    traits = traits_of(placed.record)
    return {
        _ALL,
        ("kind", "", traits.kind.value),
        ("status", "", traits.status.value),
        *(("tag", "", tag) for tag in countable_tags(traits.tags)),
        *(("folder", parent_of(folder), folder) for folder in countable_folders(traits.file_path)),
    }


def _change_tags(transaction: Transaction, old: Placed | None, new: Placed | None) -> None:
    before, after = _tags(old), _tags(new)
    if old is not None and before and (new is None or new.position != old.position or not after):
        transaction.run("DELETE FROM catalog_tags WHERE position = ?", (old.position,))
    if new is not None and after and (old is None or before != after or new.position != old.position):
        transaction.run(
            "INSERT INTO catalog_tags VALUES (?, ?) ON CONFLICT DO UPDATE SET tags = excluded.tags",
            (new.position, json.dumps(after, ensure_ascii=False, separators=(",", ":"))),
        )


def _tags(placed: Placed | None) -> tuple[str, ...]:
    return () if placed is None else countable_tags(placed.record.tags)


def _likeness(placed: Placed | None) -> Iterator[tuple[str, int, bytes]]:
    value = None if placed is None else hash_of(placed.record)
    if placed is not None and value is not None:
        for number, part in enumerate(parts_of(value, _PART_BITS)):
            yield _part(number, part), placed.position, value.to_bytes(_HASH_BYTES)


def _part(number: int, part: int) -> str:
    return f"{number}{part:04x}"


# -- asking --------------------------------------------------------------------------------------------------


def count_matches(view: Connection, query: SearchQuery, text: TextQuery | None) -> Facets:
    """The facets of a query that has words, if it has text."""
    folder = query.folder or ""
    if query == SearchQuery():
        return Facets(
            Figure(_counter(view, *_ALL)),
            {MediaKind(name): figure for name, figure in _counters_of(view, "kind").items()},
            {ProcessingStatus(name): figure for name, figure in _counters_of(view, "status").items()},
            _counters_of(view, "tag"),
            _counters_of(view, "folder"),
        )
    statement, parameters = found_statement(view, query, text, None, COUNT_LIMIT + 1)
    rows = view.rows(
        "SELECT r.file_path, r.kind, r.status, t.tags"  # noqa: S608 - the inner statement is made of literals
        f" FROM ({statement}) AS p CROSS JOIN catalog_records AS r ON r.position = p.position"
        " LEFT JOIN catalog_tags AS t ON t.position = p.position",
        parameters,
    )
    capped = len(rows) > COUNT_LIMIT
    few = _facets(rows[:COUNT_LIMIT], folder, capped=capped)
    if not capped:
        return few
    if is_whole_folder(query):
        total = Figure(_counter(view, "folder", parent_of(folder), folder))
        return Facets(total, few.kinds, few.statuses, few.tags, _counters_of(view, "folder", folder))
    return Facets(_total(view, query) or few.total, few.kinds, few.statuses, few.tags, few.folders)


def _total(view: Connection, query: SearchQuery) -> Figure | None:
    """How many files match, where a counter says it."""
    single = [("kind", query.kind), ("status", query.status), ("tag", query.tag)]
    given = [(sort, str(name)) for sort, name in single if name is not None]
    if len(given) != 1 or query != SearchQuery(kind=query.kind, status=query.status, tag=query.tag):
        return None
    sort, name = given[0]
    return Figure(_counter(view, sort, "", name))


def _facets(rows: Sequence[tuple[Any, ...]], folder: str, *, capped: bool) -> Facets:
    """The facets of rows with path, kind, status and tags. Each different value is made from its text once."""
    kinds = {kind: MediaKind(kind) for kind in {row[1] for row in rows}}
    statuses = {status: ProcessingStatus(status) for status in {row[2] for row in rows}}
    tags = {text: tuple(json.loads(text)) if text else () for text in {row[3] for row in rows}}
    found = [Traits(path, kinds[kind], statuses[status], tags[text]) for path, kind, status, text in rows]
    return facets_of(found, folder, capped=capped)


def _counter(view: Connection, sort: str, parent: str, name: str) -> int:
    found = view.value(
        "SELECT files FROM catalog_counts WHERE sort = ? AND parent = ? AND name = ?", (sort, parent, name)
    )
    return int(found or 0)


def _counters_of(view: Connection, sort: str, parent: str = "") -> dict[str, Figure]:
    rows = view.rows(
        "SELECT name, files FROM catalog_counts INDEXED BY catalog_counts_by_files WHERE sort = ? AND parent = ?"
        " ORDER BY files DESC, name LIMIT ?",
        (sort, parent, FACET_VALUES),
    )
    return {name: Figure(files) for name, files in rows}


# -- checking ------------------------------------------------------------------------------------------------


def counter_gaps(view: Connection) -> tuple[str, ...]:
    """What these tables say wrongly of the records, in words."""
    found = []
    for table, query in _FOLLOWING.items():
        # One statement sees one moment: what is at work is never taken for a gap.
        rows = view.rows(
            f"SELECT * FROM (SELECT * FROM ({query}) EXCEPT SELECT * FROM {table})"  # noqa: S608 - literals
            f" UNION SELECT * FROM (SELECT * FROM {table} EXCEPT SELECT * FROM ({query}))"
        )
        found += [_named(table, row) for row in rows]
    return tuple(dict.fromkeys(found))


def _named(table: str, row: tuple[Any, ...]) -> str:
    if table == "catalog_counts":
        sort, _, name, _ = row
        return f"the counter of {sort} {name}".rstrip()
    position = row[0] if table == "catalog_tags" else row[1]
    return f"{'tags' if table == 'catalog_tags' else 'hash'} of the record at {position}"


def recount(transaction: Transaction) -> None:
    """Make these tables anew from the records."""
    for table, query in _FOLLOWING.items():
        transaction.run(f"DELETE FROM {table}")  # noqa: S608 - literals
        transaction.run(f"INSERT INTO {table} {query}")


# -- folders and likeness ------------------------------------------------------------------------------------


def folders_below(view: Connection, parent: str, after: str, limit: int) -> list[Folder]:
    """Folders right below one, by name."""
    rows = view.rows(
        "SELECT name, files FROM catalog_counts WHERE sort = 'folder' AND parent = ? AND name > ?"
        " ORDER BY name LIMIT ?",
        (parent, after, limit),
    )
    return [Folder(name, files) for name, files in rows]


def alike(view: Connection, own: int, max_distance: int, limit: int) -> list[tuple[int, str]]:
    """Documents of pictures within a distance, as (distance, document): the nearest, then the newest."""
    wanted = json.dumps([_part(*probe) for probe in probes(own, _PART_BITS, max_distance)])
    rows: list[tuple[Any, ...]] = view.rows(
        "SELECT DISTINCT l.position, l.hash FROM json_each(?) AS j"
        " CROSS JOIN catalog_likeness AS l ON l.part = j.value",
        (wanted,),
    )
    measured = ((own ^ int.from_bytes(value)).bit_count() for _, value in rows)
    near = sorted((far, -row[0]) for far, row in zip(measured, rows, strict=True) if far <= max_distance)
    found = []
    for far, behind in near[:limit]:
        document = view.value("SELECT document FROM catalog_documents WHERE position = ?", (-behind,))
        found.append((far, str(document)))
    return found
