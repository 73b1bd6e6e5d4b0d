"""I11 and I12: whatever the order, the number and the fate of events, catalog and edge end where the store says."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentplatform.catalog.port import Record
from contentplatform.errors import Conflict, NotFound
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions, versions_of, walk_versions
from contentplatform.workflow.port import ExecutionStatus
from fakes.platform import BROKEN, MemoryPlatform, jpeg

KEYS = ("a.jpg", "b.jpg")
GOOD = (jpeg("one"), jpeg("two"))
BAD = (jpeg("broken"), b"words in a file that says it is a picture\n", b"")


@dataclass(frozen=True)
class Put:
    """An upload."""

    key: str
    content: bytes


@dataclass(frozen=True)
class Delete:
    """A delete marker."""

    key: str


@dataclass(frozen=True)
class DeleteVersion:
    """A version or marker deleted for good: the n-th newest, if there is one."""

    key: str
    place: int


@dataclass(frozen=True)
class Reprocess:
    """A person wants the renditions made anew."""

    key: str


@dataclass(frozen=True)
class Move:
    """A person gives a file another name."""

    source: str
    target: str


@dataclass(frozen=True)
class Change:
    """Something happens to the store; its event comes at once, or later, or never."""

    what: Put | Delete | DeleteVersion
    told: bool


@dataclass(frozen=True)
class Handle:
    """An event, late, repeated or made up."""

    key: str


@dataclass(frozen=True)
class Work:
    """The workflow runs until idle, and things happen in the middle of its first job."""

    meanwhile: tuple[Change | Handle | Reprocess | Move, ...]


Event = Change | Handle | Reprocess | Move
Action = Event | Work

_PUTS: list[Put] = [Put(key, content) for key in ("a.jpg", "a.jpg", "b.jpg") for content in (*GOOD, *GOOD, *BAD)]
_DELETES: list[Delete | DeleteVersion] = [
    Delete("a.jpg"),
    Delete("b.jpg"),
    *(DeleteVersion("a.jpg", place) for place in (0, 0, 0, 1, 1, 2)),
]
UNASKED: list[Event] = [
    *(Change(put, told) for put in _PUTS for told in (True, True, False)),
    *(Change(delete, told) for delete in _DELETES for told in (True, True, False)),
    *(Handle(key) for key in KEYS for _ in range(8)),
    *(Move(*names) for names in (KEYS, KEYS[::-1]) for _ in range(6)),
]
"""What may happen, as often as it should be drawn."""
ANYTHING: list[Event] = [*UNASKED, *(Reprocess(key) for key in KEYS for _ in range(6))]


def lists_of(events: Sequence[Event]) -> st.SearchStrategy[list[Action]]:
    """What happens, with the workflow at work after every third event or so."""
    event = st.sampled_from(events)
    work = st.builds(Work, st.lists(event, max_size=2).map(tuple))
    return st.lists(st.one_of(event, event.map(lambda each: each), work), min_size=4, max_size=14)


@dataclass
class Story:
    """A platform, and which keys changed last without being told."""

    platform: MemoryPlatform
    told: dict[str, bool] = field(default_factory=dict)

    def untold(self) -> list[str]:
        """Keys whose last change nobody was told of."""
        return [key for key, was_told in self.told.items() if not was_told]

    def go_on(self, action: Action) -> None:
        """Do one thing, as a person, the store or a worker would."""
        platform = self.platform
        platform.clock.advance(1)
        match action:
            case Change(what, told):
                _change(platform, what)
                self.told[what.key] = told
                if told:
                    platform.ingest.handle(what.key)
            case Handle(key):
                platform.ingest.handle(key)
                self.told[key] = True
            case Reprocess(key):
                with suppress(NotFound):
                    platform.library.reprocess(key)
            case Move(source, target):
                with suppress(NotFound, Conflict):
                    platform.library.move(source, target)
                    self.told.update({source: True, target: True})
            case Work(meanwhile):
                platform.processor.meanwhile = lambda: self._go_on_with(meanwhile)
                platform.work()
                platform.processor.meanwhile = lambda: None

    def _go_on_with(self, events: Sequence[Event]) -> None:
        for event in events:
            self.go_on(event)


def _change(platform: MemoryPlatform, change: Put | Delete | DeleteVersion) -> None:
    store = platform.store
    match change:
        case Put(key, content):
            store.put(BucketRole.PRIMARY, key, BytesIO(content), PutOptions())
        case Delete(key):
            store.delete(BucketRole.PRIMARY, key)
        case DeleteVersion(key, place):
            versions = versions_of(store, BucketRole.PRIMARY, key)
            if place < len(versions):
                store.delete_version(BucketRole.PRIMARY, key, versions[place].version_id)


def played(folder: str, actions: list[Action]) -> Story:
    """A platform to which all that happened."""
    story = Story(MemoryPlatform(Path(folder)))
    for action in actions:
        story.go_on(action)
    return story


def check(platform: MemoryPlatform, key: str) -> None:
    """Hold what is shown of one key against what the store holds."""
    record = _record(platform, key)
    try:
        current = platform.store.head(BucketRole.PRIMARY, key)
    except NotFound:
        assert record is None or record.deleted_at is not None
        assert platform.public(key) == {}
        return
    assert record is not None
    assert record.deleted_at is None
    assert record.version_id == current.version_id
    assert platform.catalog.get_entry(record.file_id, current.version_id).status is record.status
    _check_shown(platform, record, current)


def _check_shown(platform: MemoryPlatform, record: Record, current: ObjectVersion) -> None:
    with platform.store.open(BucketRole.PRIMARY, current.key) as reader:
        content = reader.read()
    good = content.startswith(jpeg("")) and BROKEN not in content
    assert record.status is (ProcessingStatus.COMPLETED if good else ProcessingStatus.FAILED)
    folders = {"thumbnails": b"thumbnail", "medium": b"medium", "webp": b"webp"} if good else {}
    assert platform.public(current.key) == {folder: name + b" of " + content for folder, name in folders.items()}
    assert bool(record.error) is not good


def _record(platform: MemoryPlatform, key: str) -> Record | None:
    try:
        return platform.catalog.get(file_id(key))
    except NotFound:
        return None


def check_nothing_is_left_over(platform: MemoryPlatform) -> None:
    """Nothing is at work, nothing waits, and only versions that exist keep renditions."""
    there = {version.version_id for key in KEYS for version in versions_of(platform.store, BucketRole.PRIMARY, key)}
    for key in KEYS:
        for entry in platform.catalog.entries(file_id(key)):
            assert entry.status not in {ProcessingStatus.PENDING, ProcessingStatus.PROCESSING}
    assert all(execution.status.ended for execution in platform.engine.list(limit=1_000).executions)
    assert {key.split("/")[2] for key in platform.kept_renditions()} <= there


def settle(platform: MemoryPlatform, keys_to_tell: list[str], order: st.DataObject) -> None:
    """Tell what was not told, in any order, before, between and after the workflow's own turns."""
    for key in order.draw(st.permutations(keys_to_tell)):
        if order.draw(st.booleans()):
            platform.work()
        platform.ingest.handle(key)
    platform.work()


