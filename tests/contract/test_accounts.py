"""What accounts and the audit log must do, on those in memory and those in the data folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from contentplatform.accounts.audit import LocalAuditLog
from contentplatform.accounts.local import SCHEMA, LocalAccounts
from contentplatform.accounts.passwords import Argon2Cost, Passwords
from contentplatform.accounts.port import (
    AccountRules,
    Accounts,
    AuditLog,
    Role,
    Scope,
    User,
    Via,
    machine,
    nobody,
)
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import (
    Conflict,
    Denied,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
)
from fakes.accounts import PASSWORD, CountedBytes, MemoryAccounts, MemoryAuditLog
from fakes.clock import FakeClock, SequentialIds

CHEAP: Final = Argon2Cost(passes=1, memory_kib=8, lanes=1)
RULES: Final = AccountRules(session_idle_seconds=3_600, session_lifetime_seconds=86_400, tries_allowed=3)
BY: Final = machine("test")
ADDRESS: Final = "192.0.2.7"
HOUR: Final = 3_600
DAY: Final = 86_400


@dataclass
class House:
    """Accounts, their log and their clock."""

    accounts: Accounts
    audit: AuditLog
    clock: FakeClock

    def add(self, name: str = "anna", role: Role = Role.EDITOR, folder: str = "", quota: int | None = None) -> User:
        """A user with the usual password."""
        return self.accounts.add_user(name, PASSWORD, role, by=BY, folder=folder, quota_bytes=quota)

    def acts(self) -> list[str]:
        """Every act of the log, the oldest first."""
        return [entry.act for entry in reversed(self.audit.entries().entries)]


def in_memory(_folder: Path) -> Iterator[House]:
    """The fakes."""
    clock = FakeClock()
    audit = MemoryAuditLog(clock)
    yield House(MemoryAccounts(audit, clock, SequentialIds(), RULES), audit, clock)


def local(folder: Path) -> Iterator[House]:
    """The data folder's."""
    clock, ids, random = FakeClock(), SequentialIds(), CountedBytes()
    database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    audit = LocalAuditLog(database, folder, clock)
    yield House(LocalAccounts(database, audit, clock, ids, random, Passwords(random, CHEAP), RULES), audit, clock)
    database.close()


