"""Accounts and an audit log in memory; passwords are kept as they are, and cost nothing."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from contentplatform.accounts.credentials import TOKEN_PREFIX, new_password, new_secret
from contentplatform.accounts.passwords import check_password
from contentplatform.accounts.pauses import Tries, after_failure, after_success, pause_left_seconds, subjects
from contentplatform.accounts.port import (
    ADMINISTRATOR_NAME,
    AUDIT_PAGE_SIZE,
    USUAL_RULES,
    AccountRules,
    Accounts,
    AuditEntry,
    AuditFlaw,
    AuditLog,
    AuditPage,
    Principal,
    Role,
    Scope,
    Session,
    Token,
    User,
    Via,
    check_audit_page,
    check_folder,
    check_lifetime,
    check_quota,
    check_restriction,
    check_scopes,
    check_token_name,
    check_user_name,
    machine,
    nobody,
    principal_of_session,
    principal_of_token,
)
from contentplatform.clock import Clock, IdSource
from contentplatform.errors import (
    Conflict,
    Denied,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
)

PASSWORD: Final = "correct horse battery"
"""One that is taken."""


class CountedBytes:
    """Bytes that stand for random ones: no two are the same."""

    def __init__(self) -> None:
        self._counter = itertools.count(1)

    def __call__(self, size: int) -> bytes:
        """The next ones."""
        return hashlib.shake_128(next(self._counter).to_bytes(8, "big")).digest(size)


class MemoryAuditLog(AuditLog):
    """Remembers what was recorded, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.recorded: list[AuditEntry] = []

    def record(self, who: Principal, act: str, subject: str, **details: Any) -> None:
        entry = AuditEntry(
            len(self.recorded) + 1, self._clock.now(), who.name, who.id, who.via, act, subject, details, "0" * 64
        )
        self.recorded.append(entry)

    def entries(
        self, *, cursor: str | None = None, limit: int = AUDIT_PAGE_SIZE, who_id: str = "", act: str = ""
    ) -> AuditPage:
        check_audit_page(limit)
        if cursor is not None and not cursor.isdecimal():
            raise InvalidRequest("reading the audit log", "no such page")
        end = len(self.recorded) + 1 if cursor is None else int(cursor)
        found = [
            entry
            for entry in reversed(self.recorded)
            if entry.sequence < end and (not who_id or entry.who_id == who_id) and entry.act.startswith(act)
        ]
        return AuditPage(tuple(found[:limit]), str(found[limit - 1].sequence) if len(found) > limit else None)

    def verify(self) -> tuple[AuditFlaw, ...]:
        return ()

    def accept(self, who: Principal) -> tuple[AuditFlaw, ...]:
        self.record(who, "audit.accept", "", flaws=[])
        return ()


@dataclass
class _Held:
    """What a secret stands for."""

    session: Session | None = None
    token: Token | None = None


