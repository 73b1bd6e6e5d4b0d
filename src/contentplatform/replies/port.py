"""What replies promise: a write that is sent again under its key is done once, and answered as it was.

The rows lie in the data folder of the machine that serves, in both homes. They are kept for a day.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from contentplatform.errors import Conflict, InvalidRequest

KEPT_SECONDS: Final = 86_400
WORK_SECONDS: Final = 300
"""After so long a write that never told its end is taken for dead, and may be done by another."""
KEY_LIMIT: Final = 255
BODY_LIMIT_BYTES: Final = 1 << 20
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_LIMIT}}}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    """None: it held a secret, which is told once and not kept."""


class KeyReused(Conflict):
    """The key stands for another request."""


class Replies(ABC):
    """Who asked for what under which key. Safe from any thread and from several processes."""

    @abstractmethod
    def begin(self, who: str, key: str, fingerprint: str) -> Reply | None:
        """Claim a key for a write, for whoever gets None; the reply where it was done before.

        Args:
            who: keys of others are other keys.
            key: as it was sent.
            fingerprint: of the whole request.

        Raises:
            InvalidRequest: no key can look so.
            Conflict: the same write is being done at this moment.
            KeyReused: the key stands for another request.
        """

    @abstractmethod
    def keep(self, who: str, key: str, reply: Reply) -> None:
        """The write is done, and this was answered."""

    @abstractmethod
    def drop(self, who: str, key: str) -> None:
        """The write failed, and left nothing: the key is free. Idempotent."""


def check_idempotency_key(key: str) -> str:
    """The key. Raises InvalidRequest."""
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            "reading the idempotency key", f"it has 1 to {KEY_LIMIT} characters of ASCII that can be seen, and no space"
        )
    return key