settings_here = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@settings_here
@given(actions=lists_of(ANYTHING), order=st.data())
def test_events_in_any_order_lead_to_what_the_store_says(actions: list[Action], order: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = played(folder, actions)
        platform = story.platform
        settle(platform, story.untold(), order)
        for key in KEYS:
            check(platform, key)
        check_nothing_is_left_over(platform)


@settings_here
@given(actions=lists_of(ANYTHING))
def test_the_reconciler_leads_there_too_when_no_event_told_anything(actions: list[Action]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        platform = played(folder, actions).platform
        platform.ingest.reconcile()
        platform.work()
        for key in KEYS:
            check(platform, key)


@settings_here
@given(actions=lists_of(ANYTHING), order=st.data())
def test_once_settled_repeated_events_change_nothing_and_start_nothing(
    actions: list[Action], order: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = played(folder, actions)
        platform = story.platform
        settle(platform, story.untold(), order)
        before = _everything(platform)
        jobs = len(platform.processor.jobs)
        settle(platform, [*KEYS, *KEYS], order)
        platform.ingest.reconcile()
        platform.work()
        assert _everything(platform) == before
        assert len(platform.processor.jobs) == jobs


@settings_here
@given(actions=lists_of(UNASKED), order=st.data())
def test_no_version_is_completed_twice_unless_a_person_asks(actions: list[Action], order: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = played(folder, actions)
        platform = story.platform
        settle(platform, story.untold(), order)
        succeeded = Counter(
            execution.version_id
            for execution in platform.engine.list(status=ExecutionStatus.SUCCEEDED, limit=1_000).executions
        )
        assert all(times == 1 for times in succeeded.values())


def _everything(platform: MemoryPlatform) -> object:
    """All that is durable."""
    return (
        [tuple(walk_versions(platform.store, role)) for role in BucketRole],
        [_record(platform, key) for key in KEYS],
        [platform.catalog.entries(file_id(key)) for key in KEYS],
        [execution.name for execution in platform.engine.list(limit=1_000).executions],
    )
