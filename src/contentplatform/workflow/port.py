"""What the workflow engine promises: one durable execution a version and recipe, which ends and says how it ended.

aws: Step Functions runs the same definition; what it forgets after 90 days is kept in our ledger of executions.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final

from contentplatform.errors import InvalidRequest, NotFound

EXECUTION_PAGE_SIZE: Final = 100
DATA_LIMIT_BYTES: Final = 262_144
"""Most that an execution's data may be, as JSON; Step Functions' limit, kept in both homes."""
NAME_LIMIT: Final = 80
"""Longest name of an execution, in characters; ``execution_name`` makes 57, and a retry's number comes on top."""
_NAME: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{NAME_LIMIT}}}")


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    PENDING = "pending"
    """Accepted; no state has begun, or it waits for its next turn."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more."""
        return self in {ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}


class Lane(IntEnum):
    """Who goes first: a lower lane never waits for a higher one."""

    UPLOAD = 0
    """A person just added the file."""
    BACKFILL = 1
    """Reprocessing, repairs."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of the state machine for one version."""

    name: str
    file_id: str
    version_id: str
    lane: Lane
    status: ExecutionStatus
    state: str
    """The state it is in, or ended in."""
    input: Mapping[str, Any]
    output: Mapping[str, Any] | None
    """The data after the last state; None while it runs."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None = None
    """The name of the error class or code it ended with."""
    cause: str | None = None
    """Why it failed or was cancelled, for a person."""
    pending_reason: str | None = None
    """While pending: why, in words ("waits for a worker: none is running", "tries again in 8 s: the disk is full")."""


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One thing that happened in an execution."""

    sequence: int
    """1, 2, … without gaps within an execution."""
    at: datetime
    state: str
    event: str
    """``entered``, ``attempt_failed``, ``retry_scheduled``, ``succeeded``, ``caught``, ``cancelled``, ``failed``."""
    attempt: int
    input: Mapping[str, Any] | None = None
    output: Mapping[str, Any] | None = None
    error: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """One page of executions, the newest first."""

    executions: tuple[Execution, ...]
    cursor: str | None
    """Opaque; None: this was the last page."""


@dataclass(slots=True)
class TaskContext:
    """What a step may know about the attempt that it is."""

    execution: str
    file_id: str
    version_id: str
    state: str
    attempt: int
    """1 for the first attempt at this state."""
    token: int
    """The fencing token: a later attempt, anywhere, has a higher one."""
    deadline_seconds: float
    """When the attempt is over its time, in the clock's seconds since boot."""
    cancelled: threading.Event
    """Set when nobody wants the result any more: stop soon, it will be refused."""
    _commits: list[Callable[[], None]] = field(default_factory=list)

    def work_at_commit(self) -> tuple[Callable[[], None], ...]:
        """What ``at_commit`` collected."""
        return tuple(self._commits)

    def at_commit(self, work: Callable[[], None]) -> None:
        """Run ``work`` in the unit of work that commits this state: together with it, once, or not at all.

        It is not run if the lease was lost meanwhile. aws: run right after the step, so it must be idempotent too.
        """
        self._commits.append(work)


TaskFunction = Callable[[Mapping[str, Any], TaskContext], Mapping[str, Any]]
"""A step: the data of the execution in, its result out, both plain JSON. Raises to fail; idempotent."""


class WorkflowEngine(ABC):
    """Starts executions and tells about them. Safe from any thread and from several processes."""

    @abstractmethod
    def start(
        self, name: str, *, file_id: str, version_id: str, data: Mapping[str, Any], lane: Lane = Lane.UPLOAD
    ) -> Execution:
        """Start an execution; durable after return. Idempotent by name: an execution that exists is returned as it is.

        aws: a conditional write into our ledger, then StartExecution; ExecutionAlreadyExists is the idempotent case.

        Raises:
            Conflict: an execution of the same version and recipe (the name without ``-r<n>``) has not ended yet.
            InvalidRequest: the name is not one (``check_start``), or the data is not JSON, or too much.
        """

    @abstractmethod
    def get(self, name: str) -> Execution:
        """One execution. aws: DescribeExecution, else our ledger. Raises NotFound."""

    @abstractmethod
    def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        file_id: str | None = None,
        cursor: str | None = None,
        limit: int = EXECUTION_PAGE_SIZE,
    ) -> ExecutionPage:
        """Executions, the newest first. aws: indexes of our ledger. Raises InvalidRequest for a foreign cursor."""

    @abstractmethod
    def history(self, name: str) -> tuple[HistoryEvent, ...]:
        """Everything that happened, in order, with input and output of each state. Raises NotFound.

        aws: GetExecutionHistory, copied to our ledger when an execution ends.
        """

    @abstractmethod
    def cancel(self, name: str, reason: str) -> Execution:
        """Stop an execution: no further state begins, and a step at work can't commit any more. Raises NotFound.

        Idempotent; what has ended stays as it ended. aws: StopExecution.
        """


def execution_name(file_id: str, version_id: str, recipe: str, retry: int = 0) -> str:
    """``process-<file_id>-<first 16 hex of SHA-256(version + recipe)>``, a retry with ``-r<n>`` behind it."""
    digest = hashlib.sha256((version_id + recipe).encode("utf-8")).hexdigest()[:16]
    return f"process-{file_id}-{digest}" + (f"-r{retry}" if retry else "")


def check_start(name: str, data: Mapping[str, Any]) -> str:
    """The data of an execution to be started, as JSON in ASCII.

    Raises:
        InvalidRequest: the name has other characters than letters, digits, ``-``, ``_`` and ``.``, or more than 80:
            no other is safe with Step Functions. Or the data is not JSON, or larger than 256 KiB as such.
    """
    doing = f"starting {name[:NAME_LIMIT]}"
    if not _NAME.fullmatch(name):
        raise InvalidRequest(doing, f"a name has 1 to {NAME_LIMIT} letters, digits, '-', '_' and '.'")
    try:
        body = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(doing, "its input is not JSON", private=str(error)) from error
    if len(body) > DATA_LIMIT_BYTES:
        raise InvalidRequest(doing, f"its input is larger than {DATA_LIMIT_BYTES} bytes")
    return body


_RETRY_SUFFIX: Final = re.compile(r"-r([1-9][0-9]*)$")


def base_name(name: str) -> str:
    """A name without ``-r<n>``: what stands for one version and recipe."""
    return _RETRY_SUFFIX.sub("", name)


def next_name(engine: WorkflowEngine, name: str) -> str:
    """The first free name for the version and recipe of ``name``: the plain one, then ``-r1``, ``-r2`` and so on."""
    candidate, retry = base_name(name), 0
    while True:
        try:
            engine.get(candidate)
        except NotFound:
            return candidate
        retry += 1
        candidate = f"{base_name(name)}-r{retry}"


STATE_MACHINE_NAME: Final = "content-processing-workflow"
