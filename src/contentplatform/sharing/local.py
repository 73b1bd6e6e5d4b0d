"""Shares and upload links in the data folder's database.

What a link has used is counted from its reservations in the transaction that makes another, so no two of them can
share the same room. A reservation that ended by itself leaves its row, which the next one for its key takes away.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Connection, Database, Row, Schema, Transaction
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.media import MediaKind
from contentplatform.sharing.port import (
    LINK_PAGE_SIZE,
    SECRET_LIMIT,
    LetsIn,
    NewSecret,
    Reservation,
    Share,
    ShareDraft,
    SharePage,
    Shares,
    Target,
    TargetKind,
    UploadLink,
    UploadLinkDraft,
    UploadLinkPage,
    candidate_keys,
    check_page,
    check_room,
    check_share,
    check_upload_link,
    digest_of,
    is_suspended,
    new_secret,
)

__all__ = ["SCHEMA", "LocalShares"]

SCHEMA: Final = Schema(
    room="sharing",
    migrations=(
        """
        CREATE TABLE shares (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            secret_sha256 TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            target TEXT NOT NULL,
            created_by TEXT NOT NULL,
            created_at TEXT NOT NULL,
            expires_at TEXT,
            allow_originals INTEGER NOT NULL,
            title TEXT NOT NULL,
            password_hash TEXT,
            revoked_at TEXT,
            views INTEGER NOT NULL DEFAULT 0,
            last_used_at TEXT
        ) STRICT;
        CREATE INDEX shares_by_creator ON shares (created_by, sequence);
        CREATE INDEX shares_by_target ON shares (kind, target, sequence);

        CREATE TABLE upload_links (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            secret_sha256 TEXT NOT NULL UNIQUE,
            folder TEXT NOT NULL,
            created_by TEXT NOT NULL,
            created_at TEXT NOT NULL,
            expires_at TEXT,
            message TEXT NOT NULL,
            max_files INTEGER,
            max_bytes INTEGER,
            max_file_bytes INTEGER,
            kinds TEXT NOT NULL,              -- a JSON list, sorted
            revoked_at TEXT
        ) STRICT;
        CREATE INDEX upload_links_by_creator ON upload_links (created_by, sequence);

        CREATE TABLE upload_link_files (
            link_id TEXT NOT NULL REFERENCES upload_links (id),
            upload_id TEXT NOT NULL,
            key TEXT NOT NULL UNIQUE,
            size_bytes INTEGER NOT NULL,
            held_until TEXT,                  -- NULL: the file came
            PRIMARY KEY (link_id, upload_id)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
)
_CURSOR: Final = re.compile(r"before-([0-9]{1,18})")
_SHARE: Final = (
    "SELECT sequence, id, kind, target, created_by, created_at, expires_at, allow_originals, title, password_hash,"
    " revoked_at, views, last_used_at FROM shares"
)
_LINK: Final = (
    "SELECT sequence, id, folder, created_by, created_at, expires_at, message, max_files, max_bytes, max_file_bytes,"
    " kinds, revoked_at FROM upload_links"
)
_RESERVATION: Final = "SELECT link_id, upload_id, key, size_bytes, held_until FROM upload_link_files"
_COUNTS: Final = "(held_until IS NULL OR held_until > ?)"


