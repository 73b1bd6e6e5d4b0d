"""Accounts in the database of the data folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from contentplatform import log
from contentplatform.accounts.credentials import TOKEN_PREFIX, Randomness, digest, new_password, new_secret
from contentplatform.accounts.passwords import Passwords, check_password
from contentplatform.accounts.pauses import (
    FORGOTTEN_AFTER,
    Subject,
    Tries,
    after_failure,
    after_success,
    pause_left_seconds,
    subjects,
)
from contentplatform.accounts.port import (
    ADMINISTRATOR_NAME,
    USUAL_RULES,
    AccountRules,
    Accounts,
    AuditLog,
    Principal,
    Role,
    Scope,
    Session,
    Token,
    User,
    Via,
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
from contentplatform.accounts.tables import (
    SCHEMA,
    SELECT_KEY,
    SELECT_SESSION,
    SELECT_USER,
    SELECT_USER_AND_KEY,
    SELECT_USER_AND_PASSWORD,
    SELECT_USER_AND_SESSION,
    USER_COLUMNS,
    moment,
    session_of,
    token_of,
    user_of,
)
from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Connection, Database, Row, Transaction
from contentplatform.errors import (
    Conflict,
    Denied,
    NotFound,
    PlatformError,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

__all__ = ["SCHEMA", "LocalAccounts"]

_EXPIRED_TOKENS_KEPT: Final = timedelta(days=30)
_AGENT_LIMIT: Final = 300
_SYSTEM: Final = machine("contentplatform")

_logger = logging.getLogger(__name__)


class LocalAccounts(Accounts):
    """Users and what is theirs, in SQLite.

    Args:
        database: with the tables of this room.
        audit: in the same database, so that a change and its entry commit together.
        clock: when sessions and tokens end.
        ids: of users, sessions, tokens.
        random: secrets.
        passwords: Argon2id at the cost that is wanted.
        rules: what the settings say.
    """

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        clock: Clock,
        ids: IdSource,
        random: Randomness,
        passwords: Passwords,
        rules: AccountRules = USUAL_RULES,
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._ids = ids
        self._random = random
        self._passwords = passwords
        self._rules = rules

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
        kept = self._passwords.hashed(password)
        now = timestamp(self._clock.now())
        values = (self._ids.new_id(), name, role.value, folder, quota_bytes, kept, now, int(generated), now)

        def work(unit: Transaction) -> User:
            if unit.value("SELECT 1 FROM users WHERE name = ?", (name,)):
                raise Conflict(f"adding user {name}", "there is one of that name")
            unit.run(
                "INSERT INTO users (id, name, role, folder, quota_bytes, password, password_changed_at,"
                " password_is_generated, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            self._audit.record(by, "user.add", name, role=role.value, folder=folder, quota_bytes=quota_bytes)
            return _user_by_id(unit, values[0])

        return self._database.write(work)

    def user(self, user_id: str) -> User:
        with self._database.read() as view:
            return _user_by_id(view, user_id)

    def user_named(self, name: str) -> User:
        with self._database.read() as view:
            row = view.row(f"{SELECT_USER} WHERE name = ?", (name.strip().lower(),))
        if row is None:
            raise NotFound(f"looking for user {name}", "there is none of that name")
        return user_of(row)

    def users(self) -> tuple[User, ...]:
        with self._database.read() as view:
            return tuple(user_of(row) for row in view.rows(f"{SELECT_USER} ORDER BY name"))

    def set_role(self, user_id: str, role: Role, *, by: Principal) -> User:
        def work(unit: Transaction, user: User) -> None:
            check_restriction(role, user.folder)
            if role is not Role.ADMIN:
                _keep_an_administrator(unit, user)
            unit.run("UPDATE users SET role = ? WHERE id = ?", (role.value, user_id))
            self._audit.record(by, "user.role", user.name, role=role.value, before=user.role.value)

        return self._changed(user_id, work)

    def set_folder(self, user_id: str, folder: str, *, by: Principal) -> User:
        folder = check_folder(folder)

        def work(unit: Transaction, user: User) -> None:
            check_restriction(user.role, folder)
            unit.run("UPDATE users SET folder = ? WHERE id = ?", (folder, user_id))
            self._audit.record(by, "user.folder", user.name, folder=folder, before=user.folder)

        return self._changed(user_id, work)

    def set_quota(self, user_id: str, quota_bytes: int | None, *, by: Principal) -> User:
        check_quota(quota_bytes)

        def work(unit: Transaction, user: User) -> None:
            unit.run("UPDATE users SET quota_bytes = ? WHERE id = ?", (quota_bytes, user_id))
            self._audit.record(by, "user.quota", user.name, quota_bytes=quota_bytes, before=user.quota_bytes)

        return self._changed(user_id, work)

    def set_password(self, user_id: str, password: str, *, by: Principal, generated: bool = False) -> User:
        check_password(password, self.user(user_id).name, shortest=self._rules.password_length)
        kept = self._passwords.hashed(password)
        now = timestamp(self._clock.now())

        def work(unit: Transaction, user: User) -> None:
            unit.run(
                "UPDATE users SET password = ?, password_changed_at = ?, password_is_generated = ? WHERE id = ?",
                (kept, now, int(generated), user_id),
            )
            unit.run("DELETE FROM sessions WHERE user_id = ?", (user_id,))
            unit.run("DELETE FROM tries WHERE subject = ?", (subjects(user.name, "", 0)[0].id,))
            self._audit.record(by, "user.password", user.name, generated=generated)

        return self._changed(user_id, work)

    def disable(self, user_id: str, *, by: Principal) -> User:
        def work(unit: Transaction, user: User) -> None:
            _keep_an_administrator(unit, user)
            now = timestamp(self._clock.now())
            unit.run("UPDATE users SET disabled_at = coalesce(disabled_at, ?) WHERE id = ?", (now, user_id))
            unit.run("DELETE FROM sessions WHERE user_id = ?", (user_id,))
            self._audit.record(by, "user.disable", user.name)

        return self._changed(user_id, work)

    def enable(self, user_id: str, *, by: Principal) -> User:
        def work(unit: Transaction, user: User) -> None:
            unit.run("UPDATE users SET disabled_at = NULL WHERE id = ?", (user_id,))
            self._audit.record(by, "user.enable", user.name)

        return self._changed(user_id, work)

    def remove_user(self, user_id: str, *, by: Principal) -> None:
        def work(unit: Transaction) -> None:
            user = _user_by_id(unit, user_id)
            _keep_an_administrator(unit, user)
            unit.run("DELETE FROM users WHERE id = ?", (user_id,))
            self._audit.record(by, "user.remove", user.name, used_bytes=user.used_bytes)

        self._database.write(work)

    def ensure_administrator(self) -> str | None:
        with self._database.read() as view:
            if view.value("SELECT 1 FROM users WHERE role = 'admin' LIMIT 1"):
                return None
        password = new_password(self._random)
        with suppress(Conflict):  # of two processes that start at once, the second finds the name taken
            self.add_user(ADMINISTRATOR_NAME, password, Role.ADMIN, by=_SYSTEM, generated=True)
            return password
        return None

    def _changed(self, user_id: str, change: Callable[[Transaction, User], None]) -> User:
        """The user after a change that commits with its entry in the log."""

        def work(unit: Transaction) -> User:
            change(unit, _user_by_id(unit, user_id))
            return _user_by_id(unit, user_id)

        return self._database.write(work)

    # -- signing in ------------------------------------------------------------------------------------------

    def authenticate(self, name: str, password: str, source: str) -> User:
        who = subjects(name, source, self._rules.tries_allowed)
        with self._database.read() as view:  # whoever has to pause costs no write
            self._refuse_while_pausing(view, who)
        self._database.write(lambda unit: self._count_try(unit, who))
        with self._database.read() as view:
            row = view.row(f"{SELECT_USER_AND_PASSWORD} WHERE name = ?", (name.strip().lower(),))
        is_right = self._passwords.matches(password, row[-1] if row else None)
        user = user_of(row[:-1]) if row else None
        if user is None or not is_right or user.is_disabled:
            why = "no such user" if user is None else "wrong password" if not is_right else "disabled"
            self._audit.record(nobody(source), "session.start.refused", user.name if user else "", why=why)
            raise Unauthenticated("signing in", "name and password don't fit", hint="Try again, or ask for a new one")
        return self._let_in(user, password, str(row[-1]) if row else "", who)

    def _let_in(self, user: User, password: str, kept: str, who: tuple[Subject, Subject]) -> User:
        renewed = self._passwords.hashed(password) if self._passwords.is_outdated(kept) else kept
        now = self._clock.now()
        by_name, by_source = who

        def work(unit: Transaction) -> User:
            unit.run("DELETE FROM tries WHERE subject = ?", (by_name.id,))
            counted = _tries(unit, by_source)
            if counted is not None:
                _keep(unit, by_source, after_success(counted))
            # Not over a password that was changed at this very moment.
            unit.run("UPDATE users SET password = ? WHERE id = ? AND password = ?", (renewed, user.id, kept))
            unit.run("UPDATE users SET signed_in_at = ? WHERE id = ?", (timestamp(now), user.id))
            return _user_by_id(unit, user.id)

        return self._database.write(work)

    def _refuse_while_pausing(self, view: Connection, who: Iterable[Subject]) -> None:
        now = self._clock.now()
        seconds = max(pause_left_seconds(_tries(view, subject), subject, now) for subject in who)
        if seconds:
            raise RateLimited(
                "signing in", "there were too many wrong passwords", retry_after_seconds=seconds, hint="Wait a little"
            )

    def _count_try(self, unit: Transaction, who: Iterable[Subject]) -> None:
        """Count it as a wrong one, until it proves right: so many at once can't be more than are allowed."""
        self._refuse_while_pausing(unit, who)
        now = self._clock.now()
        unit.run("DELETE FROM tries WHERE last_at < ?", (timestamp(now - FORGOTTEN_AFTER),))
        for subject in who:
            _keep(unit, subject, after_failure(_tries(unit, subject), subject, now))

    def start_session(self, user_id: str, *, source: str, agent: str = "") -> str:
        secret, session_id = new_secret(self._random), self._ids.new_id()
        now = self._clock.now()
        expires_at = now + timedelta(seconds=self._rules.session_lifetime_seconds)
        agent = agent[:_AGENT_LIMIT].encode("utf-8", "backslashreplace").decode()

        def work(unit: Transaction) -> None:
            user = _user_by_id(unit, user_id)
            if user.is_disabled:
                raise Denied("signing in", "this user is disabled", hint="Ask an administrator")
            idle_since = timestamp(now - timedelta(seconds=self._rules.session_idle_seconds))
            unit.run("DELETE FROM sessions WHERE expires_at <= ? OR last_seen_at <= ?", (timestamp(now), idle_since))
            unit.run(
                "INSERT INTO sessions (secret, id, user_id, created_at, last_seen_at, expires_at, source, agent)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (digest(secret), session_id, user_id, *[timestamp(now)] * 2, timestamp(expires_at), source, agent),
            )
            who = principal_of_session(user, session_id) or nobody(source)
            self._audit.record(who, "session.start", user.name, source=source)

        self._database.write(work)
        return secret

    def session(self, secret: str) -> Principal | None:
        row = self._live_session("secret", digest(secret))
        if row is None:
            return None
        session_id, last_seen_at, _ = row[USER_COLUMNS:]
        last_seen = parse_timestamp(last_seen_at)
        self._note_use("UPDATE sessions SET last_seen_at = ? WHERE id = ?", session_id, last_seen, self._clock.now())
        return principal_of_session(user_of(row), session_id)

    def _live_session(self, column: str, value: object) -> Row | None:
        """User and session, by one that is not over."""
        with self._database.read() as view:
            row = view.row(f"{SELECT_USER_AND_SESSION} WHERE sessions.{column} = ?", (value,))
        if row is None:
            return None
        _, last_seen_at, expires_at = row[USER_COLUMNS:]
        now, idle = self._clock.now(), timedelta(seconds=self._rules.session_idle_seconds)
        is_over = parse_timestamp(expires_at) <= now or now - parse_timestamp(last_seen_at) >= idle
        return None if is_over else row

    def sessions(self, user_id: str) -> tuple[Session, ...]:
        now = self._clock.now()
        idle_since = timestamp(now - timedelta(seconds=self._rules.session_idle_seconds))
        with self._database.read() as view:
            rows = view.rows(
                f"{SELECT_SESSION} WHERE user_id = ? AND expires_at > ? AND last_seen_at > ?"
                " ORDER BY created_at DESC, id DESC",
                (user_id, timestamp(now), idle_since),
            )
        return tuple(session_of(row) for row in rows)

    def end_session(self, secret: str) -> None:
        def work(unit: Transaction) -> None:
            row = unit.row(
                f"{SELECT_USER_AND_SESSION} WHERE sessions.secret = ?",
                (digest(secret),),
            )
            if row is None:
                return
            user, session_id = user_of(row), row[USER_COLUMNS]
            unit.run("DELETE FROM sessions WHERE id = ?", (session_id,))
            self._audit.record(principal_of_session(user, session_id) or _SYSTEM, "session.end", user.name)

        self._database.write(work)

    def end_sessions(self, user_id: str, *, by: Principal, but: str = "") -> int:
        def work(unit: Transaction) -> int:
            user = _user_by_id(unit, user_id)
            ended = unit.run("DELETE FROM sessions WHERE user_id = ? AND id <> ?", (user_id, but))
            if ended:
                self._audit.record(by, "session.end", user.name, sessions=ended)
            return ended

        return self._database.write(work)

    def _note_use(self, statement: str, identifier: str, before: datetime | None, now: datetime) -> None:
        """Note that a session or token is in use, now and then. A full disk must not keep anybody from reading."""
        if before is not None and now - before < timedelta(seconds=self._rules.noted_every_seconds):
            return
        try:
            self._database.write(lambda unit: unit.run(statement, (timestamp(now), identifier)))
        except Unavailable as error:
            log.event(_logger, logging.WARNING, "use of a credential not noted", **{log.REASON: error.why})

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
        secret, now = new_secret(self._random, TOKEN_PREFIX), self._clock.now()
        wanted, token_id = tuple(scopes), self._ids.new_id()

        def work(unit: Transaction) -> Token:
            user = _user_by_id(unit, user_id)
            granted = check_scopes(user, wanted, folder)
            token = Token(token_id, user_id, name, granted, folder, now, now + timedelta(days=days))
            unit.run("DELETE FROM tokens WHERE expires_at < ?", (timestamp(now - _EXPIRED_TOKENS_KEPT),))
            words = " ".join(sorted(granted))
            unit.run(
                "INSERT INTO tokens (secret, id, user_id, name, scopes, folder, created_at, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (digest(secret), token_id, user_id, name, words, folder, timestamp(now), timestamp(token.expires_at)),
            )
            self._audit.record(
                by, "token.add", name, user=user.name, token=token_id, scopes=words, folder=folder, days=days
            )
            return token

        return secret, self._database.write(work)

    def token(self, secret: str) -> Principal | None:
        found = self._live_token("secret", digest(secret))
        if found is None:
            return None
        user, token = found
        now = self._clock.now()
        self._note_use("UPDATE tokens SET last_used_at = ? WHERE id = ?", token.id, token.last_used_at, now)
        return principal_of_token(user, token)

    def _live_token(self, column: str, value: object) -> tuple[User, Token] | None:
        """User and token, by one that has not expired."""
        with self._database.read() as view:
            row = view.row(f"{SELECT_USER_AND_KEY} WHERE tokens.{column} = ?", (value,))
        if row is None:
            return None
        token = token_of(row[USER_COLUMNS:])
        return (user_of(row), token) if token.expires_at > self._clock.now() else None

    def tokens(self, user_id: str | None = None) -> tuple[Token, ...]:
        kept_since = timestamp(self._clock.now() - _EXPIRED_TOKENS_KEPT)
        query = f"{SELECT_KEY} WHERE expires_at >= ? AND (? IS NULL OR user_id = ?)"
        with self._database.read() as view:
            rows = view.rows(f"{query} ORDER BY created_at DESC, id DESC", (kept_since, user_id, user_id))
        return tuple(token_of(row) for row in rows)

    def revoke_token(self, token_id: str, *, by: Principal) -> None:
        def work(unit: Transaction) -> None:
            row = unit.row(
                "SELECT tokens.name, users.name FROM tokens JOIN users ON users.id = user_id WHERE tokens.id = ?",
                (token_id,),
            )
            if row is None:
                raise NotFound(f"revoking token {token_id}", "there is none of that name")
            unit.run("DELETE FROM tokens WHERE id = ?", (token_id,))
            self._audit.record(by, "token.revoke", row[0], user=row[1], token=token_id)

        self._database.write(work)

    # -- staying in ------------------------------------------------------------------------------------------

    def anew(self, who: Principal) -> Principal | None:
        match who.via:
            case Via.SESSION:
                row = self._live_session("id", who.credential_id)
                return None if row is None else principal_of_session(user_of(row), who.credential_id)
            case Via.TOKEN:
                found = self._live_token("id", who.credential_id)
                return None if found is None else principal_of_token(*found)
            case _:
                return who

    # -- quotas ----------------------------------------------------------------------------------------------

    def charge(self, user_id: str, size_bytes: int, reference: str) -> None:
        def work(unit: Transaction) -> None:
            row = unit.row("SELECT name, quota_bytes, used_bytes FROM users WHERE id = ?", (user_id,))
            if row is None:
                return
            name, quota_bytes, used_bytes = row
            there = unit.row("SELECT user_id, size_bytes FROM charges WHERE reference = ?", (reference,))
            if there is not None and there[0] != user_id:
                raise Conflict(f"charging {name}", f"{reference} is charged to somebody else")
            more_bytes = size_bytes - (there[1] if there else 0)
            if quota_bytes is not None and more_bytes > 0 and used_bytes + more_bytes > quota_bytes:
                raise quota_exceeded(name, size_bytes, quota_bytes, used_bytes)
            unit.run(
                "INSERT INTO charges VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET size_bytes = excluded.size_bytes",
                (reference, user_id, size_bytes),
            )
            unit.run("UPDATE users SET used_bytes = used_bytes + ? WHERE id = ?", (more_bytes, user_id))

        self._database.write(work)

    def release(self, reference: str) -> None:
        def work(unit: Transaction) -> None:
            there = unit.row("SELECT user_id, size_bytes FROM charges WHERE reference = ?", (reference,))
            if there is not None:
                unit.run("DELETE FROM charges WHERE reference = ?", (reference,))
                unit.run("UPDATE users SET used_bytes = used_bytes - ? WHERE id = ?", (there[1], there[0]))

        self._database.write(work)

    def transfer(self, reference: str, to: str) -> None:
        def work(unit: Transaction) -> None:
            both = unit.value("SELECT count(*) FROM charges WHERE reference IN (?, ?)", (reference, to))
            if both > 1:
                raise Conflict(f"charging for {to}", "it is charged already")
            unit.run("UPDATE charges SET reference = ? WHERE reference = ?", (to, reference))

        self._database.write(work)

    def used_bytes(self, user_id: str) -> int:
        with self._database.read() as view:
            return int(view.value("SELECT used_bytes FROM users WHERE id = ?", (user_id,)) or 0)


