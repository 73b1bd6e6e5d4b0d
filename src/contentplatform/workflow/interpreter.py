"""What a state machine does next: pure functions from state and data to the next move. No time, no storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contentplatform.errors import ErrorCode, PlatformError, ProcessingFailed
from contentplatform.workflow.definition import (
    ALL_ERRORS,
    UNREADABLE,
    AllOf,
    Catcher,
    Choice,
    Condition,
    Fail,
    IsPresent,
    StateMachine,
    StringEquals,
    Succeed,
    Task,
    Wait,
    reachable,
)
from contentplatform.workflow.port import ExecutionStatus

Data = Mapping[str, Any]
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """Why an attempt failed: the error's name with those of its families, and the reason for a person."""

    names: tuple[str, ...]
    cause: str

    @property
    def name(self) -> str:
        """The error's own name."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Visit:
    """One event of the history that a move makes."""

    state: str
    event: str
    output: Data | None = None
    error: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class RunTask:
    """Next, the Task ``state`` is to be run with ``data``."""

    state: str
    data: Data


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Next, time has to pass."""

    state: str
    data: Data
    seconds: int


@dataclass(frozen=True, slots=True)
class End:
    """It is over."""

    state: str
    data: Data
    status: ExecutionStatus
    error: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """What happened on the way, and what is next."""

    visits: tuple[Visit, ...]
    then: RunTask | WaitFor | End


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The same Task again, after a wait drawn from zero to ``ceiling_seconds``."""

    retries: tuple[int, ...]
    """How often each of the Task's retriers has been used now."""
    ceiling_seconds: float


class UnreadableError(Exception):
    """A path that is not in the data."""


def failure_of_exception(error: BaseException) -> TaskFailure:
    """The name that the retry rules know an exception by, and words that are fit for anybody."""
    if isinstance(error, ProcessingFailed):
        return TaskFailure((error.code.value, "ProcessingFailed"), error.public)
    if isinstance(error, PlatformError):
        families = type(error).__mro__[: type(error).__mro__.index(PlatformError)]
        return TaskFailure(tuple(family.__name__ for family in families), error.public)
    return TaskFailure(
        (ErrorCode.INTERNAL.value,), f"an unexpected fault of the platform ({type(error).__name__}); the log has more"
    )


def enter(machine: StateMachine, name: str, data: Data) -> Move:
    """Enter a state and go on to the first one that needs work, time, or is the end."""
    visits: list[Visit] = []
    while True:
        state = machine.states[name]
        visits.append(Visit(name, "entered"))
        match state:
            case Task():
                return Move(tuple(visits), RunTask(name, data))
            case Wait(seconds):
                return Move(tuple(visits), WaitFor(name, data, seconds))
            case Succeed():
                visits.append(Visit(name, "succeeded", data))
                return Move(tuple(visits), End(name, data, ExecutionStatus.SUCCEEDED))
            case Fail():
                return _fail(state, name, data, visits)
            case Choice():
                try:
                    chosen = _choose(state, data)
                except UnreadableError as error:
                    return _after(visits, rescue(machine, name, data, TaskFailure((UNREADABLE,), str(error))))
                visits.append(Visit(name, "succeeded", data))
                name = chosen


def succeeded(machine: StateMachine, name: str, data: Data, result: Any) -> Move:
    """The Task ``name`` returned ``result``."""
    task = _task(machine, name)
    after = put(data, task.result_path, result)
    return _after([Visit(name, "succeeded", after)], enter(machine, task.next, after))


def waited(machine: StateMachine, name: str, data: Data) -> Move:
    """The time of the Wait ``name`` is over."""
    state = machine.states[name]
    if not isinstance(state, Wait):
        raise TypeError(f"{name} is no Wait")
    return _after([Visit(name, "succeeded", data)], enter(machine, state.next, data))


