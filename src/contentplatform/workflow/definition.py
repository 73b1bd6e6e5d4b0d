"""The state machine as data: the local executor runs it, ``asl`` renders it for Step Functions.

The words mean what they mean in Amazon States Language. Data is one flat JSON object that each state adds to:

========================  ==========================================================================================
``bucket`` ``key``        what is processed; given at the start, never lost (``PROTECTED_NAMES``)
``version_id`` …
``kind``                  what the file is: image, video, audio, document, generic
``route``                 which way it takes; ``generic`` also where a home lacks the processor (then with ``note``)
``refusal``               optional, ``{error, error_code}``: refused before any work ("says image/jpeg, is text/plain")
``job`` ``job_status``    a video: the encode that was started, and what it last said: ``{status, error, error_code}``
``result``                what the processor returned
``update``                what UpdateMetadata returned
``invalidation``          what the invalidation returned; ``invalidation_error`` if it failed, which fails nothing
``error``                 ``{Error, Cause}`` of the state that failed
``failure``               ``{Error, Cause}`` as RecordFailure wrote it into the catalog: error code and words
========================  ==========================================================================================

**Error names.** A ``ProcessingFailed`` goes by its code (``E_DECODE``), any other platform error by its class
(``Unavailable``), everything else by ``E_INTERNAL``. Only passing faults are retried. An unexpected error can't be told
from a passing one, so it is tried twice more before it fails the execution, in words; its traceback is for the log.
A crash of the decoder (``JobInterrupted``) is tried once more: a file that crashes it twice is the cause itself.
A time-out is retried only where a state merely talks to a service; a processor that was too slow once will be again.

**What can't be caught** in Step Functions (the machine's own time-out, data that a rule can't read) goes to
``last_resort``: the local executor enters it by itself, on aws a rule on the execution's status calls that function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from contentplatform.errors import ErrorCode
from contentplatform.workflow.port import STATE_MACHINE_NAME

ALL_ERRORS: Final = "States.ALL"
TIMEOUT: Final = "States.Timeout"
UNREADABLE: Final = "States.Runtime"
TOO_MUCH_DATA: Final = "States.DataLimitExceeded"
FUNCTION_TIMEOUT: Final = "Sandbox.Timedout"
"""Lambda ended a function at its own time-out, which is as long as its state's."""
UNKNOWN_END: Final = "Lambda.Unknown"
"""Lambda ended a function and can't say by name why; its words mostly do."""
FUNCTION_CRASHES: Final = ("Runtime.ExitError", "Runtime.OutOfMemory", UNKNOWN_END)
"""Lambda's process died under a function, mostly for want of memory."""

PROTECTED_NAMES: Final = frozenset({"bucket", "key", "version_id", "file_id", "kind", "route", "note", "refusal"})
"""What the execution was started with: no state may write there."""


# -- conditions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IsPresent:
    """The path exists in the data."""

    variable: str


