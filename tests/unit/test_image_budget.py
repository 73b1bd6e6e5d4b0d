"""How much computing one viewer may cause, by a clock that moves when it is told to."""

from __future__ import annotations

import pytest

from contentplatform.delivery.image_budget import CpuBudget
from contentplatform.errors import RateLimited
from fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def spend(budget: CpuBudget, client: str, seconds: float) -> None:
    budget.reserve(client, 0.2)
    budget.settle(client, 0.2, seconds)


def test_who_used_up_a_minute_waits_until_some_came_back(clock: FakeClock) -> None:
    budget = CpuBudget(clock, 6.0)
    for _ in range(6):
        spend(budget, "192.0.2.1", 1.0)
    with pytest.raises(RateLimited) as caught:
        budget.reserve("192.0.2.1", 0.2)
    assert caught.value.retry_after_seconds == 2
    spend(budget, "192.0.2.2", 5.0)  # another's purse is another's
    clock.advance(2)
    spend(budget, "192.0.2.1", 0.1)


def test_who_overdrew_waits_longer(clock: FakeClock) -> None:
    budget = CpuBudget(clock, 6.0)
    spend(budget, "192.0.2.1", 30.0)
    with pytest.raises(RateLimited) as caught:
        budget.reserve("192.0.2.1", 0.2)
    assert caught.value.retry_after_seconds == 242
    clock.advance(239)
    with pytest.raises(RateLimited):
        budget.reserve("192.0.2.1", 0.2)
    clock.advance(3)
    budget.reserve("192.0.2.1", 0.2)


def test_nobody_saves_more_than_a_minute(clock: FakeClock) -> None:
    budget = CpuBudget(clock, 6.0)
    spend(budget, "192.0.2.1", 0.1)
    clock.advance(86_400)
    spend(budget, "192.0.2.1", 6.0)
    with pytest.raises(RateLimited):
        budget.reserve("192.0.2.1", 0.2)


def test_what_is_under_way_counts_before_it_ends(clock: FakeClock) -> None:
    budget = CpuBudget(clock, 1.0)
    for _ in range(5):
        budget.reserve("192.0.2.1", 0.2)
    with pytest.raises(RateLimited):
        budget.reserve("192.0.2.1", 0.2)


def test_one_viewer_does_not_fill_the_queue(clock: FakeClock) -> None:
    budget = CpuBudget(clock, 1_000.0)
    for _ in range(32):
        budget.reserve("192.0.2.1", 0.2)
    with pytest.raises(RateLimited) as caught:
        budget.reserve("192.0.2.1", 0.2)
    assert caught.value.retry_after_seconds == 1
    budget.settle("192.0.2.1", 0.2, 0.1)
    budget.reserve("192.0.2.1", 0.2)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("somebody", "somebody", True),
    ],
)
def test_a_network_of_one_site_is_one_viewer(clock: FakeClock, one: str, other: str, is_same: bool) -> None:  # noqa: FBT001 - a case of the table
    budget = CpuBudget(clock, 6.0)
    spend(budget, one, 6.1)
    if is_same:
        with pytest.raises(RateLimited):
            budget.reserve(other, 0.2)
    else:
        budget.reserve(other, 0.2)


def test_millions_of_addresses_take_no_memory(clock: FakeClock) -> None:
    budget = CpuBudget(clock, 6.0)
    for number in range(10_500):
        budget.reserve(f"viewer {number}", 0.2)
    assert len(budget._purses) == 10_000
