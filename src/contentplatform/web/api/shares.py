"""``/shares``, ``/upload-links``: links for people without an account."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response

from contentplatform.accounts.port import Principal, Scope
from contentplatform.clock import timestamp
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.sharing import port
from contentplatform.sharing.port import ShareDraft, Target, TargetKind, UploadLinkDraft
from contentplatform.web.access import check_target, live_record_of, note
from contentplatform.web.api.route import TOLD_ONCE, failures, new_router
from contentplatform.web.api.serving import APlatform, AShares, Writer
from contentplatform.web.api.shapes import (
    NewShare,
    NewUploadLink,
    Secret,
    Share,
    SharePage,
    ShareQuery,
    ShareWish,
    SmallPageQuery,
    UploadLink,
    UploadLinkPage,
    UploadLinkWish,
)

router = new_router("shares")

LinkId = Annotated[str, Path(pattern="^[0-9A-Za-z_-]{1,64}$", description="A link's identifier; not its secret.")]


@router.get("/shares", operation_id="list_shares", summary="List shares", responses=failures(404))
def list_shares(
    platform: APlatform, shares: AShares, writer: Writer, asked: Annotated[ShareQuery, Query()]
) -> SharePage:
    """A page of shares, open or not, the newest first: yours, or for an administrator everybody's."""
    target = None
    if asked.file_id is not None:
        target = Target(TargetKind.FILE, live_record_of(platform, writer, asked.file_id).file_id)
    page = shares.shares(created_by=_whose(writer), target=target, cursor=asked.cursor, limit=asked.limit)
    return SharePage.model_validate({"items": [_shown_share(each) for each in page.shares], "next": page.cursor})


@router.post(
    "/shares",
    operation_id="create_share",
    summary="Share files",
    status_code=201,
    responses=failures(404),
    openapi_extra=TOLD_ONCE,
)
def create_share(platform: APlatform, shares: AShares, writer: Writer, response: Response, wish: ShareWish) -> NewShare:
    """A link to a file, a folder or a collection, for whoever holds it. Its address is told this once."""
    kept = None if wish.password is None else platform.passwords.hashed(wish.password)
    draft = ShareDraft(_target(platform, writer, wish), wish.title, wish.expires_at, wish.allow_originals, kept)
    secret, share = shares.create_share(draft, writer.id)
    note(platform, writer, "share.create", share.id, target=share.target.kind.value, name=share.target.name)
    response.headers["Location"] = f"/api/v1/shares/{share.id}"
    return NewShare.model_validate({**_shown_share(share), "secret": secret, "path": f"/s/{secret}"})


@router.get("/shares/{link_id}", operation_id="get_share", summary="One share", responses=failures(404))
def get_share(shares: AShares, writer: Writer, link_id: LinkId) -> Share:
    """One share, open or not."""
    return Share.model_validate(_shown_share(_own_share(shares, writer, link_id)))


@router.post(
    "/shares/{link_id}/rotate",
    operation_id="rotate_share",
    summary="Another address for a share",
    responses=failures(404),
    openapi_extra=TOLD_ONCE,
)
def rotate_share(platform: APlatform, shares: AShares, writer: Writer, link_id: LinkId) -> Secret:
    """Give a share another address; the one before it is over at once."""
    secret = shares.rotate_share(_own_share(shares, writer, link_id).id)
    note(platform, writer, "share.rotate", link_id)
    return Secret(secret=secret, path=f"/s/{secret}")


@router.delete("/shares/{link_id}", operation_id="revoke_share", summary="Revoke a share", responses=failures(404))
def revoke_share(platform: APlatform, shares: AShares, writer: Writer, link_id: LinkId) -> Share:
    """End a share at once, and for good."""
    share = shares.revoke_share(_own_share(shares, writer, link_id).id)
    note(platform, writer, "share.revoke", link_id)
    return Share.model_validate(_shown_share(share))


@router.get("/upload-links", operation_id="list_upload_links", summary="List upload links", responses=failures())
def list_upload_links(shares: AShares, writer: Writer, asked: Annotated[SmallPageQuery, Query()]) -> UploadLinkPage:
    """A page of upload links, open or not, the newest first: yours, or for an administrator everybody's."""
    page = shares.upload_links(created_by=_whose(writer), cursor=asked.cursor, limit=asked.limit)
    items = [_shown_upload_link(each) for each in page.links]
    return UploadLinkPage.model_validate({"items": items, "next": page.cursor})


@router.post(
    "/upload-links",
    operation_id="create_upload_link",
    summary="Let others upload",
    status_code=201,
    responses=failures(),
    openapi_extra=TOLD_ONCE,
)
def create_upload_link(
    platform: APlatform, shares: AShares, writer: Writer, response: Response, wish: UploadLinkWish
) -> NewUploadLink:
    """A link that takes files into a folder, within limits. Its address is told this once."""
    check_target(writer, f"{wish.folder.strip('/')}/")
    draft = UploadLinkDraft(
        wish.folder,
        wish.message,
        wish.expires_at,
        wish.max_files,
        wish.max_bytes,
        wish.max_file_bytes,
        frozenset(wish.kinds),
    )
    secret, link = shares.create_upload_link(draft, writer.id)
    note(platform, writer, "upload_link.create", link.id, folder=link.folder)
    response.headers["Location"] = f"/api/v1/upload-links/{link.id}"
    return NewUploadLink.model_validate({**_shown_upload_link(link), "secret": secret, "path": f"/u/{secret}"})


