"""Accounts and the audit log, put together: in the data folder's database, whichever home is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contentplatform.clock import Clock, IdSource, RandomIds, SystemClock

if TYPE_CHECKING:
    from contentplatform.accounts.passwords import Argon2Cost, Passwords
    from contentplatform.accounts.port import Accounts, AuditLog
    from contentplatform.config import Settings
    from contentplatform.drivers.sqlite import Database


@dataclass(frozen=True, slots=True)
class People:
    """Who may do what, and what was done."""

    accounts: Accounts
    audit: AuditLog
    passwords: Passwords
    """Hashes those of users, and of links: all take their turn at the memory that it needs."""
    database: Database
    """Where they are."""
    close: Callable[[], None]
    """Let go of the database, if it is these two's own."""


def open_accounts(
    settings: Settings,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    *,
    database: Database | None = None,
    cost: Argon2Cost | None = None,
) -> People:
    """Accounts and the audit log of a data folder.

    Args:
        settings: which folder, and the rules.
        clock: when sessions and tokens end.
        ids: of users, sessions, tokens.
        database: of that folder, where it is open already; else it is opened, and made where there is none.
        cost: of passwords; tests want it low.

    Raises:
        ConfigurationInvalid: this machine, or what lies in the folder, doesn't allow a safe start.
    """
    from contentplatform.accounts.audit import LocalAuditLog  # noqa: PLC0415 - a lambda must not load the database
    from contentplatform.accounts.local import LocalAccounts  # noqa: PLC0415
    from contentplatform.accounts.passwords import USUAL_COST, Passwords  # noqa: PLC0415
    from contentplatform.accounts.port import AccountRules  # noqa: PLC0415

    clock, ids = clock or SystemClock(), ids or RandomIds()
    given = settings.accounts
    close: Callable[[], None] = _nothing
    if database is None:
        from contentplatform.app.local import data_folder, open_database  # noqa: PLC0415

        database = open_database(data_folder(settings.data_folder), ids)
        close = database.close
    audit = LocalAuditLog(database, settings.data_folder, clock)
    rules = AccountRules(
        session_idle_seconds=given.session_idle_seconds,
        session_lifetime_seconds=given.session_lifetime_seconds,
        token_lifetime_days=given.token_lifetime_days,
        password_length=given.password_length,
        tries_allowed=given.tries_allowed,
    )
    passwords = Passwords(os.urandom, cost or USUAL_COST)
    accounts = LocalAccounts(database, audit, clock, ids, os.urandom, passwords, rules)
    return People(accounts, audit, passwords, database, close)


class LatePeople:
    """Opens accounts when they are first asked for, as the home on AWS does: its functions never ask."""

    def __init__(self, opening: Callable[[], People]) -> None:
        self._opening = opening
        self._opened: People | None = None

    def __call__(self) -> People:
        """Accounts and the audit log."""
        if self._opened is None:
            self._opened = self._opening()
        return self._opened

    def close(self) -> None:
        """Let go of the database if it was opened. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()


class LateCharges:
    """What the library tells quotas, where there are any; a home that never had users gets no database by it."""

    def __init__(self, people: LatePeople, are_there: Callable[[], bool]) -> None:
        self._people = people
        self._are_there = are_there

    def release(self, reference: str, /) -> None:
        """See ``Accounts``."""
        if self._are_there():
            self._people().accounts.release(reference)

    def transfer(self, reference: str, to: str, /) -> None:
        """See ``Accounts``."""
        if self._are_there():
            self._people().accounts.transfer(reference, to)


def _nothing() -> None:
    """Whoever opened the database closes it."""
