"""What people do with files, over fakes: removing, bringing back, versions, moving, describing, retrying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from contentplatform.catalog.port import LedgerEntry, Record
from contentplatform.errors import Conflict, ErrorCode, InvalidRequest, NotFound
from contentplatform.ingest.library import TAG_LIMIT, Edit
from contentplatform.media import MediaKind, ProcessingStatus, file_id
from contentplatform.processing.presets import recipe
from contentplatform.storage.port import LIST_PAGE_SIZE, BucketRole, PutOptions
from contentplatform.workflow.port import ExecutionStatus
from fakes.platform import MemoryPlatform, jpeg

ONE, TWO = jpeg("one"), jpeg("two")


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    return MemoryPlatform(tmp_path)


def added(platform: MemoryPlatform, key: str, data: bytes = ONE) -> str:
    """Put a file through; its version id."""
    version = platform.add(key, data)
    platform.settle()
    return version.version_id


def original(platform: MemoryPlatform, key: str, version_id: str | None = None) -> bytes:
    with platform.library.open(key, version_id=version_id) as reader:
        return reader.read()


# -- what is there -----------------------------------------------------------------------------------------------


def test_of_many_keys_those_that_may_be_there_are_told_and_all_of_them_in_doubt(platform: MemoryPlatform) -> None:
    added(platform, "trip/a.jpg")
    added(platform, "trip/gone.jpg", TWO)
    platform.library.remove("trip/gone.jpg")
    wanted = {"trip/a.jpg", "trip/gone.jpg", "trip/new.jpg"}
    assert platform.library.perhaps_there(wanted) == {"trip/a.jpg"}
    assert platform.library.perhaps_there({*wanted, "elsewhere.jpg"}) == {"trip/a.jpg"}
    assert platform.library.perhaps_there({"trip/a.jpg"}) == {"trip/a.jpg"}
    unnameable = {"\n1", "\n2"}
    assert platform.library.perhaps_there(unnameable) == unnameable
    for number in range(LIST_PAGE_SIZE):
        platform.store.put(BucketRole.PRIMARY, f"trip/{number}", BytesIO(b""), PutOptions())
    assert platform.library.perhaps_there(wanted) == wanted, "a page does not hold them all"


# -- removing and bringing back --------------------------------------------------------------------------------


def test_removing_hides_the_file_and_takes_its_renditions_off_and_undelete_brings_all_of_it_back(
    platform: MemoryPlatform,
) -> None:
    added(platform, "a.jpg")
    platform.library.edit("a.jpg", Edit(title="Harbour", add_tags=frozenset({"sea"})))
    shown = platform.public("a.jpg")
    assert set(shown) == {"thumbnails", "medium", "webp"}

    platform.library.remove("a.jpg")
    platform.settle()
    assert platform.library.record("a.jpg").deleted_at is not None
    assert platform.public("a.jpg") == {}
    with pytest.raises(NotFound):
        original(platform, "a.jpg")

    record = platform.library.undelete("a.jpg")
    platform.settle()
    assert (record.deleted_at, record.title, record.tags) == (None, "Harbour", ("sea",))
    assert platform.public("a.jpg") == shown
    assert len(platform.processor.jobs) == 1, "nothing was made again"


def test_removing_twice_says_that_it_is_gone_and_how_to_bring_it_back(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg")
    platform.library.remove("a.jpg")
    with pytest.raises(NotFound, match="undelete"):
        platform.library.remove("a.jpg")


def test_undelete_of_a_file_that_is_there_changes_nothing(platform: MemoryPlatform) -> None:
    version_id = added(platform, "a.jpg")
    assert platform.library.undelete("a.jpg").version_id == version_id
    assert len(platform.library.versions("a.jpg")) == 1


def test_undelete_without_a_version_left_is_refused(platform: MemoryPlatform) -> None:
    version_id = added(platform, "a.jpg")
    platform.library.remove("a.jpg")
    platform.library.remove_version("a.jpg", version_id)
    with pytest.raises(NotFound):
        platform.library.undelete("a.jpg")


# -- versions --------------------------------------------------------------------------------------------------


def test_a_new_version_is_processed_anew_and_the_old_one_stays_readable(platform: MemoryPlatform) -> None:
    first = added(platform, "a.jpg", ONE)
    second = added(platform, "a.jpg", TWO)
    assert platform.library.record("a.jpg").version_id == second
    assert original(platform, "a.jpg") == TWO
    assert original(platform, "a.jpg", first) == ONE
    assert platform.public("a.jpg")["webp"] == b"webp of " + TWO
    with platform.library.open("a.jpg", version_id=first, rendition="webp") as reader:
        assert reader.read() == b"webp of " + ONE


def test_deleting_the_new_version_brings_the_old_ones_record_and_renditions_back(platform: MemoryPlatform) -> None:
    first = added(platform, "a.jpg", ONE)
    second = added(platform, "a.jpg", TWO)
    platform.library.remove_version("a.jpg", second)
    platform.settle()
    record = platform.library.record("a.jpg")
    assert (record.version_id, record.status) == (first, ProcessingStatus.COMPLETED)
    assert platform.public("a.jpg")["webp"] == b"webp of " + ONE
    assert len(platform.processor.jobs) == 2, "the old renditions were still there"


def test_the_renditions_of_a_version_deleted_for_good_are_gone_for_good(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    second = added(platform, "a.jpg", TWO)
    platform.library.remove_version("a.jpg", second)
    platform.settle()
    assert not [key for key in platform.kept_renditions() if second in key]


def test_deleting_the_only_version_for_good_leaves_nothing_on_the_edge(platform: MemoryPlatform) -> None:
    """I13: no public key may go on showing what was deleted."""
    only = added(platform, "a.jpg", ONE)
    platform.library.remove_version("a.jpg", only)
    platform.settle()
    assert platform.library.record("a.jpg").deleted_at is not None
    assert platform.public("a.jpg") == {}
    assert platform.kept_renditions() == []


def test_falling_back_to_a_version_without_renditions_takes_the_deleted_ones_off(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", b"not a picture at all, just words\n")
    second = added(platform, "a.jpg", TWO)
    assert platform.public("a.jpg")
    platform.library.remove_version("a.jpg", second)
    platform.settle()
    assert platform.library.record("a.jpg").status is ProcessingStatus.FAILED
    assert platform.public("a.jpg") == {}


def test_deleting_a_version_that_does_not_exist_is_refused(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg")
    with pytest.raises(NotFound, match="versions"):
        platform.library.remove_version("a.jpg", "0" * 32)


# -- moving ----------------------------------------------------------------------------------------------------


def test_move_keeps_tags_versions_renditions_and_history_and_leaves_a_redirect(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    added(platform, "a.jpg", TWO)
    before = platform.library.edit("a.jpg", Edit(title="Harbour", add_tags=frozenset({"sea"})))

    record = platform.library.move("a.jpg", "album/b.jpg")
    platform.settle()
    assert (record.title, record.tags, record.status) == ("Harbour", ("sea",), ProcessingStatus.COMPLETED)
    assert record.moved_from == (before.file_id,)
    assert [original(platform, "album/b.jpg", v.version_id) for v in platform.library.versions("album/b.jpg")] == [
        TWO,
        ONE,
    ]
    assert platform.public("a.jpg") == {}
    assert platform.public("album/b.jpg")["webp"] == b"webp of " + TWO
    assert len(platform.processor.jobs) == 2, "nothing was made again"
    with pytest.raises(NotFound, match=r"moved to album/b\.jpg"):
        platform.library.record("a.jpg")


def test_moving_onto_an_existing_file_is_refused(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    added(platform, "b.jpg", TWO)
    with pytest.raises(Conflict, match="there is a file already"):
        platform.library.move("a.jpg", "b.jpg")
    assert original(platform, "b.jpg") == TWO


def test_a_move_goes_on_where_the_upload_handler_was_faster(platform: MemoryPlatform) -> None:
    """On aws the handler hears of the copy while the move is under way, and writes of it first."""
    added(platform, "a.jpg", ONE)
    heard: list[str] = []

    def after_the_handler(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def put(value: LedgerEntry | Record) -> LedgerEntry | Record:
            name = f"{type(value).__name__} of {value.file_id}"
            if value.file_id == file_id("b.jpg") and value.revision == 0 and name not in heard:
                heard.append(name)
                platform.ingest.handle("b.jpg")
            written: LedgerEntry | Record = write(value)
            return written

        return put

    catalog = platform.catalog
    catalog.put_entry = after_the_handler(catalog.put_entry)  # type: ignore[method-assign, assignment]  # the handler's timing
    catalog.put = after_the_handler(catalog.put)  # type: ignore[method-assign, assignment]  # same
    moved = platform.library.move("a.jpg", "b.jpg")
    assert heard
    platform.settle()
    assert (moved.file_path, platform.catalog.get(file_id("b.jpg")).status) == ("b.jpg", ProcessingStatus.COMPLETED)
    assert platform.catalog.redirect(file_id("a.jpg")) == file_id("b.jpg")
    assert set(platform.public("b.jpg")) == {"thumbnails", "medium", "webp"}


def test_moving_onto_a_file_that_was_moved_there_is_refused_too(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    added(platform, "c.jpg", TWO)
    platform.library.move("a.jpg", "b.jpg")
    with pytest.raises(Conflict, match="there is a file already"):
        platform.library.move("c.jpg", "b.jpg")
    assert original(platform, "b.jpg") == ONE


def test_moving_a_new_file_of_the_old_name_after_the_first_is_refused_too(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    platform.library.move("a.jpg", "b.jpg")
    platform.settle()
    added(platform, "a.jpg", TWO)
    with pytest.raises(Conflict, match="there is a file already"):
        platform.library.move("a.jpg", "b.jpg")
    assert original(platform, "b.jpg") == ONE
    assert original(platform, "a.jpg") == TWO


def test_a_file_that_came_back_under_its_old_name_does_not_overwrite_where_it_was_moved(
    platform: MemoryPlatform,
) -> None:
    """Found by the property test: whoever deletes the delete marker of a moved file has two files."""
    added(platform, "a.jpg", ONE)
    platform.library.move("a.jpg", "b.jpg")
    platform.library.edit("b.jpg", Edit(title="mine"))
    platform.settle()
    marker = platform.library.versions("a.jpg")[0]
    assert marker.is_delete_marker
    platform.clock.advance(1)
    platform.store.delete_version(BucketRole.PRIMARY, "a.jpg", marker.version_id)
    platform.settle()
    with pytest.raises(Conflict, match="there is a file already"):
        platform.library.move("a.jpg", "b.jpg")
    assert platform.library.record("b.jpg").title == "mine"


def test_a_move_that_was_cut_off_before_the_record_followed_is_finished_by_repeating_it(
    platform: MemoryPlatform,
) -> None:
    """As on aws, where nothing commits together: the versions were copied, and their events were handled."""
    added(platform, "a.jpg", ONE)
    platform.library.edit("a.jpg", Edit(title="mine"))
    platform.library._copy_versions("a.jpg", "b.jpg")
    platform.settle()
    record = platform.library.move("a.jpg", "b.jpg")
    platform.settle()
    assert (record.title, platform.library.record("b.jpg").status) == ("mine", ProcessingStatus.COMPLETED)
    assert platform.public("b.jpg")["webp"] == b"webp of " + ONE
    with pytest.raises(NotFound, match="moved to"):
        platform.library.record("a.jpg")


def test_moving_there_and_back_is_the_same_file_again(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    platform.library.edit("a.jpg", Edit(add_tags=frozenset({"sea"})))
    platform.library.move("a.jpg", "b.jpg")
    platform.settle()
    platform.library.move("b.jpg", "a.jpg")
    platform.settle()
    record = platform.library.record("a.jpg")
    assert (record.tags, record.status) == (("sea",), ProcessingStatus.COMPLETED)
    assert original(platform, "a.jpg") == ONE
    assert platform.public("a.jpg")["webp"] == b"webp of " + ONE
    with pytest.raises(NotFound, match=r"moved to a\.jpg"):
        platform.library.record("b.jpg")


def test_a_moved_file_is_not_brought_back_under_its_old_name(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    platform.library.move("a.jpg", "b.jpg")
    platform.settle()
    with pytest.raises(NotFound, match=r"moved to b\.jpg"):
        platform.library.undelete("a.jpg")
    platform.settle()
    with pytest.raises(NotFound, match=r"moved to b\.jpg"):
        platform.library.record("a.jpg")


def test_a_file_that_is_being_processed_can_be_moved_and_is_processed_where_it_is_then(
    platform: MemoryPlatform,
) -> None:
    platform.add("a.jpg", ONE)
    platform.take_in()
    platform.processor.meanwhile = lambda: platform.library.move("a.jpg", "b.jpg")
    platform.work()
    platform.settle()
    record = platform.library.record("b.jpg")
    assert record.status is ProcessingStatus.COMPLETED
    assert platform.public("b.jpg")["webp"] == b"webp of " + ONE
    assert platform.public("a.jpg") == {}
    with pytest.raises(NotFound, match="moved to"):
        platform.library.record("a.jpg")


def test_an_old_version_that_is_being_processed_during_a_move_is_not_left_half_done(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.take_in()

    def replace_and_move() -> None:
        platform.add("a.jpg", TWO)
        platform.take_in()
        platform.library.move("a.jpg", "b.jpg")

    platform.processor.meanwhile = replace_and_move
    platform.work()
    platform.settle()
    statuses = [platform.library.entry("b.jpg", v.version_id).status for v in platform.library.versions("b.jpg")]
    assert statuses == [ProcessingStatus.COMPLETED, ProcessingStatus.SUPERSEDED]


def test_moving_is_refused_for_what_is_not_there_and_onto_itself(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg")
    with pytest.raises(InvalidRequest, match="same key"):
        platform.library.move("a.jpg", "a.jpg")
    with pytest.raises(NotFound):
        platform.library.move("nothing.jpg", "b.jpg")
    platform.library.remove("a.jpg")
    with pytest.raises(NotFound, match="removed"):
        platform.library.move("a.jpg", "b.jpg")


# -- describing ------------------------------------------------------------------------------------------------


def test_what_a_person_wrote_is_never_overwritten_by_what_a_file_brings(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    assert platform.library.record("a.jpg").title == "from the file"
    platform.library.edit("a.jpg", Edit(title="mine"))
    added(platform, "a.jpg", TWO)
    assert platform.library.record("a.jpg").title == "mine"


def test_an_empty_text_clears_a_field_and_it_stays_cleared(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    assert platform.library.edit("a.jpg", Edit(title="")).title is None
    added(platform, "a.jpg", TWO)
    assert platform.library.record("a.jpg").title is None


@pytest.mark.parametrize("tag", ["", "a,b", "line\nbreak", "x" * 101])
def test_a_tag_that_could_not_be_listed_is_refused(platform: MemoryPlatform, tag: str) -> None:
    added(platform, "a.jpg")
    with pytest.raises(InvalidRequest):
        platform.library.edit("a.jpg", Edit(add_tags=frozenset({tag})))


def test_too_many_tags_are_refused_and_none_is_added(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg")
    with pytest.raises(InvalidRequest, match=str(TAG_LIMIT)):
        platform.library.edit("a.jpg", Edit(add_tags=frozenset(str(number) for number in range(TAG_LIMIT + 1))))
    assert platform.library.record("a.jpg").tags == ()


# -- processing again ------------------------------------------------------------------------------------------


def test_a_failed_execution_is_retried_under_the_next_name(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", jpeg("broken"))
    (failed,) = platform.engine.list().executions
    again = platform.library.retry(failed.name)
    platform.settle()
    assert again == f"{failed.name}-r1"
    assert platform.engine.get(again).status is ExecutionStatus.FAILED
    assert list(platform.library.failed()) == ["a.jpg"]


def test_what_has_not_failed_is_not_retried(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.take_in()
    (execution,) = platform.engine.list().executions
    with pytest.raises(Conflict, match="not ended"):
        platform.library.retry(execution.name)
    platform.work()
    with pytest.raises(Conflict, match="succeeded"):
        platform.library.retry(execution.name)


def test_a_cancelled_execution_leaves_a_failed_version_that_can_be_retried(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.take_in()
    (execution,) = platform.engine.list().executions
    platform.library.cancel(execution.name, "wrong picture")
    platform.settle()
    record = platform.library.record("a.jpg")
    assert (record.status, record.error_code) == (ProcessingStatus.FAILED, ErrorCode.CANCELLED)
    assert "wrong picture" in (record.error or "")
    platform.library.retry(execution.name)
    platform.settle()
    assert platform.library.record("a.jpg").status is ProcessingStatus.COMPLETED


def test_cancelling_in_the_middle_of_a_step_discards_what_it_made(platform: MemoryPlatform) -> None:
    platform.add("a.jpg", ONE)
    platform.take_in()
    (execution,) = platform.engine.list().executions
    platform.processor.meanwhile = lambda: platform.library.cancel(execution.name, "stop")
    platform.work()
    assert platform.library.record("a.jpg").status is ProcessingStatus.FAILED
    assert platform.public("a.jpg") == {}


def test_what_an_older_recipe_made_is_outdated_until_it_was_made_anew(platform: MemoryPlatform) -> None:
    version_id = added(platform, "a.jpg")
    added(platform, "b.txt", b"words")
    entry = platform.library.entry("a.jpg", version_id)
    platform.catalog.put_entry(replace(entry, recipe="image-0"))
    assert list(platform.library.outdated()) == ["a.jpg"]
    platform.library.reprocess("a.jpg")
    platform.settle()
    assert list(platform.library.outdated()) == []
    assert platform.library.entry("a.jpg", version_id).recipe == recipe(entry.kind)


def test_what_has_no_processor_is_not_outdated_for_ever(platform: MemoryPlatform) -> None:
    added(platform, "paper.pdf", b"%PDF-1.7\n%%EOF\n")
    assert platform.library.record("paper.pdf").kind is MediaKind.DOCUMENT
    assert list(platform.library.outdated()) == []


def test_a_rendition_that_does_not_exist_is_refused_with_those_that_do(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg")
    with pytest.raises(NotFound, match="thumbnail, medium, webp"):
        platform.library.open("a.jpg", rendition="4k")
    with pytest.raises(NotFound):
        platform.library.versions("nothing.jpg")


def test_a_key_with_dots_slashes_and_case_is_data_and_not_a_path(platform: MemoryPlatform) -> None:
    for key in ("../etc/passwd", "/abs.jpg", "a//b.jpg", "A.JPG", "a.jpg", "v1.2/photo", "..", "processed/x.jpg"):
        added(platform, key, jpeg(key))
    assert original(platform, "../etc/passwd") == jpeg("../etc/passwd")
    keys = [version.key for version in platform.store.list(BucketRole.PRIMARY).objects]
    assert len(keys) == len(set(keys)) == 8


# -- older versions, and edits that say what they have seen ----------------------------------------------------------


def test_an_older_version_becomes_current_again_as_a_new_one(platform: MemoryPlatform) -> None:
    first = added(platform, "a.jpg", ONE)
    second = added(platform, "a.jpg", TWO)
    restored = platform.library.restore("a.jpg", first)
    assert original(platform, "a.jpg") == ONE
    assert restored.version_id not in {first, second}
    assert original(platform, "a.jpg", second) == TWO
    assert platform.library.restore("a.jpg", restored.version_id).version_id == restored.version_id
    assert len(platform.library.versions("a.jpg")) == 3, "what is current is not copied"


def test_a_version_that_there_is_not_and_a_removed_file_are_not_restored(platform: MemoryPlatform) -> None:
    first = added(platform, "a.jpg")
    with pytest.raises(NotFound, match="there is no version nine"):
        platform.library.restore("a.jpg", "nine")
    platform.library.remove("a.jpg")
    with pytest.raises(NotFound, match="it was removed"):
        platform.library.restore("a.jpg", first)


def test_a_restored_version_of_a_moved_file_is_no_trace_of_the_move(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg", ONE)
    added(platform, "a.jpg", TWO)
    platform.library.move("a.jpg", "b.jpg")
    oldest = platform.library.versions("b.jpg")[-1].version_id
    restored = platform.library.restore("b.jpg", oldest)
    head = platform.store.head(BucketRole.PRIMARY, "b.jpg", version_id=restored.version_id)
    assert dict(head.user_metadata) == {}


def test_an_edit_that_names_a_revision_loses_against_what_came_between(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg")
    seen = platform.library.record("a.jpg")
    platform.library.edit("a.jpg", Edit(title="first"), revision=seen.revision)
    with pytest.raises(Conflict, match="somebody else changed it"):
        platform.library.edit("a.jpg", Edit(title="second"), revision=seen.revision)
    assert platform.library.record("a.jpg").title == "first"


def test_the_end_of_rights_can_be_taken_away(platform: MemoryPlatform) -> None:
    added(platform, "a.jpg")
    until = platform.clock.now()
    assert platform.library.edit("a.jpg", Edit(rights_until=until)).rights_until == until
    cleared = platform.library.edit("a.jpg", Edit(clears_rights=True))
    assert cleared.rights_until is None
    assert "rights_until" in cleared.edited_fields
