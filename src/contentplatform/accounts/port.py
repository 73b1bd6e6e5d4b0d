"""What accounts promise: who somebody is, what that one may do, how much, and what was done.

In both homes they live in the database of the data folder: on AWS that of the machine which serves.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from contentplatform.errors import Denied, InvalidRequest, NotFound

ADMINISTRATOR_NAME: Final = "admin"
"""Whom the first start makes."""
AUDIT_PAGE_SIZE: Final = 100
NAME_LIMIT: Final = 64
TOKEN_NAME_LIMIT: Final = 100
FOLDER_LIMIT: Final = 900
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]*")
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Role(StrEnum):
    """What somebody is here for."""

    ADMIN = "admin"
    """Everything, users and settings included."""
    EDITOR = "editor"
    """Reads and writes files."""
    VIEWER = "viewer"
    """Reads."""


class Scope(StrEnum):
    """What a request needs the right to."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


SCOPES_OF: Final[Mapping[Role, frozenset[Scope]]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Scope),
        Role.EDITOR: frozenset({Scope.READ, Scope.WRITE}),
        Role.VIEWER: frozenset({Scope.READ}),
    }
)


class Via(StrEnum):
    """How somebody showed who they are."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a word for how, no secret
    LINK = "link"
    """A share or upload link: whoever holds it."""
    MACHINE = "machine"
    """The command line, a worker: whoever may read the data folder."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what that one may do, at this moment."""

    id: str
    """The user's; of a link the link's."""
    name: str
    role: Role
    scopes: frozenset[Scope]
    folder: str = ""
    """Ends with a slash: no other keys exist for them. Empty: the whole library."""
    via: Via = Via.SESSION
    credential_id: str = ""
    """Which session, token or link it was."""

    def may(self, scope: Scope) -> bool:
        """Whether they have this right."""
        return scope in self.scopes

    def sees(self, key: str) -> bool:
        """Whether this key exists for them."""
        return key.startswith(self.folder)

    def needs(self, scope: Scope) -> None:
        """Raise Denied unless they have this right."""
        if not self.may(scope):
            raise Denied("doing this", f"it needs the right to {_RIGHTS[scope]}", hint="Ask an administrator")

    def folder_within(self, folder: str) -> str:
        """The folder to look into, for somebody who asked for ``folder`` (empty: all there is for them).

        Raises:
            NotFound: it doesn't exist for them.
        """
        asked = folder.strip("/")
        if not asked:
            return self.folder
        if self.folder.startswith(f"{asked}/"):
            return self.folder
        if not self.sees(f"{asked}/"):
            raise NotFound(f"looking into {asked}", "there is no such folder")
        return f"{asked}/"


_RIGHTS: Final[Mapping[Scope, str]] = MappingProxyType(
    {Scope.READ: "read files", Scope.WRITE: "change files", Scope.ADMIN: "manage users and settings"}
)


def machine(name: str) -> Principal:
    """A program on this machine that may read the data folder, and therefore everything."""
    return Principal(name, name, Role.ADMIN, SCOPES_OF[Role.ADMIN], via=Via.MACHINE)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can sign in."""

    id: str
    name: str
    role: Role
    folder: str
    """As in Principal."""
    quota_bytes: int | None
    """Of everything they uploaded, each file by its whole size; None: no limit."""
    used_bytes: int
    created_at: datetime
    password_changed_at: datetime
    password_is_generated: bool
    """Made by the platform, or by whoever reset it: should be changed by its owner."""
    disabled_at: datetime | None = None
    signed_in_at: datetime | None = None
    """Most recently."""

    @property
    def is_disabled(self) -> bool:
        """Whether they can't sign in, nor use a token."""
        return self.disabled_at is not None

    @property
    def scopes(self) -> frozenset[Scope]:
        """The rights of their role."""
        return SCOPES_OF[self.role]


