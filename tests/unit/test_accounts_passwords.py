"""Passwords, secrets, pauses: what is kept, what is compared, how long somebody waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.accounts.audit import LocalAuditLog
from contentplatform.accounts.credentials import csrf_token, digest, new_password, new_secret, same
from contentplatform.accounts.local import SCHEMA, LocalAccounts
from contentplatform.accounts.passwords import LENGTH_LIMIT, USUAL_COST, Argon2Cost, Passwords
from contentplatform.accounts.pauses import (
    Subject,
    Tries,
    after_failure,
    network_of,
    pause_left_seconds,
    subjects,
)
from contentplatform.accounts.port import Principal, Role, Scope, machine
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Denied, NotFound, Unauthenticated
from fakes.accounts import PASSWORD, CountedBytes
from fakes.clock import FakeClock, SequentialIds

CHEAP: Final = Argon2Cost(passes=1, memory_kib=8, lanes=1)
DEARER: Final = replace(CHEAP, passes=2)
NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)


# -- passwords -----------------------------------------------------------------------------------------------------


def test_what_is_kept_is_argon2id_with_its_cost_and_no_password() -> None:
    kept = Passwords(CountedBytes(), CHEAP).hashed(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert PASSWORD not in kept


def test_the_usual_cost_is_rfc_9106_s_second_choice() -> None:
    assert (USUAL_COST.passes, USUAL_COST.memory_kib, USUAL_COST.lanes) == (3, 64 * 1024, 4)


def test_two_hashes_of_one_password_differ_and_both_match() -> None:
    passwords = Passwords(CountedBytes(), CHEAP)
    one, two = passwords.hashed(PASSWORD), passwords.hashed(PASSWORD)
    assert one != two
    assert passwords.matches(PASSWORD, one)
    assert passwords.matches(PASSWORD, two)
    assert not passwords.matches(PASSWORD + " ", one)


def test_a_letter_is_the_same_however_a_keyboard_composed_it() -> None:
    passwords = Passwords(CountedBytes(), CHEAP)
    assert passwords.matches("schöne Grüße", passwords.hashed("scho\u0308ne Gru\u0308ße"))


@pytest.mark.parametrize("kept", [None, "", "nonsense", "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA"])
def test_nothing_kept_or_nonsense_matches_no_password(kept: str | None) -> None:
    passwords = Passwords(CountedBytes(), CHEAP)
    assert not passwords.matches(PASSWORD, kept)
    assert not passwords.matches("", kept)


def test_a_password_that_is_too_long_is_never_hashed() -> None:
    passwords = Passwords(CountedBytes(), replace(CHEAP, memory_kib=1 << 30))  # a hash would fail for lack of memory
    assert not passwords.matches("x" * (LENGTH_LIMIT + 1), None)


def test_half_a_surrogate_pair_is_a_wrong_password_and_no_fault() -> None:
    passwords = Passwords(CountedBytes(), CHEAP)
    assert not passwords.matches("\udc80" * 12, passwords.hashed(PASSWORD))


class CountingPasswords(Passwords):
    """Counts how often a password is compared, and against what."""

    def __init__(self) -> None:
        super().__init__(CountedBytes(), CHEAP)
        self.compared: list[bool] = []

    def matches(self, password: str, kept: str | None) -> bool:
        self.compared.append(kept is not None)
        return super().matches(password, kept)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid="u")
    yield opened
    opened.close()


def accounts(database: Database, passwords: Passwords) -> LocalAccounts:
    clock = FakeClock()
    audit = LocalAuditLog(database, database.path.parent, clock)
    return LocalAccounts(database, audit, clock, SequentialIds(), CountedBytes(), passwords)


def test_a_name_that_there_is_not_costs_the_same_work(database: Database) -> None:
    passwords = CountingPasswords()
    house = accounts(database, passwords)
    house.add_user("anna", PASSWORD, Role.VIEWER, by=machine("test"))
    for name in ("anna", "nobody"):
        with pytest.raises(Unauthenticated):
            house.authenticate(name, "wrong", "192.0.2.1")
    assert passwords.compared == [True, False]  # once each, the second against nobody's hash


def test_nobody_s_hash_costs_what_the_others_cost() -> None:
    passwords = Passwords(CountedBytes(), DEARER)
    assert not passwords.is_outdated(passwords._nobodys)


def test_signing_in_renews_a_hash_of_another_cost_and_keeps_sessions(database: Database) -> None:
    house = accounts(database, Passwords(CountedBytes(), CHEAP))
    user = house.add_user("anna", PASSWORD, Role.VIEWER, by=machine("test"))
    secret = house.start_session(user.id, source="192.0.2.1")
    later = accounts(database, Passwords(CountedBytes(), DEARER))
    with pytest.raises(Unauthenticated):
        later.authenticate("anna", "wrong", "192.0.2.1")
    with database.read() as view:
        assert ",t=1," in view.value("SELECT password FROM users")
    later.authenticate("anna", PASSWORD, "192.0.2.1")
    with database.read() as view:
        assert ",t=2," in view.value("SELECT password FROM users")
    assert later.session(secret) is not None
    later.authenticate("anna", PASSWORD, "192.0.2.1")


def test_the_database_holds_no_secret_that_could_be_used(database: Database) -> None:
    house = accounts(database, Passwords(CountedBytes(), CHEAP))
    user = house.add_user("anna", PASSWORD, Role.VIEWER, by=machine("test"))
    session = house.start_session(user.id, source="192.0.2.1")
    token, _ = house.create_token(user.id, "t", [Scope.READ], by=machine("test"))
    with pytest.raises(Unauthenticated):
        house.authenticate("typed into the wrong field", "wrong", "192.0.2.1")
    database.close()
    written = b"".join(path.read_bytes() for path in database.path.parent.iterdir())
    for secret in (session, token, token[3:], PASSWORD, csrf_token(session), "typed into the wrong field"):
        assert secret.encode() not in written
    assert digest(token) in written


def test_use_is_noted_without_a_write_for_each_request(database: Database) -> None:
    house = accounts(database, Passwords(CountedBytes(), CHEAP))
    user = house.add_user("anna", PASSWORD, Role.VIEWER, by=machine("test"))
    session = house.start_session(user.id, source="192.0.2.1")
    token, _ = house.create_token(user.id, "t", [Scope.READ], by=machine("test"))
    house.token(token)
    before = database.data_version()
    for _ in range(20):
        assert house.session(session)
        assert house.token(token)
    assert database.data_version() == before


# -- secrets -------------------------------------------------------------------------------------------------------


def test_a_password_that_is_made_up_can_be_read_off_a_screen() -> None:
    made = {new_password(CountedBytes()), new_password(lambda size: bytes(range(100, 100 + size)))}
    assert len(made) == 2
    for password in made:
        assert [len(group) for group in password.split("-")] == [5] * 5
        assert not set(password) & set("01ilo")


def test_no_letter_of_a_made_up_password_is_likelier_than_another() -> None:
    source = iter([*range(248, 256), *range(56)])
    letters = new_password(lambda size: bytes(next(source) for _ in range(size)))
    assert letters.replace("-", "") == "abcdefghjkmnpqrstuvwxyz23"  # what is beyond whole alphabets is passed over


def test_a_secret_has_256_bits_and_fits_a_header() -> None:
    drawn: list[int] = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return b"\xff" * size

    secret = new_secret(random, "cp_")
    assert drawn == [32]
    assert secret == "cp_" + "_" * 42 + "8"
    assert len(digest(secret)) == 32


def test_a_form_s_token_is_bound_to_its_session() -> None:
    assert csrf_token("one") == csrf_token("one")
    assert csrf_token("one") != csrf_token("two")
    assert "one" not in csrf_token("one")
    assert same(csrf_token("one"), csrf_token("one"))
    assert not same("", csrf_token("one"))
    assert not same("é", "e")


# -- pauses --------------------------------------------------------------------------------------------------------


def test_a_name_s_pauses_stay_short_and_an_address_s_get_long() -> None:
    for subject, longest in zip(subjects("anna", "192.0.2.1", 5), (300, 3_600), strict=True):
        tries: Tries | None = None
        pauses = []
        for _ in range(60):
            tries = after_failure(tries, subject, NOW)
            pauses.append(int((tries.blocked_until - NOW).total_seconds()) if tries.blocked_until else 0)
        free = subject.tries_allowed - 1
        assert pauses[: free + 4] == [0] * free + [1, 2, 4, 8]
        assert pauses[-1] == max(pauses) == longest


@given(st.integers(0, 100), st.integers(-(10**7), 10**7))
def test_nobody_ever_waits_longer_than_the_longest_pause(failures: int, moved_seconds: int) -> None:
    subject = Subject("x", 5, 300)
    tries = after_failure(Tries(failures, NOW), subject, NOW)
    assert 0 <= pause_left_seconds(tries, subject, NOW + timedelta(seconds=moved_seconds)) <= 301


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::", "2001:db8:1:2::/64"),
        ("", ""),
        ("user:0123", "user:0123"),
        ("x" * 1_000, "x" * 64),
    ],
)
def test_one_customer_s_addresses_count_as_one(address: str, network: str) -> None:
    assert network_of(address) == network


# -- principals ----------------------------------------------------------------------------------------------------


def held_in(folder: str) -> Principal:
    return Principal("u", "anna", Role.EDITOR, frozenset({Scope.READ}), folder)


@pytest.mark.parametrize(
    ("folder", "asked", "answer"),
    [
        ("", "", ""),
        ("", "a/b", "a/b/"),
        ("", "/a/", "a/"),
        ("a/b/", "", "a/b/"),
        ("a/b/", "a", "a/b/"),
        ("a/b/", "a/b", "a/b/"),
        ("a/b/", "a/b/c/", "a/b/c/"),
    ],
)
def test_somebody_held_in_a_folder_looks_into_no_other(folder: str, asked: str, answer: str) -> None:
    assert held_in(folder).folder_within(asked) == answer


@pytest.mark.parametrize("asked", ["b", "a/bc", "a/c", "a/b/../c", "A/b", "a/b\u200b"])
def test_a_folder_outside_does_not_exist(asked: str) -> None:
    who = held_in("a/b/")
    if asked == "a/b/../c":
        assert who.folder_within(asked) == "a/b/../c/"  # keys are names, no paths: nothing is there
    else:
        with pytest.raises(NotFound):
            who.folder_within(asked)


def test_a_right_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(Denied, match="change files"):
        held_in("").needs(Scope.WRITE)
    held_in("").needs(Scope.READ)


def test_two_passwords_are_hashed_at_once_at_most() -> None:
    passwords = Passwords(CountedBytes(), CHEAP)
    assert passwords._turn.acquire(blocking=False)
    assert passwords._turn.acquire(blocking=False)
    done = threading.Event()

    def work() -> None:
        passwords.hashed(PASSWORD)
        done.set()

    waiting = threading.Thread(target=work)
    waiting.start()
    assert not done.wait(0.05)
    passwords._turn.release()
    assert done.wait(300)
    waiting.join()