def quota_exceeded(name: str, size_bytes: int, quota_bytes: int, used_bytes: int) -> PlatformError:
    """The error for bytes for which there is no room."""
    left = max(0, quota_bytes - used_bytes)
    return QuotaExceeded(
        f"taking {size_bytes} bytes from {name}",
        f"of the quota of {quota_bytes} bytes {left} are left",
        hint="Delete versions for good, or ask an administrator for more",
    )


def _keep_an_administrator(unit: Transaction, user: User) -> None:
    """Raise Conflict if without this user nobody could administer any more."""
    others = unit.value(
        "SELECT 1 FROM users WHERE role = 'admin' AND disabled_at IS NULL AND id <> ? LIMIT 1", (user.id,)
    )
    if user.role is Role.ADMIN and not user.is_disabled and not others:
        raise Conflict(f"changing user {user.name}", "it is the last administrator", hint="Make another one first")


def _tries(view: Connection, subject: Subject) -> Tries | None:
    row = view.row("SELECT failures, last_at, blocked_until FROM tries WHERE subject = ?", (subject.id,))
    return None if row is None else Tries(row[0], parse_timestamp(row[1]), moment(row[2]))


def _keep(unit: Transaction, subject: Subject, tries: Tries) -> None:
    blocked_until = timestamp(tries.blocked_until) if tries.blocked_until else None
    unit.run(
        "INSERT OR REPLACE INTO tries VALUES (?, ?, ?, ?)",
        (subject.id, tries.failures, timestamp(tries.last_at), blocked_until),
    )


def _user_by_id(view: Connection, user_id: str) -> User:
    row = view.row(f"{SELECT_USER} WHERE id = ?", (user_id,))
    if row is None:
        raise NotFound(f"looking for user {user_id}", "there is none of that name")
    return user_of(row)
