"""Replies to repeated writes, in the data folder's database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Conflict, InvalidRequest
from contentplatform.replies.local import SCHEMA, LocalReplies
from contentplatform.replies.port import BODY_LIMIT_BYTES, KEPT_SECONDS, KEY_LIMIT, WORK_SECONDS, KeyReused, Reply
from fakes.clock import FakeClock

DONE: Final = Reply(201, (("content-type", "application/json"),), b'{"id": 1}')


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "db", (SCHEMA,), new_uuid="0" * 32)
    yield opened
    opened.close()


@pytest.fixture
def replies(database: Database, clock: FakeClock) -> LocalReplies:
    return LocalReplies(database, clock)


def test_a_write_that_was_done_is_answered_as_it_was(replies: LocalReplies) -> None:
    assert replies.begin("anna", "k", "f") is None
    replies.keep("anna", "k", DONE)
    assert replies.begin("anna", "k", "f") == DONE
    assert replies.begin("anna", "k", "f") == DONE


def test_the_keys_of_others_are_other_keys(replies: LocalReplies) -> None:
    replies.begin("anna", "k", "f")
    assert replies.begin("bert", "k", "g") is None


def test_a_key_stands_for_one_request(replies: LocalReplies) -> None:
    replies.begin("anna", "k", "f")
    with pytest.raises(KeyReused, match="another request"):
        replies.begin("anna", "k", "g")
    replies.keep("anna", "k", DONE)
    with pytest.raises(KeyReused):
        replies.begin("anna", "k", "g")


def test_what_is_being_done_is_not_done_beside_it(replies: LocalReplies) -> None:
    replies.begin("anna", "k", "f")
    with pytest.raises(Conflict, match="being done"):
        replies.begin("anna", "k", "f")


def test_what_failed_is_done_again(replies: LocalReplies) -> None:
    replies.begin("anna", "k", "f")
    replies.drop("anna", "k")
    assert replies.begin("anna", "k", "g") is None
    replies.drop("anna", "k")
    replies.drop("anna", "k")


def test_what_was_done_is_not_dropped(replies: LocalReplies) -> None:
    replies.begin("anna", "k", "f")
    replies.keep("anna", "k", DONE)
    replies.drop("anna", "k")
    assert replies.begin("anna", "k", "f") == DONE


def test_a_write_whose_process_died_is_done_by_another(replies: LocalReplies, clock: FakeClock) -> None:
    replies.begin("anna", "k", "f")
    clock.advance(WORK_SECONDS)
    assert replies.begin("anna", "k", "f") is None


def test_after_a_day_a_key_is_new_and_its_row_is_swept(
    replies: LocalReplies, database: Database, clock: FakeClock
) -> None:
    replies.begin("anna", "old", "f")
    replies.keep("anna", "old", DONE)
    clock.advance(KEPT_SECONDS)
    assert replies.begin("anna", "old", "f") == DONE
    clock.advance(1)
    replies.begin("anna", "other", "f")
    with database.read() as view:
        assert view.rows("SELECT key FROM replies") == [("other",)]
    assert replies.begin("anna", "old", "g") is None


def test_a_secret_is_not_kept_and_an_endless_answer_is_not_either(replies: LocalReplies) -> None:
    told_once = Reply(201, (), None)
    replies.begin("anna", "k", "f")
    replies.keep("anna", "k", told_once)
    assert replies.begin("anna", "k", "f") == told_once
    replies.begin("anna", "large", "f")
    replies.keep("anna", "large", Reply(200, (), b"x" * (BODY_LIMIT_BYTES + 1)))
    assert replies.begin("anna", "large", "f") is None


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * (KEY_LIMIT + 1), "ä", "a\n", "\x7f"])
def test_what_can_be_no_key_is_refused(replies: LocalReplies, key: str) -> None:
    with pytest.raises(InvalidRequest, match="ASCII"):
        replies.begin("anna", key, "f")


def test_of_many_at_once_one_does_it(replies: LocalReplies) -> None:
    def begins(_: int) -> bool:
        try:
            return replies.begin("anna", "k", "f") is None
        except Conflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begins, range(16))) == 1
