"""Links for people without an account: those that show files, and those that take some in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from starlette.responses import Response

from contentplatform.accounts.port import Scope
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.media import file_name
from contentplatform.sharing.port import Share, ShareDraft, Target, TargetKind, UploadLink, UploadLinkDraft
from contentplatform.web.access import check_target, live_record_of
from contentplatform.web.console.library import collections_of
from contentplatform.web.console.visit import Visit, needed

LINKS: Final = "/settings/links"
_PAGE_SIZE: Final = 100
_DAYS_LIMIT: Final = 3_650
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Shown:
    """A share, in a list."""

    share: Share
    what: str
    url: str
    """Of what it shows, for whoever is signed in; empty: it is gone."""
    state: str
    is_open: bool


def show_links(visit: Visit) -> Response:
    """Every link of theirs, or for an administrator everybody's."""
    return _links_page(visit)


def _links_page(visit: Visit, *, secret_url: str = "", secret_of: str = "") -> Response:
    shares = visit.platform.shares
    found = shares.shares(created_by=_whose(visit), cursor=visit.asked("cursor") or None, limit=_PAGE_SIZE)
    taking = shares.upload_links(created_by=_whose(visit), limit=_PAGE_SIZE)
    return visit.page(
        "links.html",
        shares=[shown_share(visit, each) for each in found.shares],
        next_url=f"{LINKS}?cursor={found.cursor}" if found.cursor else "",
        upload_links=[(each, _state(each, visit.now)) for each in taking.links],
        secret_url=secret_url,
        secret_of=secret_of,
    )


def _whose(visit: Visit) -> str | None:
    return None if visit.principal.may(Scope.ADMIN) else visit.principal.id


def shares_of(visit: Visit, target: Target) -> list[Shown]:
    """The shares that show one file or collection, those first that work."""
    found = visit.platform.shares.shares(created_by=_whose(visit), target=target, limit=20).shares
    return sorted((shown_share(visit, each) for each in found), key=lambda each: not each.is_open)


def shown_share(visit: Visit, share: Share) -> Shown:
    """A share as a list shows it."""
    what, url = _named(visit, share.target)
    return Shown(share, share.title or what, url, _state(share, visit.now), share.is_open(visit.now))


def _named(visit: Visit, target: Target) -> tuple[str, str]:
    if target.kind is TargetKind.FOLDER:
        return f"{target.name}/", f"/library?folder={quote(target.name)}"
    try:
        if target.kind is TargetKind.COLLECTION:
            return collections_of(visit).get(target.name).name, f"/collections/{target.name}"
        record = live_record_of(visit.platform, visit.principal, target.name)
    except NotFound:
        return "something that is gone", ""
    return file_name(record.file_path), f"/files/{record.file_id}"


def _state(link: Share | UploadLink, now: datetime) -> str:
    if link.revoked_at is not None:
        return "Revoked"
    if link.is_suspended:
        return "Suspended"
    return "Open" if link.is_open(now) else "Over"


def share(visit: Visit) -> Response:
    """Share a file, a folder or a collection; the link's address is shown this once."""
    target = _target(visit)
    draft = ShareDraft(
        target,
        title=visit.given("title"),
        expires_at=_expiry(visit),
        allow_originals=visit.given("originals") == "1",
        password_hash=visit.platform.passwords.hashed(password) if (password := visit.given("password")) else None,
    )
    secret, made = visit.platform.shares.create_share(draft, visit.principal.id)
    visit.note("share.create", made.id, target=target.kind.value, name=target.name)
    return _links_page(visit, secret_url=_address(visit, f"/s/{secret}"), secret_of=shown_share(visit, made).what)


def _target(visit: Visit) -> Target:
    if name := visit.given("file"):
        return Target(TargetKind.FILE, live_record_of(visit.platform, visit.principal, name).file_id)
    if name := visit.given("collection"):
        if visit.principal.folder:
            raise NotFound("sharing the collection", "there is no such collection for you to share")
        return Target(TargetKind.COLLECTION, collections_of(visit).get(name).collection_id)
    folder = needed(visit, "folder", "what is to be shared")
    return Target(TargetKind.FOLDER, visit.principal.folder_within(folder).rstrip("/"))


def _expiry(visit: Visit) -> datetime | None:
    days = _number(visit, "days")
    if days is None:
        return None
    if days > _DAYS_LIMIT:
        raise InvalidRequest("making a link", f"it can work for {_DAYS_LIMIT} days at most")
    return visit.now + timedelta(days=days)


def _number(visit: Visit, name: str) -> int | None:
    """A whole number above nothing; None where the field is empty."""
    text = visit.given(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text)):
        raise InvalidRequest("reading the form", f"{text[:20]!r} is no whole number above 0")
    return int(text)


def _address(visit: Visit, path: str) -> str:
    """The whole address, as the browser reached us."""
    return f"{visit.request.url.scheme}://{visit.request.url.netloc}{path}"


def revoke(visit: Visit) -> Response:
    """End a share, at once and for good."""
    found = visit.platform.shares.share(visit.given("id"))
    if _whose(visit) not in {None, found.created_by}:
        raise NotFound("looking for the share", "there is no such share")
    visit.platform.shares.revoke_share(found.id)
    visit.note("share.revoke", found.id)
    return visit.back(LINKS, "The link leads nowhere any more.")


# -- links that take files in ---------------------------------------------------------------------------------------


def create_upload_link(visit: Visit) -> Response:
    """Let others upload into a folder, within limits."""
    folder = needed(visit, "folder", "the folder").strip("/")
    check_target(visit.principal, f"{folder}/")
    whole, each = _number(visit, "megabytes"), _number(visit, "file_megabytes")
    draft = UploadLinkDraft(
        folder,
        message=visit.given("message"),
        expires_at=_expiry(visit),
        max_files=_number(visit, "files"),
        max_bytes=whole and whole * _MEGABYTE,
        max_file_bytes=each and each * _MEGABYTE,
    )
    secret, made = visit.platform.shares.create_upload_link(draft, visit.principal.id)
    visit.note("upload_link.create", made.id, folder=made.folder)
    return _links_page(visit, secret_url=_address(visit, f"/u/{secret}"), secret_of=f"uploads into {made.folder}/")


def revoke_upload_link(visit: Visit) -> Response:
    """End an upload link."""
    found = visit.platform.shares.upload_link(visit.given("id"))
    if _whose(visit) not in {None, found.created_by}:
        raise NotFound("looking for the upload link", "there is no such upload link")
    visit.platform.shares.revoke_upload_link(found.id)
    visit.note("upload_link.revoke", found.id)
    return visit.back(LINKS, "The link takes no files any more.")