@pytest.fixture(params=[in_memory, local], ids=["memory", "local"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    open_house: Callable[[Path], Iterator[House]] = request.param
    yield from open_house(tmp_path)


# -- users ---------------------------------------------------------------------------------------------------------


def test_a_user_is_found_by_id_and_by_name_however_it_is_written(house: House) -> None:
    made = house.add("Anna.Berg@example.org", folder="/press/2030/")
    assert made.name == "anna.berg@example.org"
    assert made.folder == "press/2030/"
    assert house.accounts.user(made.id) == made
    assert house.accounts.user_named("ANNA.berg@example.org ") == made
    assert (made.used_bytes, made.quota_bytes, made.is_disabled, made.signed_in_at) == (0, None, False, None)


@pytest.mark.parametrize("name", ["", " ", "a b", "ünal", "a\nb", "-x", "x" * 65, "a/b", "admin\u200b", "a'--"])
def test_a_name_that_could_pass_for_another_is_refused(house: House, name: str) -> None:
    with pytest.raises(InvalidRequest):
        house.add(name)


@pytest.mark.parametrize("password", ["", "short", "a" * 12, "x" * 257, "I am Anna Berg", "ABCDABCDABCD"])
def test_a_password_that_is_easily_guessed_or_too_long_is_refused(house: House, password: str) -> None:
    with pytest.raises(InvalidRequest):
        house.accounts.add_user("anna", password, Role.VIEWER, by=BY)


def test_two_users_can_t_have_one_name(house: House) -> None:
    house.add("anna")
    with pytest.raises(Conflict):
        house.add("Anna")
    assert [user.name for user in house.accounts.users()] == ["anna"]


def test_users_are_listed_by_name(house: House) -> None:
    for name in ("cem", "anna", "bo"):
        house.add(name)
    assert [user.name for user in house.accounts.users()] == ["anna", "bo", "cem"]


@pytest.mark.parametrize("folder", ["a//b", "../x", "a/./b", "a\x00b", "x" * 901, "a/\u202eb"])
def test_a_folder_that_no_key_has_is_refused(house: House, folder: str) -> None:
    with pytest.raises(InvalidRequest):
        house.add(folder=folder)


def test_an_administrator_is_never_held_in_a_folder(house: House) -> None:
    with pytest.raises(InvalidRequest):
        house.add(role=Role.ADMIN, folder="press")
    admin, editor = house.add("root", Role.ADMIN), house.add("anna", folder="press")
    with pytest.raises(InvalidRequest):
        house.accounts.set_folder(admin.id, "press", by=BY)
    with pytest.raises(InvalidRequest):
        house.accounts.set_role(editor.id, Role.ADMIN, by=BY)


def test_the_last_administrator_who_can_sign_in_stays(house: House) -> None:
    one, two = house.add("one", Role.ADMIN), house.add("two", Role.ADMIN)
    house.accounts.disable(two.id, by=BY)
    for change in (
        lambda: house.accounts.disable(one.id, by=BY),
        lambda: house.accounts.remove_user(one.id, by=BY),
        lambda: house.accounts.set_role(one.id, Role.EDITOR, by=BY),
    ):
        with pytest.raises(Conflict):
            change()
    house.accounts.remove_user(two.id, by=BY)  # who can't sign in anyway is no loss
    assert house.accounts.user(one.id).role is Role.ADMIN
    assert not house.accounts.user(one.id).is_disabled


def test_who_is_not_there_is_not_found(house: House) -> None:
    for ask in (
        lambda: house.accounts.user("x"),
        lambda: house.accounts.user_named("x"),
        lambda: house.accounts.set_role("x", Role.ADMIN, by=BY),
        lambda: house.accounts.set_folder("x", "a", by=BY),
        lambda: house.accounts.set_quota("x", 1, by=BY),
        lambda: house.accounts.set_password("x", PASSWORD, by=BY),
        lambda: house.accounts.disable("x", by=BY),
        lambda: house.accounts.enable("x", by=BY),
        lambda: house.accounts.remove_user("x", by=BY),
        lambda: house.accounts.start_session("x", source=ADDRESS),
        lambda: house.accounts.end_sessions("x", by=BY),
        lambda: house.accounts.create_token("x", "t", [Scope.READ], by=BY),
        lambda: house.accounts.revoke_token("x", by=BY),
    ):
        with pytest.raises(NotFound):
            ask()


def test_the_first_start_makes_an_administrator_and_tells_the_password_once(house: House) -> None:
    password = house.accounts.ensure_administrator()
    assert password is not None
    assert len(password) >= 25
    assert house.accounts.ensure_administrator() is None
    user = house.accounts.authenticate("admin", password, ADDRESS)
    assert (user.role, user.password_is_generated) == (Role.ADMIN, True)


def test_where_there_are_only_others_an_administrator_is_made(house: House) -> None:
    house.add("anna", Role.EDITOR)
    assert house.accounts.ensure_administrator() is not None


# -- signing in ----------------------------------------------------------------------------------------------------


def test_the_right_password_signs_in_and_a_wrong_one_does_not(house: House) -> None:
    made = house.add()
    house.clock.advance(60)
    found = house.accounts.authenticate("Anna", PASSWORD, ADDRESS)
    assert found.id == made.id
    assert found.signed_in_at == house.clock.now()
    with pytest.raises(Unauthenticated):
        house.accounts.authenticate("anna", PASSWORD + "!", ADDRESS)


def test_the_answer_is_the_same_whatever_was_wrong(house: House) -> None:
    house.add("anna")
    house.accounts.disable(house.add("bo").id, by=BY)
    told: set[str] = set()
    for name, password in (("anna", "wrong"), ("nobody", "wrong"), ("bo", PASSWORD), ("", ""), ("anna", "x" * 5_000)):
        with pytest.raises(Unauthenticated) as caught:
            house.accounts.authenticate(name, password, f"{ADDRESS}{len(told)}")
        told.add(caught.value.public)
    assert len(told) == 1


def test_wrong_passwords_for_a_name_cost_pauses_that_get_longer(house: House) -> None:
    house.add()
    pauses = []
    for source in range(12):
        try:
            house.accounts.authenticate("anna", "wrong", f"198.51.100.{source}")
        except Unauthenticated:
            pauses.append(0)
        except RateLimited as error:
            pauses.append(error.retry_after_seconds)
            house.clock.advance(error.retry_after_seconds)
    # Three tries are free; then each further one, from wherever it comes, has to be waited for.
    assert pauses == [0, 0, 0, 2, 0, 3, 0, 5, 0, 9, 0, 17]


def test_while_pausing_not_even_the_right_password_is_looked_at(house: House) -> None:
    house.add()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate("anna", "wrong", ADDRESS)
    with pytest.raises(RateLimited):
        house.accounts.authenticate("anna", PASSWORD, "203.0.113.9")
    house.clock.advance(2)
    assert house.accounts.authenticate("anna", PASSWORD, "203.0.113.9").name == "anna"
    with pytest.raises(Unauthenticated):  # and the count begins anew
        house.accounts.authenticate("anna", "wrong", "203.0.113.9")
    assert house.accounts.authenticate("anna", PASSWORD, "203.0.113.9").name == "anna"


def test_names_that_there_are_not_cost_pauses_as_well(house: House) -> None:
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate("nobody", "wrong", ADDRESS)
    with pytest.raises(RateLimited):
        house.accounts.authenticate("NOBODY", "wrong", "203.0.113.9")


def test_one_address_can_t_go_through_many_names(house: House) -> None:
    for number in range(12):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate(f"user{number}", "wrong", "2001:db8::1")
    with pytest.raises(RateLimited):  # of IPv6 a customer has the whole network
        house.accounts.authenticate("another", "wrong", "2001:db8::ffff:2")
    with pytest.raises(Unauthenticated):
        house.accounts.authenticate("another", "wrong", "2001:db8:0:1::1")


def test_an_own_account_buys_no_further_tries(house: House) -> None:
    house.add("mallory")
    refused = 0
    for number in range(20):
        try:
            house.accounts.authenticate(f"victim{number}", "wrong", ADDRESS)
        except RateLimited:
            refused += 1
        except Unauthenticated:
            pass
        try:
            house.accounts.authenticate("mallory", PASSWORD, ADDRESS)
        except RateLimited:
            refused += 1
    assert refused


def test_many_tries_at_once_are_no_way_around(house: House) -> None:
    house.add()
    start = threading.Barrier(8)

    def attempt(_number: int) -> str:
        start.wait()
        try:
            house.accounts.authenticate("anna", "wrong", ADDRESS)
        except Unauthenticated:
            return "looked at"
        except RateLimited:
            return "refused"
        return "in"

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(attempt, range(8)))
    assert told.count("looked at") == 3
    assert told.count("refused") == 5


def test_pauses_are_forgotten_after_a_day(house: House) -> None:
    house.add()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate("anna", "wrong", ADDRESS)
    house.clock.advance(DAY + 1)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate("anna", "wrong", ADDRESS)
    assert house.accounts.authenticate("anna", PASSWORD, ADDRESS).name == "anna"


def test_a_clock_set_back_locks_nobody_out(house: House) -> None:
    house.add()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate("anna", "wrong", ADDRESS)
    house.clock.jump(timedelta(days=-30))
    assert house.accounts.authenticate("anna", PASSWORD, ADDRESS).name == "anna"


# -- sessions ------------------------------------------------------------------------------------------------------


def test_a_session_tells_who_it_is_with_rights_and_folder(house: House) -> None:
    user = house.add(folder="press")
    who = house.accounts.session(house.accounts.start_session(user.id, source=ADDRESS, agent="Browser"))
    assert who is not None
    assert (who.id, who.name, who.role, who.via) == (user.id, "anna", Role.EDITOR, Via.SESSION)
    assert who.may(Scope.WRITE)
    assert not who.may(Scope.ADMIN)
    assert who.sees("press/a.jpg")
    assert not who.sees("pressure/a.jpg")
    [session] = house.accounts.sessions(user.id)
    assert (session.id, session.source, session.agent) == (who.credential_id, ADDRESS, "Browser")


def test_every_sign_in_has_a_secret_of_its_own(house: House) -> None:
    user = house.add()
    secrets = [house.accounts.start_session(user.id, source=ADDRESS) for _ in range(3)]
    assert len(set(secrets)) == 3
    assert all(len(secret) >= 43 for secret in secrets)
    assert house.accounts.session("") is None
    assert house.accounts.session(secrets[0][:-1]) is None


def test_a_session_ends_when_it_is_idle_too_long(house: House) -> None:
    secret = house.accounts.start_session(house.add().id, source=ADDRESS)
    for _ in range(3):
        house.clock.advance(HOUR - 1)
        assert house.accounts.session(secret) is not None
    house.clock.advance(HOUR)
    assert house.accounts.session(secret) is None


def test_a_session_ends_after_its_lifetime_however_busy(house: House) -> None:
    user = house.add()
    secret = house.accounts.start_session(user.id, source=ADDRESS)
    for _ in range(47):
        house.clock.advance(HOUR / 2)
        assert house.accounts.session(secret) is not None
    house.clock.advance(HOUR / 2)
    assert house.accounts.session(secret) is None
    assert house.accounts.sessions(user.id) == ()


def test_who_came_by_a_session_is_known_anew_until_it_is_over(house: House) -> None:
    house.add("root", Role.ADMIN)
    user = house.add()
    secret = house.accounts.start_session(user.id, source=ADDRESS)
    who = house.accounts.session(secret)
    assert who is not None
    assert house.accounts.anew(who) == who
    house.accounts.set_role(user.id, Role.VIEWER, by=BY)
    house.accounts.set_folder(user.id, "press", by=BY)
    by_now = house.accounts.anew(who)
    assert by_now == house.accounts.session(secret) != who
    house.clock.advance(HOUR - 1)
    assert house.accounts.anew(who) == by_now
    house.clock.advance(1)  # that it was known anew was no use of it
    assert house.accounts.anew(who) is None
    another = house.accounts.session(house.accounts.start_session(user.id, source=ADDRESS))
    assert another is not None
    house.accounts.disable(user.id, by=BY)
    assert house.accounts.anew(another) is None
    assert house.accounts.anew(BY) == BY


def test_who_came_by_a_token_is_known_anew_until_it_is_over(house: House) -> None:
    house.add("root", Role.ADMIN)
    user = house.add()
    known = []
    for name in ("one", "two", "three"):
        secret, _ = house.accounts.create_token(user.id, name, [Scope.READ], by=BY, lifetime_days=1)
        who = house.accounts.token(secret)
        assert who is not None
        assert house.accounts.anew(who) == who
        known.append(who)
    house.accounts.revoke_token(known[0].credential_id, by=BY)
    assert [house.accounts.anew(who) for who in known] == [None, known[1], known[2]]
    house.accounts.set_folder(user.id, "press", by=BY)
    assert [who and who.folder for who in map(house.accounts.anew, known)] == [None, "press/", "press/"]
    house.accounts.disable(user.id, by=BY)
    assert [house.accounts.anew(who) for who in known] == [None] * 3
    house.accounts.enable(user.id, by=BY)
    assert house.accounts.anew(known[1]) is not None
    house.clock.advance(DAY)
    assert house.accounts.anew(known[1]) is None


def test_use_is_noted_once_a_minute_at_most(house: House) -> None:
    user = house.add()
    secret = house.accounts.start_session(user.id, source=ADDRESS)
    began = house.clock.now()
    house.clock.advance(59)
    house.accounts.session(secret)
    assert house.accounts.sessions(user.id)[0].last_seen_at == began
    house.clock.advance(1)
    house.accounts.session(secret)
    assert house.accounts.sessions(user.id)[0].last_seen_at == house.clock.now()


def test_signing_out_ends_that_session_on_the_server(house: House) -> None:
    user = house.add()
    one, two = (house.accounts.start_session(user.id, source=ADDRESS) for _ in range(2))
    house.accounts.end_session(one)
    house.accounts.end_session(one)
    assert house.accounts.session(one) is None
    assert house.accounts.session(two) is not None


def test_signing_out_everywhere_else_leaves_this_session(house: House) -> None:
    user = house.add()
    secrets = [house.accounts.start_session(user.id, source=ADDRESS) for _ in range(3)]
    who = house.accounts.session(secrets[1])
    assert who is not None
    assert house.accounts.end_sessions(user.id, by=who, but=who.credential_id) == 2
    assert [house.accounts.session(secret) is not None for secret in secrets] == [False, True, False]


@pytest.mark.parametrize("change", ["password", "disable", "remove"])
def test_a_changed_password_a_disabled_and_a_removed_user_end_every_session(house: House, change: str) -> None:
    house.add("root", Role.ADMIN)
    user, other = house.add("anna"), house.add("bo")
    secrets = [house.accounts.start_session(user.id, source=ADDRESS) for _ in range(2)]
    kept = house.accounts.start_session(other.id, source=ADDRESS)
    if change == "password":
        house.accounts.set_password(user.id, PASSWORD + " staple", by=BY)
    elif change == "disable":
        house.accounts.disable(user.id, by=BY)
    else:
        house.accounts.remove_user(user.id, by=BY)
    assert [house.accounts.session(secret) for secret in secrets] == [None, None]
    assert house.accounts.session(kept) is not None


def test_a_disabled_user_can_t_begin_a_session_and_one_that_is_enabled_can(house: House) -> None:
    house.add("root", Role.ADMIN)
    user = house.add()
    house.accounts.disable(user.id, by=BY)
    with pytest.raises(Denied):
        house.accounts.start_session(user.id, source=ADDRESS)
    house.accounts.enable(user.id, by=BY)
    assert house.accounts.session(house.accounts.start_session(user.id, source=ADDRESS)) is not None


def test_a_new_role_and_folder_hold_from_the_next_request_on(house: House) -> None:
    user = house.add()
    secret = house.accounts.start_session(user.id, source=ADDRESS)
    house.accounts.set_role(user.id, Role.VIEWER, by=BY)
    house.accounts.set_folder(user.id, "press", by=BY)
    who = house.accounts.session(secret)
    assert who is not None
    assert (who.role, who.scopes, who.folder) == (Role.VIEWER, frozenset({Scope.READ}), "press/")


def test_another_password_ends_the_pauses_of_its_name(house: House) -> None:
    user = house.add()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate("anna", "wrong", ADDRESS)
    house.accounts.set_password(user.id, PASSWORD + " staple", by=BY, generated=True)
    found = house.accounts.authenticate("anna", PASSWORD + " staple", ADDRESS)
    assert found.password_is_generated
    with pytest.raises(Unauthenticated):
        house.accounts.authenticate("anna", PASSWORD, ADDRESS)


# -- tokens --------------------------------------------------------------------------------------------------------


def test_a_token_has_a_part_of_its_owner_s_rights(house: House) -> None:
    user = house.add(role=Role.EDITOR)
    secret, token = house.accounts.create_token(user.id, " backup ", [Scope.READ], by=BY)
    assert secret.startswith("cp_")
    assert (token.name, token.scopes, token.last_used_at) == ("backup", frozenset({Scope.READ}), None)
    assert token.expires_at == house.clock.now() + timedelta(days=90)
    who = house.accounts.token(secret)
    assert who is not None
    assert (who.id, who.via, who.scopes, who.credential_id) == (user.id, Via.TOKEN, frozenset({Scope.READ}), token.id)
    assert house.accounts.token(secret[3:]) is None
    assert house.accounts.session(secret) is None


def test_a_token_with_more_rights_than_its_owner_is_refused(house: House) -> None:
    viewer, editor = house.add("vera", Role.VIEWER), house.add("ed", Role.EDITOR, "press")
    for user, scopes, folder in (
        (viewer, {Scope.WRITE}, ""),
        (viewer, {Scope.READ, Scope.ADMIN}, ""),
        (viewer, set(), ""),
        (editor, {Scope.WRITE}, "pressure"),
        (editor, {Scope.WRITE}, "elsewhere/press"),
    ):
        with pytest.raises(InvalidRequest):
            house.accounts.create_token(user.id, "t", scopes, by=BY, folder=folder)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "\u202ex"])
