"""The tables as DuckDB's views over a folder: text only, so whoever makes them needs no database to make them with.

The folder holds what the analytics bucket holds, under the same keys. Partitions are read from the files' paths, so a
view answers the very questions that Athena answers.
"""

from __future__ import annotations

import re
from typing import Final

from contentplatform.analytics.tables import Column, FileFormat, Partition, PartitionKind, Table

_TYPES: Final = {
    "string": "VARCHAR",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "double": "DOUBLE",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
_HEADER_LINES: Final = 2
_PLACEHOLDER: Final = re.compile(r"\$\{(\w+)\}|\{\w+\}")


def view(table: Table, folder: str) -> str:
    """The statement that makes the view of a table.

    Args:
        table: which.
        folder: where the analytics bucket's files lie, without a slash at its end.
    """
    files = _quoted(f"{folder}/{table.folder}**/*")
    partitions = [f"{_partition(table, partition)} AS {partition.name}" for partition in table.partitions]
    columns, rows = _rows(table, files)
    selected = ", ".join([*columns, *partitions])
    return f"CREATE OR REPLACE VIEW {table.name} AS SELECT {selected} FROM {rows}"  # noqa: S608 - our own tables


def empty_view(table: Table) -> str:
    """The same view where there is no file yet: DuckDB finds a folder without files an error."""
    held = [*((column.name, column.type) for column in table.columns), *((p.name, p.type) for p in table.partitions)]
    columns = ", ".join(f"CAST(NULL AS {duckdb_type(kind)}) AS {name}" for name, kind in held)
    return f"CREATE OR REPLACE VIEW {table.name} AS SELECT {columns} WHERE false"


def duckdb_type(hive: str) -> str:
    """DuckDB's word for a type of Hive."""
    if hive in _TYPES:
        return _TYPES[hive]
    outer, _, inner = hive.removesuffix(">").partition("<")
    match outer:
        case "array":
            return f"{duckdb_type(inner)}[]"
        case "map":
            return f"MAP({', '.join(map(duckdb_type, inner.split(',')))})"
        case "struct":
            fields = (field.split(":") for field in inner.split(","))
            return f"STRUCT({', '.join(f'{name} {duckdb_type(kind)}' for name, kind in fields)})"
    raise ValueError(f"DuckDB has no word for {hive}")


def _rows(table: Table, files: str) -> tuple[list[str], str]:
    """The columns as they are selected, and from what; ``filename`` is there, too."""
    names = [column.name for column in table.columns]
    match table.format:
        case FileFormat.TAB_SEPARATED:
            # Columns behind the last field of a line are empty; "-" is how the format says that there is no value.
            raw = _struct(dict.fromkeys(names, "VARCHAR"))
            rows = (
                f"read_csv({files}, delim = '\t', quote = '', escape = '', header = false, skip = {_HEADER_LINES}, "
                f"nullstr = '-', null_padding = true, auto_detect = false, strict_mode = false, columns = {raw}, "
                "filename = true)"
            )
            return [_cast(column, column.name) for column in table.columns], rows
        case FileFormat.PATTERN:
            wanted = ", ".join(map(_quoted, names))
            lines = (
                f"(SELECT unnest(string_split(content, chr(10))) AS line, filename FROM read_text({files})) AS lines"  # noqa: S608
            )
            taken = f"regexp_extract(line, {_quoted(table.pattern)}, [{wanted}])"
            rows = f"(SELECT {taken} AS fields, filename FROM {lines} WHERE line <> '') AS found"  # noqa: S608
            return [_cast(column, f"nullif(nullif(fields.{column.name}, '-'), '')") for column in table.columns], rows
        case FileFormat.JSON_LINES:
            typed = _struct({column.name: duckdb_type(column.type) for column in table.columns})
            rows = f"read_json({files}, format = 'newline_delimited', columns = {typed}, filename = true)"
            return names, rows
        case FileFormat.PARQUET:
            return names, f"read_parquet({files}, union_by_name = true, hive_partitioning = false, filename = true)"


def _cast(column: Column, expression: str) -> str:
    kind = duckdb_type(column.type)
    return (
        f"{expression} AS {column.name}" if kind == "VARCHAR" else f"TRY_CAST({expression} AS {kind}) AS {column.name}"
    )


def _partition(table: Table, partition: Partition) -> str:
    """The partition's value, out of the file's path."""

    def piece(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "[^/]+"
        shape = _shape(next(one for one in table.partitions if one.name == name))
        return f"({shape})" if name == partition.name else shape

    pieces = []
    end = 0
    for found in _PLACEHOLDER.finditer(table.path):
        pieces += [re.escape(table.path[end : found.start()]), piece(found)]
        end = found.end()
    pattern = re.escape(table.folder) + "".join(pieces) + re.escape(table.path[end:])
    return f"CAST(regexp_extract(filename, {_quoted(pattern)}, 1) AS {duckdb_type(partition.type)})"


def _shape(partition: Partition) -> str:
    match partition.kind:
        case PartitionKind.DATE:
            return re.sub(r"[a-zA-Z]", "[0-9]", partition.format)
        case PartitionKind.NUMBER:
            return "[0-9]+"
        case PartitionKind.LIST:
            return "[^/]+"


def _struct(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in fields.items()) + "}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