class MemoryAccounts(Accounts):
    """Everything in dictionaries, behind one lock."""

    def __init__(self, audit: AuditLog, clock: Clock, ids: IdSource, rules: AccountRules = USUAL_RULES) -> None:
        self._audit = audit
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._random = CountedBytes()
        self._users: dict[str, User] = {}
        self._passwords: dict[str, str] = {}
        self._held: dict[str, _Held] = {}
        self._charges: dict[str, tuple[str, int]] = {}
        self._tries: dict[str, Tries] = {}
        self._lock = threading.RLock()

    # -- users -----------------------------------------------------------------------------------------------

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
        name, folder = check_user_name(name), check_folder(folder)
        check_restriction(role, folder)
        check_quota(quota_bytes)
        check_password(password, name, shortest=self._rules.password_length)
        if any(user.name == name for user in self._users.values()):
            raise Conflict(f"adding user {name}", "there is one of that name")
        now = self._clock.now()
        user = User(self._ids.new_id(), name, role, folder, quota_bytes, 0, now, now, generated)
        self._users[user.id], self._passwords[user.id] = user, password
        self._audit.record(by, "user.add", name)
        return user

    def user(self, user_id: str) -> User:
        if user_id not in self._users:
            raise NotFound(f"looking for user {user_id}", "there is none")
        return self._users[user_id]

    def user_named(self, name: str) -> User:
        for user in self._users.values():
            if user.name == name.strip().lower():
                return user
        raise NotFound(f"looking for user {name}", "there is none")

    def users(self) -> tuple[User, ...]:
        return tuple(sorted(self._users.values(), key=lambda user: user.name))

    def set_role(self, user_id: str, role: Role, *, by: Principal) -> User:
        user = self.user(user_id)
        check_restriction(role, user.folder)
        if role is not Role.ADMIN:
            self._keep_an_administrator(user)
        return self._changed(replace(user, role=role), by, "user.role")

    def set_folder(self, user_id: str, folder: str, *, by: Principal) -> User:
        user, folder = self.user(user_id), check_folder(folder)
        check_restriction(user.role, folder)
        return self._changed(replace(user, folder=folder), by, "user.folder")

    def set_quota(self, user_id: str, quota_bytes: int | None, *, by: Principal) -> User:
        check_quota(quota_bytes)
        return self._changed(replace(self.user(user_id), quota_bytes=quota_bytes), by, "user.quota")

    def set_password(self, user_id: str, password: str, *, by: Principal, generated: bool = False) -> User:
        user = self.user(user_id)
        check_password(password, user.name, shortest=self._rules.password_length)
        self._passwords[user_id] = password
        self._drop(lambda held: held.session is not None and held.session.user_id == user_id)
        self._tries.pop(subjects(user.name, "", 0)[0].id, None)
        changed = replace(user, password_changed_at=self._clock.now(), password_is_generated=generated)
        return self._changed(changed, by, "user.password")

    def disable(self, user_id: str, *, by: Principal) -> User:
        user = self.user(user_id)
        self._keep_an_administrator(user)
        self._drop(lambda held: held.session is not None and held.session.user_id == user_id)
        disabled_at = user.disabled_at or self._clock.now()
        return self._changed(replace(user, disabled_at=disabled_at), by, "user.disable")

    def enable(self, user_id: str, *, by: Principal) -> User:
        return self._changed(replace(self.user(user_id), disabled_at=None), by, "user.enable")

    def remove_user(self, user_id: str, *, by: Principal) -> None:
        user = self.user(user_id)
        self._keep_an_administrator(user)
        del self._users[user_id], self._passwords[user_id]
        self._drop(lambda held: user_id in {each.user_id for each in (held.session, held.token) if each})
        self._charges = {name: charge for name, charge in self._charges.items() if charge[0] != user_id}
        self._audit.record(by, "user.remove", user.name)

    def ensure_administrator(self) -> str | None:
        if any(user.role is Role.ADMIN for user in self._users.values()):
            return None
        password = new_password(lambda size: bytes(range(7, 7 + size)))
        self.add_user(ADMINISTRATOR_NAME, password, Role.ADMIN, by=machine("contentplatform"), generated=True)
        return password

    def _changed(self, user: User, by: Principal, act: str) -> User:
        self._users[user.id] = user
        self._audit.record(by, act, user.name)
        return user

    def _keep_an_administrator(self, user: User) -> None:
        able = {each.id for each in self._users.values() if each.role is Role.ADMIN and not each.is_disabled}
        if able == {user.id}:
            raise Conflict(f"changing user {user.name}", "it is the last administrator")

    def _drop(self, is_over: Callable[[_Held], bool]) -> int:
        over = [secret for secret, held in self._held.items() if is_over(held)]
        for secret in over:
            del self._held[secret]
        return len(over)

    # -- signing in ------------------------------------------------------------------------------------------

    def authenticate(self, name: str, password: str, source: str) -> User:
        who = subjects(name, source, self._rules.tries_allowed)
        now = self._clock.now()
        with self._lock:
            seconds = max(pause_left_seconds(self._tries.get(subject.id), subject, now) for subject in who)
            if seconds:
                raise RateLimited("signing in", "too many tries", retry_after_seconds=seconds)
            for subject in who:
                self._tries[subject.id] = after_failure(self._tries.get(subject.id), subject, now)
        user = next((user for user in self._users.values() if user.name == name.strip().lower()), None)
        if user is None or self._passwords[user.id] != password or user.is_disabled:
            self._audit.record(nobody(source), "session.start.refused", user.name if user else "")
            raise Unauthenticated("signing in", "name and password don't fit")
        by_name, by_source = who
        self._tries.pop(by_name.id, None)
        self._tries[by_source.id] = after_success(self._tries[by_source.id])
        self._users[user.id] = replace(user, signed_in_at=now)
        return self._users[user.id]

    def start_session(self, user_id: str, *, source: str, agent: str = "") -> str:
        user = self.user(user_id)
        if user.is_disabled:
            raise Denied("signing in", "this user is disabled")
        now, secret = self._clock.now(), new_secret(self._random)
        expires_at = now + timedelta(seconds=self._rules.session_lifetime_seconds)
        session = Session(self._ids.new_id(), user_id, now, now, expires_at, source, agent)
        self._held[secret] = _Held(session=session)
        self._audit.record(nobody(source), "session.start", user.name)
        return secret

    def session(self, secret: str) -> Principal | None:
        session = self._held.get(secret, _Held()).session
        if session is None or not self._is_live(session):
            return None
        self._held[secret].session = replace(session, last_seen_at=self._noted(session.last_seen_at))
        return principal_of_session(self.user(session.user_id), session.id)

    def _is_live(self, session: Session) -> bool:
        now, idle = self._clock.now(), timedelta(seconds=self._rules.session_idle_seconds)
        return session.expires_at > now and now - session.last_seen_at < idle

    def _noted(self, before: datetime | None) -> datetime:
        now = self._clock.now()
        often = timedelta(seconds=self._rules.noted_every_seconds)
        return before if before is not None and now - before < often else now

    def sessions(self, user_id: str) -> tuple[Session, ...]:
        found = [held.session for held in self._held.values() if held.session and held.session.user_id == user_id]
        return tuple(session for session in reversed(found) if self._is_live(session))

    def end_session(self, secret: str) -> None:
        held = self._held.get(secret, _Held()).session
        if held is not None:
            del self._held[secret]
            user = self.user(held.user_id)
            self._audit.record(principal_of_session(user, held.id) or nobody(held.source), "session.end", user.name)

    def end_sessions(self, user_id: str, *, by: Principal, but: str = "") -> int:
        user = self.user(user_id)
        ended = self._drop(
            lambda held: held.session is not None and held.session.user_id == user_id and held.session.id != but
        )
        if ended:
            self._audit.record(by, "session.end", user.name)
        return ended

    # -- tokens ----------------------------------------------------------------------------------------------

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
        name, folder = check_token_name(name), check_folder(folder)
        days = check_lifetime(self._rules, lifetime_days)
        user, now = self.user(user_id), self._clock.now()
        granted = check_scopes(user, scopes, folder)
        token = Token(self._ids.new_id(), user_id, name, granted, folder, now, now + timedelta(days=days))
        secret = new_secret(self._random, TOKEN_PREFIX)
        self._held[secret] = _Held(token=token)
        self._audit.record(by, "token.add", name)
        return secret, token

    def token(self, secret: str) -> Principal | None:
        token = self._held.get(secret, _Held()).token
        if token is None or token.expires_at <= self._clock.now():
            return None
        self._held[secret].token = replace(token, last_used_at=self._noted(token.last_used_at))
        return principal_of_token(self.user(token.user_id), token)

    def tokens(self, user_id: str | None = None) -> tuple[Token, ...]:
        since = self._clock.now() - timedelta(days=30)
        found = [held.token for held in self._held.values() if held.token and held.token.expires_at >= since]
        return tuple(token for token in reversed(found) if user_id in {None, token.user_id})

    def revoke_token(self, token_id: str, *, by: Principal) -> None:
        found = next((held.token for held in self._held.values() if held.token and held.token.id == token_id), None)
        if found is None:
            raise NotFound(f"revoking token {token_id}", "there is none")
        self._drop(lambda held: held.token == found)
        self._audit.record(by, "token.revoke", found.name)

    # -- staying in ------------------------------------------------------------------------------------------

    def anew(self, who: Principal) -> Principal | None:
        if who.via not in {Via.SESSION, Via.TOKEN}:
            return who
        for held in self._held.values():
            session, token = held.session, held.token
            if session is not None and session.id == who.credential_id and self._is_live(session):
                return principal_of_session(self.user(session.user_id), session.id)
            if token is not None and token.id == who.credential_id and token.expires_at > self._clock.now():
                return principal_of_token(self.user(token.user_id), token)
        return None

    # -- quotas ----------------------------------------------------------------------------------------------

    def charge(self, user_id: str, size_bytes: int, reference: str) -> None:
        with self._lock:
            user = self._users.get(user_id)
            if user is None:
                return
            whose, before = self._charges.get(reference, (user_id, 0))
            if whose != user_id:
                raise Conflict(f"charging {user.name}", "it is charged to somebody else")
            more = size_bytes - before
            if user.quota_bytes is not None and more > 0 and user.used_bytes + more > user.quota_bytes:
                raise QuotaExceeded(f"taking {size_bytes} bytes", "there is no room")
            self._charges[reference] = (user_id, size_bytes)
            self._users[user_id] = replace(user, used_bytes=user.used_bytes + more)

    def release(self, reference: str) -> None:
        with self._lock:
            if reference in self._charges:
                user_id, size_bytes = self._charges.pop(reference)
                user = self._users[user_id]
                self._users[user_id] = replace(user, used_bytes=user.used_bytes - size_bytes)

    def transfer(self, reference: str, to: str) -> None:
        with self._lock:
            if reference != to and {reference, to} <= self._charges.keys():
                raise Conflict(f"charging for {to}", "it is charged already")
            if reference in self._charges:
                self._charges[to] = self._charges.pop(reference)

    def used_bytes(self, user_id: str) -> int:
        user = self._users.get(user_id)
        return user.used_bytes if user else 0
