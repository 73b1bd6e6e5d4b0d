"""Replies in the data folder's database."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final

from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Database, Schema, Transaction
from contentplatform.errors import Conflict
from contentplatform.replies.port import (
    BODY_LIMIT_BYTES,
    KEPT_SECONDS,
    WORK_SECONDS,
    KeyReused,
    Replies,
    Reply,
    check_idempotency_key,
)

__all__ = ["SCHEMA", "LocalReplies"]

SCHEMA: Final = Schema(
    room="replies",
    migrations=(
        """
        CREATE TABLE replies (
            who TEXT NOT NULL,
            key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,        -- SHA-256 of the request
            begun_at TEXT NOT NULL,
            status INTEGER,                   -- null while the write is being done
            headers TEXT,                     -- a JSON list of pairs
            body BLOB,                        -- null where it held a secret
            PRIMARY KEY (who, key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX replies_by_age ON replies (begun_at);
        """,
    ),
)
_SWEPT_AT_ONCE: Final = 100


class LocalReplies(Replies):
    """One row a key; what is too old is swept by those who come later.

    Args:
        database: with the table of this room.
        clock: how old a row is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def begin(self, who: str, key: str, fingerprint: str) -> Reply | None:
        check_idempotency_key(key)
        return self._database.write(lambda unit: self._begin(unit, who, key, fingerprint))

    def _begin(self, unit: Transaction, who: str, key: str, fingerprint: str) -> Reply | None:
        now = self._clock.now()
        oldest = timestamp(now - timedelta(seconds=KEPT_SECONDS))
        unit.run(
            "DELETE FROM replies WHERE (who, key) IN (SELECT who, key FROM replies WHERE begun_at < ? LIMIT ?)",
            (oldest, _SWEPT_AT_ONCE),
        )
        row = unit.row(
            "SELECT fingerprint, begun_at, status, headers, body FROM replies WHERE who = ? AND key = ?", (who, key)
        )
        if row is not None and row[1] >= oldest:
            there, begun_at, status, headers, body = row
            if there != fingerprint:
                raise KeyReused("repeating a write", "its idempotency key stands for another request")
            if status is not None:
                return Reply(status, tuple((name, value) for name, value in json.loads(headers)), body)
            if now - parse_timestamp(begun_at) < timedelta(seconds=WORK_SECONDS):
                raise Conflict("repeating a write", "it is being done at this moment", hint="Wait, and send it again")
        unit.run(
            "INSERT OR REPLACE INTO replies (who, key, fingerprint, begun_at) VALUES (?, ?, ?, ?)",
            (who, key, fingerprint, timestamp(now)),
        )
        return None

    def keep(self, who: str, key: str, reply: Reply) -> None:
        if reply.body is not None and len(reply.body) > BODY_LIMIT_BYTES:
            self.drop(who, key)  # a repetition is done anew: no write that is repeatable answers so much
            return
        values = (reply.status, json.dumps(reply.headers), reply.body, who, key)
        self._database.write(
            lambda unit: unit.run(
                "UPDATE replies SET status = ?, headers = ?, body = ? WHERE who = ? AND key = ?", values
            )
        )

    def drop(self, who: str, key: str) -> None:
        self._database.write(
            lambda unit: unit.run("DELETE FROM replies WHERE who = ? AND key = ? AND status IS NULL", (who, key))
        )