class LocalShares(Shares):
    """Joins the unit of work that is open.

    Args:
        database: with the tables of this room.
        clock: when links end.
        ids: names links.
        lets_in: tells whose links work; may ask the same database.
        secret: where secrets come from.
    """

    def __init__(
        self, database: Database, clock: Clock, ids: IdSource, *, lets_in: LetsIn, secret: NewSecret = new_secret
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._lets_in = lets_in
        self._secret = secret

    # -- shares ----------------------------------------------------------------------------------------------

    def create_share(self, draft: ShareDraft, created_by: str) -> tuple[str, Share]:
        now = self._clock.now()
        check_share(draft, now)
        secret, share_id = self._secret(), self._ids.new_id()
        values = {
            "id": share_id,
            "secret_sha256": digest_of(secret),
            "kind": draft.target.kind.value,
            "target": draft.target.name,
            "created_by": created_by,
            "created_at": timestamp(now),
            "expires_at": _written(draft.expires_at),
            "allow_originals": int(draft.allow_originals),
            "title": draft.title,
            "password_hash": draft.password_hash,
        }
        self._database.write(lambda unit: _insert(unit, "shares", values))
        return secret, self.share(share_id)

    def open_share(self, secret: str) -> Share | None:
        if len(secret) > SECRET_LIMIT:
            return None
        with self._database.read() as view:
            row = view.row(f"{_SHARE} WHERE secret_sha256 = ?", (digest_of(secret),))
        share = None if row is None else self._share(row)
        return share if share is not None and share.is_open(self._clock.now()) else None

    def note_view(self, share_id: str) -> None:
        values = (timestamp(self._clock.now()), share_id)
        statement = "UPDATE shares SET views = views + 1, last_used_at = ? WHERE id = ?"
        self._database.write(lambda unit: unit.run(statement, values))

    def share(self, share_id: str) -> Share:
        with self._database.read() as view:
            row = view.row(f"{_SHARE} WHERE id = ?", (share_id,))
        if row is None:
            raise _missing(share_id)
        return self._share(row)

    def shares(
        self,
        *,
        created_by: str | None = None,
        target: Target | None = None,
        cursor: str | None = None,
        limit: int = LINK_PAGE_SIZE,
    ) -> SharePage:
        wanted: dict[str, Any] = {} if created_by is None else {"created_by": created_by}
        if target is not None:
            wanted |= {"kind": target.kind.value, "target": target.name}
        rows, following = self._page(_SHARE, wanted, cursor, limit)
        return SharePage(tuple(self._share(row) for row in rows), following)

    def rotate_share(self, share_id: str) -> str:
        return self._rotate("shares", share_id)

    def revoke_share(self, share_id: str) -> Share:
        self._revoke("shares", share_id)
        return self.share(share_id)

    # -- upload links ----------------------------------------------------------------------------------------

    def create_upload_link(self, draft: UploadLinkDraft, created_by: str) -> tuple[str, UploadLink]:
        now = self._clock.now()
        check_upload_link(draft, now)
        secret, link_id = self._secret(), self._ids.new_id()
        values = {
            "id": link_id,
            "secret_sha256": digest_of(secret),
            "folder": draft.folder,
            "created_by": created_by,
            "created_at": timestamp(now),
            "expires_at": _written(draft.expires_at),
            "message": draft.message,
            "max_files": draft.max_files,
            "max_bytes": draft.max_bytes,
            "max_file_bytes": draft.max_file_bytes,
            "kinds": json.dumps(sorted(draft.kinds)),
        }
        self._database.write(lambda unit: _insert(unit, "upload_links", values))
        return secret, self.upload_link(link_id)

    def open_upload_link(self, secret: str) -> UploadLink | None:
        if len(secret) > SECRET_LIMIT:
            return None
        now = self._clock.now()
        with self._database.read() as view:
            row = view.row(f"{_LINK} WHERE secret_sha256 = ?", (digest_of(secret),))
            link = None if row is None else self._link(view, row, now)
        return link if link is not None and link.is_open(now) else None

    def upload_link(self, link_id: str) -> UploadLink:
        with self._database.read() as view:
            return self._find_link(view, link_id, self._clock.now())

    def upload_links(
        self, *, created_by: str | None = None, cursor: str | None = None, limit: int = LINK_PAGE_SIZE
    ) -> UploadLinkPage:
        wanted = {} if created_by is None else {"created_by": created_by}
        rows, following = self._page(_LINK, wanted, cursor, limit)
        with self._database.read() as view:
            return UploadLinkPage(tuple(self._link(view, row, self._clock.now()) for row in rows), following)

    def rotate_upload_link(self, link_id: str) -> str:
        return self._rotate("upload_links", link_id)

    def revoke_upload_link(self, link_id: str) -> UploadLink:
        self._revoke("upload_links", link_id)
        return self.upload_link(link_id)

    # -- limits ----------------------------------------------------------------------------------------------

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
        for key in candidate_keys(self.upload_link(link_id), name):
            if is_taken(key):  # asked outside the unit of work: the store may be far away
                continue
            wanted = Reservation(link_id, upload_id, key, size_bytes or 0, held_until)
            kept = self._database.write(partial(self._reserve, wanted=wanted, size_bytes=size_bytes))
            if kept is not None:
                return kept
        raise Conflict(f"receiving {name[:80]!r}", "too many files have that name", hint="Give it another")

    def _reserve(self, unit: Transaction, wanted: Reservation, size_bytes: int | None) -> Reservation | None:
        """The reservation; None if another has the key."""
        now = self._clock.now()
        there = unit.row(f"{_RESERVATION} WHERE link_id = ? AND upload_id = ?", (wanted.link_id, wanted.upload_id))
        kept = None if there is None else _reservation(there)
        if kept is not None and (kept.held_until is None or kept.held_until > now):
            return kept
        self._forget(unit, wanted.link_id, wanted.upload_id)
        link = self._find_link(unit, wanted.link_id, now)
        _check_open(link, now)
        room = check_room(link, size_bytes)
        unit.run(f"DELETE FROM upload_link_files WHERE key = ? AND NOT {_COUNTS}", (wanted.key, timestamp(now)))
        if unit.row("SELECT 1 FROM upload_link_files WHERE key = ?", (wanted.key,)) is not None:
            return None
        kept = replace(wanted, size_bytes=room)
        values = (kept.link_id, kept.upload_id, kept.key, kept.size_bytes, _written(kept.held_until))
        unit.run("INSERT INTO upload_link_files VALUES (?, ?, ?, ?, ?)", values)
        return kept

    def settle(self, link_id: str, upload_id: str, size_bytes: int) -> Reservation:
        def work(unit: Transaction) -> Reservation:
            now = self._clock.now()
            kept = _find_reservation(unit, link_id, upload_id)
            if kept.held_until is None:
                return kept
            link = self._find_link(unit, link_id, now, without=upload_id)
            _check_open(link, now)
            check_room(link, size_bytes)
            statement = (
                "UPDATE upload_link_files SET size_bytes = ?, held_until = NULL WHERE link_id = ? AND upload_id = ?"
            )
            unit.run(statement, (size_bytes, link_id, upload_id))
            return replace(kept, size_bytes=size_bytes, held_until=None)

        return self._database.write(work)

    def release(self, link_id: str, upload_id: str) -> None:
        self._database.write(lambda unit: self._forget(unit, link_id, upload_id))

    def _forget(self, unit: Transaction, link_id: str, upload_id: str) -> None:
        held = "DELETE FROM upload_link_files WHERE link_id = ? AND upload_id = ? AND held_until IS NOT NULL"
        unit.run(held, (link_id, upload_id))

    def reservation(self, link_id: str, upload_id: str) -> Reservation:
        with self._database.read() as view:
            return _find_reservation(view, link_id, upload_id)

    # -- both ------------------------------------------------------------------------------------------------

    def _page(
        self, select: str, wanted: dict[str, Any], cursor: str | None, limit: int
    ) -> tuple[Sequence[Row], str | None]:
        check_page(limit)
        conditions = [*(f"{name} = ?" for name in wanted), "sequence < ?"]
        statement = f"{select} WHERE {' AND '.join(conditions)} ORDER BY sequence DESC LIMIT ?"
        with self._database.read() as view:
            rows = view.rows(statement, (*wanted.values(), _before(cursor), limit + 1))
        return rows[:limit], f"before-{rows[limit - 1][0]}" if len(rows) > limit else None

    def _share(self, row: Row) -> Share:
        share = _share(row)
        return replace(share, is_suspended=is_suspended(share.created_by, self._lets_in))

    def _find_link(self, view: Connection, link_id: str, now: datetime, without: str = "") -> UploadLink:
        """A link and what it has used, the upload ``without`` not counted."""
        row = view.row(f"{_LINK} WHERE id = ?", (link_id,))
        if row is None:
            raise _missing(link_id)
        return self._link(view, row, now, without)

    def _link(self, view: Connection, row: Row, now: datetime, without: str = "") -> UploadLink:
        link = _link(view, row, now, without)
        return replace(link, is_suspended=is_suspended(link.created_by, self._lets_in))

    def _rotate(self, table: str, link_id: str) -> str:
        secret = self._secret()

        def work(unit: Transaction) -> None:
            if not unit.run(f"UPDATE {table} SET secret_sha256 = ? WHERE id = ?", (digest_of(secret), link_id)):
                raise _missing(link_id)

        self._database.write(work)
        return secret

    def _revoke(self, table: str, link_id: str) -> None:
        values = (timestamp(self._clock.now()), link_id)
        statement = f"UPDATE {table} SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?"

        def work(unit: Transaction) -> None:
            if not unit.run(statement, values):
                raise _missing(link_id)

        self._database.write(work)


def _insert(unit: Transaction, table: str, values: dict[str, Any]) -> None:
    places = ", ".join("?" for _ in values)
    unit.run(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", tuple(values.values()))


def _before(cursor: str | None) -> int:
    if cursor is None:
        return 1 << 62
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest("listing links", "that cursor is not one of ours")
    return int(found[1])


def _missing(link_id: str) -> NotFound:
    return NotFound(f"looking for the link {link_id[:80]}", "there is no such link")


def _check_open(link: UploadLink, now: datetime) -> None:
    if not link.is_open(now):
        raise _missing(link.id)


def _find_reservation(view: Connection, link_id: str, upload_id: str) -> Reservation:
    row = view.row(f"{_RESERVATION} WHERE link_id = ? AND upload_id = ?", (link_id, upload_id))
    if row is None:
        raise NotFound(f"receiving the upload {upload_id[:80]}", "the link knows of no such upload")
    return _reservation(row)


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _read(text: str | None) -> datetime | None:
    return None if text is None else parse_timestamp(text)


def _share(row: Row) -> Share:
    (
        _,
        identifier,
        kind,
        target,
        created_by,
        created_at,
        expires_at,
        originals,
        title,
        password,
        revoked,
        views,
        used,
    ) = row
    return Share(
        id=identifier,
        target=Target(TargetKind(kind), target),
        created_by=created_by,
        created_at=parse_timestamp(created_at),
        expires_at=_read(expires_at),
        allow_originals=bool(originals),
        title=title,
        password_hash=password,
        revoked_at=_read(revoked),
        views=views,
        last_used_at=_read(used),
    )


def _link(view: Connection, row: Row, now: datetime, without: str = "") -> UploadLink:
    _, identifier, folder, created_by, created_at, expires_at, message, files, size, file_size, kinds, revoked_at = row
    statement = (
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM upload_link_files"
        f" WHERE link_id = ? AND upload_id <> ? AND {_COUNTS}"
    )
    used_files, used_bytes = view.row(statement, (identifier, without, timestamp(now))) or (0, 0)
    return UploadLink(
        id=identifier,
        folder=folder,
        created_by=created_by,
        created_at=parse_timestamp(created_at),
        expires_at=_read(expires_at),
        message=message,
        max_files=files,
        max_bytes=size,
        max_file_bytes=file_size,
        kinds=frozenset(MediaKind(kind) for kind in json.loads(kinds)),
        revoked_at=_read(revoked_at),
        used_files=used_files,
        used_bytes=used_bytes,
    )


def _reservation(row: Row) -> Reservation:
    link_id, upload_id, key, size_bytes, held_until = row
    return Reservation(link_id, upload_id, key, size_bytes, _read(held_until))
