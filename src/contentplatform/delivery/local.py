"""The edge of the local home: the platform's own server reads the rules, and this tells it what to forget."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.delivery.image_cache import CACHE_FOLDER_NAME, forget_pictures
from contentplatform.delivery.port import (
    INVALIDATION_PAGE_SIZE,
    Edge,
    Invalidation,
    InvalidationPage,
    InvalidationStatus,
    InvalidationSummary,
    check_invalidation,
    check_page,
)
from contentplatform.delivery.rules import LINK_LIMIT_SECONDS, film_stem, path_of, refers_to_others
from contentplatform.delivery.signing import (
    Grant,
    SigningKey,
    check_signed_path,
    decode_keys,
    encode_keys,
    new_key,
    signed_path,
)
from contentplatform.drivers.secret_files import first_secret, replace_secret
from contentplatform.drivers.sqlite import Database, Row, Schema, Transaction
from contentplatform.errors import ConfigurationInvalid, Conflict, InvalidRequest, NotFound

__all__ = ["KEYS_FILE_NAME", "SCHEMA", "LocalEdge"]

SCHEMA: Final = Schema(
    room="delivery",
    migrations=(
        """
        CREATE TABLE invalidations (
            sequence INTEGER PRIMARY KEY,     -- order in which they were asked for
            id TEXT NOT NULL UNIQUE,
            reference TEXT NOT NULL UNIQUE,
            paths TEXT NOT NULL,              -- a JSON list, sorted
            created_at TEXT NOT NULL
        ) STRICT;
        """,
        """
        CREATE TABLE link_epochs (
            subject TEXT PRIMARY KEY,         -- a path, or a film's stem with a star behind it
            epoch INTEGER NOT NULL            -- how often links to it were revoked
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE edge_minutes (
            minute TEXT NOT NULL,             -- as 2030-01-31T23:59Z
            result TEXT NOT NULL,
            status INTEGER NOT NULL,
            requests INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            PRIMARY KEY (minute, result, status)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE edge_access (
            key TEXT PRIMARY KEY,             -- of the original
            day TEXT NOT NULL                 -- the last on which any of its files was asked for, as 2030-01-31
        ) STRICT, WITHOUT ROWID;
        """,
    ),
)
KEYS_FILE_NAME: Final = "link-signing.keys"
_KEPT_KEYS: Final = 2
"""The one that signs, and the one before it, whose links still work."""
_CURSOR: Final = re.compile(r"before-([0-9]{1,18})")
_SELECT: Final = "SELECT sequence, id, reference, paths, created_at FROM invalidations"


class LocalEdge(Edge):
    """Keeps invalidations in the database, joined to the unit of work that is open, and signs with a key file.

    Args:
        database: with the tables of this room.
        folder: the data folder; the key file is made in it when the first link is signed.
        clock: when links expire.
        ids: names the temporary file.
        private_prefix: as for every edge.
        base_url: where the server is reached from outside; empty: links begin with a slash.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        clock: Clock,
        ids: IdSource,
        *,
        private_prefix: str,
        base_url: str = "",
    ) -> None:
        super().__init__(private_prefix)
        self._database = database
        self._folder = folder
        self._clock = clock
        self._ids = ids
        self._base = base_url.rstrip("/")

    # -- invalidations ---------------------------------------------------------------------------------------

    def invalidate(self, paths: Iterable[str], reference: str) -> Invalidation | None:
        wanted = check_invalidation(paths, reference)
        if not wanted:
            return None

        def work(unit: Transaction) -> Invalidation:
            row = unit.row(f"{_SELECT} WHERE reference = ?", (reference,))
            if row is None:
                values = (_id_of(reference), reference, json.dumps(wanted), timestamp(self._clock.now()))
                unit.run("INSERT INTO invalidations (id, reference, paths, created_at) VALUES (?, ?, ?, ?)", values)
                row = unit.row(f"{_SELECT} WHERE reference = ?", (reference,))
            there = _invalidation(row or ())
            if there.paths != wanted:
                raise Conflict(f"invalidating for {reference}", "that reference stands for other paths")
            return there

        return self._database.write(work)

    def invalidation(self, invalidation_id: str) -> Invalidation:
        with self._database.read() as view:
            row = view.row(f"{_SELECT} WHERE id = ?", (invalidation_id,))
        if row is None:
            raise NotFound(f"reading invalidation {invalidation_id}", "there is none of that name")
        return _invalidation(row)

    def invalidations(self, *, cursor: str | None = None, limit: int = INVALIDATION_PAGE_SIZE) -> InvalidationPage:
        check_page(limit)
        before = 2**62
        if cursor is not None:
            found = _CURSOR.fullmatch(cursor)
            if found is None:
                raise InvalidRequest("listing invalidations", "that cursor is not one of ours")
            before = int(found[1])
        with self._database.read() as view:
            rows = view.rows(f"{_SELECT} WHERE sequence < ? ORDER BY sequence DESC LIMIT ?", (before, limit + 1))
        page = rows[:limit]
        summaries = [InvalidationSummary(row[1], InvalidationStatus.COMPLETED, parse_timestamp(row[4])) for row in page]
        return InvalidationPage(tuple(summaries), f"before-{page[-1][0]}" if len(rows) > limit else None)

    def newest_invalidation(self) -> int:
        """The number of the newest invalidation; 0: there was none. Quick enough for an event loop."""
        with self._database.read() as view:
            return int(view.value("SELECT max(sequence) FROM invalidations") or 0)

    def invalidated_since(self, sequence: int) -> tuple[str, ...]:
        """The paths of every invalidation behind the one of this number, oldest first."""
        with self._database.read() as view:
            rows = view.rows("SELECT paths FROM invalidations WHERE sequence > ? ORDER BY sequence", (sequence,))
        return tuple(dict.fromkeys(path for (paths,) in rows for path in json.loads(paths)))

    # -- links -----------------------------------------------------------------------------------------------

    def signed_url(self, key: str, expires_at: datetime, sha256: str) -> str:
        # A playlist is of no use without what it refers to.
        path = self._path(key, sha256)
        return self._granted(Grant(path, int(expires_at.timestamp()), covers_film=refers_to_others(key)))

    def download_url(self, key: str, expires_at: datetime, sha256: str, name: str) -> str:
        """A signed link that saves the file under ``name`` instead of showing it. Raises as ``signed_url``."""
        return self._granted(Grant(self._path(key, sha256), int(expires_at.timestamp()), download=name))

    def keep_images(self, file_id: str, sha256: str) -> None:
        forget_pictures(self._folder / CACHE_FOLDER_NAME, file_id, sha256)

    def _signed(self, path: str, expires_at: datetime) -> str:
        return self._granted(Grant(path, int(expires_at.timestamp())))

    def _granted(self, grant: Grant) -> str:
        now = self._clock.now().timestamp()
        if grant.expires <= now:
            raise InvalidRequest(f"linking to {grant.path}", "the link would be over already")
        if grant.expires > now + LINK_LIMIT_SECONDS:
            raise InvalidRequest(f"linking to {grant.path}", "a link holds for a year at most")
        grant = replace(grant, epoch=self._epoch(grant.subject))
        return self._base_url() + signed_path(grant, self._keys()[0])

    def check_link(self, target: str) -> str:
        """The path of a request's target that carries a valid signature. Raises InvalidRequest."""
        return check_signed_path(target, self._keys(), self._clock.now(), self._epoch).path

    def revoke_links(self, key: str) -> None:
        """End every signed link to a key of the edge that was given out until now; of a film's part, to all of it.

        ``images/`` before the key of an original stands for all pictures of it.
        """
        path = path_of(key)
        stem = film_stem(path)

        def work(unit: Transaction) -> None:
            for subject in (path, f"{stem}*") if stem else (path,):
                unit.run(
                    "INSERT INTO link_epochs VALUES (?, 1) ON CONFLICT (subject) DO UPDATE SET epoch = epoch + 1",
                    (subject,),
                )

        self._database.write(work)

    def _epoch(self, subject: str) -> int:
        with self._database.read() as view:
            return int(view.value("SELECT epoch FROM link_epochs WHERE subject = ?", (subject,)) or 0)

    def rotate_keys(self, random: bytes) -> None:
        """Sign with a new key of these 32 random bytes from now on; links of the one before it work on."""
        kept = (new_key(random), *self._keys())[:_KEPT_KEYS]
        replace_secret(self._folder / KEYS_FILE_NAME, encode_keys(kept), self._ids.new_id())

    def _base_url(self) -> str:
        return self._base

    # -- the key file ----------------------------------------------------------------------------------------

    def _keys(self) -> tuple[SigningKey, ...]:
        """The keys, the one that signs first; made when there are none."""
        path = self._folder / KEYS_FILE_NAME
        try:
            text = path.read_text("ascii")
        except FileNotFoundError:
            text = first_secret(path, encode_keys((new_key(os.urandom(32)),)), self._ids.new_id())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationInvalid(f"reading {KEYS_FILE_NAME}", "the file can't be read") from error
        try:
            return decode_keys(text)
        except InvalidRequest as error:
            raise ConfigurationInvalid(
                f"reading {KEYS_FILE_NAME}", error.why, hint="Remove it: a new key is made, and old links end"
            ) from error


def _id_of(reference: str) -> str:
    return f"I{hashlib.sha256(reference.encode()).hexdigest()[:13].upper()}"


def _invalidation(row: Row) -> Invalidation:
    _, identifier, reference, paths, created_at = row
    return Invalidation(
        id=identifier,
        reference=reference,
        paths=tuple(json.loads(paths)),
        status=InvalidationStatus.COMPLETED,
        created_at=parse_timestamp(created_at),
    )