@dataclass(frozen=True, slots=True)
class StringEquals:
    """The text at the path is exactly this; a path that does not exist is an error, so guard it."""

    variable: str
    value: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every condition holds; looked at from left to right, up to the first that does not."""

    conditions: tuple[IsPresent | StringEquals, ...]


Condition = IsPresent | StringEquals | AllOf


def text_is(variable: str, value: str) -> AllOf:
    """The path exists and holds this text."""
    return AllOf((IsPresent(variable), StringEquals(variable, value)))


# -- states ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Retrier:
    """When an attempt failed with one of these errors, wait and try again.

    The n-th wait is drawn evenly from zero to ``interval_seconds * backoff_rate ** (n - 1)``, at most
    ``max_delay_seconds``: full jitter, so that executions that failed together don't return together.
    """

    error_names: tuple[str, ...]
    interval_seconds: int
    max_attempts: int
    """How often it is tried again."""
    backoff_rate: float
    max_delay_seconds: int

    def ceiling_seconds(self, retry: int) -> float:
        """The longest the ``retry``-th wait can be; the first is 1."""
        return min(self.interval_seconds * self.backoff_rate ** (retry - 1), float(self.max_delay_seconds))


@dataclass(frozen=True, slots=True)
class Catcher:
    """When no retry is left, go on at ``next`` with ``{Error, Cause}`` at ``result_path``."""

    error_names: tuple[str, ...]
    next: str
    result_path: str


@dataclass(frozen=True, slots=True)
class Task:
    """Call a function with the data and put its answer at ``result_path``."""

    resource: str
    """The function's name, the same in both homes."""
    next: str
    timeout_seconds: int
    """How long one attempt may take."""
    result_path: str
    retry: tuple[Retrier, ...]
    catch: tuple[Catcher, ...]
    heartbeat_seconds: int | None = None
    """How long an attempt may show no sign of life. None, the rule: at home the worker's lease tells, and a Lambda
    function sends none (its own time-out tells)."""
    heavy: bool = False
    """Whether it may work for minutes. At home such Tasks never take every slot, so that quick ones are not held up; a
    Lambda function has a machine of its own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where to go when the condition holds."""

    when: Condition
    next: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Go on at the first rule that holds, else at ``default``."""

    rules: tuple[Rule, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on after a while."""

    seconds: int
    next: str


@dataclass(frozen=True, slots=True)
class Succeed:
    """The end, well."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The end, failed: the data says with what error and why."""

    error_path: str
    cause_path: str


State = Task | Choice | Wait | Succeed | Fail


@dataclass(frozen=True, slots=True)
class StateMachine:
    """States by name, where to begin, and how long the whole may take once it has begun."""

    name: str
    comment: str
    start_at: str
    timeout_seconds: int
    states: Mapping[str, State]
    last_resort: str
    """Where an execution goes that failed in a way no Catch can see; empty: it just fails."""


# -- the platform's machine --------------------------------------------------------------------------------------

_AWS_TRANSIENT: Final = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
)
_PASSING: Final = Retrier(("Unavailable", *_AWS_TRANSIENT), 2, 6, 2.0, 60)
_DISK_FULL: Final = Retrier(("NoSpace",), 10, 6, 2.0, 120)
_CRASHED: Final = Retrier(("JobInterrupted", *FUNCTION_CRASHES), 1, 1, 1.0, 5)
_UNEXPECTED: Final = Retrier((ErrorCode.INTERNAL.value,), 1, 2, 2.0, 10)
_TOO_SLOW: Final = Retrier((TIMEOUT, FUNCTION_TIMEOUT), 2, 2, 2.0, 10)

TRANSIENT_ERRORS: Final = frozenset(
    {
        "Unavailable",
        "NoSpace",
        "JobInterrupted",
        TIMEOUT,
        FUNCTION_TIMEOUT,
        ErrorCode.INTERNAL.value,
        *FUNCTION_CRASHES,
        *_AWS_TRANSIENT,
    }
)
"""What may be retried at all."""

# At home an error also goes by its family's name, and the first retrier that matches decides: Unavailable comes last.
_WORKING: Final = (_DISK_FULL, _CRASHED, _PASSING, _UNEXPECTED)
_TALKING: Final = (*_WORKING, _TOO_SLOW)
_RECORD_FAILURE: Final = Catcher((ALL_ERRORS,), "RecordFailure", "$.error")
_MINUTE: Final = 60
_LONGEST_FUNCTION_SECONDS: Final = 900
"""Lambda's limit; the local home keeps to it too, so that what works in one home works in the other."""


def _processor(
    resource: str, *, next_state: str = "UpdateMetadata", at: str = "$.result", seconds: int, heavy: bool = False
) -> Task:
    """A state that works on bytes: whatever fails it is recorded."""
    return Task(resource, next_state, seconds, at, _WORKING, (_RECORD_FAILURE,), heavy=heavy)


def _service(resource: str, *, next_state: str, at: str, catch: Catcher = _RECORD_FAILURE) -> Task:
    """A state that only talks to a service."""
    return Task(resource, next_state, _MINUTE, at, _TALKING, (catch,))


