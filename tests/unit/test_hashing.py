"""Hashes of what was uploaded past the platform: computed, compared with the claim, in steps where it is too large."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from pathlib import Path

import pytest

from contentplatform.errors import InvalidRequest
from contentplatform.ingest.hashing import (
    STATE_FOLDER,
    UNCHECKED_NOTE,
    UNFINISHED_NOTE,
    ContentHasher,
    hash_note,
    joined_notes,
)
from contentplatform.media import ProcessingStatus
from contentplatform.storage.port import BucketRole, HashSource, PutOptions
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore
from fakes.platform import MemoryPlatform, jpeg

ONE, TWO = jpeg("one"), jpeg("two")
LARGE = bytes(range(256)) * 10 + b"end"
LIE = "0" * 64


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def store() -> MemoryObjectStore:
    made = MemoryObjectStore(FakeClock(), SequentialIds())
    made.hashes_copies = False
    return made


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    made = MemoryPlatform(tmp_path)
    made.store.hashes_copies = False
    return made


def small_limit(platform: MemoryPlatform, limit_bytes: int, step_bytes: int = 64) -> None:
    """Let what is larger than this be too large to be hashed at once."""
    platform.ingest._hasher = ContentHasher(platform.store, limit_bytes, step_bytes)


# -- the hash of one version ---------------------------------------------------------------------------------------


def test_a_hash_that_the_store_vouches_for_is_taken_and_nothing_is_read(store: MemoryObjectStore) -> None:
    version = store.put(BucketRole.PRIMARY, "k", BytesIO(LARGE), PutOptions())
    found = ContentHasher(store).hash_of(version, None)
    assert (found.sha256, found.verified, found.note) == (sha256(LARGE), True, None)
    assert store.reads == []


def test_a_copy_that_the_store_hashed_saves_the_reading(store: MemoryObjectStore) -> None:
    version = store.upload_past("k", LARGE, LIE)
    store.hashes_copies = True
    found = ContentHasher(store).hash_of(version, store.copy(version, BucketRole.RAW, "copy"))
    assert (found.sha256, found.verified) == (sha256(LARGE), True)
    assert "said it had SHA-256" in (found.note or "")
    assert store.reads == []


@pytest.mark.parametrize("data", [b"", b"x", LARGE])
def test_what_nobody_vouches_for_is_computed(store: MemoryObjectStore, data: bytes) -> None:
    found = ContentHasher(store).hash_of(store.upload_past("k", data), None)
    assert (found.sha256, found.verified, found.note) == (sha256(data), True, None)


@pytest.mark.parametrize("source", [HashSource.UPLOADER, HashSource.BOUND])
def test_a_right_claim_is_verified_and_a_wrong_one_is_told_and_does_not_hold(
    store: MemoryObjectStore, source: HashSource
) -> None:
    hasher = ContentHasher(store)
    right = hasher.hash_of(store.upload_past("right", LARGE, sha256(LARGE), source), None)
    assert (right.sha256, right.verified, right.note) == (sha256(LARGE), True, None)
    wrong = hasher.hash_of(store.upload_past("wrong", LARGE, LIE, source), None)
    assert (wrong.sha256, wrong.verified) == (sha256(LARGE), True)
    assert wrong.note == f"its uploader said it had SHA-256 {LIE}, which is wrong"


def test_what_is_too_large_keeps_a_claim_that_a_checksum_binds_and_no_other(store: MemoryObjectStore) -> None:
    hasher = ContentHasher(store, limit_bytes=100)
    bound = hasher.hash_of(store.upload_past("bound", LARGE, LIE, HashSource.BOUND), None)
    assert (bound.sha256, bound.verified, bound.note) == (LIE, False, UNCHECKED_NOTE)
    for claim in (LIE, None):
        loose = hasher.hash_of(store.upload_past("loose", LARGE, claim, HashSource.UPLOADER), None)
        assert (loose.sha256, loose.verified, loose.note) == ("", False, UNFINISHED_NOTE)
    assert store.reads == []


# -- in steps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 1_000, 1_024])
def test_steps_end_with_the_hash_and_leave_nothing_behind(store: MemoryObjectStore, size: int) -> None:
    version = store.upload_past("k", LARGE[:size])
    steps = 1
    while (found := ContentHasher(store, step_bytes=128).step(version)) is None:  # another process each time
        steps += 1
    assert (found.sha256, found.verified) == (sha256(LARGE[:size]), True)
    assert steps == max(1, -(-size // 128))
    assert store.list_versions(BucketRole.ANALYTICS).objects == ()
    read = [byte_range for key, byte_range in store.reads if key == "k" and byte_range is not None]
    assert all((one.last or 0) - one.first < 128 for one in read)


@pytest.mark.parametrize(
    "kept",
    [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"format": 2}',
        json.dumps({"format": 1, "version_id": "another", "state": "0" * 64, "hashed_bytes": 64}).encode(),
        json.dumps({"format": 1, "version_id": "1".zfill(32), "state": "x" * 64, "hashed_bytes": 64}).encode(),
        json.dumps({"format": 1, "version_id": "1".zfill(32), "state": "0" * 64, "hashed_bytes": 1 << 20}).encode(),
    ],
)
def test_a_state_that_is_of_no_use_is_begun_anew(store: MemoryObjectStore, kept: bytes) -> None:
    version = store.upload_past("k", LARGE)
    hasher = ContentHasher(store, step_bytes=64)
    assert hasher.step(version) is None
    (place,) = store.list(BucketRole.ANALYTICS, prefix=f"{STATE_FOLDER}/").objects
    store.put(BucketRole.ANALYTICS, place.key, BytesIO(kept), PutOptions())
    found = None
    while found is None:
        found = hasher.step(version)
    assert found.sha256 == sha256(LARGE)


def test_a_step_that_ends_in_the_middle_of_a_block_is_no_setting(store: MemoryObjectStore) -> None:
    with pytest.raises(InvalidRequest):
        ContentHasher(store, step_bytes=100)


def test_notes_are_joined_and_told_apart() -> None:
    assert joined_notes(None, "", None) is None
    both = joined_notes(UNFINISHED_NOTE, "kept as it is: this")
    assert hash_note(both) == UNFINISHED_NOTE
    assert hash_note("kept as it is: this") is None
    assert hash_note(None) is None


# -- through the handler -------------------------------------------------------------------------------------------


def test_a_lying_claim_shows_nobody_elses_renditions(platform: MemoryPlatform) -> None:
    platform.add("victim.jpg", ONE)
    platform.settle()
    platform.store.upload_past("liar.jpg", TWO, sha256(ONE), HashSource.BOUND)
    platform.settle()
    assert platform.processor.jobs == [ONE, TWO]
    assert platform.public("liar.jpg")["webp"] == b"webp of " + TWO
    record = platform.library.record("liar.jpg")
    assert (record.file_hash, record.hash_verified) == (sha256(TWO), True)
    assert "which is wrong" in (record.note or "")


def test_a_claim_that_could_not_be_checked_is_never_used_for_reuse(platform: MemoryPlatform) -> None:
    """Neither for the liar's file, nor for the honest one that comes after it."""
    small_limit(platform, 1)
    platform.store.upload_past("liar.jpg", TWO, sha256(ONE), HashSource.BOUND)
    platform.settle()
    record = platform.library.record("liar.jpg")
    assert (record.file_hash, record.hash_verified, record.note) == (sha256(ONE), False, UNCHECKED_NOTE)
    platform.add("honest.jpg", ONE)
    platform.settle()
    assert platform.public("honest.jpg")["webp"] == b"webp of " + ONE
    platform.store.upload_past("another liar.jpg", TWO, sha256(ONE), HashSource.BOUND)
    platform.settle()
    assert platform.public("another liar.jpg")["webp"] == b"webp of " + TWO
    assert platform.processor.jobs == [TWO, ONE, TWO]