def test_a_token_s_name_can_be_seen(house: House, name: str) -> None:
    with pytest.raises(InvalidRequest):
        house.accounts.create_token(house.add().id, name, [Scope.READ], by=BY)


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_token_lives_as_long_as_the_settings_allow(house: House, days: int) -> None:
    with pytest.raises(InvalidRequest):
        house.accounts.create_token(house.add().id, "t", [Scope.READ], by=BY, lifetime_days=days)


def test_a_token_follows_its_owner_s_role_and_folder(house: House) -> None:
    user = house.add(role=Role.EDITOR)
    secret, _ = house.accounts.create_token(user.id, "t", [Scope.READ, Scope.WRITE], by=BY, folder="a/b")
    writing, _ = house.accounts.create_token(user.id, "w", [Scope.WRITE], by=BY)

    def reaches(secret: str) -> tuple[frozenset[Scope], str] | None:
        who = house.accounts.token(secret)
        return (who.scopes, who.folder) if who else None

    house.accounts.set_role(user.id, Role.VIEWER, by=BY)
    assert reaches(secret) == (frozenset({Scope.READ}), "a/b/")
    assert reaches(writing) is None
    house.accounts.set_folder(user.id, "a", by=BY)
    assert reaches(secret) == (frozenset({Scope.READ}), "a/b/")
    house.accounts.set_folder(user.id, "a/b/c", by=BY)
    assert reaches(secret) == (frozenset({Scope.READ}), "a/b/c/")
    house.accounts.set_folder(user.id, "x", by=BY)
    assert reaches(secret) is None


