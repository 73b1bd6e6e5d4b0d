"""``/collections``: files that people put together, in their order."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Path, Query, Response

from contentplatform.accounts.port import Principal
from contentplatform.catalog import port
from contentplatform.clock import timestamp
from contentplatform.delivery.conditions import names
from contentplatform.errors import Conflict
from contentplatform.web import problems
from contentplatform.web.access import check_own, note, record_of, shown
from contentplatform.web.api.route import ETAG, failures, new_router
from contentplatform.web.api.serving import ACollections, APlatform, FileIdInPath, Reader, Writer
from contentplatform.web.api.shapes import (
    Arrangement,
    Collection,
    CollectionEdit,
    CollectionPage,
    CollectionWish,
    FileIds,
    FilePage,
    PageQuery,
)

router = new_router("collections")

CollectionId = Annotated[str, Path(pattern="^[0-9A-Za-z_-]{1,64}$", description="A collection's identifier.")]
IfMatch = Annotated[str | None, Header(description="The ETag of the state that you have seen, or `*`.")]
CHANGING = failures(404, 412, 428) | ETAG


@router.get("/collections", operation_id="list_collections", summary="List collections", responses=failures())
def list_collections(
    collections: ACollections, _reader: Reader, asked: Annotated[PageQuery, Query()]
) -> CollectionPage:
    """A page of all collections, by name."""
    page = collections.list(cursor=asked.cursor, limit=asked.limit)
    items = [_shown(each) for each in page.collections]
    return CollectionPage.model_validate({"items": items, "next": page.cursor})


@router.post(
    "/collections",
    operation_id="create_collection",
    summary="Make a collection",
    status_code=201,
    responses=failures(),
)
def create_collection(
    platform: APlatform, collections: ACollections, writer: Writer, response: Response, wish: CollectionWish
) -> Collection:
    """An empty collection; several may have the same name."""
    made = collections.create(wish.name, description=wish.description, owner=writer.name)
    note(platform, writer, "collection.create", made.collection_id, name=made.name)
    response.headers["Location"] = f"/api/v1/collections/{made.collection_id}"
    return _answer(made, response)


@router.get(
    "/collections/{collection_id}",
    operation_id="get_collection",
    summary="One collection",
    responses=failures(404) | ETAG,
)
def get_collection(
    collections: ACollections, _reader: Reader, response: Response, collection_id: CollectionId
) -> Collection:
    """A collection, without its files."""
    return _answer(collections.get(collection_id), response)


@router.patch(
    "/collections/{collection_id}", operation_id="edit_collection", summary="Rename a collection", responses=CHANGING
)
def edit_collection(
    platform: APlatform,
    collections: ACollections,
    writer: Writer,
    response: Response,
    collection_id: CollectionId,
    change: CollectionEdit,
    if_match: IfMatch = None,
) -> Collection:
    """Rename it, describe it, choose its cover."""
    revision = _revision(collections, collection_id, if_match, writer)
    given = {name: getattr(change, name) or "" for name in change.model_fields_set}
    try:
        changed = collections.change(collection_id, revision, **given)
    except Conflict as error:
        raise _meanwhile() from error
    note(platform, writer, "collection.edit", collection_id)
    return _answer(changed, response)


@router.delete(
    "/collections/{collection_id}",
    operation_id="delete_collection",
    summary="Delete a collection",
    status_code=204,
    responses=failures(404, 412, 428),
)
def delete_collection(
    platform: APlatform,
    collections: ACollections,
    writer: Writer,
    collection_id: CollectionId,
    if_match: IfMatch = None,
) -> None:
    """Take it away; its files stay where they are."""
    revision = _revision(collections, collection_id, if_match, writer)
    try:
        collections.delete(collection_id, revision)
    except Conflict as error:
        raise _meanwhile() from error
    note(platform, writer, "collection.delete", collection_id)


@router.get(
    "/collections/{collection_id}/files",
    operation_id="list_collection_files",
    summary="The files of a collection",
    responses=failures(404),
)
def list_collection_files(
    platform: APlatform,
    collections: ACollections,
    reader: Reader,
    collection_id: CollectionId,
    asked: Annotated[PageQuery, Query()],
) -> FilePage:
    """A page of its files, in its order; those that don't exist for you are left out of their page."""
    page = collections.files(collection_id, cursor=asked.cursor, limit=asked.limit)
    items = [shown(platform, record) for record in page.records if reader.sees(record.file_path)]
    return FilePage.model_validate({"items": items, "next": page.cursor})