@dataclass(frozen=True, slots=True)
class Token:
    """Lets a program act for a user, with a part of the user's rights. The secret is shown once and not kept."""

    id: str
    user_id: str
    name: str
    scopes: frozenset[Scope]
    folder: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    """To the minute or so."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody is signed in with one browser."""

    id: str
    user_id: str
    created_at: datetime
    last_seen_at: datetime
    """To the minute or so."""
    expires_at: datetime
    """However busy it is."""
    source: str
    agent: str
    """What the browser says it is."""


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What the settings say of accounts."""

    session_idle_seconds: int = 43_200
    session_lifetime_seconds: int = 604_800
    token_lifetime_days: int = 90
    token_lifetime_days_limit: int = 366
    password_length: int = 12
    """The shortest that is taken."""
    tries_allowed: int = 5
    """Wrong passwords for one name before its pauses begin; four times as many from one address."""
    noted_every_seconds: int = 60
    """How often the use of a session or token is written down, at most."""


USUAL_RULES: Final = AccountRules()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done, or refused."""

    sequence: int
    """1, 2, 3, … without a gap."""
    at: datetime
    who: str
    who_id: str
    via: Via
    act: str
    """``user.add``, ``session.start``, ``file.delete``, …; what was refused ends in ``.refused``."""
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    """SHA-256, in hex, of all of the above and of the digest before it."""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page of the log, the newest first."""

    entries: tuple[AuditEntry, ...]
    cursor: str | None
    """Opaque; None: this was the last page."""


@dataclass(frozen=True, slots=True)
class AuditFlaw:
    """A place at which the log is not what it was when it was written."""

    sequence: int
    what: str


class AuditLog(ABC):
    """Only ever grows. Each entry contains the digest of the one before it; the newest is noted in a second place."""

    @abstractmethod
    def record(self, who: Principal, act: str, subject: str, **details: Any) -> None:
        """Write down what somebody did, or was refused.

        Local: durable when it returns; within an open unit of work it is so together with that.

        Args:
            who: for somebody unknown, ``nobody(source)``.
            act: a word of the room, a point, and what was done.
            subject: to what.
            details: JSON; never a secret.
        """

    @abstractmethod
    def entries(
        self, *, cursor: str | None = None, limit: int = AUDIT_PAGE_SIZE, who_id: str = "", act: str = ""
    ) -> AuditPage:
        """Entries, the newest first; with ``who_id`` only theirs, with ``act`` only those acts that begin with it.

        Raises:
            InvalidRequest: a foreign cursor, or a limit not from 1 to 100.
        """

    @abstractmethod
    def verify(self) -> tuple[AuditFlaw, ...]:
        """Read all of it; whatever was edited, left out, put in or cut off. Empty: it is as it was written."""

    @abstractmethod
    def accept(self, who: Principal) -> tuple[AuditFlaw, ...]:
        """Begin to note the newest entry anew, as after an older database was put back; what was found before.

        An entry of its own says so. What is wrong within the chain stays wrong.
        """


class Accounts(ABC):
    """Users and all by which they show who they are. Safe from any thread and from several processes.

    Every change is in the audit log, with who made it, in the same commit. Secrets are kept as digests only. A role,
    a folder, a switched-off user: whatever changes holds from the next request on, for sessions and tokens as well.
    """

    # -- users -----------------------------------------------------------------------------------------------

    @abstractmethod
    def add_user(
        self,
        name: str,
        password: str,
        role: Role,
        *,
        by: Principal,
        folder: str = "",
        quota_bytes: int | None = None,
        generated: bool = False,
    ) -> User:
        """Make a user. Names are compared in lower case.

        Args:
            name: letters, digits and ``._@+-``, at most 64.
            password: chosen by the user, or ``generated``.
            role: what they may do.
            by: who makes it.
            folder: all that exists for them; empty: everything.
            quota_bytes: what they may upload; None: no limit.
            generated: the password should be changed by its owner.

        Raises:
            Conflict: there is one of that name.
            InvalidRequest: the name, the folder or the password is none that is taken; or an administrator was to be
                held in a folder.
        """

    @abstractmethod
    def user(self, user_id: str) -> User:
        """Raises NotFound."""

    @abstractmethod
    def user_named(self, name: str) -> User:
        """Raises NotFound."""

    @abstractmethod
    def users(self) -> tuple[User, ...]:
        """All of them, by name."""

    @abstractmethod
    def set_role(self, user_id: str, role: Role, *, by: Principal) -> User:
        """Give another role.

        Raises:
            NotFound: no such user.
            Conflict: the last administrator who can sign in would be none any more.
            InvalidRequest: an administrator was to be held in a folder.
        """

    @abstractmethod
    def set_folder(self, user_id: str, folder: str, *, by: Principal) -> User:
        """Restrict to a folder; empty: everything. Raises NotFound, InvalidRequest as ``set_role``."""

    @abstractmethod
    def set_quota(self, user_id: str, quota_bytes: int | None, *, by: Principal) -> User:
        """Allow so much; what is there already stays. Raises NotFound, InvalidRequest for less than nothing."""

    @abstractmethod
    def set_password(self, user_id: str, password: str, *, by: Principal, generated: bool = False) -> User:
        """Give another password and end every session; pauses after wrong ones end. Raises NotFound, InvalidRequest."""

    @abstractmethod
    def disable(self, user_id: str, *, by: Principal) -> User:
        """Let a user neither sign in nor use tokens, and end every session. Raises as ``set_role``."""

    @abstractmethod
    def enable(self, user_id: str, *, by: Principal) -> User:
        """Let a user in again. Raises NotFound."""

    @abstractmethod
    def remove_user(self, user_id: str, *, by: Principal) -> None:
        """Remove a user with sessions and tokens; files and the audit log stay. Raises as ``disable``."""

    @abstractmethod
    def ensure_administrator(self) -> str | None:
        """Where there is no administrator, make ``admin`` and return the password, this once; else None."""

    # -- signing in ------------------------------------------------------------------------------------------

    @abstractmethod
    def authenticate(self, name: str, password: str, source: str) -> User:
        """Who signs in with this name and password.

        After some wrong ones the same name, and likewise the same address, has to pause, longer each time. The answer
        takes as long, and is the same, for a name that there is not.

        Args:
            name: as given.
            password: as given.
            source: the address it came from.

        Raises:
            Unauthenticated: not with these; or the user is disabled.
            RateLimited: too many tries; the password was not even looked at.
        """

    @abstractmethod
    def start_session(self, user_id: str, *, source: str, agent: str = "") -> str:
        """Sign in: the new session's secret, never one that was there before. Raises NotFound, Denied if disabled."""

    @abstractmethod
    def session(self, secret: str) -> Principal | None:
        """Who holds this secret; None: nobody, the session is over, or the user may not be let in."""

    @abstractmethod
    def sessions(self, user_id: str) -> tuple[Session, ...]:
        """Where a user is signed in, the newest first."""

    @abstractmethod
    def end_session(self, secret: str) -> None:
        """Sign out. Nothing where there is no such session."""

    @abstractmethod
    def end_sessions(self, user_id: str, *, by: Principal, but: str = "") -> int:
        """Sign a user out everywhere, but for the session of that id; how many those were."""

    # -- tokens ----------------------------------------------------------------------------------------------

    @abstractmethod
    def create_token(
        self,
        user_id: str,
        name: str,
        scopes: Iterable[Scope],
        *,
        by: Principal,
        folder: str = "",
        lifetime_days: int | None = None,
    ) -> tuple[str, Token]:
        """Make a token: its secret, which nobody can be told again, and what is kept of it.

        Raises:
            NotFound: no such user.
            InvalidRequest: no scope, or one that the owner's role has not; a folder outside the owner's, or for the
                right to manage; a lifetime of less than a day or more than the settings allow; no name.
        """

    @abstractmethod
    def token(self, secret: str) -> Principal | None:
        """Who holds this secret: with those of its scopes that the owner's role still has. None as ``session``."""

    @abstractmethod
    def tokens(self, user_id: str | None = None) -> tuple[Token, ...]:
        """A user's, or everybody's, the newest first; for thirty days also those that expired."""

    @abstractmethod
    def revoke_token(self, token_id: str, *, by: Principal) -> None:
        """End a token. Raises NotFound."""

    # -- staying in ------------------------------------------------------------------------------------------

    @abstractmethod
    def anew(self, who: Principal) -> Principal | None:
        """Who somebody is by now, who came earlier and is here still: by the same session or token, with its rights.

        That is no use of it. None as ``session``; whoever came otherwise is who they were.
        """

    # -- quotas ----------------------------------------------------------------------------------------------

    @abstractmethod
    def charge(self, user_id: str, size_bytes: int, reference: str) -> None:
        """Count bytes that a user's upload takes, each file by its whole size, whatever is stored of it.

        Exact however many do it at once. Again with the same reference it sets that charge to this size. Local: joins
        the open unit of work.

        Args:
            user_id: whose; somebody who is no user (a link's bearer's owner was removed, the command line) is not
                counted.
            size_bytes: how much.
            reference: what for: the upload, later the version.

        Raises:
            QuotaExceeded: there is no room for that; nothing was counted.
        """

    @abstractmethod
    def release(self, reference: str) -> None:
        """Give back what was charged for this; nothing where nothing was. Local: joins the open unit of work."""

    @abstractmethod
    def transfer(self, reference: str, to: str) -> None:
        """Let what was charged for ``reference`` stand for ``to`` from now on; nothing where nothing was.

        Raises:
            Conflict: something is charged for ``to`` already.
        """

    @abstractmethod
    def used_bytes(self, user_id: str) -> int:
        """What is charged to a user; 0 for somebody who is none."""


