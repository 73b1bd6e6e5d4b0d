"""Time and ids: what a record or an order may rely on."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.clock import RandomIds, SystemClock, parse_timestamp, timestamp

ANY_ZONE = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ANY_MOMENT = st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 29), timezones=ANY_ZONE)  # noqa: DTZ001 - a range, zones are drawn


@given(moment=ANY_MOMENT)
def test_a_moment_survives_being_written_and_read_to_the_microsecond(moment: datetime) -> None:
    assert parse_timestamp(timestamp(moment)) == moment


@given(one=ANY_MOMENT, other=ANY_MOMENT)
def test_timestamps_sort_as_text_in_the_order_of_time(one: datetime, other: datetime) -> None:
    assert (timestamp(one) < timestamp(other)) == (one < other)


def test_a_timestamp_is_utc_with_microseconds_whatever_zone_it_came_in() -> None:
    summer = datetime(2030, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(summer) == "2030-06-01T10:00:00.000000Z"


def test_an_offset_is_understood_and_brought_to_utc() -> None:
    assert parse_timestamp("2030-06-01T12:00:00+02:00") == datetime(2030, 6, 1, 10, tzinfo=UTC)
    assert parse_timestamp("2030-06-01T12:00:00+02:00").tzinfo is UTC


def test_a_timestamp_without_a_zone_is_refused_rather_than_guessed() -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        parse_timestamp("2030-06-01T12:00:00")


def test_the_machine_s_clock_tells_aware_utc_and_a_time_that_never_goes_back() -> None:
    clock = SystemClock()
    first = clock.monotonic_seconds()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic_seconds() >= first


def test_two_clocks_of_one_boot_name_the_same_boot() -> None:
    boot = SystemClock().boot_id()
    assert boot
    assert SystemClock().boot_id() == boot


def test_waiting_for_a_set_event_returns_at_once_and_says_so() -> None:
    event = threading.Event()
    assert SystemClock().wait(event, 0.0) is False
    event.set()
    assert SystemClock().wait(event, 60.0) is True


def test_ids_are_32_hex_digits_unique_and_grow_with_time() -> None:
    ids = [RandomIds().new_id() for _ in range(1_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 and int(one, 16) >= 0 and one == one.lower() for one in ids)
    milliseconds = [int(one[:12], 16) for one in ids]
    assert milliseconds == sorted(milliseconds)


def test_jitter_stays_in_its_half_open_interval() -> None:
    assert all(0 <= RandomIds().fraction() < 1 for _ in range(1_000))
