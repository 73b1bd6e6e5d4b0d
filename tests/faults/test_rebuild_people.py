"""Users, tokens, links and the audit log outlive a rebuild of the database as far as it can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from contentplatform.accounts.audit import NOTE_FILE_NAME
from contentplatform.accounts.passwords import Argon2Cost
from contentplatform.accounts.port import Accounts, AuditLog, Role, Scope, machine
from contentplatform.app import DATABASE_FILE_NAME, LocalHome, open_accounts, open_local
from contentplatform.config import Settings
from contentplatform.findings import CheckRun, run_checks
from contentplatform.rebuild import rebuild
from fakes.accounts import PASSWORD

BY: Final = machine("test")


def people(home: LocalHome) -> tuple[Accounts, AuditLog]:
    """Accounts whose passwords cost nothing."""
    cheap = Argon2Cost(passes=1, memory_kib=8, lanes=1)
    opened = open_accounts(home.platform.settings, home.platform.clock, database=home.database, cost=cheap)
    return opened.accounts, opened.audit


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_folder=tmp_path / "data")


@pytest.fixture
def secrets(settings: Settings) -> tuple[str, str]:
    """A session's and a token's secret of a user who is charged for something."""
    home = open_local(settings)
    try:
        accounts, _ = people(home)
        accounts.add_user("root", PASSWORD, Role.ADMIN, by=BY)
        user = accounts.add_user("anna", PASSWORD, Role.EDITOR, by=BY, folder="press", quota_bytes=1_000)
        accounts.charge(user.id, 600, "upload")
        token, _ = accounts.create_token(user.id, "backup", [Scope.READ], by=BY)
        return accounts.start_session(user.id, source="192.0.2.1"), token
    finally:
        home.close()


def test_everybody_is_there_after_a_rebuild(settings: Settings, secrets: tuple[str, str]) -> None:
    assert rebuild(settings).lost_rooms == ()
    home = open_local(settings)
    accounts, audit = people(home)
    anna = accounts.authenticate("anna", PASSWORD, "192.0.2.1")
    assert (anna.role, anna.folder, anna.quota_bytes, anna.used_bytes) == (Role.EDITOR, "press/", 1_000, 600)
    session, token = secrets
    assert accounts.session(session) is not None
    assert accounts.token(token) is not None
    assert [entry.act for entry in audit.entries().entries] == ["session.start", "token.add", "user.add", "user.add"]
    assert audit.verify() == ()
    assert list(run_checks(home.checks(), CheckRun())) == []
    accounts.disable(anna.id, by=BY)
    assert audit.verify() == ()
    home.close()


@pytest.mark.parametrize("loss", ["gone", "damaged"])
def test_where_nothing_can_be_read_it_begins_anew_and_says_so(
    settings: Settings, secrets: tuple[str, str], loss: str
) -> None:
    database = settings.data_folder / DATABASE_FILE_NAME
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    if loss == "gone":
        database.unlink()
    else:
        database.write_bytes(database.read_bytes()[:4_096] + b"\x5a" * 500_000)
    report = rebuild(settings)
    assert report.lost_rooms == ("accounts", "sharing", "hooks")
    assert "users, tokens and the audit log" in report.sentence()
    assert (settings.data_folder / f"{NOTE_FILE_NAME}.replaced").exists()
    home = open_local(settings)
    accounts, audit = people(home)
    assert accounts.session(secrets[0]) is None
    assert accounts.ensure_administrator() is not None
    assert audit.verify() == ()
    assert list(run_checks(home.checks(), CheckRun())) == []
    home.close()


def test_a_folder_that_never_had_users_has_lost_none(settings: Settings) -> None:
    open_local(settings).close()
    (settings.data_folder / DATABASE_FILE_NAME).unlink()
    assert rebuild(settings).lost_rooms == ()
