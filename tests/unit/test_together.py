"""Pieces of work beside each other: their results in order, and nobody left behind."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from contentplatform.together import in_turn, side_by_side

WAIT_SECONDS = 300


def test_results_come_in_the_order_of_the_works() -> None:
    for beside in (in_turn, side_by_side):
        assert beside([partial(divmod, number, 3) for number in range(20)]) == [divmod(n, 3) for n in range(20)]
        assert beside([]) == []


def test_works_beside_each_other_meet() -> None:
    met = threading.Barrier(3)
    side_by_side([partial(met.wait, WAIT_SECONDS)] * 3)
    assert not met.broken


def test_in_turn_everything_stays_in_its_thread() -> None:
    assert set(in_turn([threading.get_ident] * 3)) == {threading.get_ident()}


def test_a_failure_is_told_once_the_others_have_ended() -> None:
    failed, ended = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        raise LookupError

    def go_on() -> None:
        assert failed.wait(WAIT_SECONDS)
        ended.set()

    with pytest.raises(LookupError):
        side_by_side([fail, go_on])
    assert ended.is_set()
