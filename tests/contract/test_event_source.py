"""What every home's event source promises: at least once each, retried with back-off, dead at last, nobody held up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contentplatform.app import local_schemas
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Unavailable
from contentplatform.ingest.local import LocalEventSource
from contentplatform.ingest.port import EventSource, ObjectEvent
from contentplatform.storage.local import LocalObjectStore
from contentplatform.storage.port import BucketRole, PutOptions
from fakes.clock import FakeClock, SequentialIds
from fakes.event_source import MemoryEventSource

if TYPE_CHECKING:
    from contentplatform.drivers.boto import Aws

MANY = 100
A_DAY_SECONDS = 86_400.0
TRIES_AT_MOST = 20


@dataclass
class Source:
    """An event source, what makes its events, and the time it lives in."""

    events: EventSource
    announce: Callable[[str], object]
    clock: FakeClock

    def handled(self, limit: int = MANY) -> list[str]:
        """Drain with a handler that succeeds; the keys it saw."""
        seen: list[str] = []
        self.events.drain(lambda event: seen.append(event.key), limit=limit)
        return seen

    def refused(self, key: str = "bad") -> list[str]:
        """Drain with a handler that fails for one key; the keys it saw."""
        seen: list[str] = []

        def handle(event: ObjectEvent) -> None:
            seen.append(event.key)
            if event.key == key:
                raise Unavailable(f"taking in {key}", "the disk sulks")

        self.events.drain(handle, limit=MANY)
        return seen

    def kill(self) -> int:
        """Refuse the event ``bad`` until it is dead; how often it was tried."""
        tries = 0
        for _ in range(TRIES_AT_MOST):
            tries += len(self.refused())
            self.clock.advance(A_DAY_SECONDS)
        return tries


def source_on_aws(aws: Aws) -> Source:
    """The queues of uploads, told by a bucket of S3; what is hidden in them shows itself by the fake clock."""
    from aws.buckets import make_buckets, open_store  # noqa: PLC0415 - the other homes need no cloud library
    from aws.queues import QueueClock, UploadQueue  # noqa: PLC0415 - same
    from contentplatform.ingest.aws import SqsEventSource  # noqa: PLC0415 - same

    names = make_buckets(aws)
    store = open_store(aws, names)
    queue = UploadQueue(aws, names[BucketRole.PRIMARY])

    def announce(key: str) -> None:
        with queue.told():
            store.put(BucketRole.PRIMARY, key, BytesIO(b"bytes"), PutOptions())

    events = SqsEventSource(aws, bucket_name=names[BucketRole.PRIMARY], wait_seconds=0)
    return Source(events, announce, QueueClock(aws))


@pytest.fixture(params=["fake", "local", "aws"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    clock = FakeClock()
    if request.param == "aws":
        yield source_on_aws(request.getfixturevalue("aws"))
        return
    if request.param == "fake":
        fake = MemoryEventSource(clock)
        yield Source(fake, fake.announce, clock)
        return
    ids = SequentialIds()
    with closing(Database(tmp_path / "events.db", local_schemas(), new_uuid=ids.new_id())) as database:
        store = LocalObjectStore(database, tmp_path, clock, ids)

        def put(key: str) -> None:
            store.put(BucketRole.PRIMARY, key, BytesIO(b"bytes"), PutOptions())

        yield Source(LocalEventSource(database, clock), put, clock)


def test_an_event_is_handed_over_once_and_gone_when_its_handler_returned(source: Source) -> None:
    source.announce("a")
    assert source.events.waiting() == 1
    assert source.handled() == ["a"]
    assert source.handled() == []
    assert source.events.waiting() == 0
    assert source.events.dead() == ()


def test_each_change_of_a_key_is_an_event_and_names_nothing_but_the_key(source: Source) -> None:
    source.announce("a")
    source.announce("a")
    assert source.handled() == ["a", "a"]


def test_no_more_than_the_limit_is_handed_over(source: Source) -> None:
    for number in range(5):
        source.announce(f"k{number}")
    first = source.handled(limit=2)
    assert len(first) == 2
    assert sorted(first + source.handled()) == [f"k{number}" for number in range(5)]


def test_one_that_fails_holds_up_nobody(source: Source) -> None:
    for key in ("before", "bad", "after"):
        source.announce(key)
    assert sorted(source.refused()) == ["after", "bad", "before"]
    assert source.events.waiting() == 1


def test_one_that_failed_comes_again_but_not_at_once(source: Source) -> None:
    source.announce("bad")
    source.refused()
    assert source.refused() == [], "it must back off"
    source.clock.advance(A_DAY_SECONDS)
    assert source.handled() == ["bad"]
    assert source.events.waiting() == 0


def test_it_backs_off_longer_after_each_failure(source: Source) -> None:
    source.announce("bad")
    assert source.refused() == ["bad"]
    delays = []
    for _ in range(4):
        started = source.clock.monotonic_seconds()
        while not source.refused():
            source.clock.advance(0.25)
        delays.append(source.clock.monotonic_seconds() - started)
    assert all(later > earlier for earlier, later in pairwise(delays))


def test_after_a_number_of_attempts_it_waits_for_a_person(source: Source) -> None:
    source.announce("bad")
    tries = source.kill()
    (dead,) = source.events.dead()
    assert 1 < tries < TRIES_AT_MOST
    assert (dead.event.key, dead.attempts) == ("bad", tries)
    assert "the disk sulks" in dead.reason
    assert source.events.waiting() == 0
    assert source.handled() == []


def test_a_dead_event_can_be_given_its_attempts_back(source: Source) -> None:
    source.announce("bad")
    source.kill()
    assert source.events.redrive() == 1
    assert source.events.dead() == ()
    assert source.handled() == ["bad"]
    assert source.events.redrive() == 0


def test_a_handler_with_a_programming_error_counts_as_a_failure_too(source: Source) -> None:
    source.announce("bad")
    source.announce("good")
    seen: list[str] = []

    def handle(event: ObjectEvent) -> None:
        if event.key == "bad":
            raise ZeroDivisionError
        seen.append(event.key)

    source.events.drain(handle, limit=MANY)
    assert seen == ["good"]
    assert source.events.waiting() == 1
    source.clock.advance(A_DAY_SECONDS)
    assert source.handled() == ["bad"]


def test_a_failed_event_comes_again_at_once_after_a_reboot_or_later_but_is_never_lost(source: Source) -> None:
    source.announce("bad")
    source.refused()
    source.clock.reboot()
    source.clock.advance(A_DAY_SECONDS)
    assert source.handled() == ["bad"]
