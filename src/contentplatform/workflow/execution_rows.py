"""What the workflow engine on AWS keeps in the ledger: rows of executions, their history, and cursors over them.

Rows of the table ``content-ledger`` (``catalog.tables.LEDGER``), which never meet those of versions:

======================  ==================  =========================================================================
partition key           sort key            holds
======================  ==================  =========================================================================
``execution#<name>``    ``execution``       where it stands; the indexes list this row
same                    ``data#input``      its input, where it is too long to be listed; ``data#output`` likewise
same                    ``history#000001``  its history once it has ended, as compressed JSON, in as many rows as needed
``base#<base name>``    ``live``            which execution of a version and recipe is under way: there is at most one
======================  ==================  =========================================================================
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contentplatform.clock import parse_timestamp, timestamp
from contentplatform.errors import InvalidRequest
from contentplatform.workflow.port import ExecutionStatus, HistoryEvent, base_name

_ROW: Final = "execution"
_LIVE: Final = "live"
_CHUNK_LIMIT_BYTES: Final = 340_000
"""Of a history row before compression, so that even what can't be compressed fits DynamoDB's 400 KB."""
_CURSOR: Final = re.compile(r"([0-9a-f]{16})\.([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Row:
    """One execution's row, as attributes of plain Python."""

    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str) -> Any:
        return self.values.get(name)

    @property
    def name(self) -> str:
        return str(self.values["name"])

    @property
    def status(self) -> ExecutionStatus:
        return ExecutionStatus(self.values["execution_status"])


# -- history as text ---------------------------------------------------------------------------------------------


def chunks(events: Iterable[HistoryEvent]) -> Iterator[bytes]:
    """Events as JSON lists, each small enough for a row. What a state was given is what the one before it left."""
    lines: list[str] = []
    size_bytes = 0
    for event in events:
        line = json.dumps(
            {
                "sequence": event.sequence,
                "at": timestamp(event.at),
                "state": event.state,
                "event": event.event,
                "attempt": event.attempt,
                "output": event.output,
                "error": event.error,
                "cause": event.cause,
            },
            separators=(",", ":"),
        )
        if lines and size_bytes + len(line) > _CHUNK_LIMIT_BYTES:
            yield f"[{','.join(lines)}]".encode()
            lines, size_bytes = [], 0
        lines.append(line)
        size_bytes += len(line) + 1
    if lines:
        yield f"[{','.join(lines)}]".encode()


def event_from(line: Mapping[str, Any], given: Mapping[str, Any]) -> HistoryEvent:
    """One of them back, with what its state was given."""
    return HistoryEvent(
        **{**line, "at": parse_timestamp(line["at"])}, input=given if line["event"] == "entered" else None
    )


# -- keys and items -----------------------------------------------------------------------------------------------


def row_key(name: str, row: str = _ROW) -> dict[str, str]:
    """Where a row of an execution is; of its own one, if no other is named."""
    return {"file_id": f"execution#{name}", "version": row}


def lock_key(name: str) -> dict[str, str]:
    """Where the lock is that an execution of that name has to hold."""
    return {"file_id": f"base#{base_name(name)}", "version": _LIVE}


def unlock(name: str) -> dict[str, Any]:
    """A delete of the lock that ``name`` holds."""
    return {
        "Key": to_item(lock_key(name)),
        "ConditionExpression": "attribute_not_exists(file_id) OR live_execution = :holder",
        "ExpressionAttributeValues": {":holder": {"S": name}},
    }


def update_of(key: Mapping[str, str], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an update that sets attributes, whatever they are called."""
    return {
        "Key": to_item(key),
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in changes),
        "ExpressionAttributeNames": {f"#{name}": name for name in changes},
        "ExpressionAttributeValues": to_item({f":{name}": value for name, value in changes.items()}),
    }


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain Python as DynamoDB writes it."""
    return {name: _to_attribute(value) for name, value in values.items()}


def _to_attribute(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case _:
            return {"S": str(value)}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse; numbers stay text."""
    return {name: next(iter(attribute.values())) for name, attribute in item.items()}


def _listing_digest(status: ExecutionStatus | None, file_id: str | None) -> str:
    asked = json.dumps([status and status.value, file_id])
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


# -- cursors ------------------------------------------------------------------------------------------------------


def write_cursor(order: str, status: ExecutionStatus | None, file_id: str | None) -> str:
    """Where the next page of this very listing begins."""
    return f"{_listing_digest(status, file_id)}.{order.encode().hex()}"


def read_cursor(cursor: str | None, status: ExecutionStatus | None, file_id: str | None) -> str | None:
    """Where a page begins. Raises InvalidRequest for a cursor of another listing."""
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None or found[1] != _listing_digest(status, file_id) or len(found[2]) % 2:
        raise InvalidRequest("listing executions", "that cursor is not one of ours", hint="Start from the first page")
    return bytes.fromhex(found[2]).decode("utf-8", "replace")