def test_a_token_of_the_whole_library_reaches_as_far_as_its_owner(house: House) -> None:
    user = house.add(folder="press")
    secret, _ = house.accounts.create_token(user.id, "t", [Scope.READ], by=BY)
    who = house.accounts.token(secret)
    assert who is not None
    assert who.folder == "press/"


def test_a_token_ends_and_is_listed_for_thirty_days_more(house: House) -> None:
    user = house.add()
    secret, token = house.accounts.create_token(user.id, "t", [Scope.READ], by=BY, lifetime_days=1)
    house.clock.advance(DAY - 1)
    assert house.accounts.token(secret) is not None
    house.clock.advance(1)
    assert house.accounts.token(secret) is None
    assert [found.id for found in house.accounts.tokens(user.id)] == [token.id]
    house.clock.advance(30 * DAY + 1)
    assert house.accounts.tokens(user.id) == ()


def test_a_revoked_token_ends_at_once(house: House) -> None:
    user = house.add()
    secret, token = house.accounts.create_token(user.id, "t", [Scope.READ], by=BY)
    house.accounts.revoke_token(token.id, by=BY)
    assert house.accounts.token(secret) is None
    with pytest.raises(NotFound):
        house.accounts.revoke_token(token.id, by=BY)


def test_the_tokens_of_who_is_disabled_rest_and_of_who_is_removed_are_gone(house: House) -> None:
    house.add("root", Role.ADMIN)
    user = house.add()
    secret, _ = house.accounts.create_token(user.id, "t", [Scope.READ], by=BY)
    house.accounts.disable(user.id, by=BY)
    assert house.accounts.token(secret) is None
    house.accounts.enable(user.id, by=BY)
    assert house.accounts.token(secret) is not None
    house.accounts.remove_user(user.id, by=BY)
    assert house.accounts.token(secret) is None
    assert house.accounts.tokens() == ()


