"""Webhooks in the data folder's database."""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from contentplatform.catalog.port import ChangeKind
from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Database, Row, Schema, Transaction
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.hooks.port import (
    DEAD_PAGE_SIZE,
    STATUS_LIMIT,
    CheckUrl,
    DeadMessage,
    Message,
    Webhook,
    Webhooks,
)
from contentplatform.hooks.secrets import DerivedSecrets

__all__ = ["SCHEMA", "LocalWebhooks"]

SCHEMA: Final = Schema(
    room="hooks",
    migrations=(
        """
        CREATE TABLE webhooks (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            url TEXT NOT NULL,
            events TEXT NOT NULL,             -- a JSON list, sorted
            secret TEXT NOT NULL,
            created_by TEXT NOT NULL,
            created_at TEXT NOT NULL,
            active INTEGER NOT NULL,
            position INTEGER NOT NULL,        -- the last change that is dealt with
            attempts INTEGER NOT NULL DEFAULT 0,
            due_at TEXT,
            claimed_until TEXT,
            last_status TEXT NOT NULL DEFAULT '',
            last_at TEXT
        ) STRICT;

        CREATE TABLE dead_messages (
            webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
            sequence INTEGER NOT NULL,
            message_id TEXT NOT NULL,
            body BLOB NOT NULL,
            why TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (webhook_id, sequence, message_id)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
)
_SELECT: Final = (
    "SELECT id, url, events, created_by, created_at, active, position, attempts, due_at, last_status, last_at,"
    " (SELECT count(*) FROM dead_messages WHERE webhook_id = webhooks.id) FROM webhooks"
)


class LocalWebhooks(Webhooks):
    """Joins the unit of work that is open.

    Args:
        database: with the tables of this room.
        clock: when something is due.
        ids: names webhooks.
        check_url: what may be called.
        secrets: makes them, and knows them again.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: IdSource,
        check_url: CheckUrl,
        secrets: DerivedSecrets,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._check_url = check_url
        self._secrets = secrets

    def add(self, url: str, events: Collection[ChangeKind], created_by: str, *, after: int) -> tuple[str, Webhook]:
        self._check_url(url)
        (secret, kept), webhook_id = self._secrets.new(), self._ids.new_id()
        values = (webhook_id, url, json.dumps(sorted(events)), kept, created_by, self._now(), after)
        statement = (
            "INSERT INTO webhooks (id, url, events, secret, created_by, created_at, active, position)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, ?)"
        )
        self._database.write(lambda unit: unit.run(statement, values))
        return secret, self.get(webhook_id)

    def get(self, webhook_id: str) -> Webhook:
        with self._database.read() as view:
            row = view.row(f"{_SELECT} WHERE id = ?", (webhook_id,))
        if row is None:
            raise _missing(webhook_id)
        return _webhook(row)

    def all(self) -> tuple[Webhook, ...]:
        with self._database.read() as view:
            return tuple(_webhook(row) for row in view.rows(f"{_SELECT} ORDER BY sequence DESC"))

    def secret(self, webhook_id: str) -> str:
        with self._database.read() as view:
            found = view.value("SELECT secret FROM webhooks WHERE id = ?", (webhook_id,))
        if found is None:
            raise _missing(webhook_id)
        return self._secrets.known(str(found))

    def rotate(self, webhook_id: str) -> str:
        secret, kept = self._secrets.new()
        self._change(webhook_id, "secret = ?", kept)
        return secret

    def set_active(self, webhook_id: str, *, active: bool, after: int) -> Webhook:
        def work(unit: Transaction) -> None:
            before = unit.value("SELECT active FROM webhooks WHERE id = ?", (webhook_id,))
            if before is None:
                raise _missing(webhook_id)
            if bool(before) is active:
                return
            statement = "UPDATE webhooks SET active = ?, position = max(position, ?), attempts = 0, due_at = NULL"
            unit.run(f"{statement} WHERE id = ?", (int(active), after, webhook_id))

        self._database.write(work)
        return self.get(webhook_id)

    def remove(self, webhook_id: str) -> None:
        def work(unit: Transaction) -> None:
            if not unit.run("DELETE FROM webhooks WHERE id = ?", (webhook_id,)):
                raise _missing(webhook_id)

        self._database.write(work)

    # -- delivering ------------------------------------------------------------------------------------------

    def claim(self, webhook_id: str, seconds: float) -> Webhook | None:
        now = self._clock.now()
        until = timestamp(now + timedelta(seconds=seconds))
        statement = (
            "UPDATE webhooks SET claimed_until = ? WHERE id = ? AND active"
            " AND (claimed_until IS NULL OR claimed_until <= ?) AND (due_at IS NULL OR due_at <= ?)"
        )
        values = (until, webhook_id, timestamp(now), timestamp(now))
        return self.get(webhook_id) if self._database.write(lambda unit: unit.run(statement, values)) else None

    def release(self, webhook_id: str) -> None:
        statement = "UPDATE webhooks SET claimed_until = NULL WHERE id = ?"
        self._database.write(lambda unit: unit.run(statement, (webhook_id,)))

    def passed(self, webhook_id: str, sequence: int, status: str = "") -> None:
        if status:
            assignments = "position = max(position, ?), attempts = 0, due_at = NULL, last_status = ?, last_at = ?"
            self._change(webhook_id, assignments, sequence, status[:STATUS_LIMIT], self._now())
        else:
            self._change(webhook_id, "position = max(position, ?)", sequence)

    def failed(self, webhook_id: str, status: str, due_at: datetime) -> None:
        assignments = "attempts = attempts + 1, due_at = ?, last_status = ?, last_at = ?"
        self._change(webhook_id, assignments, timestamp(due_at), status[:STATUS_LIMIT], self._now())

    def bury(self, webhook_id: str, message: Message, status: str) -> None:
        row = (webhook_id, message.sequence, message.id, message.body, status[:STATUS_LIMIT], self._now())

        def work(unit: Transaction) -> None:
            if unit.value("SELECT 1 FROM webhooks WHERE id = ?", (webhook_id,)) is None:
                return
            unit.run("INSERT INTO dead_messages VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
            self.passed(webhook_id, message.sequence, status)

        self._database.write(work)

    def dead(self, webhook_id: str, *, limit: int = DEAD_PAGE_SIZE) -> tuple[DeadMessage, ...]:
        if not 1 <= limit <= DEAD_PAGE_SIZE:
            raise InvalidRequest("listing messages", f"a page has 1 to {DEAD_PAGE_SIZE} of them")
        self.get(webhook_id)
        statement = (
            "SELECT message_id, sequence, body, why, at FROM dead_messages WHERE webhook_id = ?"
            " ORDER BY sequence LIMIT ?"
        )
        with self._database.read() as view:
            rows = view.rows(statement, (webhook_id, limit))
        return tuple(
            DeadMessage(Message(identifier, sequence, bytes(body)), why, parse_timestamp(at))
            for identifier, sequence, body, why, at in rows
        )

    def revived(self, webhook_id: str, message_id: str) -> None:
        statement = "DELETE FROM dead_messages WHERE webhook_id = ? AND message_id = ?"
        self._database.write(lambda unit: unit.run(statement, (webhook_id, message_id)))

    def _change(self, webhook_id: str, assignments: str, *values: object) -> None:
        def work(unit: Transaction) -> None:
            if not unit.run(f"UPDATE webhooks SET {assignments} WHERE id = ?", (*values, webhook_id)):
                raise _missing(webhook_id)

        self._database.write(work)

    def _now(self) -> str:
        return timestamp(self._clock.now())


def _missing(webhook_id: str) -> NotFound:
    return NotFound(f"looking for webhook {webhook_id[:80]}", "there is none of that name")


def _webhook(row: Row) -> Webhook:
    identifier, url, events, created_by, created_at, active, position, attempts, due_at, status, last_at, dead = row
    return Webhook(
        id=identifier,
        url=url,
        events=frozenset(ChangeKind(event) for event in json.loads(events)),
        created_by=created_by,
        created_at=parse_timestamp(created_at),
        active=bool(active),
        position=position,
        attempts=attempts,
        due_at=None if due_at is None else parse_timestamp(due_at),
        last_status=status,
        last_at=None if last_at is None else parse_timestamp(last_at),
        dead=dead,
    )
