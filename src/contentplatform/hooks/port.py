"""What webhooks promise: every change that somebody asked for is sent, in its order, until it was taken or given up.

At least once: a receiver knows a message that comes again by its ``webhook-id``. One webhook's messages follow each
other in the order of the changes, and none is sent before the one before it was taken or given up. What was given up
waits on a list until a person has it sent again.

The rows lie in the data folder's database; what a webhook's messages are signed with does not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from contentplatform.catalog.port import ChangeKind
from contentplatform.errors import InvalidRequest

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the beginning of every secret, as Standard Webhooks has it
DEAD_PAGE_SIZE: Final = 100
URL_LIMIT: Final = 2_000
STATUS_LIMIT: Final = 200
"""Characters of how the last delivery went."""
SECRET_BYTES: Final = 24
"""192 bits, as Standard Webhooks has it."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where changes are told."""

    id: str
    url: str
    events: frozenset[ChangeKind]
    """Empty: every change."""
    created_by: str
    """The user's id."""
    created_at: datetime
    active: bool
    """One that is not is told nothing, nor later what happened meanwhile."""
    position: int
    """The number of the last change that is dealt with."""
    attempts: int
    """How often the next message was sent in vain."""
    due_at: datetime | None
    """When it is tried again; None: at once."""
    last_status: str
    """How the last delivery went, in words; empty: there was none."""
    last_at: datetime | None
    dead: int
    """How many messages were given up, and wait for a person."""

    def wants(self, what: ChangeKind) -> bool:
        """Whether it is told such a change."""
        return not self.events or what in self.events


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one webhook."""

    id: str
    """The same whenever it is sent."""
    sequence: int
    """Of the change that it tells."""
    body: bytes


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message that was given up."""

    message: Message
    why: str
    at: datetime


class Call(Protocol):
    """Sends one request to another program's address, and to no address inside this network."""

    def __call__(self, url: str, headers: dict[str, str], body: bytes, /) -> int:
        """POST ``body``; the status that was answered. Redirects are not followed.

        Raises:
            InvalidRequest: the URL may not be called.
            Unavailable: there was no answer in time.
        """
        ...


CheckUrl = Callable[[str], None]
"""Raises InvalidRequest for a URL that may not be called, as far as it can be told without asking anybody."""


class Webhooks(ABC):
    """Webhooks, and how far each is. Safe to use from any thread and from several processes."""

    @abstractmethod
    def add(self, url: str, events: Collection[ChangeKind], created_by: str, *, after: int) -> tuple[str, Webhook]:
        """A new webhook and its secret, which nobody is told again.

        Args:
            url: of a program that may be called.
            events: which changes; empty: all.
            created_by: the user's id.
            after: the newest change: only what happens from now on is told.

        Raises:
            InvalidRequest: the URL may not be called.
        """

    @abstractmethod
    def get(self, webhook_id: str) -> Webhook:
        """Raises NotFound."""

    @abstractmethod
    def all(self) -> tuple[Webhook, ...]:
        """Every webhook, the newest first."""

    @abstractmethod
    def secret(self, webhook_id: str) -> str:
        """What its messages are signed with; for who sends them.

        Raises:
            NotFound: no such webhook.
            ConfigurationInvalid: it can't be told any more: the key that it depends on is lost.
        """

    @abstractmethod
    def rotate(self, webhook_id: str) -> str:
        """Give it another secret, which signs from now on. Raises NotFound."""

    @abstractmethod
    def set_active(self, webhook_id: str, *, active: bool, after: int) -> Webhook:
        """Tell it changes, or no more; one that is switched on, what happens after ``after``. Raises NotFound."""

    @abstractmethod
    def remove(self, webhook_id: str) -> None:
        """Take it away, with what was given up. Raises NotFound."""

    # -- delivering ------------------------------------------------------------------------------------------

    @abstractmethod
    def claim(self, webhook_id: str, seconds: float) -> Webhook | None:
        """Be the one who sends to it for so long; None: another is, it isn't due, or there is no such (active) one."""

    @abstractmethod
    def release(self, webhook_id: str) -> None:
        """Be it no more. Nothing where there is no such webhook."""

    @abstractmethod
    def passed(self, webhook_id: str, sequence: int, status: str = "") -> None:
        """Everything up to this change is dealt with; ``status`` tells how, where a message was sent."""

    @abstractmethod
    def failed(self, webhook_id: str, status: str, due_at: datetime) -> None:
        """The next message was not taken: it is tried again at ``due_at``."""

    @abstractmethod
    def bury(self, webhook_id: str, message: Message, status: str) -> None:
        """The next message is given up, and what follows it has its turn."""

    @abstractmethod
    def dead(self, webhook_id: str, *, limit: int = DEAD_PAGE_SIZE) -> tuple[DeadMessage, ...]:
        """The oldest messages that were given up. Raises NotFound; InvalidRequest: a limit not from 1 to 100."""

    @abstractmethod
    def revived(self, webhook_id: str, message_id: str) -> None:
        """A message that was given up was taken after all. Idempotent."""


def check_events(names: Collection[str]) -> frozenset[ChangeKind]:
    """The changes that these words name. Raises InvalidRequest for a word that names none."""
    known = {kind.value for kind in ChangeKind}
    if unknown := sorted(set(names) - known):
        raise InvalidRequest(
            "choosing events", f"{unknown[0][:80]!r} is none", hint=f"There are {', '.join(sorted(known))}"
        )
    return frozenset(ChangeKind(name) for name in names)