def test_a_token_s_use_is_noted_once_a_minute_at_most(house: House) -> None:
    user = house.add()
    secret, _ = house.accounts.create_token(user.id, "t", [Scope.READ], by=BY)
    house.accounts.token(secret)
    first = house.clock.now()
    for seconds, expected in ((59, first), (1, first + timedelta(seconds=60))):
        house.clock.advance(seconds)
        house.accounts.token(secret)
        assert house.accounts.tokens()[0].last_used_at == expected


def test_tokens_are_listed_the_newest_first_everybody_s_or_one_user_s(house: House) -> None:
    anna, bo = house.add("anna"), house.add("bo")
    for user, name in ((anna, "one"), (bo, "two"), (anna, "three")):
        house.accounts.create_token(user.id, name, [Scope.READ], by=BY)
        house.clock.advance(1)
    assert [token.name for token in house.accounts.tokens()] == ["three", "two", "one"]
    assert [token.name for token in house.accounts.tokens(anna.id)] == ["three", "one"]


# -- quotas --------------------------------------------------------------------------------------------------------


def test_a_quota_counts_every_upload_by_its_whole_size(house: House) -> None:
    user = house.add(quota=1_000)
    for number in range(10):
        house.accounts.charge(user.id, 100, f"upload-{number}")
    assert house.accounts.used_bytes(user.id) == 1_000
    with pytest.raises(QuotaExceeded):
        house.accounts.charge(user.id, 1, "upload-10")
    assert house.accounts.user(user.id).used_bytes == 1_000


