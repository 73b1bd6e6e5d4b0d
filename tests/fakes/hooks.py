"""Webhooks in memory that pass the same contract, and a receiver that answers as it is told."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from contentplatform.catalog.port import ChangeKind
from contentplatform.clock import Clock
from contentplatform.errors import InvalidRequest, NotFound, Unavailable
from contentplatform.hooks.port import (
    DEAD_PAGE_SIZE,
    SECRET_BYTES,
    SECRET_PREFIX,
    STATUS_LIMIT,
    CheckUrl,
    DeadMessage,
    Message,
    Webhook,
    Webhooks,
)


class MemoryWebhooks(Webhooks):
    """Keeps webhooks in a dictionary, in the order in which they were made."""

    def __init__(self, clock: Clock, check_url: CheckUrl) -> None:
        self._clock = clock
        self._check_url = check_url
        self._lock = threading.RLock()
        self._hooks: dict[str, Webhook] = {}
        self._secrets: dict[str, str] = {}
        self._claims: dict[str, datetime] = {}
        self._dead: dict[str, list[DeadMessage]] = {}

    def add(self, url: str, events: Collection[ChangeKind], created_by: str, *, after: int) -> tuple[str, Webhook]:
        self._check_url(url)
        with self._lock:
            made = Webhook(
                id=f"hook-{len(self._secrets) + 1}",
                url=url,
                events=frozenset(events),
                created_by=created_by,
                created_at=self._clock.now(),
                active=True,
                position=after,
                attempts=0,
                due_at=None,
                last_status="",
                last_at=None,
                dead=0,
            )
            self._hooks[made.id] = made
            self._dead[made.id] = []
            return self.rotate(made.id), made

    def get(self, webhook_id: str) -> Webhook:
        with self._lock:
            if webhook_id not in self._hooks:
                raise NotFound(f"looking for webhook {webhook_id}", "there is none")
            return replace(self._hooks[webhook_id], dead=len(self._dead[webhook_id]))

    def all(self) -> tuple[Webhook, ...]:
        with self._lock:
            return tuple(self.get(name) for name in reversed(self._hooks))

    def secret(self, webhook_id: str) -> str:
        with self._lock:
            return self._secrets[self.get(webhook_id).id]

    def rotate(self, webhook_id: str) -> str:
        with self._lock:
            self._secrets[self.get(webhook_id).id] = _new_secret()
            return self._secrets[webhook_id]

    def set_active(self, webhook_id: str, *, active: bool, after: int) -> Webhook:
        with self._lock:
            known = self.get(webhook_id)
            if known.active is not active:
                position = max(known.position, after)
                self._hooks[webhook_id] = replace(known, active=active, position=position, attempts=0, due_at=None)
            return self.get(webhook_id)

    def remove(self, webhook_id: str) -> None:
        with self._lock:
            del self._hooks[self.get(webhook_id).id]
            del self._dead[webhook_id]

    def claim(self, webhook_id: str, seconds: float) -> Webhook | None:
        now = self._clock.now()
        with self._lock:
            known = self._hooks.get(webhook_id)
            if known is None or not known.active or self._claims.get(webhook_id, now) > now:
                return None
            if known.due_at is not None and known.due_at > now:
                return None
            self._claims[webhook_id] = now + timedelta(seconds=seconds)
            return self.get(webhook_id)

    def release(self, webhook_id: str) -> None:
        with self._lock:
            self._claims.pop(webhook_id, None)

    def passed(self, webhook_id: str, sequence: int, status: str = "") -> None:
        with self._lock:
            known = self.get(webhook_id)
            moved = replace(known, position=max(known.position, sequence))
            if status:
                now = self._clock.now()
                moved = replace(moved, attempts=0, due_at=None, last_status=status[:STATUS_LIMIT], last_at=now)
            self._hooks[webhook_id] = moved

    def failed(self, webhook_id: str, status: str, due_at: datetime) -> None:
        with self._lock:
            known = self.get(webhook_id)
            self._hooks[webhook_id] = replace(
                known,
                attempts=known.attempts + 1,
                due_at=due_at,
                last_status=status[:STATUS_LIMIT],
                last_at=self._clock.now(),
            )

    def bury(self, webhook_id: str, message: Message, status: str) -> None:
        with self._lock:
            if webhook_id not in self._hooks:
                return
            if message.id not in {dead.message.id for dead in self._dead[webhook_id]}:
                self._dead[webhook_id].append(DeadMessage(message, status[:STATUS_LIMIT], self._clock.now()))
            self.passed(webhook_id, message.sequence, status)

    def dead(self, webhook_id: str, *, limit: int = DEAD_PAGE_SIZE) -> tuple[DeadMessage, ...]:
        if not 1 <= limit <= DEAD_PAGE_SIZE:
            raise InvalidRequest("listing messages", "no such page")
        with self._lock:
            self.get(webhook_id)
            return tuple(sorted(self._dead[webhook_id], key=lambda dead: dead.message.sequence)[:limit])

    def revived(self, webhook_id: str, message_id: str) -> None:
        with self._lock:
            left = [dead for dead in self._dead.get(webhook_id, []) if dead.message.id != message_id]
            self._dead[webhook_id] = left


@dataclass
class Receiver:
    """A ``Call`` that remembers what came; answers the statuses given, in their order, and then 204."""

    answers: list[int | Exception] = field(default_factory=list)
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None
    """Called during each call."""

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> int:
        self.heard.append((url, headers, body))
        self.meanwhile()
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fail(self, times: int) -> None:
        """Be silent so often."""
        self.answers += [Unavailable("calling", "there was no answer in time")] * times


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode("ascii")
