"""What ingest needs of its home: news of changed objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from contentplatform.storage.port import BucketRole


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """Something happened to a key. Nothing else is believed of an event: its reader looks at the store."""

    event_id: str
    bucket: BucketRole
    key: str


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that was tried in vain too often and now waits for a person."""

    event: ObjectEvent
    attempts: int
    reason: str


class EventSource(ABC):
    """Events of the primary bucket, at least once each, in any order. Safe from several threads and processes."""

    @abstractmethod
    def drain(self, handle: Callable[[ObjectEvent], None], *, limit: int) -> int:
        """Hand up to ``limit`` due events to ``handle``, one after the other; returns how many were handed over.

        An event whose handler returned is gone for good; one whose handler raised a PlatformError comes again later,
        and after a number of attempts becomes a dead event; neither holds up the others.
        aws: the queue's Lambda mapping does this, with partial batch responses and a dead-letter queue.
        """

    @abstractmethod
    def waiting(self) -> int:
        """How many events are not handled yet, dead ones not counted. aws: ApproximateNumberOfMessages."""

    @abstractmethod
    def dead(self) -> tuple[DeadEvent, ...]:
        """Events that wait for a person, the oldest first. aws: the dead-letter queue."""

    @abstractmethod
    def redrive(self) -> int:
        """Give every dead event its attempts back; returns how many. aws: StartMessageMoveTask."""