STATE_MACHINE: Final = StateMachine(
    name=STATE_MACHINE_NAME,
    comment="Drives one version of one file through processing; every way ends in completed or failed.",
    start_at="DetermineFileType",
    timeout_seconds=6 * 60 * _MINUTE,  # at 30 s a round the video loop stays far under 25 000 history events
    last_resort="RecordFailure",
    states={
        "DetermineFileType": Choice(
            (
                Rule(IsPresent("$.refusal"), "RecordFailure"),
                Rule(text_is("$.route", "image"), "ProcessImage"),
                Rule(text_is("$.route", "video"), "ProcessVideo"),
                Rule(text_is("$.route", "audio"), "ProcessAudio"),
                Rule(text_is("$.route", "document"), "ProcessDocument"),
            ),
            default="ProcessGeneric",
        ),
        # Twice the sandbox's own limit: its words tell more than a state's time-out.
        "ProcessImage": _processor("content-image-processor", seconds=10 * _MINUTE),
        "ProcessVideo": _processor(
            "content-video-processor", next_state="WaitForVideoProcessing", at="$.job", seconds=5 * _MINUTE
        ),
        "WaitForVideoProcessing": Wait(30, "CheckVideoStatus"),
        "CheckVideoStatus": _service(
            "check-mediaconvert-status", next_state="IsVideoProcessingComplete", at="$.job_status"
        ),
        "IsVideoProcessingComplete": Choice(
            (
                Rule(text_is("$.job_status.status", "COMPLETE"), "FinishVideo"),
                Rule(text_is("$.job_status.status", "ERROR"), "RecordFailure"),
                Rule(text_is("$.job_status.status", "CANCELED"), "RecordFailure"),
            ),
            default="WaitForVideoProcessing",
        ),
        "FinishVideo": _processor("content-video-finisher", seconds=_LONGEST_FUNCTION_SECONDS, heavy=True),
        "ProcessAudio": _processor("content-audio-processor", seconds=_LONGEST_FUNCTION_SECONDS, heavy=True),
        "ProcessDocument": _processor("content-document-processor", seconds=5 * _MINUTE, heavy=True),
        "ProcessGeneric": _processor("content-generic-processor", seconds=5 * _MINUTE),
        "UpdateMetadata": _service("update-metadata", next_state="InvalidateCloudFrontCache", at="$.update"),
        "InvalidateCloudFrontCache": _service(
            "cloudfront-invalidation",
            next_state="ProcessingComplete",
            at="$.invalidation",
            catch=Catcher((ALL_ERRORS,), "ProcessingComplete", "$.invalidation_error"),
        ),
        "ProcessingComplete": Succeed(),
        "RecordFailure": _service(
            "record-failure",
            next_state="ProcessingFailed",
            at="$.failure",
            catch=Catcher((ALL_ERRORS,), "ProcessingFailed", "$.failure"),
        ),
        "ProcessingFailed": Fail("$.failure.Error", "$.failure.Cause"),
    },
)


# -- reading a failure -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an execution fails, as the catalog keeps it."""

    code: ErrorCode
    words: str

    def as_result(self) -> dict[str, str]:
        """What RecordFailure returns: the shape of a caught error, which is what ProcessingFailed reads."""
        return {"Error": self.code.value, "Cause": self.words}


_CODES_BY_ERROR_NAME: Final = {
    **{code.value: code for code in ErrorCode},
    "NoSpace": ErrorCode.NO_SPACE,
    "JobInterrupted": ErrorCode.CRASH,
    TIMEOUT: ErrorCode.TIMEOUT,
    "States.HeartbeatTimeout": ErrorCode.TIMEOUT,
    TOO_MUCH_DATA: ErrorCode.LIMIT,
    FUNCTION_TIMEOUT: ErrorCode.TIMEOUT,
    **dict.fromkeys(FUNCTION_CRASHES, ErrorCode.CRASH),
}
_SIGNS_OF_LAMBDA: Final = (
    ("Task timed out", ErrorCode.TIMEOUT),
    ("signal: killed", ErrorCode.CRASH),
    ("Runtime exited", ErrorCode.CRASH),
)
"""What Lambda writes of a function that it ended itself, where it gives no error type of its own."""
_WORDS_OF_LAMBDA: Final = {
    ErrorCode.TIMEOUT: "it took longer than it may",
    ErrorCode.CRASH: "what worked on it ran out of memory, or crashed",
}
_PREFIXED: Final = re.compile(r"\[([A-Za-z_]+)\] (.*)", re.DOTALL)


