"""``/bulk``: one act on many files, with what became of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contentplatform.accounts.port import Principal
from contentplatform.catalog.port import Record
from contentplatform.errors import InvalidRequest, PlatformError
from contentplatform.ingest.library import Edit
from contentplatform.media import file_name
from contentplatform.web import problems
from contentplatform.web.access import check_target, live_record_of, note, record_of
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import APlatform, Writer
from contentplatform.web.api.shapes import BulkAct, BulkOutcome, BulkWish

router = new_router("bulk")


@router.post("/bulk", operation_id="act_in_bulk", summary="One act on many files", responses=failures())
def act_in_bulk(platform: APlatform, writer: Writer, wish: BulkWish) -> BulkOutcome:
    """Tag, move, delete, undelete or reprocess up to 500 files; each succeeds or fails by itself."""
    act = _act_of(platform, writer, wish)
    items = [_outcome(platform, writer, file_id, wish, act) for file_id in dict.fromkeys(wish.file_ids)]
    failed = sum(item["problem"] is not None for item in items)
    return BulkOutcome.model_validate({"items": items, "done": len(items) - failed, "failed": failed})


Act = Callable[[Record], Record | str | None]


def _act_of(platform: APlatform, writer: Principal, wish: BulkWish) -> Act:
    """What is to be done with each. Raises InvalidRequest where something it needs was not given."""
    library = platform.library
    if wish.act is BulkAct.TAG:
        edit = Edit(add_tags=frozenset(wish.add_tags), remove_tags=frozenset(wish.remove_tags))
        if edit == Edit():
            raise InvalidRequest("tagging files", "no tag was given")
        return lambda record: library.edit(record.file_path, edit)
    if wish.act is BulkAct.MOVE:
        if wish.folder is None:
            raise InvalidRequest("moving files", "no folder was given", hint="An empty one is the top")
        folder = f"{wish.folder.strip('/')}/" if wish.folder.strip("/") else ""
        return lambda record: _move(platform, writer, record, folder)
    simple: dict[BulkAct, Act] = {
        BulkAct.DELETE: lambda record: library.remove(record.file_path),
        BulkAct.UNDELETE: lambda record: library.undelete(record.file_path),
        BulkAct.REPROCESS: lambda record: library.reprocess(record.file_path),
    }
    return simple[wish.act]


def _move(platform: APlatform, writer: Principal, record: Record, folder: str) -> Record:
    key = folder + file_name(record.file_path)
    check_target(writer, key)
    return record if key == record.file_path else platform.library.move(record.file_path, key)


def _outcome(platform: APlatform, writer: Principal, file_id: str, wish: BulkWish, act: Act) -> dict[str, Any]:
    found: dict[str, Any] = {"file_id": file_id, "file_path": None, "execution": None, "problem": None}
    try:
        finding = record_of if wish.act is BulkAct.UNDELETE else live_record_of
        record = finding(platform, writer, file_id)
        done = act(record)
        note(platform, writer, f"file.{wish.act}", record.file_path, bulk=True)
    except PlatformError as error:
        return {**found, "problem": problems.of_error(error).document(f"/api/v1/files/{file_id}")}
    if isinstance(done, str):
        return {**found, "file_path": record.file_path, "execution": done}
    now = done or record
    return {**found, "file_id": now.file_id, "file_path": now.file_path}
