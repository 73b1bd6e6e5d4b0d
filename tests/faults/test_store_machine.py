"""The store against a model, with real kills: at every named point in turn, and at random ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from conftest import temporary_root
from contentplatform.drivers.crashpoint import POINTS
from faults.store_driver import GRACE_SECONDS, DrivenStore

STORE_POINTS = sorted(point for point in POINTS if point.startswith(("storage.", "sqlite.")))
SMALL_SEGMENTS_THAT_MERGE = 33
PUTS_THAT_FILL_THE_LOG = 40


def scenario(store: DrivenStore) -> None:
    """Pass every point of the store at least once."""
    store.do("put", "primary", "a", "first", {"x": "1"})
    store.do("put", "primary", "a", "second", {})
    kept = store.model.keys["primary", "a"][-1].version_id
    store.do("set_tags", "primary", "a", kept, {"y": "2"})
    store.do("copy", "primary", "a", kept, "backup", "a", "STANDARD")
    store.do("copy", "primary", "a", kept, "primary", "b", "STANDARD")
    store.do("delete", "primary", "b")
    store.do("delete_version", "primary", "a", store.model.keys["primary", "a"][0].version_id)
    for number in range(SMALL_SEGMENTS_THAT_MERGE):
        store.do("put", "primary", f"many/{number:02}", f"text {number}", {})
        store.do("flush")
    collect_a_blob_under_a_put(store)
    for number in range(PUTS_THAT_FILL_THE_LOG):
        store.do("put", "primary", "same", f"text {number}", {})
    store.do("wait_for_checkpoint")


def collect_a_blob_under_a_put(store: DrivenStore) -> None:
    """Bytes become garbage, and the collector removes them just when they are put again; then it finds other ones."""
    for data in ("comes back", "stays away"):
        version_id = store.do("put", "primary", "garbage", data, {})
        store.do("delete_version", "primary", "garbage", version_id)
    store.do("collect")
    store.do("advance", GRACE_SECONDS + 1)
    store.do("put_while_collecting", "primary", "garbage", "comes back")
    store.do("collect")


@pytest.mark.parametrize("point", STORE_POINTS)
def test_kill_at_every_point(point: str, tmp_path: Path) -> None:
    """The point is reached; what was acknowledged before is there; what was in flight is all there or not at all."""
    store = DrivenStore(tmp_path)
    try:
        store.arm(point)
        scenario(store)
        store.check()
        assert store.crashes == 1, f"nothing passed {point}"
    finally:
        store.stop()


def test_scenario_without_a_kill(tmp_path: Path) -> None:
    store = DrivenStore(tmp_path)
    try:
        scenario(store)
        store.check()
        assert store.crashes == 0
    finally:
        store.stop()


BUCKETS = st.sampled_from(["primary", "backup"])
KEYS = st.sampled_from(["a", "b", "a/b", "ü"])
DATA = st.sampled_from(["", "one", "two", "three" * 1_000])
TAGS = st.dictionaries(st.sampled_from(["t", "u"]), st.sampled_from(["", "1"]), max_size=2)
CLASSES = st.sampled_from(["STANDARD", "STANDARD_IA"])
PICK = st.integers(0, 1_000)


class StoreMachine(RuleBasedStateMachine):
    """Any operations in any order, with any point armed at any time."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="store-machine-", dir=temporary_root())
        self.store = DrivenStore(Path(self._folder.name))

    def teardown(self) -> None:
        try:
            self.store.check()
        finally:
            self.store.stop()
            self._folder.cleanup()

    @rule(point=st.sampled_from(STORE_POINTS), count=st.integers(1, 4))
    def arm(self, point: str, count: int) -> None:
        self.store.arm(point, count)

    @rule(bucket=BUCKETS, key=KEYS, data=DATA, tags=TAGS)
    def put(self, bucket: str, key: str, data: str, tags: dict[str, str]) -> None:
        self.store.do("put", bucket, key, data, tags)

    @rule(bucket=BUCKETS, key=KEYS, data=DATA)
    def create(self, bucket: str, key: str, data: str) -> None:
        if self.store.model.current(bucket, key) is None:
            self.store.do("create", bucket, key, data)
        else:
            self.store.refuse("Conflict", "create", bucket, key, data)

    @rule(bucket=BUCKETS, key=KEYS)
    def delete(self, bucket: str, key: str) -> None:
        self.store.do("delete", bucket, key)

    @precondition(lambda self: self.versions(markers=True))
    @rule(pick=PICK)
    def delete_version(self, pick: int) -> None:
        self.store.do("delete_version", *self.choose(pick, markers=True))

    @precondition(lambda self: self.versions(markers=False))
    @rule(pick=PICK, tags=TAGS)
    def set_tags(self, pick: int, tags: dict[str, str]) -> None:
        self.store.do("set_tags", *self.choose(pick, markers=False), tags)

    @precondition(lambda self: self.versions(markers=False))
    @rule(pick=PICK, bucket=BUCKETS, key=KEYS, storage_class=CLASSES)
    def copy(self, pick: int, bucket: str, key: str, storage_class: str) -> None:
        self.store.do("copy", *self.choose(pick, markers=False), bucket, key, storage_class)

    @rule()
    def flush(self) -> None:
        self.store.do("flush")

    @rule(bucket=BUCKETS, key=KEYS, data=DATA)
    def put_while_collecting(self, bucket: str, key: str, data: str) -> None:
        self.store.do("put_while_collecting", bucket, key, data)

    @rule(hours=st.integers(0, 2))
    def collect(self, hours: int) -> None:
        self.store.do("advance", hours * GRACE_SECONDS)
        self.store.do("collect")

    def versions(self, *, markers: bool) -> list[tuple[str, str, Any]]:
        return [
            (bucket, key, version.version_id)
            for (bucket, key), versions in sorted(self.store.model.keys.items())
            for version in versions
            if markers or version.data is not None
        ]

    def choose(self, pick: int, *, markers: bool) -> tuple[str, str, Any]:
        choices = self.versions(markers=markers)
        return choices[pick % len(choices)]


QUICK = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LONG = settings(max_examples=400, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))


class TestStoreMachine(StoreMachine.TestCase):  # type: ignore[misc, valid-type]  # Hypothesis makes the class at run time
    settings = QUICK


@pytest.mark.soak
class TestStoreMachineLong(StoreMachine.TestCase):  # type: ignore[misc, valid-type]  # Hypothesis makes the class at run time
    settings = LONG
