"""What links promise to people without an account: a share shows files, an upload link takes some in.

The secret in a link is all that its holder needs, and is told once, when the link is made or gets another: what is kept
is its SHA-256. A link that is over, was revoked or never was looks the same to a stranger. Nothing here is signed, so
no rotation of a key ends a link.

The rows lie in the data folder of the machine that serves, in both homes.
"""

from __future__ import annotations

import hashlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from contentplatform.errors import InvalidRequest
from contentplatform.media import MediaKind, check_key, file_name, folder_path
from contentplatform.processing.probe import claimed_type

LINK_PAGE_SIZE: Final = 100
TEXT_LIMIT: Final = 1_000
"""Characters of a title or a message."""
SECRET_LIMIT: Final = 200
"""Characters of a secret that is looked up at all."""
_SECRET_BYTES: Final = 24
_NAME_TRIES: Final = 1_000

NewSecret = Callable[[], str]
"""Where secrets come from: each has 128 bits of chance at least, and nothing but letters, digits, ``-`` and ``_``."""
LetsIn = Callable[[str], bool]
"""Whether the user of this id is there and may be let in, at this moment."""
_COMMAND_LINE: Final = "command line ("
"""So begins whoever made a link at the machine; no user's id does."""


class TargetKind(StrEnum):
    """What a share shows."""

    FILE = "file"
    """One file, under whatever key it is moved to."""
    FOLDER = "folder"
    """Every file that lies in the folder, or below it, when somebody looks."""
    COLLECTION = "collection"
    """Every file that is in the collection when somebody looks."""


@dataclass(frozen=True, slots=True)
class Target:
    """One file, folder or collection."""

    kind: TargetKind
    name: str
    """A file_id, a folder without a slash at its end, or a collection's id."""


@dataclass(frozen=True, slots=True)
class Share:
    """A link that shows files."""

    id: str
    target: Target
    created_by: str
    """The user's id, or who was at the command line."""
    created_at: datetime
    expires_at: datetime | None
    """None: it stays until it is revoked."""
    allow_originals: bool
    """Whether originals can be downloaded; if not, only renditions."""
    title: str
    password_hash: str | None
    """What a password is checked by; None: the link alone is enough."""
    revoked_at: datetime | None
    views: int
    """How often its page was opened."""
    last_used_at: datetime | None
    is_suspended: bool = False
    """Whoever made it is not let in: until that changes it is as good as revoked."""

    def is_open(self, now: datetime) -> bool:
        """Whether the link works at this moment."""
        return not self.is_suspended and _is_open(self.expires_at, self.revoked_at, now)


@dataclass(frozen=True, slots=True)
class ShareDraft:
    """What somebody wants to share, and how."""

    target: Target
    title: str = ""
    expires_at: datetime | None = None
    allow_originals: bool = False
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class SharePage:
    """One page of shares, the newest first."""

    shares: tuple[Share, ...]
    cursor: str | None
    """Opaque; None: this was the last page."""


@dataclass(frozen=True, slots=True)
class UploadLink:
    """A link that takes files in."""

    id: str
    folder: str
    """Where its files go, without a slash at its end."""
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    message: str
    """What its page says to who comes."""
    max_files: int | None
    """None: as many as come; so with the others."""
    max_bytes: int | None
    """Of all files together."""
    max_file_bytes: int | None
    kinds: frozenset[MediaKind]
    """The kinds that are taken, by the name's extension; empty: every kind."""
    revoked_at: datetime | None
    used_files: int
    """Files that came, and those that are on their way."""
    used_bytes: int
    is_suspended: bool = False
    """As a share's."""

    def is_open(self, now: datetime) -> bool:
        """Whether the link works at this moment."""
        return not self.is_suspended and _is_open(self.expires_at, self.revoked_at, now)

    def room_bytes(self) -> int | None:
        """How large a file may be now; None: there is no limit."""
        left = None if self.max_bytes is None else max(0, self.max_bytes - self.used_bytes)
        limits = [limit for limit in (left, self.max_file_bytes) if limit is not None]
        return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class UploadLinkDraft:
    """What somebody wants to be sent, and how much of it."""

    folder: str
    message: str = ""
    expires_at: datetime | None = None
    max_files: int | None = None
    max_bytes: int | None = None
    max_file_bytes: int | None = None
    kinds: frozenset[MediaKind] = frozenset()


