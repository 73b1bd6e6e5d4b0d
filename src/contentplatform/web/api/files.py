"""``/files``: find, read and change files."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Header, Query, Response

from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.delivery.conditions import names
from contentplatform.errors import Conflict
from contentplatform.ingest.library import Edit
from contentplatform.media import ProcessingStatus
from contentplatform.web import problems
from contentplatform.web.access import (
    check_private,
    check_target,
    live_record_of,
    note,
    record_by_key,
    record_of,
    shown,
    within,
)
from contentplatform.web.api.route import ETAG, NOT_MODIFIED, failures, new_router
from contentplatform.web.api.serving import APlatform, FileIdInPath, Reader, Writer
from contentplatform.web.api.shapes import File, FileEdit, FileFilter, FilePage, FileQuery, Key, Move, Started, TagEdit

router = new_router("files")

Private = Annotated[bool, Query(description="With places and serial numbers; editors and administrators only.")]
IfMatch = Annotated[str | None, Header(description="The ETag of the state that you have seen, or `*`.")]
IfNoneMatch = Annotated[str | None, Header(description="The ETag of the state that you have.")]
_CLEARED: Final = ("title", "description", "credit")


@router.get("/files", operation_id="list_files", summary="List and search files", responses=failures(404))
def list_files(platform: APlatform, reader: Reader, asked: Annotated[FileQuery, Query()]) -> FilePage:
    """A page of files that match, the newest upload first. A search for words may lag up to a second behind."""
    query = within(reader, search_query(asked))
    page = platform.catalog.search(query, cursor=asked.cursor, limit=asked.limit)
    items = [shown(platform, record) for record in page.records]
    return FilePage.model_validate({"items": items, "next": page.cursor})


@router.get(
    "/files/by-key", operation_id="get_file_by_key", summary="The file under a key", responses=failures(404) | ETAG
)
def get_file_by_key(
    platform: APlatform,
    reader: Reader,
    response: Response,
    key: Annotated[Key, Query()],
    *,
    private: Private = False,
) -> File:
    """A file by its key, deleted or not."""
    record = record_by_key(platform, reader, key)
    return _answer(platform, record, response, private=check_private(reader, private=private))


@router.get(
    "/files/{file_id:fileid}",
    operation_id="get_file",
    summary="One file",
    response_model=File,
    responses=failures(404) | ETAG | NOT_MODIFIED,
)
def get_file(
    platform: APlatform,
    reader: Reader,
    response: Response,
    file_id: FileIdInPath,
    if_none_match: IfNoneMatch = None,
    *,
    private: Private = False,
) -> File | Response:
    """A file, deleted or not; a moved file's former identifier leads to it."""
    record = record_of(platform, reader, file_id)
    if if_none_match is not None and names(if_none_match, etag_of(record), weakly=True):
        return Response(None, 304, {"ETag": f'"{etag_of(record)}"'})
    return _answer(platform, record, response, private=check_private(reader, private=private))


@router.patch(
    "/files/{file_id:fileid}",
    operation_id="edit_file",
    summary="Describe a file",
    responses=failures(404, 409, 412, 428) | ETAG,
)
def edit_file(
    platform: APlatform,
    writer: Writer,
    response: Response,
    file_id: FileIdInPath,
    change: FileEdit,
    if_match: IfMatch = None,
) -> File:
    """Change what people say of a file, and only if nobody else did meanwhile. Null clears a field."""
    record = live_record_of(platform, writer, file_id)
    revision = seen_revision(record, if_match)
    try:
        changed = platform.library.edit(record.file_path, edit_of(change), revision=revision)
    except Conflict as error:
        raise problems.Refusal(problems.PRECONDITION_FAILED, error.why, hint=error.hint) from error
    note(platform, writer, "file.edit", record.file_path, fields=sorted(change.model_fields_set))
    return _answer(platform, changed, response)


@router.post(
    "/files/{file_id:fileid}/tags", operation_id="tag_file", summary="Tag a file", responses=failures(404) | ETAG
)
def tag_file(platform: APlatform, writer: Writer, response: Response, file_id: FileIdInPath, change: TagEdit) -> File:
    """Add tags and take tags away, whatever others change meanwhile."""
    record = live_record_of(platform, writer, file_id)
    edit = Edit(add_tags=frozenset(change.add), remove_tags=frozenset(change.remove))
    changed = platform.library.edit(record.file_path, edit)
    note(platform, writer, "file.tag", record.file_path)
    return _answer(platform, changed, response)


