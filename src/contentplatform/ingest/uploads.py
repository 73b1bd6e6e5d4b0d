"""What resumable uploads promise: bytes come piece by piece, over days and restarts, and become one version of a file.

An offset that is told is durable: whatever happens to the machine, at least so many bytes are there afterwards. A
session ends as exactly one version of its key, or as none. Whoever has a session's id and is not its owner must be told
that there is none: whoever calls asks ``UploadSession.owner`` first.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Protocol, Self

from contentplatform.errors import Conflict, InvalidRequest

CHECKSUM_ALGORITHMS: Final = ("sha256", "sha1", "md5", "sha512")
"""What a piece of an upload may be checked by, the best first."""


class TooLarge(InvalidRequest):
    """More bytes than are taken."""


class Busy(Conflict):
    """Another request is writing to the same upload at this moment."""


class Incomplete(Conflict):
    """Bytes of an upload are missing that should be there."""


class UploadKind(StrEnum):
    """What becomes of a session's bytes."""

    WHOLE = "whole"
    """A version of a file."""
    PARTIAL = "partial"
    """A part of another upload."""
    FINAL = "final"
    """A version, put together of the bytes of parts."""


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What somebody wants to send."""

    owner: str
    key: str
    """Of the file; empty for a part."""
    length: int | None
    """Bytes in all; None: told later."""
    kind: UploadKind = UploadKind.WHOLE
    claimed_type: str | None = None
    expected_sha256: str | None = None
    create_only: bool = False
    """Fail if the key has a current version when the upload ends."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the client said of it, told back as it was; nothing here acts on it."""
    parts: tuple[str, ...] = ()
    """Ids of the parts, in their order, of a final upload."""
    by_link: bool = False
    """``owner`` is an upload link, and ``key`` only the name that the file has with who sends it."""


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload on its way, or for a while afterwards."""

    id: str
    owner: str
    key: str
    kind: UploadKind
    length: int | None
    offset: int
    """So many bytes are durable."""
    created_at: datetime
    expires_at: datetime
    claimed_type: str | None
    expected_sha256: str | None
    create_only: bool
    metadata: Mapping[str, str]
    parts: tuple[str, ...]
    version_id: str | None
    """The version that it became."""
    by_link: bool = False

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self.length is not None and self.offset == self.length

    @property
    def partial(self) -> bool:
        """Whether it becomes a part of another."""
        return self.kind is UploadKind.PARTIAL


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a piece must hash to."""

    algorithm: str
    digest: bytes

    def new(self) -> Any:
        """A fresh hash to compare with. Raises InvalidRequest for an algorithm that is none of ours."""
        if self.algorithm not in CHECKSUM_ALGORITHMS:
            raise InvalidRequest(
                "checking a piece of an upload",
                f"{self.algorithm[:20]!r} is no checksum that is known",
                hint=f"There are {', '.join(CHECKSUM_ALGORITHMS)}",
            )
        return hashlib.new(self.algorithm, usedforsecurity=False)


class Appending(ABC):
    """One piece of an upload on its way in, from its first byte to its end; used by one thread at a time.

    It ends by exactly one of ``end``, ``cut_off`` and ``discard``; leaving its context without one is ``cut_off``.
    """

    @property
    @abstractmethod
    def room_bytes(self) -> int | None:
        """How many bytes may still come; None: nobody knows."""

    @abstractmethod
    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes, not durable yet. Large pieces are quickest.

        Raises:
            InvalidRequest: more than were announced. QuotaExceeded: more than the owner has room for.
            NoSpace: the disk is full; what came before can be kept by ``cut_off``.
        """

    @abstractmethod
    def end(self) -> UploadSession:
        """The piece came whole: keep it, durably; the last one makes the version.

        Raises:
            ChecksumMismatch: of the piece, which is forgotten; or of the whole upload, which ends with it.
            Conflict: the file must not exist, and does; the upload ends with it.
            Unavailable: the bytes could not be made durable: the upload is lost, and has to begin anew.
        """

    @abstractmethod
    def cut_off(self) -> UploadSession:
        """The piece ended early: keep what came of it, durably, unless there is a checksum that it can't show."""

    @abstractmethod
    def discard(self) -> None:
        """Forget the piece."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Receiving(ABC):
    """Bytes that come in one go and become a version, or nothing at all; used by one thread at a time."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The key that the file will have."""

    @abstractmethod
    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes. Raises as ``Appending.write``."""

    @abstractmethod
    def finish(self) -> str:
        """All came: make the version and return its id, durable. Raises as ``Appending.end``."""

    @abstractmethod
    def abandon(self) -> None:
        """Forget it all. Idempotent, and nothing after ``finish``."""


class Uploads(ABC):
    """Uploads of everybody. Safe to use from any thread and from several processes; nothing here waits for a client."""

    @abstractmethod
    def create(self, new: NewUpload) -> UploadSession:
        """Begin an upload; durable. One of no bytes, or of parts that are all there, is a version on return.

        Raises:
            InvalidRequest: the key can't name a file; a part is missing or unfinished; the link takes no such file.
            TooLarge: it has more bytes than are taken at once.
            Conflict: the file must not exist, and does.
            NotFound: the link is not open.
            RateLimited: the owner has too many open.
            QuotaExceeded: the owner has no room for it. NoSpace: the disk has none.
        """

    @abstractmethod
    def get(self, upload_id: str) -> UploadSession:
        """How far an upload is; one whose bytes are all there is a version on return. Raises NotFound."""

    @abstractmethod
    def append(
        self, upload_id: str, offset: int, *, length: int | None = None, checksum: Checksum | None = None
    ) -> Appending:
        """Begin to take the bytes from ``offset`` on. ``length`` tells it, where it was not told before.

        Raises:
            NotFound: no such upload.
            InvalidRequest: ``offset`` lies behind the end; or another length was told before.
            Conflict: ``offset`` is not where the upload stands.
            Busy: another piece is on its way, in whatever process.
            Denied: nothing more can be added: it is finished, or is put together of parts.
        """

    @abstractmethod
    def terminate(self, upload_id: str) -> None:
        """End an upload and free its bytes; a version that it became stays.

        Raises:
            NotFound: no such upload. Busy: a piece is on its way.
        """

    @abstractmethod
    def already_here(self, new: NewUpload, sees: Callable[[str], bool]) -> str | None:
        """Make ``expected_sha256``'s bytes the current version of ``key`` without a transfer; its id.

        None: no file that ``sees`` allows has these bytes, and as many as ``length``. Where ``key`` itself has them,
        its current version is told and nothing is made.

        Raises:
            As ``create``.
        """

    @abstractmethod
    def receive(self, new: NewUpload, *, idempotency_key: str | None = None) -> Receiving | str:
        """Begin to take bytes that come in one go; or the version that the owner's ``idempotency_key`` made before.

        Raises:
            As ``create``; InvalidRequest also if the idempotency key was used for another file.
        """

    @abstractmethod
    def open_sessions(self, owner: str) -> Sequence[UploadSession]:
        """An owner's unfinished uploads, the oldest first."""

    @abstractmethod
    def expire(self) -> int:
        """End every upload whose time is over, and finish those whose bytes are all there; how many ended.

        A duty of the worker's.
        """