def failure_of(data: Mapping[str, Any]) -> Failure:
    """The failure that brought an execution to RecordFailure: a caught error, a refusal, or a video job's own error.

    A function on Lambda tells the code by its error's name, which arrives as ``Error`` and as ``errorType`` in a cause
    of JSON, and once more as ``[E_DECODE] `` in front of the words; whichever is known first counts.
    """
    caught = data.get("error")
    if isinstance(caught, Mapping):
        return _caught_failure(str(caught.get("Error")), str(caught.get("Cause") or ""))
    for told in (data.get("refusal"), data.get("job_status")):
        if isinstance(told, Mapping) and told.get("error"):
            return Failure(_code(str(told.get("error_code"))), str(told["error"]))
    return Failure(ErrorCode.INTERNAL, "it failed without saying why")


def reported(error_name: str, cause: str) -> tuple[str, str]:
    """Name and words of an error as a step told them, taken out of what Lambda wrapped around."""
    names, words = _unwrapped(error_name, cause)
    return names[-1] or error_name, words


def _unwrapped(error_name: str, cause: str) -> tuple[list[str], str]:
    """Every name that an error goes by, the outermost first, and its words."""
    wrapped = _wrapped(cause)
    if wrapped is None:
        return [error_name], cause
    error_type, words = wrapped
    prefixed = _PREFIXED.fullmatch(words)
    if prefixed is None:
        return [error_name, error_type], words
    return [error_name, error_type, prefixed[1]], prefixed[2]


def _caught_failure(error_name: str, cause: str) -> Failure:
    names, words = _unwrapped(error_name, cause)
    ended_by_lambda = next((code for sign, code in _SIGNS_OF_LAMBDA if sign in cause), None)
    known = next((_CODES_BY_ERROR_NAME[name] for name in names if name in _CODES_BY_ERROR_NAME), None)
    code = (ended_by_lambda if error_name == UNKNOWN_END else None) or known or ended_by_lambda or ErrorCode.INTERNAL
    if code is ended_by_lambda or not words:
        words = _WORDS_OF_LAMBDA.get(code, "it failed without saying why")
    return Failure(code, words)


def _code(error_name: str) -> ErrorCode:
    return _CODES_BY_ERROR_NAME.get(error_name, ErrorCode.INTERNAL)


def _wrapped(cause: str) -> tuple[str, str] | None:
    """Error type and sentence of a cause that Lambda wrapped in JSON; its stack trace is not for the catalog."""
    try:
        found = json.loads(cause)
    except ValueError:
        return None
    if not isinstance(found, dict) or "errorMessage" not in found:
        return None
    return str(found.get("errorType", "")), str(found["errorMessage"])


# -- checking a machine ------------------------------------------------------------------------------------------


def problems(machine: StateMachine) -> list[str]:
    """Everything that is structurally wrong with a machine, in words; empty: it can be run and rendered."""
    found = [problem for name, state in machine.states.items() for problem in _state_problems(name, state)]
    for name, target in _all_targets(machine):
        if target not in machine.states:
            found.append(f"{name}: goes to {target}, which does not exist")
    if found:
        return found
    within_reach = reachable(machine, {machine.start_at, *filter(None, [machine.last_resort])})
    found += [f"{name}: can't be reached" for name in machine.states if name not in within_reach]
    found += [f"{name}: never ends" for name in machine.states if not _can_end(machine, name)]
    found += [f"{name}: decides in a circle" for name in machine.states if _circles(machine, name)]
    if machine.timeout_seconds <= 0:
        found.append(f"{machine.name}: needs a time-out")
    return found