def test_the_same_reference_is_charged_once_and_may_change_its_size(house: House) -> None:
    user = house.add(quota=1_000)
    for size in (300, 300, 900, 200):
        house.accounts.charge(user.id, size, "upload")
        assert house.accounts.used_bytes(user.id) == size
    with pytest.raises(QuotaExceeded):
        house.accounts.charge(user.id, 1_001, "upload")
    assert house.accounts.used_bytes(user.id) == 200


def test_what_is_released_can_be_used_again_and_is_released_once(house: House) -> None:
    user = house.add(quota=1_000)
    house.accounts.charge(user.id, 1_000, "upload")
    for _ in range(2):
        house.accounts.release("upload")
        assert house.accounts.used_bytes(user.id) == 0
    house.accounts.charge(user.id, 1_000, "another")


def test_a_charge_is_handed_over_to_what_became_of_the_upload(house: House) -> None:
    user = house.add(quota=1_000)
    house.accounts.charge(user.id, 800, "upload")
    house.accounts.transfer("upload", "version")
    house.accounts.transfer("upload", "version-2")
    house.accounts.transfer("upload", "version")  # again, as after a crash
    house.accounts.release("upload")
    assert house.accounts.used_bytes(user.id) == 800
    house.accounts.charge(user.id, 100, "upload")
    with pytest.raises(Conflict):
        house.accounts.transfer("upload", "version")
    house.accounts.release("version")
    assert house.accounts.used_bytes(user.id) == 100