@dataclass(frozen=True, slots=True)
class PartToSend:
    """A part that is not there yet, and the request that sends it: a ``PUT`` of exactly its bytes."""

    number: int
    first_byte: int
    size_bytes: int
    url: str
    headers: Mapping[str, str]
    """What that request has to say."""
    expires_at: datetime
    """Of the address; a fresh one is told to who asks again."""


@dataclass(frozen=True, slots=True)
class DirectUpload:
    """An upload whose bytes go to the far store past the platform."""

    id: str
    owner: str
    key: str
    length: int
    part_size_bytes: int
    created_at: datetime
    expires_at: datetime
    version_id: str | None
    """The version that it became."""
    parts_there: tuple[int, ...] = ()
    parts: tuple[PartToSend, ...] = ()
    """The first of those that are missing."""


class DirectUploads(ABC):
    """The power of a home whose store takes files from who sends them. Safe to use from any thread.

    Whoever has an upload's id and is not its owner must be told that there is none: see ``Uploads``.
    """

    @abstractmethod
    def create(self, new: NewUpload) -> DirectUpload:
        """Begin an upload. Raises as ``Uploads.create``; InvalidRequest also for one of no bytes, and for no length."""

    @abstractmethod
    def get(self, upload_id: str) -> DirectUpload:
        """Which parts are there, and where the first of the others go. Raises NotFound."""

    @abstractmethod
    def complete(self, upload_id: str) -> DirectUpload:
        """Make the version; the same one if it is asked for again.

        Raises:
            NotFound: no such upload.
            Incomplete: a part is missing.
            Conflict: the file must not exist, and does; the upload ends with it.
        """

    @abstractmethod
    def terminate(self, upload_id: str) -> None:
        """End an upload and free its parts; a version that it became stays. Raises NotFound."""

    @abstractmethod
    def expire(self) -> int:
        """End every upload whose time is over; how many ended."""

    @abstractmethod
    def origin(self) -> str:
        """Scheme, host and port to which parts are sent, for pages that have to allow it."""


class Allowance(Protocol):
    """Who may send how much. Called in the unit of work in which an upload begins or ends."""

    def begin(self, new: NewUpload, upload_id: str, until: datetime, /) -> str:
        """Keep room for an upload until then, and say under which key its file will be.

        Raises:
            QuotaExceeded: there is no room for it. NotFound, InvalidRequest, Conflict: the link takes no such file.
        """
        ...

    def resize(self, session: UploadSession, size_bytes: int, /) -> None:
        """Keep so much room for an upload that had not said how much it needs. Raises as ``begin``."""
        ...

    def settle(self, session: UploadSession, version_id: str, /) -> None:
        """It became a version: what was kept for it, and for its parts, is that version's. Raises as ``begin``."""
        ...

    def release(self, session: UploadSession, /) -> None:
        """It will be none: what was kept for it is free."""
        ...


class NoLimits:
    """As much as comes, from anybody."""

    def begin(self, new: NewUpload, upload_id: str, until: datetime, /) -> str:  # noqa: ARG002 - see Allowance
        return new.key

    def resize(self, session: UploadSession, size_bytes: int, /) -> None:
        """Nothing is counted."""

    def settle(self, session: UploadSession, version_id: str, /) -> None:
        """Nothing is counted."""

    def release(self, session: UploadSession, /) -> None:
        """Nothing was counted."""