def with_time(machine: StateMachine, seconds: int) -> StateMachine:
    """The machine where no function ends after 15 minutes: the whole has ``seconds``, and so has each heavy Task."""
    states = {
        name: replace(state, timeout_seconds=seconds) if isinstance(state, Task) and state.heavy else state
        for name, state in machine.states.items()
    }
    return replace(machine, states=states, timeout_seconds=seconds)


def is_heavy(machine: StateMachine, name: str) -> bool:
    """Whether the state of this name is a heavy Task; one that the machine does not have is none."""
    state = machine.states.get(name)
    return isinstance(state, Task) and state.heavy


def targets(state: State) -> Iterator[str]:
    """Every state that may follow this one."""
    match state:
        case Task():
            yield state.next
            yield from (catcher.next for catcher in state.catch)
        case Choice():
            yield from (rule.next for rule in state.rules)
            yield state.default
        case Wait():
            yield state.next
        case Succeed() | Fail():
            return


def _all_targets(machine: StateMachine) -> Iterator[tuple[str, str]]:
    yield machine.name, machine.start_at
    if machine.last_resort:
        yield machine.name, machine.last_resort
    for name, state in machine.states.items():
        yield from ((name, target) for target in targets(state))


def reachable(machine: StateMachine, start: set[str]) -> set[str]:
    """Every state that an execution standing in one of ``start`` may see, those included."""
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(targets(machine.states[name]))
    return seen


def _can_end(machine: StateMachine, name: str) -> bool:
    return any(isinstance(machine.states[other], Succeed | Fail) for other in reachable(machine, {name}))


def _circles(machine: StateMachine, name: str) -> bool:
    """Whether a Choice can come back to itself through Choices alone: it would spin without ever committing."""
    seen: set[str] = set()
    waiting = [name] if isinstance(machine.states[name], Choice) else []
    while waiting:
        for target in targets(machine.states[waiting.pop()]):
            if target == name:
                return True
            if target not in seen and isinstance(machine.states[target], Choice):
                seen.add(target)
                waiting.append(target)
    return False


def _state_problems(name: str, state: State) -> Iterator[str]:
    if isinstance(state, Task):
        yield from (f"{name}: {problem}" for problem in _task_problems(state))
    if isinstance(state, Choice):
        for rule in state.rules:
            if not _is_guarded(rule.when):
                yield f"{name}: compares a path that may not be there; ask IsPresent first"
    if isinstance(state, Wait) and state.seconds <= 0:
        yield f"{name}: waits for nothing"


def _task_problems(task: Task) -> Iterator[str]:
    if not 0 < task.timeout_seconds <= _LONGEST_FUNCTION_SECONDS:
        yield f"needs a time-out of at most {_LONGEST_FUNCTION_SECONDS} s"
    if task.heartbeat_seconds is not None and not 0 < task.heartbeat_seconds < task.timeout_seconds:
        yield "its heartbeat must be shorter than its time-out"
    if not task.retry:
        yield "retries nothing"
    for retrier in task.retry:
        if foreign := set(retrier.error_names) - TRANSIENT_ERRORS:
            yield f"retries what does not pass by itself: {', '.join(sorted(foreign))}"
        if retrier.max_attempts < 1 or retrier.interval_seconds < 1 or retrier.backoff_rate < 1:
            yield "has a retry that can't be"
    if not any(ALL_ERRORS in catcher.error_names for catcher in task.catch):
        yield "lets some error through: no Catch for States.ALL"
    for path in (task.result_path, *(catcher.result_path for catcher in task.catch)):
        if not path.startswith("$.") or path[2:].split(".")[0] in PROTECTED_NAMES:
            yield f"would overwrite what the execution was started with ({path})"


def _is_guarded(condition: Condition) -> bool:
    match condition:
        case IsPresent():
            return True
        case StringEquals():
            return False
        case AllOf(conditions):
            present: set[str] = set()
            for part in conditions:
                if isinstance(part, IsPresent):
                    present.add(part.variable)
                elif part.variable not in present:
                    return False
            return True
