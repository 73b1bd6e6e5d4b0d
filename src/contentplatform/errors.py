"""The error tree: every failure that crosses a room's door is one of these.

::

    PlatformError
    ├── InvalidRequest        the caller asked for something that can't be (key too long, unknown field)
    ├── NotFound              no such object, version, record or execution
    ├── Conflict              somebody else changed it first, or it exists already
    ├── ChecksumMismatch      the bytes that came are not the bytes that were promised
    ├── Archived              the object is in a tier that must be restored before it can be read
    ├── Corrupt               stored bytes or the database are damaged; never served
    ├── ProcessingFailed      this file can't be processed: terminal, never retried (carries a code)
    ├── Unavailable           a passing fault: retrying can help
    │   ├── NoSpace           the disk is full
    │   └── JobInterrupted    a child process was killed or vanished
    ├── Cancelled             stopped because a person asked for it
    ├── Unauthenticated       nobody knows who asks: not signed in, a wrong password, an expired token
    ├── Denied                whoever asks is known, and may not do that
    ├── RateLimited           too many requests, or tries to sign in; later it will do
    ├── QuotaExceeded         the user has no room left for that many bytes
    └── ConfigurationInvalid  settings or the machine don't allow a safe start

An error says what was being done, to what, why it failed, and what to do next. ``public`` is fit for anybody's eyes;
``private`` is for the operator's log. Mapping to exit codes (cli), HTTP status (web) or a raise (lambdas) is done at
the edge only. ``retryable`` is what the workflow's retry rules go by.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """Why a file could not be processed: the class of the failure, as the catalog keeps it."""

    TYPE_MISMATCH = "E_TYPE"
    """The bytes are not of the family that the name or the client claimed."""
    LIMIT = "E_LIMIT"
    """Over a limit that is checked before, or enforced while, decoding."""
    DECODE = "E_DECODE"
    """Broken or truncated: the decoder refused it."""
    UNSUPPORTED = "E_UNSUPPORTED"
    """A format or codec outside the allow-list."""
    MALWARE = "E_MALWARE"
    """The operator's scanner found malware in it."""
    TIMEOUT = "E_TIMEOUT"
    """The job ran into its wall-clock or CPU limit."""
    CRASH = "E_CRASH"
    """The decoder crashed, again, in its own process."""
    KEY = "E_KEY"
    """The key breaks the rules of platform keys (possible only through the store itself)."""
    NO_SPACE = "E_NOSPACE"
    """The disk was full, again and again."""
    CANCELLED = "E_CANCELLED"
    """A person stopped it, or another execution took over."""
    INTERNAL = "E_INTERNAL"
    """A fault of the platform; retries did not help."""


class PlatformError(Exception):
    """Something failed, and the parts of the sentence that says so.

    Args:
        doing: what was being done, as a gerund ("storing photo.jpg").
        why: the reason, in words.
        hint: what the reader can do next; empty where nothing can be done.
        private: details for the operator's log only.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, doing: str, why: str, *, hint: str = "", private: str = "") -> None:
        self.doing = doing
        self.why = why
        self.hint = hint
        self.private = private
        super().__init__(doing, why)

    @property
    def public(self) -> str:
        """The whole sentence, without internals."""
        sentence = f"{self.doing}: {self.why}"
        return f"{sentence}. {self.hint}" if self.hint else sentence

    def __str__(self) -> str:
        return self.public


class InvalidRequest(PlatformError):  # noqa: N818 - the tree is named by meaning, not by suffix
    """The request can never succeed as it stands."""


class NotFound(PlatformError):  # noqa: N818
    """What was named does not exist."""


class Conflict(PlatformError):  # noqa: N818
    """A conditional write lost: it exists already, or its revision moved on."""


class ChecksumMismatch(PlatformError):  # noqa: N818
    """The SHA-256 of what arrived differs from the one that was promised; nothing was kept."""


class Archived(PlatformError):  # noqa: N818
    """The bytes are in an archive tier: ask for a restore, wait, then read."""


class Corrupt(PlatformError):  # noqa: N818
    """Stored bytes or the database are damaged. Damaged bytes are never handed out."""


class ProcessingFailed(PlatformError):  # noqa: N818
    """This file can't be processed, however often it is tried."""

    def __init__(self, doing: str, why: str, *, code: ErrorCode, hint: str = "", private: str = "") -> None:
        super().__init__(doing, why, hint=hint, private=private)
        self.code = code


class Unavailable(PlatformError):  # noqa: N818
    """A passing fault; the same call may succeed later."""

    retryable: ClassVar[bool] = True


class NoSpace(Unavailable):
    """The disk is full: nothing was kept of this write, everything else is untouched."""


class JobInterrupted(Unavailable):
    """A sandboxed job's process was killed or vanished before it could answer."""


class Cancelled(PlatformError):  # noqa: N818
    """Stopped on request."""


class Unauthenticated(PlatformError):  # noqa: N818
    """Nobody knows who asks. The sentence is the same whatever was wrong, so that it tells nothing."""


class Denied(PlatformError):  # noqa: N818
    """Whoever asks may not do that."""


class RateLimited(PlatformError):  # noqa: N818
    """Too much, too quickly; ``retry_after_seconds`` says when it will do."""

    def __init__(self, doing: str, why: str, *, retry_after_seconds: int, hint: str = "", private: str = "") -> None:
        super().__init__(doing, why, hint=hint, private=private)
        self.retry_after_seconds = retry_after_seconds


class QuotaExceeded(PlatformError):  # noqa: N818
    """The user's quota has no room for that many bytes; nothing was kept."""


class ConfigurationInvalid(PlatformError):  # noqa: N818
    """The settings, or this machine, don't allow a safe start."""
