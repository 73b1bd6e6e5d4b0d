"""Quotas against a model: any order of charges, from two processes' databases and many threads, adds up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentplatform.accounts.audit import LocalAuditLog
from contentplatform.accounts.fsck import AccountChecks
from contentplatform.accounts.local import LocalAccounts
from contentplatform.accounts.passwords import Argon2Cost, Passwords
from contentplatform.accounts.port import Role, machine
from contentplatform.accounts.tables import SCHEMA
from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.errors import Conflict, QuotaExceeded
from contentplatform.findings import CheckRun
from fakes.accounts import PASSWORD, CountedBytes
from fakes.clock import FakeClock, SequentialIds

QUOTA: Final = 100
CHEAP: Final = Argon2Cost(passes=1, memory_kib=8, lanes=1)
NAMES: Final = st.sampled_from(["a", "b", "c"])
ACTS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("charge"), NAMES, st.integers(0, 120)),
        st.tuples(st.just("release"), NAMES, st.just(0)),
        st.tuples(st.just("transfer"), NAMES, st.integers(0, 2)),
    ),
    max_size=12,
)


class Folder:
    """Two processes' accounts over one data folder."""

    def __init__(self, folder: Path) -> None:
        self.databases = [Database(folder / "catalog.sqlite", [SCHEMA], new_uuid="u") for _ in range(2)]
        ids, clock, random = SequentialIds(), FakeClock(), CountedBytes()
        self.accounts = [
            LocalAccounts(
                database, LocalAuditLog(database, folder, clock), clock, ids, random, Passwords(random, CHEAP)
            )
            for database in self.databases
        ]
        self.checks = AccountChecks(self.databases[0], LocalAuditLog(self.databases[0], folder, clock))
        self._numbers = itertools.count()

    def user(self) -> tuple[str, str]:
        """A new user's id, and a prefix of references of its own."""
        name = f"user{next(self._numbers)}"
        return self.accounts[0].add_user(name, PASSWORD, Role.EDITOR, by=machine("test"), quota_bytes=QUOTA).id, name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    made = Folder(tmp_path_factory.mktemp("quotas"))
    yield made
    for database in made.databases:
        database.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTS)
def test_any_order_of_acts_is_as_in_the_model(folder: Folder, acts: list[tuple[str, str, int]]) -> None:
    user_id, prefix = folder.user()
    model: dict[str, int] = {}
    for turn, (act, name, number) in enumerate(acts):
        accounts = folder.accounts[turn % 2]
        if act == "charge":
            would_use = sum(model.values()) - model.get(name, 0) + number
            is_more = number > model.get(name, 0)
            if is_more and would_use > QUOTA:
                with pytest.raises(QuotaExceeded):
                    accounts.charge(user_id, number, prefix + name)
            else:
                accounts.charge(user_id, number, prefix + name)
                model[name] = number
        elif act == "release":
            accounts.release(prefix + name)
            model.pop(name, None)
        else:
            to = "abc"[number]
            if name != to and {name, to} <= model.keys():
                with pytest.raises(Conflict):
                    accounts.transfer(prefix + name, prefix + to)
            else:
                accounts.transfer(prefix + name, prefix + to)
                if name in model:
                    model[to] = model.pop(name)
        assert accounts.used_bytes(user_id) == sum(model.values()) <= QUOTA
    assert list(folder.checks.quotas_add_up(CheckRun())) == []


def test_many_threads_of_two_processes_never_pass_the_quota(folder: Folder) -> None:
    user_id, prefix = folder.user()
    start = threading.Barrier(6)

    def upload(worker: int) -> int:
        start.wait()
        taken = 0
        for turn in range(8):
            with suppress(QuotaExceeded):
                folder.accounts[worker % 2].charge(user_id, 7, f"{prefix}-{worker}-{turn}")
                taken += 1
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = sum(pool.map(upload, range(6)))
    assert taken == QUOTA // 7
    assert folder.accounts[1].used_bytes(user_id) == taken * 7
    assert list(folder.checks.quotas_add_up(CheckRun())) == []


def test_a_charge_commits_with_the_unit_that_it_is_part_of(folder: Folder) -> None:
    user_id, prefix = folder.user()
    accounts, database = folder.accounts[0], folder.databases[0]

    class UndoneError(Exception):
        pass

    def work(unit: Transaction) -> None:
        accounts.charge(user_id, 50, prefix)
        assert unit.value("SELECT used_bytes FROM users WHERE id = ?", (user_id,)) == 50
        raise UndoneError

    with pytest.raises(UndoneError):
        database.write(work)
    assert accounts.used_bytes(user_id) == 0
    accounts.charge(user_id, QUOTA, prefix)


def test_the_same_bytes_count_as_often_as_they_are_uploaded(folder: Folder) -> None:
    user_id, prefix = folder.user()
    accounts = folder.accounts[0]
    accounts.set_quota(user_id, 10_000 * 1_024, by=machine("test"))

    def all_of_them(_unit: Transaction) -> None:
        for number in range(10_000):
            accounts.charge(user_id, 1_024, f"{prefix}-{number}")

    folder.databases[0].write(all_of_them)
    assert accounts.used_bytes(user_id) == 10_000 * 1_024
    with pytest.raises(QuotaExceeded):
        accounts.charge(user_id, 1, f"{prefix}-more")
