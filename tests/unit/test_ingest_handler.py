"""The upload handler over fakes: superseding, deduplication, fencing, data lake, and names no upload could have."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from contentplatform.errors import ErrorCode, NotFound, ProcessingFailed
from contentplatform.ingest.service import raw_key
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.storage.port import BucketRole, PutOptions
from contentplatform.workflow.port import ExecutionStatus, Lane
from fakes.platform import MemoryPlatform, jpeg

ONE, TWO = jpeg("one"), jpeg("two")


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    return MemoryPlatform(tmp_path)


def test_a_version_replaced_before_anybody_saw_it_is_superseded_and_not_processed(platform: MemoryPlatform) -> None:
    first = platform.add("a.jpg", ONE).version_id
    second = platform.add("a.jpg", TWO).version_id
    platform.settle()
    entry = platform.library.entry("a.jpg", first)
    assert entry.status is ProcessingStatus.SUPERSEDED
    assert "newer version" in (entry.note or "")
    assert platform.library.entry("a.jpg", second).status is ProcessingStatus.COMPLETED
    assert platform.processor.jobs == [TWO]


def test_a_version_replaced_before_its_turn_is_superseded_and_its_execution_cancelled(
    platform: MemoryPlatform,
) -> None:
    first = platform.add("a.jpg", ONE).version_id
    platform.take_in()
    platform.add("a.jpg", TWO)
    platform.settle()
    assert platform.library.entry("a.jpg", first).status is ProcessingStatus.SUPERSEDED
    statuses = {execution.version_id: execution.status for execution in platform.engine.list().executions}
    assert statuses[first] is ExecutionStatus.CANCELLED
    assert platform.processor.jobs == [TWO]


def test_a_version_replaced_while_it_is_processed_finishes_and_overwrites_nothing(platform: MemoryPlatform) -> None:
    first = platform.add("a.jpg", ONE).version_id
    platform.take_in()
    seen = []

    def look_at_the_record() -> None:
        record = platform.library.record("a.jpg")
        seen.append((record.version_id == first, record.status, platform.public("a.jpg")))

    def replace_it() -> None:
        platform.add("a.jpg", TWO)
        platform.take_in()
        platform.processor.meanwhile = look_at_the_record

    platform.processor.meanwhile = replace_it
    platform.work()
    assert platform.library.entry("a.jpg", first).status is ProcessingStatus.COMPLETED
    assert seen == [(False, ProcessingStatus.PROCESSING, {})]
    assert platform.public("a.jpg")["webp"] == b"webp of " + TWO


def test_a_superseded_version_that_becomes_current_again_is_processed_then(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    second = platform.add("a.jpg", TWO).version_id
    platform.settle()
    platform.library.remove_version("a.jpg", second)
    platform.settle()
    assert platform.processor.jobs == [TWO, ONE]
    assert platform.public("a.jpg")["webp"] == b"webp of " + ONE


def test_an_execution_that_was_replaced_by_a_retry_can_not_write_any_more(platform: MemoryPlatform) -> None:
    """D76: whatever a late worker still tries, the ledger names another execution by now."""
    version_id = platform.add("a.jpg", ONE).version_id
    platform.settle()
    (stale,) = platform.engine.list().executions
    platform.library.reprocess("a.jpg")
    tasks = {"result": {"renditions": [], "metadata": {"stale": True}, "descriptive": {}}}
    steps = platform.steps.tasks()
    before = platform.library.entry("a.jpg", version_id)
    for name in ("content-image-processor", "update-metadata", "record-failure"):
        with pytest.raises(ProcessingFailed, match="took this version over") as caught:
            steps[name]({**stale.input, **tasks})
        assert caught.value.code is ErrorCode.CANCELLED
    assert platform.library.entry("a.jpg", version_id) == before


def test_the_same_content_under_another_key_is_not_rendered_again(platform: MemoryPlatform) -> None:
    first = platform.add("a.jpg", ONE).version_id
    platform.settle()
    platform.add("b.jpg", ONE)
    platform.settle()
    assert platform.processor.jobs == [ONE]
    newest = platform.engine.list().executions[0]
    assert newest.output is not None
    assert newest.output["result"]["reused_from"] == first
    assert platform.public("b.jpg") == platform.public("a.jpg")
    platform.library.remove_version("a.jpg", first)
    platform.settle()
    assert platform.public("a.jpg") == {}
    assert platform.public("b.jpg")["webp"] == b"webp of " + ONE


def test_a_twin_whose_renditions_are_damaged_is_not_reused(platform: MemoryPlatform) -> None:
    version_id = platform.add("a.jpg", ONE).version_id
    platform.settle()
    stored = platform.library.entry("a.jpg", version_id).renditions[0].stored_key
    platform.store.delete(BucketRole.PROCESSED, stored)
    platform.add("b.jpg", ONE)
    platform.settle()
    assert platform.processor.jobs == [ONE, ONE]
    assert set(platform.public("b.jpg")) == {"thumbnails", "medium", "webp"}


def test_an_event_of_a_completed_file_changes_nothing(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.settle()
    before = platform.library.record("a.jpg")
    for _ in range(5):
        platform.ingest.handle("a.jpg")
    platform.work()
    assert platform.library.record("a.jpg") == before
    assert len(platform.engine.list().executions) == 1


def test_every_version_is_copied_once_into_the_data_lake_by_the_hour_of_its_upload(platform: MemoryPlatform) -> None:
    version = platform.add("a.jpg", ONE)
    platform.settle()
    platform.ingest.handle("a.jpg")
    copies = platform.store.list_versions(BucketRole.RAW).objects
    assert [copy.key for copy in copies] == [raw_key("a.jpg", version.created_at)]
    assert raw_key("a.jpg", version.created_at) == "year=2030/month=01/day=01/hour=00/a.jpg"


def test_a_claim_that_the_bytes_belie_fails_in_words_and_keeps_the_original(platform: MemoryPlatform) -> None:
    platform.add("photo.jpg", b"only words\n")
    platform.settle()
    record = platform.library.record("photo.jpg")
    assert (record.status, record.error_code, record.kind) == (
        ProcessingStatus.FAILED,
        ErrorCode.TYPE_MISMATCH,
        MediaKind.GENERIC,
    )
    assert record.error == "says image/jpeg, is text/plain"
    with platform.library.open("photo.jpg") as reader:
        assert reader.read() == b"only words\n"


@pytest.mark.parametrize("key", ["x" * 901, "line\nbreak", "tab\there"])
def test_a_key_that_came_through_the_store_itself_and_breaks_the_rules_fails_with_that_reason(
    platform: MemoryPlatform, key: str
) -> None:
    platform.store.put(BucketRole.PRIMARY, key, BytesIO(ONE), PutOptions())
    platform.settle()
    record = platform.library.record(key)
    assert (record.status, record.error_code) == (ProcessingStatus.FAILED, ErrorCode.KEY)


def test_the_reconciler_finds_an_upload_that_no_event_told_of(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.forget_events()
    with pytest.raises(NotFound):
        platform.library.record("a.jpg")
    found = platform.ingest.reconcile()
    assert (found.keys_seen, found.keys_mended) == (1, 1)
    assert platform.engine.list().executions[0].lane is Lane.BACKFILL
    platform.work()
    assert platform.library.record("a.jpg").status is ProcessingStatus.COMPLETED
    assert platform.ingest.reconcile().keys_mended == 0


def test_the_reconciler_finds_a_deletion_that_no_event_told_of(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.settle()
    platform.store.delete(BucketRole.PRIMARY, "a.jpg")
    platform.forget_events()
    assert platform.ingest.reconcile().keys_mended == 1
    assert platform.library.record("a.jpg").deleted_at is not None
    assert platform.public("a.jpg") == {}


def test_the_reconciler_starts_what_an_ended_execution_left_unfinished(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.take_in()
    (execution,) = platform.engine.list().executions
    platform.engine.cancel(execution.name, "its worker and its ledger disagreed")
    assert platform.ingest.reconcile().keys_mended == 1
    platform.work()
    assert platform.library.record("a.jpg").status is ProcessingStatus.COMPLETED


def test_delete_while_processing_shows_nothing_and_undelete_shows_the_result(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.take_in()
    platform.processor.meanwhile = lambda: platform.library.remove("a.jpg")
    platform.work()
    assert platform.library.record("a.jpg").deleted_at is not None
    assert platform.public("a.jpg") == {}
    platform.library.undelete("a.jpg")
    platform.settle()
    assert platform.public("a.jpg")["webp"] == b"webp of " + ONE
    assert platform.processor.jobs == [ONE]
