"""Step Functions' events, told as the platform tells a history: what each state was given, tried and left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from contentplatform.workflow.definition import TIMEOUT, reported
from contentplatform.workflow.port import HistoryEvent

_ATTEMPT_BEGINS: Final = frozenset({"LambdaFunctionScheduled", "TaskScheduled"})
_ATTEMPT_FAILS: Final = frozenset(
    f"{kind}{what}"
    for kind in ("LambdaFunction", "Task")
    for what in ("Failed", "TimedOut", "ScheduleFailed", "StartFailed", "SubmitFailed")
)
_ENDS: Final = {
    "ExecutionSucceeded": None,
    "ExecutionFailed": "failed",
    "ExecutionTimedOut": "failed",
    "ExecutionAborted": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Narration:
    """A history, and where it stands at its end."""

    events: tuple[HistoryEvent, ...]
    state: str
    """The last state that was entered; empty: none was."""
    data: Mapping[str, Any] | None
    """The data as it was last seen."""
    succeeded: frozenset[str] = frozenset()
    """Tasks whose function answered."""


def narrate(events: Iterable[Mapping[str, Any]]) -> Narration:
    """Tell the events of GetExecutionHistory, the oldest first, with their data; what comes after the end is left out.

    An end by Step Functions itself is told as the state's, as there it happened.
    """
    teller = _Teller()
    for event in events:
        if not teller.hear(event):
            break
    return Narration(tuple(teller.told), teller.state, teller.data, frozenset(teller.succeeded))


@dataclass(slots=True)
class _Teller:
    told: list[HistoryEvent] = field(default_factory=list)
    state: str = ""
    data: Mapping[str, Any] | None = None
    attempt: int = 1
    failure: tuple[str, str] | None = None
    """Of the last attempt, while nothing followed it."""
    succeeded: set[str] = field(default_factory=set)

    def hear(self, event: Mapping[str, Any]) -> bool:
        """Tell one event; False: that was the end."""
        kind = str(event["type"])
        if kind.endswith("StateEntered"):
            self._entered(event)
        elif kind in _ATTEMPT_BEGINS:
            self._tries(event)
        elif kind in _ATTEMPT_FAILS:
            self.failure = _failure(event)
            self._tell(event, "attempt_failed", None, *self.failure)
        elif kind.endswith("StateExited"):
            self._exited(event)
        elif kind in _ENDS:
            self._ended(event, _ENDS[kind])
            return False
        elif kind == "ExecutionStarted":
            self.data = _parsed(event["executionStartedEventDetails"].get("input"))
        return True

    def _entered(self, event: Mapping[str, Any]) -> None:
        details = event["stateEnteredEventDetails"]
        self.state, self.attempt, self.failure = str(details["name"]), 1, None
        self.data = _parsed(details.get("input"))
        self._tell(event, "entered", None)

    def _tries(self, event: Mapping[str, Any]) -> None:
        if self.failure is None:
            return
        self._tell(event, "retry_scheduled", None, *self.failure)
        self.attempt, self.failure = self.attempt + 1, None

    def _exited(self, event: Mapping[str, Any]) -> None:
        self.data = _parsed(event["stateExitedEventDetails"].get("output"))
        if self.failure is not None:
            self._tell(event, "caught", self.data, *self.failure)
            return
        self.succeeded.add(self.state)
        self._tell(event, "succeeded", self.data)

    def _ended(self, event: Mapping[str, Any], word: str | None) -> None:
        if word is None:
            return
        error, cause = _failure(event)
        self._tell(event, word, self.data if word == "failed" and not self.failure else None, error, cause)

    def _tell(
        self,
        event: Mapping[str, Any],
        word: str,
        output: Mapping[str, Any] | None,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        self.told.append(
            HistoryEvent(
                sequence=len(self.told) + 1,
                at=_moment(event["timestamp"]),
                state=self.state,
                event=word,
                attempt=self.attempt,
                input=self.data if word == "entered" else None,
                output=output,
                error=error,
                cause=cause,
            )
        )


def _failure(event: Mapping[str, Any]) -> tuple[str, str]:
    """Name and words of the error that an event tells of."""
    details: Mapping[str, Any] = next((value for name, value in event.items() if name.endswith("EventDetails")), {})
    given = TIMEOUT if str(event["type"]).endswith("TimedOut") else ""
    return reported(str(details.get("error") or given), str(details.get("cause") or ""))


def _parsed(text: str | None) -> Mapping[str, Any] | None:
    if not text:
        return None
    found = json.loads(text)
    return found if isinstance(found, dict) else None


def _moment(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
