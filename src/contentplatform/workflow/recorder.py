"""Keeps an execution of Step Functions when it has ended, and makes its record end true.

Step Functions forgets an execution after 90 days; the ledger does not. And it ends some executions in a way that no
Catch sees (its own time-out, data over its limit, a stop by hand): those never came through RecordFailure, so what that
state would have done is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from contentplatform.errors import Conflict, ErrorCode, InvalidRequest, ProcessingFailed
from contentplatform.workflow.definition import STATE_MACHINE, Task
from contentplatform.workflow.port import Execution

_STEP_OF: Final = {name: state.resource for name, state in STATE_MACHINE.states.items() if isinstance(state, Task)}


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that has ended, and what the catalog was not told of it."""

    execution: Execution
    untold: Mapping[str, str] | None
    """``{Error, Cause}`` of a failure that no state recorded; None: the catalog knows all."""


class KeepsEnded(Protocol):
    """An engine that has to be told when an execution ended."""

    def record_ended(self, execution_arn: str) -> Ended | None:
        """Copy an execution and its history into the ledger; None: it has not ended, or is none of ours. Idempotent."""
        ...


class HasTasks(Protocol):
    """The workflow's steps."""

    def tasks(self) -> Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        """Every step by the name of its function."""
        ...


class Recorder:
    """Handles EventBridge's "Step Functions Execution Status Change".

    Args:
        engine: where executions are kept.
        steps: the workflow's steps, of which the last resort may be called.
    """

    def __init__(self, engine: KeepsEnded, steps: HasTasks) -> None:
        self._engine = engine
        self._last_resort = steps.tasks()[_STEP_OF[STATE_MACHINE.last_resort]]

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Record the execution that the event names; returns what was done, for the log. Idempotent.

        Raises:
            InvalidRequest: the event names no execution.
            Unavailable: a passing fault; call again.
        """
        detail = event.get("detail")
        arn = detail.get("executionArn") if isinstance(detail, Mapping) else None
        if not isinstance(arn, str):
            raise InvalidRequest("recording an execution", "the event names none", private=repr(event)[:500])
        ended = self._engine.record_ended(arn)
        if ended is None:
            return {"execution": arn, "recorded": False}
        told = {
            "execution": ended.execution.name,
            "recorded": True,
            "status": ended.execution.status.value,
            "last_resort": False,
        }
        if ended.untold is None:
            return told
        return {**told, "last_resort": self._tell(ended.execution, ended.untold)}

    def _tell(self, execution: Execution, untold: Mapping[str, str]) -> bool:
        """Write into the catalog that the execution failed; False where another one works on the version by now."""
        reached = execution.output or {}
        encoding = {"job": reached["job"]} if "job" in reached else {}  # what goes on elsewhere, and is to be stopped
        try:
            self._last_resort({**execution.input, **encoding, "execution": execution.name, "error": dict(untold)})
        except ProcessingFailed as error:
            if error.code is not ErrorCode.CANCELLED:
                raise
            return False
        except Conflict:
            return False
        return True