@dataclass(frozen=True, slots=True)
class UploadLinkPage:
    """One page of upload links, the newest first."""

    links: tuple[UploadLink, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one file within a link's limits, under a key that is nobody else's."""

    link_id: str
    upload_id: str
    key: str
    size_bytes: int
    """As much as the file may have, until it has come; then what it has."""
    held_until: datetime | None
    """Until when the room is kept for a file that has not come; None: it came."""


class Shares(ABC):
    """Shares and upload links. Safe to use from any thread and from several processes.

    A link works only while the user who made it is let in; what was made at the command line is the machine's own.
    """

    # -- shares ----------------------------------------------------------------------------------------------

    @abstractmethod
    def create_share(self, draft: ShareDraft, created_by: str) -> tuple[str, Share]:
        """A new share and its secret, which nobody can ask for again.

        Raises:
            InvalidRequest: a target that names nothing, all files at once, a title over 1 000 characters, or a time
                that is over.
        """

    @abstractmethod
    def open_share(self, secret: str) -> Share | None:
        """The share that a link opens now; None where it is over, revoked, suspended, or none."""

    @abstractmethod
    def note_view(self, share_id: str) -> None:
        """Count that a share's page was opened. Nothing where there is no such share."""

    @abstractmethod
    def share(self, share_id: str) -> Share:
        """One share, open or not. Raises NotFound."""

    @abstractmethod
    def shares(
        self,
        *,
        created_by: str | None = None,
        target: Target | None = None,
        cursor: str | None = None,
        limit: int = LINK_PAGE_SIZE,
    ) -> SharePage:
        """A page of shares, open or not: all, or those of one user, or of one target.

        Raises:
            InvalidRequest: a foreign cursor, or a limit outside 1 to 100.
        """

    @abstractmethod
    def rotate_share(self, share_id: str) -> str:
        """Give a share another secret; the link with the one before it is over at once. Raises NotFound."""

    @abstractmethod
    def revoke_share(self, share_id: str) -> Share:
        """End a share at once, and for good. Idempotent: the first time stays. Raises NotFound."""

    # -- upload links ----------------------------------------------------------------------------------------

    @abstractmethod
    def create_upload_link(self, draft: UploadLinkDraft, created_by: str) -> tuple[str, UploadLink]:
        """A new upload link and its secret. Raises InvalidRequest: no such folder, a limit below 1, and as shares."""

    @abstractmethod
    def open_upload_link(self, secret: str) -> UploadLink | None:
        """The upload link that works now; None as ``open_share``. One that is full is open."""

    @abstractmethod
    def upload_link(self, link_id: str) -> UploadLink:
        """One upload link, open or not. Raises NotFound."""

    @abstractmethod
    def upload_links(
        self, *, created_by: str | None = None, cursor: str | None = None, limit: int = LINK_PAGE_SIZE
    ) -> UploadLinkPage:
        """A page of upload links, open or not. Raises InvalidRequest as ``shares``."""

    @abstractmethod
    def rotate_upload_link(self, link_id: str) -> str:
        """As ``rotate_share``."""

    @abstractmethod
    def revoke_upload_link(self, link_id: str) -> UploadLink:
        """As ``revoke_share``. What is on its way can't be finished any more."""

    # -- limits ----------------------------------------------------------------------------------------------

    @abstractmethod
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
        """Keep room for one file, and a key in the link's folder that no file has and no other upload was given.

        Never more than the limits, however many ask at once. Idempotent by ``upload_id`` while it is held, and for ever
        once the file came. A reservation that was neither settled nor released by ``held_until`` counts no more.

        Args:
            link_id: of a link that is open.
            upload_id: whose room it is.
            name: the file's own; its path, if it has one, stays below the link's folder.
            size_bytes: None where it can't be told before: then all that is left for one file is kept.
            held_until: when it ends by itself.
            is_taken: whether a file has, or had, a key.

        Raises:
            NotFound: no such link, or it is not open.
            InvalidRequest: over a limit, not of a kind that is taken, or no name for a file.
            Conflict: a thousand files have that name.
        """

    @abstractmethod
    def settle(self, link_id: str, upload_id: str, size_bytes: int) -> Reservation:
        """The file came, and has this size; the room counts for good. Idempotent.

        Call it in the unit of work that makes the file's version. A reservation that had ended is taken up again where
        its room and its key are free still.

        Raises:
            NotFound: its link is not open any more; or there is no such reservation, perhaps because its time was over
                and its key was given to another.
            InvalidRequest: its size is over what the link has room for.
        """

    @abstractmethod
    def release(self, link_id: str, upload_id: str) -> None:
        """The file won't come: its room is free. Nothing where it came, or where there is none. Idempotent."""

    @abstractmethod
    def reservation(self, link_id: str, upload_id: str) -> Reservation:
        """One reservation, ended or not. Raises NotFound."""


def new_secret() -> str:
    """A secret of 192 bits, as text that needs no encoding in a URL."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def at_command_line(name: str) -> str:
    """Who made a link, where that was somebody at the command line of this machine."""
    return f"{_COMMAND_LINE}{name})"


def is_suspended(created_by: str, lets_in: LetsIn) -> bool:
    """Whether links of this maker don't work now."""
    return not created_by.startswith(_COMMAND_LINE) and not lets_in(created_by)


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_page(limit: int) -> None:
    """Raise InvalidRequest for a page that nobody can want."""
    if not 1 <= limit <= LINK_PAGE_SIZE:
        raise InvalidRequest("listing links", f"a page has 1 to {LINK_PAGE_SIZE} of them")


def check_share(draft: ShareDraft, now: datetime) -> None:
    """Raise InvalidRequest unless this can be shared."""
    doing = "sharing files"
    if draft.target.kind is TargetKind.FOLDER:
        _check_folder(doing, draft.target.name)
    elif not draft.target.name or len(draft.target.name) > SECRET_LIMIT:
        raise InvalidRequest(doing, f"it is not told which {draft.target.kind}")
    _check_words(doing, draft.title)
    _check_time(doing, draft.expires_at, now)


def check_upload_link(draft: UploadLinkDraft, now: datetime) -> None:
    """Raise InvalidRequest unless this can be an upload link."""
    doing = "making an upload link"
    _check_folder(doing, draft.folder)
    _check_words(doing, draft.message)
    _check_time(doing, draft.expires_at, now)
    if any(limit is not None and limit < 1 for limit in (draft.max_files, draft.max_bytes, draft.max_file_bytes)):
        raise InvalidRequest(doing, "a limit is at least 1", hint="Leave it out for none")


def candidate_keys(link: UploadLink, name: str) -> Iterator[str]:
    """The keys to try for a file of this name, in their order: its own, then ``name (2)`` and so on.

    What a browser or a shell put in front of the name is kept as folders below the link's, without anything that
    means something else to a file system.

    Raises:
        InvalidRequest: no file can have that name.
    """
    segments = [part for part in name.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    if not segments:
        raise InvalidRequest("receiving a file", "it has no name")
    if link.kinds and claimed_kind(segments[-1]) not in link.kinds:
        raise InvalidRequest("receiving a file", f"by its name it is none of: {', '.join(sorted(link.kinds))}")
    key = check_key(f"{link.folder}/{'/'.join(segments)}")
    stem, dot, extension = file_name(key).rpartition(".")
    folder = folder_path(key)
    if not dot or not stem:
        stem, dot, extension = file_name(key), "", ""
    yield key
    for number in range(2, _NAME_TRIES):
        yield check_key(f"{folder}/{stem} ({number}){dot}{extension}")


def claimed_kind(name: str) -> MediaKind:
    """What a file is by its name's extension."""
    claim = claimed_type(name, None) or ""
    family = claim.partition("/")[0]
    if family in _FAMILIES:
        return MediaKind(family)
    return MediaKind.DOCUMENT if family == "text" or any(word in claim for word in _DOCUMENTS) else MediaKind.GENERIC


def check_room(link: UploadLink, size_bytes: int | None) -> int:
    """How many bytes are to be kept for one more file of a link, whose own room is not counted yet.

    Raises:
        InvalidRequest: it has no room for it.
    """
    doing = "receiving a file"
    room = link.room_bytes()
    if link.max_files is not None and link.used_files >= link.max_files:
        raise InvalidRequest(doing, f"the link takes {link.max_files} files, and they came", hint=_ASK)
    if size_bytes is None:
        if room == 0:
            raise InvalidRequest(doing, "the link has taken all that it takes", hint=_ASK)
        return room or 0
    if room is not None and size_bytes > room:
        raise InvalidRequest(doing, f"it has {size_bytes} bytes; the link takes {room} more at most", hint=_ASK)
    return size_bytes


_FAMILIES: Final = frozenset({"image", "video", "audio"})
_DOCUMENTS: Final = ("pdf", "document", "msword", "ms-excel", "ms-powerpoint", "rtf")
_ASK: Final = "Ask who gave you the link for another"


def _is_open(expires_at: datetime | None, revoked_at: datetime | None, now: datetime) -> bool:
    return revoked_at is None and (expires_at is None or now < expires_at)


def _check_folder(doing: str, folder: str) -> None:
    check_key(folder)
    if folder.endswith("/") or folder.startswith("/"):
        raise InvalidRequest(doing, "a folder is given without a slash around it")


def _check_words(doing: str, text: str) -> None:
    if len(text) > TEXT_LIMIT:
        raise InvalidRequest(doing, f"its text has more than {TEXT_LIMIT} characters")
    if any(not character.isprintable() and character != "\n" for character in text):
        raise InvalidRequest(doing, "its text has control characters")


def _check_time(doing: str, expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest(doing, "it would be over already")
