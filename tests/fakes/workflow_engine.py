"""A workflow engine in memory: nothing is durable, one thread does all the work when it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from contentplatform.clock import Clock
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.workflow.definition import StateMachine, Task, Wait
from contentplatform.workflow.interpreter import (
    End,
    Move,
    RetryLater,
    RunTask,
    TaskFailure,
    Visit,
    WaitFor,
    enter,
    failed,
    failure_of_exception,
    succeeded,
    waited,
)
from contentplatform.workflow.port import (
    EXECUTION_PAGE_SIZE,
    Execution,
    ExecutionPage,
    ExecutionStatus,
    HistoryEvent,
    Lane,
    TaskContext,
    TaskFunction,
    WorkflowEngine,
    base_name,
    check_start,
)


@dataclass
class _Run:
    """An execution and what its interpreter has to remember."""

    told: Execution
    data: dict[str, Any]
    history: list[HistoryEvent] = field(default_factory=list)
    retries: tuple[int, ...] = ()
    due_seconds: float = 0.0
    begun: bool = False


class InMemoryWorkflowEngine(WorkflowEngine):
    """Keeps executions in a dictionary; ``run_until_idle`` is its only worker."""

    def __init__(self, machine: StateMachine, tasks: Mapping[str, TaskFunction], clock: Clock) -> None:
        self._machine = machine
        self._tasks = dict(tasks)
        self._clock = clock
        self._runs: dict[str, _Run] = {}

    # -- the port --------------------------------------------------------------------------------------------

    def start(
        self, name: str, *, file_id: str, version_id: str, data: Mapping[str, Any], lane: Lane = Lane.UPLOAD
    ) -> Execution:
        body = check_start(name, data)
        if name in self._runs:
            return self._runs[name].told
        for other, run in self._runs.items():
            if base_name(other) == base_name(name) and not run.told.status.ended:
                raise Conflict(f"starting {name}", f"{other} has not ended")
        execution = Execution(
            name=name,
            file_id=file_id,
            version_id=version_id,
            lane=lane,
            status=ExecutionStatus.PENDING,
            state=self._machine.start_at,
            input=json.loads(body),
            output=None,
            created_at=self._clock.now(),
            started_at=None,
            ended_at=None,
        )
        self._runs[name] = _Run(execution, json.loads(body))
        return execution

    def get(self, name: str) -> Execution:
        run = self._run(name)
        if run.told.status is not ExecutionStatus.PENDING:
            return run.told
        return replace(run.told, pending_reason=run.told.pending_reason or "waits for a worker: none is running")

    def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        file_id: str | None = None,
        cursor: str | None = None,
        limit: int = EXECUTION_PAGE_SIZE,
    ) -> ExecutionPage:
        if limit < 1 or (cursor is not None and cursor not in self._runs):
            raise InvalidRequest("listing executions", "no such page")
        names = list(reversed(self._runs))
        if cursor is not None:
            names = names[names.index(cursor) + 1 :]
        found = [
            self.get(name)
            for name in names
            if (status is None or self._runs[name].told.status is status)
            and (file_id is None or self._runs[name].told.file_id == file_id)
        ]
        page = tuple(found[:limit])
        return ExecutionPage(page, page[-1].name if len(found) > limit else None)

    def history(self, name: str) -> tuple[HistoryEvent, ...]:
        return tuple(self._run(name).history)

    def cancel(self, name: str, reason: str) -> Execution:
        run = self._run(name)
        if not run.told.status.ended:
            self._note(run, [Visit(run.told.state, "cancelled", None, "Cancelled", reason)], run.data)
            self._end(run, ExecutionStatus.CANCELLED, "Cancelled", reason)
        return run.told

    # -- the worker ------------------------------------------------------------------------------------------

    def run_until_idle(self) -> None:
        """Run whatever is due, lanes in order and first come first served within a lane."""
        while due := self._due():
            self._step(due)

    def _due(self) -> _Run | None:
        now = self._clock.monotonic_seconds()
        ready = [run for run in self._runs.values() if not run.told.status.ended and run.due_seconds <= now]
        return min(ready, key=lambda run: run.told.lane, default=None)

    def _step(self, run: _Run) -> None:
        state = self._machine.states[run.told.state]
        run.told = replace(run.told, pending_reason=None)
        if not run.begun:
            run.begun = True
            run.told = replace(run.told, status=ExecutionStatus.RUNNING, started_at=self._clock.now())
            self._follow(run, enter(self._machine, run.told.state, run.data))
        elif isinstance(state, Wait):
            self._follow(run, waited(self._machine, run.told.state, run.data))
        elif isinstance(state, Task):
            self._perform(run, state)

    def _perform(self, run: _Run, task: Task) -> None:
        context = TaskContext(
            execution=run.told.name,
            file_id=run.told.file_id,
            version_id=run.told.version_id,
            state=run.told.state,
            attempt=1 + sum(run.retries),
            token=1,
            deadline_seconds=self._clock.monotonic_seconds() + task.timeout_seconds,
            cancelled=threading.Event(),
        )
        given = json.loads(json.dumps(run.data))
        following: Move | RetryLater
        try:
            result = self._tasks[task.resource](given, context)
            following = succeeded(self._machine, run.told.state, run.data, json.loads(json.dumps(result)))
        except Exception as error:  # noqa: BLE001 - whatever a step raises is its failure
            failure = failure_of_exception(error)
            following = failed(self._machine, run.told.state, run.data, failure, run.retries)
            if isinstance(following, RetryLater):
                self._put_off(run, following, failure)
        if run.told.status.ended:  # the step was cancelled while it ran
            return
        if isinstance(following, Move):
            for work in context.work_at_commit():
                work()
            self._follow(run, following)

    def _put_off(self, run: _Run, again: RetryLater, failure: TaskFailure) -> None:
        visits = [
            Visit(run.told.state, "attempt_failed", None, failure.name, failure.cause),
            Visit(run.told.state, "retry_scheduled", None, failure.name, "later"),
        ]
        self._note(run, visits, run.data)
        run.retries = again.retries
        run.due_seconds = self._clock.monotonic_seconds() + again.ceiling_seconds
        reason = f"tries {run.told.state} again, because: {failure.cause}"
        run.told = replace(run.told, status=ExecutionStatus.PENDING, pending_reason=reason)

    def _follow(self, run: _Run, move: Move) -> None:
        self._note(run, move.visits, run.data)
        run.data, run.retries, run.due_seconds = dict(move.then.data), (), 0.0
        run.told = replace(run.told, state=move.then.state, status=ExecutionStatus.RUNNING)
        match move.then:
            case RunTask():
                return
            case WaitFor(seconds=seconds):
                run.due_seconds = self._clock.monotonic_seconds() + seconds
                run.told = replace(run.told, status=ExecutionStatus.PENDING, pending_reason=f"waits {seconds} s")
            case End(status=status, error=error, cause=cause):
                self._end(run, status, error, cause)

    def _end(self, run: _Run, status: ExecutionStatus, error: str | None, cause: str | None) -> None:
        run.told = replace(
            run.told,
            status=status,
            output=run.data,
            ended_at=self._clock.now(),
            error=error,
            cause=cause,
            pending_reason=None,
        )

    def _note(self, run: _Run, visits: Sequence[Visit], given: Mapping[str, Any]) -> None:
        for visit in visits:
            run.history.append(
                HistoryEvent(
                    sequence=len(run.history) + 1,
                    at=self._clock.now(),
                    state=visit.state,
                    event=visit.event,
                    attempt=1 + sum(run.retries),
                    input=given if visit.event == "entered" else None,
                    output=visit.output,
                    error=visit.error,
                    cause=visit.cause,
                )
            )
            given = visit.output or given

    def _run(self, name: str) -> _Run:
        if name not in self._runs:
            raise NotFound(f"reading execution {name}", "there is none")
        return self._runs[name]
