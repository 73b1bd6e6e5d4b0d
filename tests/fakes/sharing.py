"""Links in memory that pass the same contract: lists, under one lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from contentplatform.clock import Clock
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.sharing.port import (
    LINK_PAGE_SIZE,
    LetsIn,
    Reservation,
    Share,
    ShareDraft,
    SharePage,
    Shares,
    Target,
    UploadLink,
    UploadLinkDraft,
    UploadLinkPage,
    candidate_keys,
    check_page,
    check_room,
    check_share,
    check_upload_link,
    is_suspended,
)

T = TypeVar("T")


class MemoryShares(Shares):
    """Keeps secrets as they are: ``secrets`` tells each link's, by its id."""

    def __init__(self, clock: Clock, lets_in: LetsIn) -> None:
        self._clock = clock
        self._lets_in = lets_in
        self._lock = threading.RLock()
        self._shares: dict[str, Share] = {}
        self._links: dict[str, UploadLink] = {}
        self._kept: dict[tuple[str, str], Reservation] = {}
        self._made = 0
        self.secrets: dict[str, str] = {}

    def create_share(self, draft: ShareDraft, created_by: str) -> tuple[str, Share]:
        check_share(draft, self._clock.now())
        with self._lock:
            share = Share(
                id=self._new("share"),
                target=draft.target,
                created_by=created_by,
                created_at=self._clock.now(),
                expires_at=draft.expires_at,
                allow_originals=draft.allow_originals,
                title=draft.title,
                password_hash=draft.password_hash,
                revoked_at=None,
                views=0,
                last_used_at=None,
            )
            self._shares[share.id] = share
            return self._draw(share.id), share

    def open_share(self, secret: str) -> Share | None:
        with self._lock:
            found = next((name for name in self._shares if self.secrets[name] == secret), None)
            share = None if found is None else self.share(found)
        return share if share is not None and share.is_open(self._clock.now()) else None

    def note_view(self, share_id: str) -> None:
        with self._lock:
            if share_id in self._shares:
                share = self.share(share_id)
                self._shares[share_id] = replace(share, views=share.views + 1, last_used_at=self._clock.now())

    def share(self, share_id: str) -> Share:
        with self._lock:
            if share_id not in self._shares:
                raise NotFound(f"looking for share {share_id}", "there is none")
            share = self._shares[share_id]
            return replace(share, is_suspended=is_suspended(share.created_by, self._lets_in))

    def shares(
        self,
        *,
        created_by: str | None = None,
        target: Target | None = None,
        cursor: str | None = None,
        limit: int = LINK_PAGE_SIZE,
    ) -> SharePage:
        with self._lock:
            every = [self.share(name) for name in self._shares]
        found = [one for one in every if created_by in {None, one.created_by} and target in {None, one.target}]
        page, following = _page(found, cursor, limit)
        return SharePage(page, following)

    def rotate_share(self, share_id: str) -> str:
        with self._lock:
            return self._draw(self.share(share_id).id)

    def revoke_share(self, share_id: str) -> Share:
        with self._lock:
            share = self.share(share_id)
            self._shares[share_id] = replace(share, revoked_at=share.revoked_at or self._clock.now())
            return self.share(share_id)

    def create_upload_link(self, draft: UploadLinkDraft, created_by: str) -> tuple[str, UploadLink]:
        check_upload_link(draft, self._clock.now())
        with self._lock:
            link = UploadLink(
                id=self._new("link"),
                folder=draft.folder,
                created_by=created_by,
                created_at=self._clock.now(),
                expires_at=draft.expires_at,
                message=draft.message,
                max_files=draft.max_files,
                max_bytes=draft.max_bytes,
                max_file_bytes=draft.max_file_bytes,
                kinds=draft.kinds,
                revoked_at=None,
                used_files=0,
                used_bytes=0,
            )
            self._links[link.id] = link
            return self._draw(link.id), link

    def open_upload_link(self, secret: str) -> UploadLink | None:
        with self._lock:
            found = next((name for name in self._links if self.secrets[name] == secret), None)
            link = None if found is None else self.upload_link(found)
        return link if link is not None and link.is_open(self._clock.now()) else None

    def upload_link(self, link_id: str) -> UploadLink:
        return self._counted(link_id)

    def _counted(self, link_id: str, without: str = "") -> UploadLink:
        with self._lock:
            if link_id not in self._links:
                raise NotFound(f"looking for upload link {link_id}", "there is none")
            counted = [
                kept.size_bytes
                for (link, upload), kept in self._kept.items()
                if link == link_id and upload != without and self._holds(kept)
            ]
            return replace(
                self._links[link_id],
                used_files=len(counted),
                used_bytes=sum(counted),
                is_suspended=is_suspended(self._links[link_id].created_by, self._lets_in),
            )

    def upload_links(
        self, *, created_by: str | None = None, cursor: str | None = None, limit: int = LINK_PAGE_SIZE
    ) -> UploadLinkPage:
        with self._lock:
            every = [self.upload_link(name) for name in self._links]
        page, following = _page([one for one in every if created_by in {None, one.created_by}], cursor, limit)
        return UploadLinkPage(page, following)

    def rotate_upload_link(self, link_id: str) -> str:
        with self._lock:
            return self._draw(self.upload_link(link_id).id)

    def revoke_upload_link(self, link_id: str) -> UploadLink:
        with self._lock:
            link = self.upload_link(link_id)
            self._links[link_id] = replace(link, revoked_at=link.revoked_at or self._clock.now())
            return self.upload_link(link_id)

    def reserve(
        self,
        link_id: str,
        upload_id: str,
        name: str,
        size_bytes: int | None,
        *,
        held_until: datetime,
        is_taken: Callable[[str], bool],
    ) -> Reservation:
        with self._lock:
            there = self._kept.get((link_id, upload_id))
            if there is not None and self._holds(there):
                return there
            link = self._open_one(link_id, without=upload_id)
            keys = [key for key in candidate_keys(link, name) if not is_taken(key)]
            room = check_room(link, size_bytes)
            given = {kept.key for kept in self._kept.values() if self._holds(kept)}
            free = next((key for key in keys if key not in given), None)
            if free is None:
                raise Conflict(f"receiving {name}", "too many files have that name")
            self._kept = {of: kept for of, kept in self._kept.items() if kept.key != free}
            self._kept[link_id, upload_id] = Reservation(link_id, upload_id, free, room, held_until)
            return self._kept[link_id, upload_id]

    def settle(self, link_id: str, upload_id: str, size_bytes: int) -> Reservation:
        with self._lock:
            kept = self.reservation(link_id, upload_id)
            if kept.held_until is None:
                return kept
            check_room(self._open_one(link_id, without=upload_id), size_bytes)
            self._kept[link_id, upload_id] = replace(kept, size_bytes=size_bytes, held_until=None)
            return self._kept[link_id, upload_id]

    def release(self, link_id: str, upload_id: str) -> None:
        with self._lock:
            there = self._kept.get((link_id, upload_id))
            if there is not None and there.held_until is not None:
                del self._kept[link_id, upload_id]

    def reservation(self, link_id: str, upload_id: str) -> Reservation:
        with self._lock:
            if (link_id, upload_id) not in self._kept:
                raise NotFound(f"receiving {upload_id}", "there is no such upload")
            return self._kept[link_id, upload_id]

    def _open_one(self, link_id: str, without: str) -> UploadLink:
        link = self._counted(link_id, without)
        if not link.is_open(self._clock.now()):
            raise NotFound(f"looking for upload link {link_id}", "it is not open")
        return link

    def _holds(self, kept: Reservation) -> bool:
        return kept.held_until is None or kept.held_until > self._clock.now()

    def _new(self, what: str) -> str:
        self._made += 1
        return f"{what}-{self._made}"

    def _draw(self, link_id: str) -> str:
        self._made += 1
        self.secrets[link_id] = f"secret-of-{link_id}-{self._made}"
        return self.secrets[link_id]


def _page(oldest_first: list[T], cursor: str | None, limit: int) -> tuple[tuple[T, ...], str | None]:
    check_page(limit)
    if cursor is not None and not cursor.isdecimal():
        raise InvalidRequest("listing links", "no such page")
    end = len(oldest_first) if cursor is None else int(cursor)
    page = oldest_first[max(0, end - limit) : end][::-1]
    return tuple(page), str(end - limit) if end > limit else None