@router.post(
    "/collections/{collection_id}/files",
    operation_id="extend_collection",
    summary="Put files into a collection",
    responses=failures(404) | ETAG,
)
def extend_collection(
    platform: APlatform,
    collections: ACollections,
    writer: Writer,
    response: Response,
    collection_id: CollectionId,
    files: FileIds,
) -> Collection:
    """Put files at its end, in this order; those that are in it already stay where they are."""
    changed = collections.add(collection_id, _seen(platform, writer, files.file_ids))
    note(platform, writer, "collection.extend", collection_id, files=len(files.file_ids))
    return _answer(changed, response)


@router.post(
    "/collections/{collection_id}/files/remove",
    operation_id="shrink_collection",
    summary="Take files out of a collection",
    responses=failures(404) | ETAG,
)
def shrink_collection(
    platform: APlatform,
    collections: ACollections,
    writer: Writer,
    response: Response,
    collection_id: CollectionId,
    files: FileIds,
) -> Collection:
    """Take files out of it; they stay where they are."""
    taken = _seen(platform, writer, files.file_ids) if writer.folder else files.file_ids
    changed = collections.take(collection_id, taken)
    note(platform, writer, "collection.shrink", collection_id, files=len(files.file_ids))
    return _answer(changed, response)


@router.post(
    "/collections/{collection_id}/files/arrange",
    operation_id="arrange_collection",
    summary="Order the files of a collection",
    responses=CHANGING,
)
def arrange_collection(
    platform: APlatform,
    collections: ACollections,
    writer: Writer,
    response: Response,
    collection_id: CollectionId,
    wish: Arrangement,
    if_match: IfMatch = None,
) -> Collection:
    """Put some of its files, in this order, before another of them, or at its end."""
    revision = _revision(collections, collection_id, if_match, writer)
    try:
        changed = collections.arrange(collection_id, wish.file_ids, revision, before=wish.before)
    except Conflict as error:
        raise _meanwhile() from error
    note(platform, writer, "collection.arrange", collection_id)
    return _answer(changed, response)


@router.get(
    "/files/{file_id:fileid}/collections",
    operation_id="list_collections_of_file",
    summary="The collections of a file",
    responses=failures(404),
)
def list_collections_of_file(
    platform: APlatform, collections: ACollections, reader: Reader, file_id: FileIdInPath
) -> CollectionPage:
    """The collections that a file is in, by name."""
    record = record_of(platform, reader, file_id)
    items = [_shown(each) for each in collections.holding(record.file_id)]
    return CollectionPage.model_validate({"items": items, "next": None})


def _seen(platform: APlatform, principal: Principal, file_ids: list[str]) -> list[str]:
    """Those files, each of which exists for whoever asks. Raises NotFound."""
    return [record_of(platform, principal, file_id).file_id for file_id in file_ids]


def _revision(collections: ACollections, collection_id: str, if_match: str | None, principal: Principal) -> int:
    """The revision that whoever changes it has seen. Raises Denied where it is not theirs to change."""
    found = collections.get(collection_id)
    check_own(principal, found.owner)
    stored = found.revision
    if if_match is None:
        hint = "Send If-Match with the ETag that you got, or *"
        raise problems.Refusal(problems.PRECONDITION_REQUIRED, "Say which state you have seen", hint=hint)
    if not names(if_match, str(stored), weakly=False):
        raise _meanwhile()
    return stored


def _meanwhile() -> problems.Refusal:
    return problems.Refusal(problems.PRECONDITION_FAILED, "It was changed meanwhile", hint="Look at it again")


def _answer(collection: port.Collection, response: Response) -> Collection:
    response.headers["ETag"] = f'"{collection.revision}"'
    return Collection.model_validate(_shown(collection))


def _shown(collection: port.Collection) -> dict[str, Any]:
    return {
        "collection_id": collection.collection_id,
        "name": collection.name,
        "description": collection.description,
        "cover": collection.cover,
        "owner": collection.owner,
        "created_at": timestamp(collection.created_at),
        "changed_at": timestamp(collection.changed_at),
        "files": collection.files,
    }