@router.get(
    "/upload-links/{link_id}", operation_id="get_upload_link", summary="One upload link", responses=failures(404)
)
def get_upload_link(shares: AShares, writer: Writer, link_id: LinkId) -> UploadLink:
    """One upload link, open or not, and what came through it."""
    return UploadLink.model_validate(_shown_upload_link(_own_upload_link(shares, writer, link_id)))


@router.post(
    "/upload-links/{link_id}/rotate",
    operation_id="rotate_upload_link",
    summary="Another address for an upload link",
    responses=failures(404),
    openapi_extra=TOLD_ONCE,
)
def rotate_upload_link(platform: APlatform, shares: AShares, writer: Writer, link_id: LinkId) -> Secret:
    """Give an upload link another address; the one before it is over at once."""
    secret = shares.rotate_upload_link(_own_upload_link(shares, writer, link_id).id)
    note(platform, writer, "upload_link.rotate", link_id)
    return Secret(secret=secret, path=f"/u/{secret}")


@router.delete(
    "/upload-links/{link_id}",
    operation_id="revoke_upload_link",
    summary="Revoke an upload link",
    responses=failures(404),
)
def revoke_upload_link(platform: APlatform, shares: AShares, writer: Writer, link_id: LinkId) -> UploadLink:
    """End an upload link at once, and for good; what is on its way can't be finished any more."""
    link = shares.revoke_upload_link(_own_upload_link(shares, writer, link_id).id)
    note(platform, writer, "upload_link.revoke", link_id)
    return UploadLink.model_validate(_shown_upload_link(link))


# -- parts ---------------------------------------------------------------------------------------------------------


def _target(platform: APlatform, writer: Principal, wish: ShareWish) -> Target:
    given = {TargetKind.FILE: wish.file_id, TargetKind.FOLDER: wish.folder, TargetKind.COLLECTION: wish.collection_id}
    named = {kind: name for kind, name in given.items() if name is not None}
    if len(named) != 1:
        raise InvalidRequest("sharing files", "one of file_id, folder and collection_id has to be given")
    [(kind, name)] = named.items()
    if kind is TargetKind.FILE:
        return Target(kind, live_record_of(platform, writer, name).file_id)
    if kind is TargetKind.FOLDER:
        return Target(kind, writer.folder_within(name).rstrip("/"))
    collections = getattr(platform, "collections", None)
    if collections is None or writer.folder:
        raise NotFound(f"sharing the collection {name}", "there is no such collection for you to share")
    return Target(kind, collections.get(name).collection_id)


def _whose(principal: Principal) -> str | None:
    return None if principal.may(Scope.ADMIN) else principal.id


def _own_share(shares: AShares, principal: Principal, link_id: str) -> port.Share:
    found = shares.share(link_id)
    if _whose(principal) not in {None, found.created_by}:
        raise NotFound(f"looking for the share {link_id}", "there is no such share")
    return found


def _own_upload_link(shares: AShares, principal: Principal, link_id: str) -> port.UploadLink:
    found = shares.upload_link(link_id)
    if _whose(principal) not in {None, found.created_by}:
        raise NotFound(f"looking for the upload link {link_id}", "there is no such upload link")
    return found


def _shown_share(share: port.Share) -> dict[str, Any]:
    return {
        "id": share.id,
        "target": share.target.kind.value,
        "name": share.target.name,
        "created_by": share.created_by,
        "created_at": timestamp(share.created_at),
        "expires_at": timestamp(share.expires_at) if share.expires_at else None,
        "allow_originals": share.allow_originals,
        "title": share.title,
        "has_password": share.password_hash is not None,
        "revoked_at": timestamp(share.revoked_at) if share.revoked_at else None,
        "suspended": share.is_suspended,
        "views": share.views,
        "last_used_at": timestamp(share.last_used_at) if share.last_used_at else None,
    }


def _shown_upload_link(link: port.UploadLink) -> dict[str, Any]:
    return {
        "id": link.id,
        "folder": link.folder,
        "created_by": link.created_by,
        "created_at": timestamp(link.created_at),
        "expires_at": timestamp(link.expires_at) if link.expires_at else None,
        "message": link.message,
        "max_files": link.max_files,
        "max_bytes": link.max_bytes,
        "max_file_bytes": link.max_file_bytes,
        "kinds": sorted(link.kinds),
        "revoked_at": timestamp(link.revoked_at) if link.revoked_at else None,
        "suspended": link.is_suspended,
        "used_files": link.used_files,
        "used_bytes": link.used_bytes,
    }
