"""Brings messages to webhooks: those that are due, each webhook's in their order, several webhooks at a time.

Who sends to a webhook has claimed it, so two workers never send the same message at once; a claim ends by itself if
its worker is killed, and then the message comes again, under the same id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from contentplatform import log
from contentplatform.catalog.port import Change, HasChanges
from contentplatform.clock import Clock, IdSource, timestamp
from contentplatform.errors import ConfigurationInvalid, InvalidRequest, NotFound, PlatformError, Unavailable
from contentplatform.hooks.port import SECRET_PREFIX, Call, Message, Webhook, Webhooks

LOST_EVENT: Final = "changes.lost"
"""Some changes were forgotten before they could be told: look at everything anew."""
TEST_EVENT: Final = "webhook.test"
_AT_ONCE: Final = 4
_POLL_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 5.0
_GONE: Final = 410
_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PostRules:
    """How long a message is tried."""

    attempts: int = 12
    longest_pause_seconds: float = 3_600.0
    call_seconds: float = 10.0
    """The longest that one call takes."""


class Postman:
    """Runs in threads of its own between ``start`` and ``stop``; ``deliver_due`` does one round by hand.

    Args:
        webhooks: who wants to be told.
        changes: what happened.
        call: sends one request.
        clock: when something is due.
        ids: jitter.
        rules: how long a message is tried.
        give_up: ends the calls that are under way.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        changes: HasChanges,
        call: Call,
        clock: Clock,
        ids: IdSource,
        rules: PostRules = PostRules(),
        *,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._webhooks = webhooks
        self._changes = changes
        self._call = call
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._give_up = give_up
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """End; messages that are under way are sent again by whoever is next, and count as no try. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._give_up()
            self._thread.join()

    def deliver_due(self) -> int:
        """Send what is due now; how many messages were taken."""
        now, newest = self._clock.now(), self._changes.newest_change()
        due = [
            webhook
            for webhook in self._webhooks.all()
            if webhook.active and webhook.position < newest and (webhook.due_at is None or webhook.due_at <= now)
        ]
        if len(due) <= 1:
            return sum(self._serve(webhook) for webhook in due)
        with ThreadPoolExecutor(min(_AT_ONCE, len(due)), thread_name_prefix="webhook") as pool:
            return sum(pool.map(self._serve, due))

    def test(self, webhook_id: str) -> Sent:
        """Send a message that tells nothing; how it went. Raises NotFound."""
        webhook = self._webhooks.get(webhook_id)
        body = _body(TEST_EVENT, timestamp(self._clock.now()), {"webhook_id": webhook.id})
        message = Message(f"{webhook.id}-test-{self._ids.new_id()}", webhook.position, body)
        return self._send(webhook, message)

    def redrive(self, webhook_id: str) -> int:
        """Send what was given up once more, the oldest first, until one fails; how many were taken. Raises NotFound."""
        webhook, taken = self._webhooks.get(webhook_id), 0
        while found := self._webhooks.dead(webhook_id):
            for dead in found:
                if not self._send(webhook, dead.message).taken:
                    return taken
                self._webhooks.revived(webhook_id, dead.message.id)
                taken += 1
        return taken

    # -- one webhook -----------------------------------------------------------------------------------------

    def _serve(self, webhook: Webhook) -> int:
        """Send one webhook's messages until one fails or none is left; how many were taken."""
        claimed = self._webhooks.claim(webhook.id, seconds=self._rules.call_seconds * 3)
        if claimed is None:
            return 0
        try:
            return self._deliver(claimed)
        except NotFound:
            return 0  # it was removed meanwhile
        finally:
            self._webhooks.release(claimed.id)

    def _deliver(self, webhook: Webhook) -> int:
        newest = self._changes.newest_change()
        page = self._changes.changes(webhook.position)
        if page.gap:
            data = {"after": webhook.position, "before": newest}
            body = _body(LOST_EVENT, timestamp(self._clock.now()), data)
            message = Message(f"{webhook.id}-lost-{webhook.position}", newest, body)
            return int(self._bring(webhook, message))
        taken, begun = 0, self._clock.monotonic_seconds()
        wanted = [change for change in page.changes if webhook.wants(change.what)]
        for change in wanted:
            spent = self._clock.monotonic_seconds() - begun
            if self._stopping.is_set() or spent > self._rules.call_seconds:  # the claim must outlast the next call
                return taken
            if not self._bring(webhook, message_of(webhook, change)):
                return taken
            taken += 1
        if page.changes and page.changes[-1] not in wanted[-1:]:
            self._webhooks.passed(webhook.id, page.changes[-1].sequence)
        return taken

    def _bring(self, webhook: Webhook, message: Message) -> bool:
        """Send the next message, and note how it went; whether it was taken."""
        sent = self._send(webhook, message)
        if sent.taken:
            self._webhooks.passed(webhook.id, message.sequence, sent.status)
            return True
        if self._stopping.is_set():  # the receiver may not be to blame
            return False
        attempts = self._webhooks.get(webhook.id).attempts + 1
        if sent.gone:
            self._webhooks.set_active(webhook.id, active=False, after=message.sequence)
        if attempts >= self._rules.attempts or sent.gone:
            self._webhooks.bury(webhook.id, message, sent.status)
            log.event(_logger, logging.WARNING, "message given up", webhook=webhook.id, **{log.REASON: sent.status})
        else:
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** (attempts - 1), self._rules.longest_pause_seconds)
            pause *= 0.5 + self._ids.fraction()
            self._webhooks.failed(webhook.id, sent.status, self._clock.now() + timedelta(seconds=pause))
        return False

    def _send(self, webhook: Webhook, message: Message) -> Sent:
        moment = int(self._clock.now().timestamp())
        try:
            secret = self._webhooks.secret(webhook.id)
        except ConfigurationInvalid as error:
            return Sent(taken=False, status=f"not sent: {error.why}")
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "content-platform-webhooks",
            "webhook-id": message.id,
            "webhook-timestamp": str(moment),
            "webhook-signature": signature(secret, message.id, moment, message.body),
        }
        try:
            status = self._call(webhook.url, headers, message.body)
        except (InvalidRequest, Unavailable) as error:
            return Sent(taken=False, status=error.why)
        return Sent(taken=200 <= status < 300, status=f"answered {status}", gone=status == _GONE)

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                while self.deliver_due() and not self._stopping.is_set():
                    pass
            except PlatformError as error:
                log.event(_logger, logging.WARNING, "webhooks have to wait", **{log.REASON: error.public})
            except Exception:  # the outer edge of this thread: it goes on
                _logger.exception("unexpected error while calling webhooks")
            self._clock.wait(self._stopping, _POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Sent:
    """How a call went."""

    taken: bool
    status: str
    """In words."""
    gone: bool = False
    """The receiver says that it wants no more, ever."""


def message_of(webhook: Webhook, change: Change) -> Message:
    """What a webhook is told of a change; the same text whenever it is sent."""
    data = {
        "sequence": change.sequence,
        "file_id": change.file_id,
        "file_path": change.file_path,
        **({} if change.moved_to is None else {"moved_to": change.moved_to}),
    }
    body = _body(f"file.{change.what}", timestamp(change.at), data)
    return Message(f"{webhook.id}-{change.sequence}", change.sequence, body)


def signature(secret: str, message_id: str, moment: int, body: bytes) -> str:
    """The header by which a receiver knows who sent a message, and when: HMAC-SHA-256, as Standard Webhooks has it."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    told = hmac.new(key, f"{message_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(told).decode('ascii')}"


def _body(event: str, at: str, data: Mapping[str, object]) -> bytes:
    return json.dumps({"type": event, "timestamp": at, "data": data}, ensure_ascii=True).encode("ascii")
