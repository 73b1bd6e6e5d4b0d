"""The workflow engine of the home on AWS: Step Functions runs the executions, the ledger remembers them.

A start writes the row and the lock in one transaction, then asks Step Functions, then notes that it has; cut off
anywhere, it is finished by the same call, or by whoever reads the row a minute later. An end is copied here when
EventBridge tells of it (``record_ended``), or when somebody looks before that. A row that has ended never changes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from contentplatform.catalog.tables import LEDGER
from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.boto import Aws, cancellation_codes, error_code, translated
from contentplatform.errors import (
    ConfigurationInvalid,
    Conflict,
    ErrorCode,
    InvalidRequest,
    NotFound,
    PlatformError,
    Unavailable,
)
from contentplatform.workflow.definition import STATE_MACHINE, TIMEOUT, failure_of
from contentplatform.workflow.execution_rows import (
    Row,
    chunks,
    event_from,
    from_item,
    lock_key,
    read_cursor,
    row_key,
    to_item,
    unlock,
    update_of,
    write_cursor,
)
from contentplatform.workflow.narration import Narration, narrate
from contentplatform.workflow.port import (
    EXECUTION_PAGE_SIZE,
    Execution,
    ExecutionPage,
    ExecutionStatus,
    HistoryEvent,
    Lane,
    WorkflowEngine,
    check_start,
)
from contentplatform.workflow.recorder import Ended

__all__ = ["StepFunctionsEngine"]

_EVERYTHING: Final = "all"
"""The one value of the partition key that lists every execution."""
_INLINE_LIMIT_BYTES: Final = 8_192
"""Longer data has a row of its own: the indexes hold whole rows."""
_FINISH_START_AFTER: Final = timedelta(seconds=60)
_FORGOTTEN_AFTER: Final = timedelta(days=1)
"""When Step Functions knows nothing of an execution so long after its start, it never will."""
_HISTORY_PAGE: Final = 1_000
_TAIL_EVENTS: Final = 20
_REFRESHED_AT_MOST: Final = 200
"""Live executions that one listing asks Step Functions about."""
_ATTEMPTS: Final = 5
_TABLE: Final = LEDGER.name


class StepFunctionsEngine(WorkflowEngine):
    """Starts executions of one state machine and tells about them.

    Args:
        aws: the session.
        clock: when things are noted; times of executions themselves are Step Functions' own.
        state_machine_arn: the machine, or an alias of it.
    """

    def __init__(self, aws: Aws, clock: Clock, *, state_machine_arn: str) -> None:
        self._aws = aws
        self._clock = clock
        self._machine_arn = state_machine_arn
        parts = state_machine_arn.split(":")
        self._execution_prefix = ":".join([*parts[:5], "execution", parts[6], ""])

    # -- starting --------------------------------------------------------------------------------------------

    def start(
        self, name: str, *, file_id: str, version_id: str, data: Mapping[str, Any], lane: Lane = Lane.UPLOAD
    ) -> Execution:
        body = check_start(name, data)
        doing = f"starting {name}"
        for _ in range(_ATTEMPTS):
            claimed = self._claim(name, file_id, version_id, body, lane, doing)
            if claimed is not None:
                return self._told(self._launched(claimed, doing))
            there = self._row(name)
            if there is not None:
                return self._told(self._refreshed(self._launched(there, doing)))
            self._release_what_ended(name, doing)
        raise Unavailable(doing, "others keep starting executions of the same version", hint="Try again")

    def _claim(self, name: str, file_id: str, version_id: str, body: str, lane: Lane, doing: str) -> Row | None:
        """Write the row and the lock; None where either is there already."""
        created = timestamp(self._clock.now())
        row: dict[str, Any] = {
            **row_key(name),
            "name": name,
            "execution_version": version_id,
            "lane": int(lane),
            "created_at": created,
            "state": STATE_MACHINE.start_at,
            "execution_listing": _EVERYTHING,
            "execution_order": f"{created}#{name}",
            "execution_status": ExecutionStatus.PENDING.value,
            "execution_file": file_id,
        }
        long = len(body) > _INLINE_LIMIT_BYTES
        if not long:
            row["input"] = body
        lock = {**lock_key(name), "live_execution": name}
        absent = {"ConditionExpression": "attribute_not_exists(file_id)"}
        puts = [row, lock, *([{**row_key(name, "data#input"), "body": body}] if long else [])]
        try:
            with _conditional(doing):
                self._client("dynamodb").transact_write_items(
                    TransactItems=[{"Put": {"TableName": _TABLE, "Item": to_item(item), **absent}} for item in puts]
                )
        except _Refused:
            return None
        return Row(row)

    def _launched(self, row: Row, doing: str) -> Row:
        """Ask Step Functions to begin, unless it was asked before; what was cancelled meanwhile is stopped again."""
        if row.status is not ExecutionStatus.PENDING:
            return row
        with translated(doing):
            try:
                self._client("stepfunctions").start_execution(
                    stateMachineArn=self._machine_arn, name=row.name, input=self._body(row, "input")
                )
            except Exception as error:
                match error_code(error):
                    case "ExecutionAlreadyExists":
                        pass  # asked for before, by whoever was cut off then
                    case "StateMachineDoesNotExist":
                        raise ConfigurationInvalid(
                            doing, "there is no state machine", hint="`contentplatform deploy` makes it"
                        ) from error
                    case "ExecutionLimitExceeded":
                        raise Unavailable(doing, "too many executions are running", hint="Try again") from error
                    case _:
                        raise
        started = timestamp(self._clock.now())
        changed = self._update(
            row,
            {"execution_status": ExecutionStatus.RUNNING.value, "started_at": started},
            expected=ExecutionStatus.PENDING,
            doing=doing,
        )
        if changed is not None:
            return changed
        now = self._existing(row.name, doing)
        if now.status is ExecutionStatus.CANCELLED:
            self._stop(row.name, str(now.get("cause") or ""))
        return now

    def _release_what_ended(self, name: str, doing: str) -> None:
        """See to the execution that holds the lock of ``name``'s version and recipe.

        Raises:
            Conflict: it has not ended.
        """
        lock = self._item(lock_key(name), doing)
        if lock is None:
            return
        other = str(lock["live_execution"])
        row = self._row(other)
        if row is not None and not self._refreshed(row).status.ended:
            raise Conflict(doing, f"{other} works on the same version and recipe")
        with suppress(_Refused), _conditional(doing):
            self._client("dynamodb").delete_item(TableName=_TABLE, **unlock(other))

    # -- telling ---------------------------------------------------------------------------------------------

    def get(self, name: str) -> Execution:
        return self._told(self._refreshed(self._existing(name, f"reading execution {name}")))

    def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        file_id: str | None = None,
        cursor: str | None = None,
        limit: int = EXECUTION_PAGE_SIZE,
    ) -> ExecutionPage:
        if limit < 1:
            raise InvalidRequest("listing executions", "a page needs room for at least one")
        before = read_cursor(cursor, status, file_id)
        if status is not None and status.ended and cursor is None:
            self._note_ends()
        found: list[Row] = []
        for row in self._rows(status, file_id, before):
            fresh = self._refreshed(row)
            if status is None or fresh.status is status:
                found.append(fresh)
            if len(found) > limit:
                break
        page = found[:limit]
        more = len(found) > limit
        return ExecutionPage(
            tuple(self._told(row) for row in page),
            write_cursor(page[-1]["execution_order"], status, file_id) if more else None,
        )

    def history(self, name: str) -> tuple[HistoryEvent, ...]:
        doing = f"reading the history of {name}"
        row = self._refreshed(self._existing(name, doing))
        if row.status.ended:
            return tuple(self._kept_history(row, doing))
        if row.status is ExecutionStatus.PENDING:
            return ()
        return narrate(self._events(name, doing)).events

    def _note_ends(self) -> None:
        """Record executions that ended without anybody having told."""
        for status in (ExecutionStatus.RUNNING, ExecutionStatus.PENDING):
            for count, row in enumerate(self._rows(status, None, None)):
                if count >= _REFRESHED_AT_MOST:
                    break
                self._refreshed(row)

    def _rows(self, status: ExecutionStatus | None, file_id: str | None, before: str | None) -> Iterator[Row]:
        """Rows of an index, the newest first."""
        index, key, value = "executions-by-time", "execution_listing", _EVERYTHING
        if file_id is not None:
            index, key, value = "executions-by-file", "execution_file", file_id
        elif status is not None:
            index, key, value = "executions-by-status", "execution_status", status.value
        values = {":value": {"S": value}, **({":before": {"S": before}} if before is not None else {})}
        condition = f"{key} = :value" + (" AND execution_order < :before" if before is not None else "")
        with translated("listing executions"):
            pages = self._client("dynamodb").get_paginator("query")
            for page in pages.paginate(
                TableName=_TABLE,
                IndexName=index,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ScanIndexForward=False,
                PaginationConfig={"PageSize": EXECUTION_PAGE_SIZE},
            ):
                yield from (Row(from_item(item)) for item in page["Items"])

    # -- cancelling ------------------------------------------------------------------------------------------

    def cancel(self, name: str, reason: str) -> Execution:
        doing = f"cancelling {name}"
        row = self._refreshed(self._existing(name, doing))
        if row.status.ended:
            return self._told(row)
        if row.status is ExecutionStatus.PENDING:
            moment = timestamp(self._clock.now())
            event = HistoryEvent(
                1, parse_timestamp(moment), row["state"], "cancelled", 1, error="Cancelled", cause=reason
            )
            told = Narration((event,), row["state"], None)
            stopped = self._end(row, _Outcome(ExecutionStatus.CANCELLED, moment, "Cancelled", reason), told, doing)
            self._stop(name, reason)
            return self._told(stopped)
        asked = self._update(row, {"cancel_reason": reason}, expected=ExecutionStatus.RUNNING, doing=doing)
        if asked is not None:
            self._stop(name, reason)
        ended = self.record_ended(self._execution_prefix + name)
        return self._told(self._existing(name, doing)) if ended is None else ended.execution

    def _stop(self, name: str, reason: str) -> None:
        """Ask Step Functions to stop it, if it runs."""
        with suppress(NotFound, InvalidRequest), translated(f"cancelling {name}"):
            self._client("stepfunctions").stop_execution(
                executionArn=self._execution_prefix + name, error="Cancelled", cause=reason
            )

    # -- ends ------------------------------------------------------------------------------------------------

    def record_ended(self, execution_arn: str) -> Ended | None:
        """Copy an execution and its history into the ledger; None: it has not ended, or is none of ours.

        Idempotent: of one that was recorded before, it tells the same again.
        """
        if not execution_arn.startswith(self._execution_prefix):
            return None
        name = execution_arn.removeprefix(self._execution_prefix)
        doing = f"recording the end of {name}"
        row = self._row(name)
        if row is None:
            return None
        if not row.status.ended:
            recorded = self._recorded(row, doing)
            if recorded is None:
                return None
            row = recorded
        untold = row.get("untold")
        return Ended(self._told(row), None if untold is None else json.loads(untold))

    def _recorded(self, row: Row, doing: str) -> Row | None:
        """The row after its end was copied into it; None while it runs."""
        try:
            with translated(doing):
                found = self._client("stepfunctions").describe_execution(executionArn=self._execution_prefix + row.name)
        except NotFound:
            return self._lost(row, doing)
        if found["status"] == "RUNNING":
            return None
        told = narrate(self._events(row.name, doing))
        row = self._existing(row.name, doing)  # a person's wish to stop it was written before it stopped
        return row if row.status.ended else self._end(row, _outcome(found, row, told), told, doing)

    def _lost(self, row: Row, doing: str) -> Row | None:
        """End a row whose execution Step Functions does not know, or no longer; None: it may still be on its way."""
        age = self._clock.now() - parse_timestamp(row["created_at"])
        if row.status is ExecutionStatus.PENDING or age < _FORGOTTEN_AFTER:
            return None
        moment = timestamp(self._clock.now())
        words = "Step Functions knows nothing of it any more"
        event = HistoryEvent(1, parse_timestamp(moment), row["state"], "failed", 1, error="E_INTERNAL", cause=words)
        outcome = _Outcome(ExecutionStatus.FAILED, moment, "E_INTERNAL", words, untold=True)
        return self._end(row, outcome, Narration((event,), row["state"], None), doing)

    def _end(self, row: Row, outcome: _Outcome, told: Narration, doing: str) -> Row:
        """Keep history and output, then, in one step, the end itself; whoever comes second finds the first one's."""
        self._keep_history(row.name, told.events, doing)
        left = None if outcome.output is None else json.dumps(outcome.output, separators=(",", ":"))
        changes: dict[str, Any] = {
            "execution_status": outcome.status.value,
            "state": told.state or row["state"],
            "ended_at": outcome.ended_at,
            "error": outcome.error,
            "cause": outcome.cause,
            "untold": json.dumps({"Error": outcome.error, "Cause": outcome.cause}) if outcome.untold else None,
            "started_at": outcome.started_at or row.get("started_at"),
        }
        if left is not None and len(left) > _INLINE_LIMIT_BYTES:
            self._put({**row_key(row.name, "data#output"), "body": left}, doing)
            changes["has_output"] = True
        else:
            changes["output"] = left
        update = update_of(row_key(row.name), {name: value for name, value in changes.items() if value is not None})
        update["ConditionExpression"] = "attribute_not_exists(ended_at) AND attribute_exists(file_id)"
        if self._flip(row.name, update, doing):
            return self._existing(row.name, doing)
        now = self._existing(row.name, doing)
        if not now.status.ended:
            raise Unavailable(doing, "somebody else wrote it at the same moment", hint="Try again")
        return now

    def _flip(self, name: str, update: Mapping[str, Any], doing: str) -> bool:
        """Write an end and let go of the lock; False where it ended before, or others were at it all the time."""
        end, free = {"Update": {"TableName": _TABLE, **update}}, {"Delete": {"TableName": _TABLE, **unlock(name)}}
        for _ in range(_ATTEMPTS):
            holder = (self._item(lock_key(name), doing) or {}).get("live_execution", name)
            try:
                with _conditional(doing):
                    self._client("dynamodb").transact_write_items(
                        TransactItems=[end, free] if holder == name else [end]
                    )
            except _Refused:
                row = self._row(name)
                if row is None or row.status.ended:
                    return False
            else:
                return True
        return False

    # -- freshness -------------------------------------------------------------------------------------------

    def _refreshed(self, row: Row) -> Row:
        """The row as things stand at Step Functions; a start that was cut off long ago is finished."""
        if row.status.ended:
            return row
        if row.status is ExecutionStatus.PENDING:
            return self._started_late(row)
        doing = f"reading execution {row.name}"
        try:
            with translated(doing):
                tail: list[Mapping[str, Any]] = self._client("stepfunctions").get_execution_history(
                    executionArn=self._execution_prefix + row.name,
                    reverseOrder=True,
                    maxResults=_TAIL_EVENTS,
                    includeExecutionData=False,
                )["events"]
        except NotFound:
            return self._lost(row, doing) or row
        if any(_is_end(event) for event in tail):
            return self._recorded(row, doing) or row
        entered = [event["stateEnteredEventDetails"]["name"] for event in tail if "stateEnteredEventDetails" in event]
        return Row({**row.values, "state": entered[0]}) if entered else row

    def _started_late(self, row: Row) -> Row:
        """Finish a start that was cut off a while ago; a younger one is left to whoever makes it."""
        if self._clock.now() - parse_timestamp(row["created_at"]) < _FINISH_START_AFTER:
            return row
        try:
            return self._launched(row, f"starting {row.name}")
        except PlatformError as error:
            return Row({**row.values, "pending_reason": f"could not be started: {error.public}"})

    # -- history ---------------------------------------------------------------------------------------------

    def _events(self, name: str, doing: str) -> Iterator[Mapping[str, Any]]:
        with translated(doing):
            pages = self._client("stepfunctions").get_paginator("get_execution_history")
            for page in pages.paginate(
                executionArn=self._execution_prefix + name,
                includeExecutionData=True,
                PaginationConfig={"PageSize": _HISTORY_PAGE},
            ):
                yield from page["events"]

    def _keep_history(self, name: str, events: Iterable[HistoryEvent], doing: str) -> None:
        for number, chunk in enumerate(chunks(events), 1):
            self._put({**row_key(name, f"history#{number:06d}"), "events": zlib.compress(chunk)}, doing)

    def _kept_history(self, row: Row, doing: str) -> Iterator[HistoryEvent]:
        left = json.loads(self._body(row, "input"))
        with translated(doing):
            pages = self._client("dynamodb").get_paginator("query")
            for page in pages.paginate(
                TableName=_TABLE,
                KeyConditionExpression="file_id = :name AND begins_with(version, :history)",
                ExpressionAttributeValues={
                    ":name": {"S": row_key(row.name)["file_id"]},
                    ":history": {"S": "history#"},
                },
                ConsistentRead=True,
            ):
                for item in page["Items"]:
                    for line in json.loads(zlib.decompress(item["events"]["B"])):
                        yield event_from(line, left)
                        left = left if line["output"] is None else line["output"]

    # -- the table -------------------------------------------------------------------------------------------

    def _client(self, service: str) -> Any:
        return self._aws.client(service)

    def _existing(self, name: str, doing: str) -> Row:
        row = self._row(name)
        if row is None:
            raise NotFound(doing, "there is no execution of that name")
        return row

    def _row(self, name: str) -> Row | None:
        found = self._item(row_key(name), f"reading execution {name}")
        return None if found is None else Row(found)

    def _item(self, key: Mapping[str, str], doing: str) -> dict[str, Any] | None:
        with translated(doing):
            found = self._client("dynamodb").get_item(TableName=_TABLE, Key=to_item(key), ConsistentRead=True)
        return from_item(found["Item"]) if "Item" in found else None

    def _put(self, values: Mapping[str, Any], doing: str) -> None:
        with translated(doing):
            self._client("dynamodb").put_item(TableName=_TABLE, Item=to_item(values))

    def _update(self, row: Row, changes: Mapping[str, Any], *, expected: ExecutionStatus, doing: str) -> Row | None:
        """The row after ``changes``; None if it has another status by now."""
        update = update_of(row_key(row.name), changes)
        update["ExpressionAttributeValues"][":expected"] = {"S": expected.value}
        try:
            with _conditional(doing):
                found = self._client("dynamodb").update_item(
                    TableName=_TABLE,
                    ConditionExpression="execution_status = :expected",
                    ReturnValues="ALL_NEW",
                    **update,
                )
        except _Refused:
            return None
        return Row(from_item(found["Attributes"]))

    def _body(self, row: Row, which: str) -> str:
        """Input or output, as JSON, from the row or from one of its own."""
        inline = row.get(which)
        if inline is not None:
            return str(inline)
        doing = f"reading execution {row.name}"
        kept = self._item(row_key(row.name, f"data#{which}"), doing)
        if kept is None:
            raise NotFound(doing, f"its {which} is gone from the ledger")
        return str(kept["body"])

    def _told(self, row: Row) -> Execution:
        pending = row.status is ExecutionStatus.PENDING
        reason = row.get("pending_reason") or "it is about to be handed to Step Functions"
        has_output = row.get("output") is not None or bool(row.get("has_output"))
        started, ended = row.get("started_at"), row.get("ended_at")
        return Execution(
            name=row.name,
            file_id=row["execution_file"],
            version_id=row["execution_version"],
            lane=Lane(int(row["lane"])),
            status=row.status,
            state=row["state"],
            input=json.loads(self._body(row, "input")),
            output=json.loads(self._body(row, "output")) if has_output else None,
            created_at=parse_timestamp(row["created_at"]),
            started_at=started and parse_timestamp(started),
            ended_at=ended and parse_timestamp(ended),
            error=row.get("error"),
            cause=row.get("cause"),
            pending_reason=reason if pending else None,
        )