@router.post(
    "/files/{file_id:fileid}/move", operation_id="move_file", summary="Move a file", responses=failures(404, 409)
)
def move_file(platform: APlatform, writer: Writer, response: Response, file_id: FileIdInPath, where: Move) -> File:
    """Give a file another key: tags, versions, renditions and history come along; its file_id is another then."""
    record = live_record_of(platform, writer, file_id)
    check_target(writer, where.key)
    moved = platform.library.move(record.file_path, where.key)
    note(platform, writer, "file.move", record.file_path, to=where.key)
    return _answer(platform, moved, response)


@router.delete(
    "/files/{file_id:fileid}",
    operation_id="delete_file",
    summary="Delete a file",
    status_code=204,
    responses=failures(404, 412),
)
def delete_file(platform: APlatform, writer: Writer, file_id: FileIdInPath, if_match: IfMatch = None) -> None:
    """Hide a file and take its renditions off; undelete brings everything back."""
    record = live_record_of(platform, writer, file_id)
    if if_match is not None:
        seen_revision(record, if_match)
    platform.library.remove(record.file_path)
    note(platform, writer, "file.delete", record.file_path)


@router.post(
    "/files/{file_id:fileid}/undelete",
    operation_id="undelete_file",
    summary="Bring a file back",
    responses=failures(404),
)
def undelete_file(platform: APlatform, writer: Writer, response: Response, file_id: FileIdInPath) -> File:
    """Bring a deleted file back with its record, tags and renditions; nothing happens to one that is there."""
    record = record_of(platform, writer, file_id)
    back = platform.library.undelete(record.file_path)
    note(platform, writer, "file.undelete", record.file_path)
    return _answer(platform, back, response)


@router.post(
    "/files/{file_id:fileid}/reprocess",
    operation_id="reprocess_file",
    summary="Make the renditions anew",
    status_code=202,
    responses=failures(404, 409),
)
def reprocess_file(platform: APlatform, writer: Writer, file_id: FileIdInPath) -> Started:
    """Process the current version anew, as a new execution."""
    record = live_record_of(platform, writer, file_id)
    started = platform.library.reprocess(record.file_path)
    note(platform, writer, "file.reprocess", record.file_path, execution=started)
    return Started(execution=started)


# -- parts ---------------------------------------------------------------------------------------------------------


def search_query(asked: FileFilter) -> SearchQuery:
    """What was asked for, as the catalog takes it."""
    return SearchQuery(
        text=asked.q,
        kind=asked.kind,
        status=ProcessingStatus(asked.status) if asked.status else None,
        tag=asked.tag,
        folder=asked.folder,
        uploaded_from=asked.uploaded_from,
        uploaded_before=asked.uploaded_before,
        size_from_bytes=asked.size_from,
        size_to_bytes=asked.size_to,
        file_hash=asked.file_hash,
        deleted=asked.deleted,
    )


def edit_of(change: FileEdit) -> Edit:
    """An edit as the library takes it: what was left out stays, and null clears."""
    given = {name: getattr(change, name) or "" for name in _CLEARED if name in change.model_fields_set}
    return Edit(
        **given,
        rights_until=change.rights_until,
        clears_rights="rights_until" in change.model_fields_set and change.rights_until is None,
        add_tags=frozenset(change.add_tags),
        remove_tags=frozenset(change.remove_tags),
    )


def etag_of(record: Record) -> str:
    """The entity tag of a record's state, without quotes."""
    return str(record.revision)


def seen_revision(record: Record, if_match: str | None) -> int | None:
    """The revision that whoever changes it has seen; None for ``*``: whatever is there.

    Raises:
        problems.Refusal: nothing was said of it, or it is another one by now.
    """
    if if_match is None:
        raise problems.Refusal(
            problems.PRECONDITION_REQUIRED,
            "An edit says which state it was made from",
            hint="Send If-Match with the ETag that you got, or *",
        )
    if not names(if_match, etag_of(record), weakly=False):
        raise problems.Refusal(
            problems.PRECONDITION_FAILED, f"{record.file_path} was changed meanwhile", hint="Look at it again"
        )
    return None if if_match.strip() == "*" else record.revision


def _answer(platform: APlatform, record: Record, response: Response, *, private: bool = False) -> File:
    response.headers["ETag"] = f'"{etag_of(record)}"'
    return File.model_validate(shown(platform, record, private=private))