# -- what every adapter checks ---------------------------------------------------------------------------------------


def nobody(source: str) -> Principal:
    """Somebody of whom nothing but the address is known."""
    return Principal("", source, Role.VIEWER, frozenset(), via=Via.SESSION)


def check_user_name(name: str) -> str:
    """The name as it is kept. Raises InvalidRequest."""
    folded = name.strip().lower()
    if len(folded) > NAME_LIMIT or _NAME.fullmatch(folded) is None:
        raise InvalidRequest(
            f"adding user {name[:NAME_LIMIT]!r}",
            f"a name has 1 to {NAME_LIMIT} characters: letters from a to z, digits, and behind the first . _ @ + -",
        )
    return folded


def check_token_name(name: str) -> str:
    """The name as it is kept. Raises InvalidRequest."""
    stripped = name.strip()
    if not 1 <= len(stripped) <= TOKEN_NAME_LIMIT or _UNSEEN.search(stripped):
        raise InvalidRequest(
            "making a token", f"its name has 1 to {TOKEN_NAME_LIMIT} characters that can be seen", hint="Say what for"
        )
    return stripped


def check_folder(folder: str) -> str:
    """The folder as it is kept: with a slash at its end; empty for everything. Raises InvalidRequest."""
    stripped = folder.strip("/")
    if not stripped:
        return ""
    parts = stripped.split("/")
    if len(stripped.encode(errors="replace")) > FOLDER_LIMIT or _UNSEEN.search(stripped):
        raise InvalidRequest("restricting to a folder", "it is too long, or has characters that no key has")
    if any(part in {"", ".", ".."} for part in parts):
        raise InvalidRequest(f"restricting to {stripped!r}", "an empty part, . and .. are in no key")
    return f"{stripped}/"