def test_nobody_is_charged_for_somebody_else_s_upload(house: House) -> None:
    anna, bo = house.add("anna"), house.add("bo")
    house.accounts.charge(anna.id, 100, "upload")
    with pytest.raises(Conflict):
        house.accounts.charge(bo.id, 100, "upload")
    assert house.accounts.used_bytes(bo.id) == 0


def test_who_is_no_user_is_not_counted(house: House) -> None:
    house.accounts.charge("command line", 10**15, "upload")
    assert house.accounts.used_bytes("command line") == 0
    house.accounts.release("upload")


def test_a_smaller_quota_keeps_what_is_there_and_takes_no_more(house: House) -> None:
    user = house.add()
    house.accounts.charge(user.id, 5_000, "upload")
    assert house.accounts.set_quota(user.id, 1_000, by=BY).used_bytes == 5_000
    with pytest.raises(QuotaExceeded):
        house.accounts.charge(user.id, 1, "another")
    house.accounts.set_quota(user.id, None, by=BY)
    house.accounts.charge(user.id, 10**12, "another")
    with pytest.raises(InvalidRequest):
        house.accounts.set_quota(user.id, -1, by=BY)


def test_a_quota_is_exact_with_many_uploads_at_once(house: House) -> None:
    user = house.add(quota=1_000)
    start = threading.Barrier(8)

    def upload(number: int) -> int:
        start.wait()
        accepted = 0
        for turn in range(10):
            try:
                house.accounts.charge(user.id, 30, f"{number}-{turn}")
            except QuotaExceeded:
                continue
            accepted += 1
            if turn % 3 == 2:
                house.accounts.release(f"{number}-{turn}")
                accepted -= 1
        return accepted

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(upload, range(8)))
    assert house.accounts.used_bytes(user.id) == accepted * 30 <= 1_000


