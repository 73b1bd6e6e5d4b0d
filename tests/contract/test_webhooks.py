"""What webhooks must do, on those in memory and those in the data folder's database."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from contentplatform.catalog.port import ChangeKind
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ConfigurationInvalid, InvalidRequest, NotFound
from contentplatform.hooks.local import SCHEMA, LocalWebhooks
from contentplatform.hooks.port import Message, Webhook, Webhooks, check_events
from contentplatform.hooks.secrets import KEY_FILE_NAME, DerivedSecrets
from fakes.accounts import CountedBytes
from fakes.clock import FakeClock, SequentialIds
from fakes.hooks import MemoryWebhooks

URL: Final = "https://hooks.example/x"


def check_url(url: str) -> None:
    """Only one address is allowed."""
    if url != URL:
        raise InvalidRequest("calling", "not that one")


@dataclass
class Room:
    """Webhooks and their clock."""

    webhooks: Webhooks
    clock: FakeClock

    def add(self, *events: ChangeKind, after: int = 0) -> Webhook:
        """A new webhook."""
        return self.webhooks.add(URL, events, "u1", after=after)[1]


@pytest.fixture(params=["fake", "local"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    clock = FakeClock()
    if request.param == "fake":
        yield Room(MemoryWebhooks(clock, check_url), clock)
        return
    database = Database(tmp_path / "hooks.db", (SCHEMA,), new_uuid="0" * 32)
    secrets = DerivedSecrets(tmp_path / KEY_FILE_NAME, CountedBytes())
    yield Room(LocalWebhooks(database, clock, SequentialIds(), check_url, secrets), clock)
    database.close()


def message(sequence: int, name: str = "") -> Message:
    """A message about one change."""
    return Message(name or f"m{sequence}", sequence, f"body {sequence}".encode())


def test_a_webhook_is_what_was_asked_for_and_its_secret_signs(room: Room) -> None:
    secret, hook = room.webhooks.add(URL, [ChangeKind.COMPLETED, ChangeKind.FAILED], "u1", after=7)
    assert secret.startswith("whsec_")
    assert room.webhooks.secret(hook.id) == secret
    assert room.webhooks.get(hook.id) == hook
    assert (hook.url, hook.created_by, hook.created_at) == (URL, "u1", room.clock.now())
    assert (hook.active, hook.position, hook.attempts, hook.due_at, hook.dead) == (True, 7, 0, None, 0)
    assert hook.wants(ChangeKind.FAILED)
    assert not hook.wants(ChangeKind.ADDED)
    assert room.add().wants(ChangeKind.REMOVED)


def test_a_url_that_may_not_be_called_makes_no_webhook(room: Room) -> None:
    with pytest.raises(InvalidRequest):
        room.webhooks.add("http://127.0.0.1/", [], "u1", after=0)
    assert room.webhooks.all() == ()


def test_webhooks_are_listed_newest_first_and_removed_for_good(room: Room) -> None:
    first, second = room.add(), room.add()
    assert room.webhooks.all() == (second, first)
    room.webhooks.bury(second.id, message(1), "no")
    room.webhooks.remove(second.id)
    assert room.webhooks.all() == (first,)
    for act in (
        room.webhooks.get,
        room.webhooks.remove,
        room.webhooks.secret,
        room.webhooks.rotate,
        room.webhooks.dead,
    ):
        with pytest.raises(NotFound):
            act(second.id)
    with pytest.raises(NotFound):
        room.webhooks.set_active(second.id, active=True, after=0)


def test_another_secret_signs_from_then_on(room: Room) -> None:
    hook = room.add()
    before = room.webhooks.secret(hook.id)
    after = room.webhooks.rotate(hook.id)
    assert room.webhooks.secret(hook.id) == after != before


def test_one_sends_at_a_time_until_its_claim_is_over(room: Room) -> None:
    hook = room.add()
    assert room.webhooks.claim(hook.id, 30) == hook
    assert room.webhooks.claim(hook.id, 30) is None
    room.webhooks.release(hook.id)
    assert room.webhooks.claim(hook.id, 30) is not None
    room.clock.advance(29)
    assert room.webhooks.claim(hook.id, 30) is None
    room.clock.advance(1)
    assert room.webhooks.claim(hook.id, 30) is not None
    assert room.webhooks.claim("none", 30) is None
    room.webhooks.release("none")


def test_what_failed_is_due_at_its_time_and_forgotten_once_it_was_taken(room: Room) -> None:
    hook = room.add()
    due = room.clock.now() + timedelta(seconds=5)
    room.webhooks.failed(hook.id, "answered 500", due)
    failed = room.webhooks.get(hook.id)
    assert (failed.attempts, failed.due_at, failed.last_status, failed.last_at) == (
        1,
        due,
        "answered 500",
        room.clock.now(),
    )
    assert room.webhooks.claim(hook.id, 30) is None
    room.clock.advance(5)
    assert room.webhooks.claim(hook.id, 30) is not None
    room.webhooks.passed(hook.id, 3, "answered 204")
    taken = room.webhooks.get(hook.id)
    assert (taken.position, taken.attempts, taken.due_at, taken.last_status) == (3, 0, None, "answered 204")


def test_what_nobody_wants_is_passed_without_a_word_and_never_back(room: Room) -> None:
    hook = room.add(after=5)
    room.webhooks.passed(hook.id, 9)
    room.webhooks.passed(hook.id, 2)
    assert room.webhooks.get(hook.id) == replace(hook, position=9)


def test_what_was_given_up_waits_and_what_follows_has_its_turn(room: Room) -> None:
    hook = room.add()
    room.webhooks.failed(hook.id, "x", room.clock.now())
    for _ in range(2):
        room.webhooks.bury(hook.id, message(2), "answered 500" + "!" * 500)
    room.webhooks.bury(hook.id, message(4), "answered 404")
    buried = room.webhooks.get(hook.id)
    assert (buried.position, buried.attempts, buried.dead) == (4, 0, 2)
    assert [dead.message for dead in room.webhooks.dead(hook.id)] == [message(2), message(4)]
    [first] = room.webhooks.dead(hook.id, limit=1)
    assert len(first.why) == 200
    for _ in range(2):
        room.webhooks.revived(hook.id, "m2")
    assert [dead.message.id for dead in room.webhooks.dead(hook.id)] == ["m4"]
    with pytest.raises(InvalidRequest):
        room.webhooks.dead(hook.id, limit=0)
    room.webhooks.bury("none", message(1), "x")


def test_one_that_is_switched_off_is_told_nothing_nor_later_what_happened_meanwhile(room: Room) -> None:
    hook = room.add()
    room.webhooks.failed(hook.id, "x", room.clock.now() + timedelta(hours=1))
    assert not room.webhooks.set_active(hook.id, active=False, after=3).active
    assert room.webhooks.claim(hook.id, 30) is None
    on = room.webhooks.set_active(hook.id, active=True, after=10)
    assert (on.active, on.position, on.attempts, on.due_at) == (True, 10, 0, None)
    assert room.webhooks.set_active(hook.id, active=True, after=99).position == 10


def test_events_are_named_by_the_words_of_the_changes() -> None:
    assert check_events(["added", "failed"]) == {ChangeKind.ADDED, ChangeKind.FAILED}
    with pytest.raises(InvalidRequest, match="'nothing' is none"):
        check_events(["added", "nothing"])


# -- only at home ---------------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_database_and_the_key_is_its_owner_s_alone(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    database = Database(tmp_path / "db" / "hooks.db", (SCHEMA,), new_uuid="0" * 32)
    path = tmp_path / KEY_FILE_NAME
    webhooks = LocalWebhooks(database, FakeClock(), SequentialIds(), check_url, DerivedSecrets(path, CountedBytes()))
    secret, hook = webhooks.add(URL, (), "u1", after=0)
    another = webhooks.rotate(hook.id)
    database.close()
    held = b"".join(each.read_bytes() for each in (tmp_path / "db").iterdir())
    for each in (secret, another):
        key = base64.b64decode(each.removeprefix("whsec_"))
        assert len(key) == 24
        assert not any(form in held for form in (each.encode(), key, key.hex().encode()))
    assert path.stat().st_mode & 0o777 == 0o400


def test_a_secret_of_another_key_is_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE_NAME
    secrets = DerivedSecrets(path, CountedBytes())
    secret, kept = secrets.new()
    assert DerivedSecrets(path, CountedBytes()).known(kept) == secret
    key = path.read_text()
    path.unlink()
    with pytest.raises(ConfigurationInvalid, match="is not the one"):
        DerivedSecrets(path, lambda size: b"x" * size).known(kept)
    path.unlink()
    path.write_text("no key")
    with pytest.raises(ConfigurationInvalid, match="is damaged"):
        secrets.known(kept)
    path.write_text(key)
    assert secrets.known(kept) == secret


def test_a_secret_that_lies_there_in_clear_is_used_on(tmp_path: Path) -> None:
    assert DerivedSecrets(tmp_path / KEY_FILE_NAME, CountedBytes()).known("whsec_AAAA") == "whsec_AAAA"