def check_restriction(role: Role, folder: str) -> None:
    """Raise InvalidRequest for an administrator in a folder: who can make users sees everything."""
    if role is Role.ADMIN and folder:
        raise InvalidRequest(
            f"restricting to {folder}", "an administrator can't be held in a folder", hint="Choose another role"
        )


def check_quota(quota_bytes: int | None) -> None:
    """Raise InvalidRequest for less than nothing."""
    if quota_bytes is not None and not 0 <= quota_bytes < 2**62:
        raise InvalidRequest("setting a quota", "it is a number of bytes, at least 0")


def check_scopes(user: User, scopes: Iterable[Scope], folder: str) -> frozenset[Scope]:
    """The scopes of a token of this user. Raises InvalidRequest."""
    doing = f"making a token for {user.name}"
    try:
        wanted = frozenset(Scope(scope) for scope in scopes)
    except ValueError:
        raise InvalidRequest(doing, f"scopes are {', '.join(Scope)}") from None
    if not wanted:
        raise InvalidRequest(doing, "it needs one scope at least")
    if not wanted <= user.scopes:
        missing = ", ".join(sorted(wanted - user.scopes))
        raise InvalidRequest(doing, f"a user with the role {user.role} has no right to: {missing}")
    if folder and Scope.ADMIN in wanted:
        raise InvalidRequest(doing, "with the scope admin it can't be held in a folder")
    if folder and not folder.startswith(user.folder):
        raise InvalidRequest(doing, f"the folder is not within {user.folder}")
    return wanted


def check_lifetime(rules: AccountRules, lifetime_days: int | None) -> int:
    """The lifetime of a token in days. Raises InvalidRequest."""
    days = rules.token_lifetime_days if lifetime_days is None else lifetime_days
    if not 1 <= days <= rules.token_lifetime_days_limit:
        raise InvalidRequest("making a token", f"it lives 1 to {rules.token_lifetime_days_limit} days")
    return days


def check_audit_page(limit: int) -> None:
    """Raise InvalidRequest for a page that nobody can want."""
    if not 1 <= limit <= AUDIT_PAGE_SIZE:
        raise InvalidRequest("reading the audit log", f"a page has 1 to {AUDIT_PAGE_SIZE} entries")


def principal_of_session(user: User, session_id: str) -> Principal | None:
    """Whom a live session of this user stands for."""
    if user.is_disabled:
        return None
    return Principal(user.id, user.name, user.role, user.scopes, user.folder, Via.SESSION, session_id)


def principal_of_token(user: User, token: Token) -> Principal | None:
    """Whom a live token of this user stands for: never for more than the user and the token both may."""
    scopes = token.scopes & user.scopes
    if user.is_disabled or not scopes:
        return None
    if token.folder.startswith(user.folder):
        folder = token.folder
    elif user.folder.startswith(token.folder):
        folder = user.folder
    else:
        return None  # the user was moved elsewhere: nothing is left
    if folder:
        scopes -= {Scope.ADMIN}
    return Principal(user.id, user.name, user.role, scopes, folder, Via.TOKEN, token.id) if scopes else None