# -- the log -------------------------------------------------------------------------------------------------------


def test_every_change_is_in_the_log_with_who_made_it(house: House) -> None:
    admin = house.add("root", Role.ADMIN)
    by = house.accounts.session(house.accounts.start_session(admin.id, source=ADDRESS))
    assert by is not None
    user = house.accounts.add_user("anna", PASSWORD, Role.EDITOR, by=by)
    house.accounts.set_role(user.id, Role.VIEWER, by=by)
    house.accounts.set_folder(user.id, "press", by=by)
    house.accounts.set_quota(user.id, 5, by=by)
    house.accounts.set_password(user.id, PASSWORD, by=by)
    _, token = house.accounts.create_token(user.id, "t", [Scope.READ], by=by)
    house.accounts.revoke_token(token.id, by=by)
    house.accounts.start_session(user.id, source=ADDRESS)
    house.accounts.end_sessions(user.id, by=by)
    house.accounts.disable(user.id, by=by)
    house.accounts.enable(user.id, by=by)
    house.accounts.remove_user(user.id, by=by)
    assert house.acts() == [
        "user.add",
        "session.start",
        "user.add",
        "user.role",
        "user.folder",
        "user.quota",
        "user.password",
        "token.add",
        "token.revoke",
        "session.start",
        "session.end",
        "user.disable",
        "user.enable",
        "user.remove",
    ]
    mine = house.audit.entries(who_id=admin.id, act="user.").entries
    assert [(entry.who, entry.via) for entry in mine] == [("root", Via.SESSION)] * 8


def test_a_change_that_was_refused_is_not_in_the_log(house: House) -> None:
    admin = house.add("root", Role.ADMIN)
    with pytest.raises(Conflict):
        house.accounts.disable(admin.id, by=BY)
    with pytest.raises(InvalidRequest):
        house.accounts.create_token(admin.id, "t", [], by=BY)
    assert house.acts() == ["user.add"]


def test_a_refused_sign_in_is_in_the_log_without_what_was_typed(house: House) -> None:
    house.add("anna")
    for name in ("anna", "my secret passphrase"):
        with pytest.raises(Unauthenticated):
            house.accounts.authenticate(name, "wrong password", ADDRESS)
    refused = house.audit.entries(act="session.start.refused").entries
    assert [(entry.subject, entry.who) for entry in refused] == [("", ADDRESS), ("anna", ADDRESS)]
    assert "secret" not in str(refused)
    assert "wrong" not in str([entry for entry in refused if entry.details.get("why") != "wrong password"])


def test_the_log_is_read_page_by_page_and_by_act_and_by_who(house: House) -> None:
    for number in range(7):
        house.audit.record(nobody(ADDRESS) if number % 2 else BY, f"file.{number}", f"key-{number}", size=number)
    seen, cursor = [], None
    while True:
        page = house.audit.entries(limit=3, cursor=cursor)
        seen += [entry.sequence for entry in page.entries]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    [entry] = house.audit.entries(act="file.3").entries
    assert (entry.who, entry.subject, entry.details) == (ADDRESS, "key-3", {"size": 3})
    assert [entry.sequence for entry in house.audit.entries(who_id=BY.id).entries] == [7, 5, 3, 1]
    assert house.audit.verify() == ()


def test_a_foreign_cursor_or_an_impossible_page_is_refused(house: House) -> None:
    with pytest.raises(InvalidRequest):
        house.audit.entries(cursor="x' OR 1=1")
    for limit in (0, 101):
        with pytest.raises(InvalidRequest):
            house.audit.entries(limit=limit)