# -- how it ended ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How an execution ended."""

    status: ExecutionStatus
    ended_at: str
    error: str | None = None
    cause: str | None = None
    untold: bool = False
    """Whether no state told the catalog."""
    output: Mapping[str, Any] | None = None
    started_at: str | None = None


def _outcome(found: Mapping[str, Any], row: Row, told: Narration) -> _Outcome:
    """What DescribeExecution says, in our words."""
    reason = row.get("cancel_reason")
    error, cause = found.get("error"), found.get("cause")
    outcome = _Outcome(
        ExecutionStatus.FAILED,
        timestamp(found["stopDate"]),
        output=told.data,
        started_at=timestamp(found["startDate"]),
    )
    match found["status"]:
        case "SUCCEEDED":
            return replace(outcome, status=ExecutionStatus.SUCCEEDED, output=json.loads(found["output"]))
        case "ABORTED" if reason is not None:
            return replace(outcome, status=ExecutionStatus.CANCELLED, error="Cancelled", cause=reason)
        case "ABORTED":
            words = f"stopped at Step Functions: {cause or 'no reason was given'}"
            return replace(
                outcome, status=ExecutionStatus.CANCELLED, error=ErrorCode.CANCELLED.value, cause=words, untold=True
            )
        case "TIMED_OUT":
            error = TIMEOUT
    if found["status"] == "FAILED" and STATE_MACHINE.last_resort in told.succeeded:
        return replace(outcome, error=error, cause=cause)
    earlier = told.data.get("error") if told.data is not None else None
    failure = failure_of({"error": earlier if isinstance(earlier, Mapping) else {"Error": error, "Cause": cause}})
    return replace(outcome, error=failure.code.value, cause=failure.words, untold=True)


def _is_end(event: Mapping[str, Any]) -> bool:
    return event["type"] in {"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"}


# -- conditional writes -----------------------------------------------------------------------------------------


class _Refused(Exception):  # noqa: N818 - inside this module only: a condition of a write did not hold
    """Somebody else wrote first."""


@contextmanager
def _conditional(doing: str) -> Iterator[None]:
    """Run one conditional write. Raises _Refused where a condition did not hold, or another was at the same rows."""
    with translated(doing):
        try:
            yield
        except Exception as error:
            lost = {"ConditionalCheckFailed", "TransactionConflict"} & set(cancellation_codes(error))
            if lost or error_code(error) == "ConditionalCheckFailedException":
                raise _Refused from error
            raise