def test_equal_bytes_past_the_platform_are_rendered_once(platform: MemoryPlatform) -> None:
    for key in ("a.jpg", "b.jpg"):
        platform.store.upload_past(key, ONE)
    platform.settle()
    assert platform.processor.jobs == [ONE]
    assert platform.public("b.jpg") == platform.public("a.jpg")


def test_a_large_version_is_processed_at_once_and_its_hash_follows_by_and_by(platform: MemoryPlatform) -> None:
    small_limit(platform, 1)
    data = jpeg("x" * 300)
    clock = platform.clock
    asked = []

    def passes() -> float:
        asked.append(1)
        return 1_000.0 * len(asked)  # every look at the clock finds the time for hashing over

    clock.monotonic_seconds = passes  # type: ignore[method-assign]  # an instance's own clock, not the product's
    platform.store.upload_past("a.jpg", data)
    platform.settle()
    record = platform.library.record("a.jpg")
    assert (record.status, record.file_hash, record.hash_verified) == (ProcessingStatus.COMPLETED, "", False)
    assert record.note == UNFINISHED_NOTE
    rounds = 0
    while not platform.library.record("a.jpg").file_hash:
        assert platform.ingest.reconcile().keys_mended == 1
        rounds += 1
    assert 1 < rounds < 10
    record = platform.library.record("a.jpg")
    assert (record.file_hash, record.hash_verified, record.note) == (sha256(data), True, None)
    assert record.status is ProcessingStatus.COMPLETED
    assert platform.ingest.reconcile().keys_mended == 0
    assert len(platform.engine.list().executions) == 1
    assert platform.store.list_versions(BucketRole.ANALYTICS, prefix=f"{STATE_FOLDER}/").objects == ()


def test_what_a_generic_file_is_told_to_be_gets_its_hash_too(platform: MemoryPlatform) -> None:
    small_limit(platform, 1)
    platform.store.upload_past("a.bin", LARGE)
    platform.settle()
    platform.ingest.reconcile()
    record = platform.library.record("a.bin")
    assert record.file_hash == sha256(LARGE)
    assert record.processing_metadata["sha256"] == sha256(LARGE)


def test_a_key_too_long_for_the_data_lake_fails_with_its_reason(platform: MemoryPlatform) -> None:
    key = "x" * 1_024
    platform.store.upload_past(key, ONE)
    platform.settle()
    assert platform.library.record(key).status is ProcessingStatus.FAILED
    assert platform.store.list_versions(BucketRole.RAW).objects == ()
