"""The tables of accounts, and what their rows mean."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from contentplatform.accounts.port import Role, Scope, Session, Token, User
from contentplatform.clock import parse_timestamp
from contentplatform.drivers.sqlite import Row, Schema

SCHEMA: Final = Schema(
    room="accounts",
    migrations=(
        """
        CREATE TABLE users (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,        -- in lower case
            role TEXT NOT NULL,
            folder TEXT NOT NULL,             -- ends with a slash; empty: everything
            quota_bytes INTEGER,
            used_bytes INTEGER NOT NULL DEFAULT 0,  -- the sum of the charges
            password TEXT NOT NULL,           -- Argon2id, in PHC form
            password_changed_at TEXT NOT NULL,
            password_is_generated INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            disabled_at TEXT,
            signed_in_at TEXT
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE sessions (
            secret BLOB PRIMARY KEY,          -- SHA-256
            id TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            created_at TEXT NOT NULL,
            last_seen_at TEXT NOT NULL,       -- to the minute or so
            expires_at TEXT NOT NULL,
            source TEXT NOT NULL,
            agent TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

        CREATE TABLE tokens (
            secret BLOB PRIMARY KEY,          -- SHA-256
            id TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            scopes TEXT NOT NULL,             -- words, space between
            folder TEXT NOT NULL,
            created_at TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            last_used_at TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX tokens_by_user ON tokens (user_id, created_at);

        CREATE TABLE charges (
            reference TEXT PRIMARY KEY,       -- the upload, later the version
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            size_bytes INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX charges_by_user ON charges (user_id, size_bytes);

        CREATE TABLE tries (
            subject TEXT PRIMARY KEY,         -- a name's digest, or an address
            failures INTEGER NOT NULL,
            last_at TEXT NOT NULL,
            blocked_until TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX tries_by_age ON tries (last_at);

        CREATE TABLE audit (
            sequence INTEGER PRIMARY KEY,     -- 1, 2, 3, … without a gap
            at TEXT NOT NULL,
            who TEXT NOT NULL,
            who_id TEXT NOT NULL,
            via TEXT NOT NULL,
            act TEXT NOT NULL,
            subject TEXT NOT NULL,
            details TEXT NOT NULL,            -- JSON
            digest TEXT NOT NULL              -- SHA-256 of the other columns and of the digest before
        ) STRICT;
        CREATE INDEX audit_by_act ON audit (act, sequence);
        CREATE INDEX audit_by_who ON audit (who_id, sequence);
        CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
        CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
        """,
    ),
)

USER_COLUMNS: Final = 11
SELECT_USER: Final = (
    "SELECT users.id, users.name, users.role, users.folder, users.quota_bytes, users.used_bytes, users.created_at,"
    " users.password_changed_at, users.password_is_generated, users.disabled_at, users.signed_in_at"
    " FROM users"
)
SELECT_USER_AND_PASSWORD: Final = SELECT_USER.replace(" FROM ", ", users.password FROM ")
SELECT_USER_AND_SESSION: Final = (
    "SELECT users.id, users.name, users.role, users.folder, users.quota_bytes, users.used_bytes, users.created_at,"
    " users.password_changed_at, users.password_is_generated, users.disabled_at, users.signed_in_at"
    ", sessions.id, sessions.last_seen_at, sessions.expires_at"
    " FROM sessions JOIN users ON users.id = sessions.user_id"
)
SELECT_USER_AND_KEY: Final = (
    "SELECT users.id, users.name, users.role, users.folder, users.quota_bytes, users.used_bytes, users.created_at,"
    " users.password_changed_at, users.password_is_generated, users.disabled_at, users.signed_in_at"
    ", tokens.id, tokens.user_id, tokens.name, tokens.scopes, tokens.folder, tokens.created_at, tokens.expires_at,"
    " tokens.last_used_at FROM tokens JOIN users ON users.id = tokens.user_id"
)
SELECT_SESSION: Final = "SELECT id, user_id, created_at, last_seen_at, expires_at, source, agent FROM sessions"
SELECT_KEY: Final = "SELECT id, user_id, name, scopes, folder, created_at, expires_at, last_used_at FROM tokens"


def moment(text: Any) -> datetime | None:
    """A moment that may be none."""
    return None if text is None else parse_timestamp(text)


def user_of(row: Row) -> User:
    """A user, by the first columns of a row."""
    identifier, name, role, folder, quota, used, created_at, changed_at, generated, disabled_at, signed_in_at = row[
        :USER_COLUMNS
    ]
    return User(
        id=identifier,
        name=name,
        role=Role(role),
        folder=folder,
        quota_bytes=quota,
        used_bytes=used,
        created_at=parse_timestamp(created_at),
        password_changed_at=parse_timestamp(changed_at),
        password_is_generated=bool(generated),
        disabled_at=moment(disabled_at),
        signed_in_at=moment(signed_in_at),
    )


def session_of(row: Row) -> Session:
    """A session, by a row of ``SELECT_SESSION``."""
    identifier, user_id, created_at, last_seen_at, expires_at, source, agent = row
    return Session(
        id=identifier,
        user_id=user_id,
        created_at=parse_timestamp(created_at),
        last_seen_at=parse_timestamp(last_seen_at),
        expires_at=parse_timestamp(expires_at),
        source=source,
        agent=agent,
    )


def token_of(row: Row) -> Token:
    """A token, by a row of ``SELECT_KEY``."""
    identifier, user_id, name, scopes, folder, created_at, expires_at, last_used_at = row
    return Token(
        id=identifier,
        user_id=user_id,
        name=name,
        scopes=frozenset(Scope(word) for word in scopes.split()),
        folder=folder,
        created_at=parse_timestamp(created_at),
        expires_at=parse_timestamp(expires_at),
        last_used_at=moment(last_used_at),
    )
