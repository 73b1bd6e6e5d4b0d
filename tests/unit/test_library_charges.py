"""What a user is charged for a version goes with it when it is moved, and ends when it is deleted for good."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from contentplatform.accounts.passwords import Argon2Cost
from contentplatform.accounts.port import Role, machine
from contentplatform.app import LocalHome, open_accounts, open_local
from contentplatform.app.people import LateCharges, LatePeople, People
from contentplatform.config import load
from contentplatform.errors import NotFound
from contentplatform.findings import CheckRun, run_checks
from fakes.accounts import PASSWORD

CHEAP: Final = Argon2Cost(passes=1, memory_kib=8, lanes=1)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LocalHome]:
    opened = open_local(load(data_folder=tmp_path, environment={}))
    yield opened
    opened.close()


def charged(home: LocalHome) -> tuple[str, list[str]]:
    """A user who is charged for two versions of a file; the user's id and the versions', the oldest first."""
    people = open_accounts(home.platform.settings, database=home.database, cost=CHEAP)
    user = people.accounts.add_user("anna", PASSWORD, Role.EDITOR, by=machine("test"), quota_bytes=1_000)
    versions = []
    for body in (b"x" * 300, b"y" * 200):
        versions.append(home.platform.library.add("a.txt", BytesIO(body)))
        people.accounts.charge(user.id, len(body), versions[-1])
    home.take_in_all()
    return user.id, versions


def test_a_version_that_is_deleted_for_good_is_charged_no_more(home: LocalHome) -> None:
    user_id, versions = charged(home)
    library, accounts = home.platform.library, home.platform.accounts
    assert accounts.used_bytes(user_id) == 500
    library.remove("a.txt")
    assert accounts.used_bytes(user_id) == 500  # hidden, and kept
    library.remove_version("a.txt", versions[0])
    assert accounts.used_bytes(user_id) == 200
    with pytest.raises(NotFound):
        library.remove_version("a.txt", versions[0])
    assert accounts.used_bytes(user_id) == 200


def test_a_charge_goes_where_its_file_is_moved_and_back(home: LocalHome) -> None:
    user_id, _ = charged(home)
    library, accounts = home.platform.library, home.platform.accounts
    library.move("a.txt", "b.txt")
    library.move("b.txt", "c.txt")
    assert accounts.used_bytes(user_id) == 500
    for version in library.versions("c.txt"):
        library.remove_version("c.txt", version.version_id)
    assert accounts.used_bytes(user_id) == 0
    assert list(run_checks(home.checks(), CheckRun())) == []


def test_a_home_that_never_had_users_gets_no_database_by_it() -> None:
    def never() -> People:
        raise AssertionError("opened")

    charges = LateCharges(LatePeople(never), lambda: False)
    charges.release("version")
    charges.transfer("version", "another")