def failed(
    machine: StateMachine, name: str, data: Data, failure: TaskFailure, retries: Sequence[int]
) -> Move | RetryLater:
    """An attempt of the Task ``name`` failed after its retriers had been used ``retries`` times."""
    task = _task(machine, name)
    # As many counts as there are retriers now: an upgrade may have changed them under way.
    used = [*retries, *[0] * len(task.retry)][: len(task.retry)]
    for index, retrier in enumerate(task.retry):
        if _matches(retrier.error_names, failure):
            if used[index] >= retrier.max_attempts:
                break  # as in Amazon States Language: the first retrier that matches decides
            used[index] += 1
            return RetryLater(tuple(used), retrier.ceiling_seconds(used[index]))
    return _after(
        [Visit(name, "attempt_failed", None, failure.name, failure.cause)], _caught(machine, name, data, failure)
    )


def rescue(machine: StateMachine, name: str, data: Data, failure: TaskFailure) -> Move:
    """Something that no Catch sees failed the execution in the state ``name``: on to the last resort, once."""
    lost = Visit(name, "failed", None, failure.name, failure.cause)
    if not machine.last_resort or _is_after(machine, machine.last_resort, name):
        return Move((lost,), End(name, data, ExecutionStatus.FAILED, failure.name, failure.cause))
    told = put(data, "$.error", {"Error": failure.name, "Cause": failure.cause})
    caught = Visit(name, "caught", told, failure.name, failure.cause)
    return _after([caught], enter(machine, machine.last_resort, told))


def read(data: Data, path: str) -> Any:
    """What is at ``path``. Raises UnreadableError where there is nothing."""
    found = _look(data, path)
    if found is _MISSING:
        raise UnreadableError(f"the data has nothing at {path}")
    return found


def put(data: Data, path: str, value: Any) -> dict[str, Any]:
    """A copy of ``data`` with ``value`` at ``path``; what is in the way of the path is replaced, nothing else is."""
    head, _, rest = path.removeprefix("$.").partition(".")
    if rest:
        inner = data.get(head)
        value = put(inner if isinstance(inner, Mapping) else {}, rest, value)
    return {**data, head: value}


def _caught(machine: StateMachine, name: str, data: Data, failure: TaskFailure) -> Move:
    catcher = _catcher(_task(machine, name).catch, failure)
    if catcher is None:
        return Move(
            (Visit(name, "failed", None, failure.name, failure.cause),),
            End(name, data, ExecutionStatus.FAILED, failure.name, failure.cause),
        )
    told = put(data, catcher.result_path, {"Error": failure.name, "Cause": failure.cause})
    return _after(
        [Visit(name, "caught", told, failure.name, failure.cause)],
        enter(machine, catcher.next, told),
    )


def _fail(state: Fail, name: str, data: Data, visits: list[Visit]) -> Move:
    try:
        error, cause = str(read(data, state.error_path)), str(read(data, state.cause_path))
    except UnreadableError as unreadable:
        error, cause = UNREADABLE, str(unreadable)
    visits.append(Visit(name, "failed", data, error, cause))
    return Move(tuple(visits), End(name, data, ExecutionStatus.FAILED, error, cause))


def _choose(choice: Choice, data: Data) -> str:
    return next((rule.next for rule in choice.rules if _holds(rule.when, data)), choice.default)


def _holds(condition: Condition, data: Data) -> bool:
    match condition:
        case IsPresent(variable):
            return _look(data, variable) is not _MISSING
        case StringEquals(variable, value):
            return bool(read(data, variable) == value)
        case AllOf(conditions):
            return all(_holds(part, data) for part in conditions)


def _look(data: Data, path: str) -> Any:
    found: Any = data
    for part in path.removeprefix("$.").split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _MISSING
        found = found[part]
    return found


def _matches(names: tuple[str, ...], failure: TaskFailure) -> bool:
    return ALL_ERRORS in names or any(name in names for name in failure.names)


def _catcher(catchers: tuple[Catcher, ...], failure: TaskFailure) -> Catcher | None:
    return next((catcher for catcher in catchers if _matches(catcher.error_names, failure)), None)


def _is_after(machine: StateMachine, start: str, name: str) -> bool:
    """Whether ``name`` is the last resort itself or comes after it: rescuing it again would go round in circles."""
    return name in reachable(machine, {start})


def _after(visits: list[Visit], move: Move) -> Move:
    return Move((*visits, *move.visits), move.then)


def _task(machine: StateMachine, name: str) -> Task:
    state = machine.states[name]
    if not isinstance(state, Task):
        raise TypeError(f"{name} is no Task")
    return state
