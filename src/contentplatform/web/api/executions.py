"""``/executions``: what the workflow does, did, and why it waits."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query

from contentplatform.accounts.port import Principal
from contentplatform.errors import NotFound
from contentplatform.web.access import note, record_of, without_private
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import APlatform, Reader, Writer
from contentplatform.web.api.shapes import Cancel, Execution, ExecutionPage, ExecutionQuery, History, Started
from contentplatform.workflow import port
from contentplatform.workflow.describing import summary, told

router = new_router("executions")

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,80}$", description="An execution's name.")]


@router.get("/executions", operation_id="list_executions", summary="List executions", responses=failures(404))
def list_executions(platform: APlatform, reader: Reader, asked: Annotated[ExecutionQuery, Query()]) -> ExecutionPage:
    """A page of executions, the newest first; one that concerns nothing of yours is left out of its page."""
    file_id = None if asked.file_id is None else record_of(platform, reader, asked.file_id).file_id
    page = platform.engine.list(status=asked.status, file_id=file_id, cursor=asked.cursor, limit=asked.limit)
    items = [_shown(each) for each in page.executions if _is_seen(reader, each)]
    return ExecutionPage.model_validate({"items": items, "next": page.cursor})


@router.get("/executions/{name}", operation_id="get_execution", summary="One execution", responses=failures(404))
def get_execution(platform: APlatform, reader: Reader, name: Name) -> Execution:
    """One execution: where it stands, and while it is pending why, in words."""
    return Execution.model_validate(_shown(_execution(platform, reader, name)))


@router.get(
    "/executions/{name}/history",
    operation_id="get_history",
    summary="What happened in an execution",
    responses=failures(404),
)
def get_history(platform: APlatform, reader: Reader, name: Name) -> History:
    """Everything that happened, in order, with input and output of each state."""
    _execution(platform, reader, name)
    items = [without_private(told(event)) for event in platform.engine.history(name)]
    return History.model_validate({"items": items})


@router.post(
    "/executions/{name}/retry",
    operation_id="retry_execution",
    summary="Try again",
    status_code=202,
    responses=failures(404, 409),
)
def retry_execution(platform: APlatform, writer: Writer, name: Name) -> Started:
    """Process the version of an execution that failed or was cancelled again, as a new execution."""
    _execution(platform, writer, name)
    started = platform.library.retry(name)
    note(platform, writer, "execution.retry", name, execution=started)
    return Started(execution=started)


@router.post("/executions/{name}/cancel", operation_id="cancel_execution", summary="Stop", responses=failures(404))
def cancel_execution(platform: APlatform, writer: Writer, name: Name, cancel: Cancel) -> Execution:
    """Stop an execution; what has ended stays as it ended."""
    _execution(platform, writer, name)
    stopped = platform.library.cancel(name, cancel.reason)
    note(platform, writer, "execution.cancel", name, reason=cancel.reason)
    return Execution.model_validate(_shown(stopped))


def _execution(platform: APlatform, principal: Principal, name: str) -> port.Execution:
    """An execution that concerns a file which exists for whoever asks. Raises NotFound, the same in either case."""
    missing = NotFound(f"looking for the execution {name}", "there is no such execution")
    try:
        found = platform.engine.get(name)
    except NotFound:
        raise missing from None
    if not _is_seen(principal, found):
        note(platform, principal, "execution.refused", name)
        raise missing
    return found


def _is_seen(principal: Principal, execution: port.Execution) -> bool:
    return principal.sees(str(execution.input.get("key", "")))


def _shown(execution: port.Execution) -> dict[str, Any]:
    shown: dict[str, Any] = without_private(summary(execution))
    return shown
