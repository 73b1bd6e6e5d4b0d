"""What the workflow does, did, and why it waits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from contentplatform.catalog.describing import progress_of
from contentplatform.catalog.port import Record
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.web.access import record_of, without_private
from contentplatform.web.console import words
from contentplatform.web.console.visit import Visit
from contentplatform.workflow.port import Execution, ExecutionStatus

ACTIVITY: Final = "/activity"
_PAGE_SIZE: Final = 50
_PAGES_LOOKED_AT: Final = 10
"""Who sees one folder only gets what is found within so many pages at once."""
_DATA_LIMIT: Final = 20_000
_RETRY_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Run:
    """One execution, in a list."""

    execution: Execution
    key: str
    why: str
    """Why it waits, failed or was cancelled, in words."""
    took: str
    can_retry: bool
    can_cancel: bool


def show_activity(visit: Visit) -> Response:
    """Executions, the newest first."""
    status = visit.asked("status")
    wanted = _status(status)
    runs, cursor = _runs(visit, wanted, visit.asked("cursor") or None)
    told: dict[str, Any] = {
        "runs": runs,
        "next_url": f"{ACTIVITY}?{urlencode({'status': status, 'cursor': cursor})}" if cursor else "",
        "wanted": status,
        "workers": visit.home.workers(),
        "is_waiting": any(run.execution.status is ExecutionStatus.PENDING for run in runs),
        "statuses": [(each.value, word) for each, (word, _) in words.EXECUTION_WORDS.items()],
    }
    return visit.page("activity_rows.html" if visit.wants_part else "activity.html", **told)


def _status(value: str) -> ExecutionStatus | None:
    try:
        return ExecutionStatus(value) if value else None
    except ValueError:
        raise InvalidRequest("listing executions", f"there is no status {value[:40]!r}") from None


def _runs(visit: Visit, status: ExecutionStatus | None, cursor: str | None) -> tuple[list[Run], str | None]:
    """A page of what exists for whoever asks."""
    found: list[Run] = []
    for _ in range(_PAGES_LOOKED_AT):
        page = visit.platform.engine.list(status=status, cursor=cursor, limit=_PAGE_SIZE)
        found += [_run(visit, each) for each in page.executions if _is_theirs(visit, each)]
        cursor = page.cursor
        if cursor is None or len(found) >= _PAGE_SIZE:
            break
    return found, cursor


def _is_theirs(visit: Visit, execution: Execution) -> bool:
    return visit.principal.sees(_key(execution))


def _key(execution: Execution) -> str:
    return str(execution.input.get("key", ""))


def _run(visit: Visit, execution: Execution) -> Run:
    record = _record(visit, execution) if execution.status is ExecutionStatus.RUNNING else None
    progress = progress_of(record) if record is not None and record.version_id == execution.version_id else None
    can_retry = execution.status in {ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}
    return Run(
        execution=execution,
        key=_key(execution),
        why=execution.pending_reason or execution.cause or progress or "",
        took=words.lasted(execution.started_at or execution.created_at, execution.ended_at),
        can_retry=visit.may_write and can_retry,
        can_cancel=visit.may_write and not execution.status.ended,
    )


def _record(visit: Visit, execution: Execution) -> Record | None:
    try:
        return record_of(visit.platform, visit.principal, execution.file_id)
    except NotFound:
        return None


# -- one execution --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in an execution."""

    at: str
    state: str
    what: str
    attempt: int
    why: str
    given: str
    left: str


_EVENT_WORDS: Final = {
    "entered": "began",
    "attempt_failed": "an attempt failed",
    "retry_scheduled": "will be tried again",
    "succeeded": "done",
    "caught": "failed, and was handled",
    "cancelled": "cancelled",
    "failed": "failed",
}


def show_execution(visit: Visit) -> Response:
    """One execution with its history."""
    execution = _execution(visit, str(visit.path["name"]))
    events = [
        Event(
            at=f"{event.at:%H:%M:%S}.{event.at.microsecond // 1000:03d}",
            state=event.state,
            what=_EVENT_WORDS.get(event.event, event.event),
            attempt=event.attempt,
            why=event.cause or "",
            given=_data(event.input),
            left=_data(event.output),
        )
        for event in visit.platform.engine.history(execution.name)
    ]
    record = _record(visit, execution)
    return visit.page("execution.html", run=_run(visit, execution), events=events, record=record)


def _execution(visit: Visit, name: str) -> Execution:
    """An execution that concerns a file which exists for whoever asks. Raises NotFound, the same in either case."""
    missing = NotFound(f"looking for the execution {name[:80]}", "there is no such execution")
    try:
        execution = visit.platform.engine.get(name)
    except NotFound:
        raise missing from None
    if not _is_theirs(visit, execution):
        visit.note("execution.refused", name)
        raise missing
    return execution


def _data(data: Mapping[str, Any] | None) -> str:
    """Data of a state, without what is private."""
    if data is None:
        return ""
    return json.dumps(without_private(data), ensure_ascii=False, indent=2, default=str)[:_DATA_LIMIT]


def retry(visit: Visit) -> Response:
    """Try one again, or everything that failed."""
    library = visit.platform.library
    name = visit.given("name")
    if name:
        execution = _execution(visit, name)
        visit.note("execution.retry", name, execution=library.retry(execution.name))
        started = 1
    else:
        keys = [key for key in library.failed() if visit.principal.sees(key)][:_RETRY_LIMIT]
        for key in keys:
            visit.note("file.reprocess", key, execution=library.reprocess(key), bulk=True)
        started = len(keys)
    visit.catch_up()
    return visit.back(ACTIVITY, f"{words.count(started, 'file')} will be processed again.")


def cancel(visit: Visit) -> Response:
    """Stop one."""
    execution = _execution(visit, visit.given("name"))
    visit.platform.library.cancel(execution.name, f"cancelled by {visit.principal.name}")
    visit.note("execution.cancel", execution.name)
    return visit.back(ACTIVITY, "It was cancelled.")
