"""What is due when, and that each run happens once, whoever looks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ConfigurationInvalid, Unavailable
from contentplatform.schedule.cron import due_before
from contentplatform.schedule.local import SCHEMA, LocalSchedule
from contentplatform.schedule.schedules import SCHEDULES, Schedule
from fakes.clock import FakeClock

HOURLY = Schedule("hourly", "17 * * * *", "job", "does it", latest_start_seconds=600, attempts=2)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "moment", "due"),
    [
        ("17 * * * *", "2026-12-01 10:17:00", "2026-12-01 10:17"),
        ("17 * * * *", "2026-12-01 10:16:59", "2026-12-01 09:17"),
        ("17 * * * *", "2026-12-01 00:03:00", "2026-11-30 23:17"),
        ("30 0 * * *", "2026-12-01 00:29:00", "2026-11-30 00:30"),
        ("0 9 * * MON", "2026-12-01 12:00:00", "2026-11-30 09:00"),
        ("0 9 * * 1", "2026-12-01 12:00:00", "2026-11-30 09:00"),
        ("0 9 * * 0,7", "2026-12-01 12:00:00", "2026-11-29 09:00"),
        ("5,35 4 29 2 *", "2027-01-01 00:00:00", "2024-02-29 04:35"),
    ],
)
def test_when_it_was_due_last(cron: str, moment: str, due: str) -> None:
    minute, hour, day, month, weekday = cron.split()
    assert due_before((minute, hour, day, month, weekday), at(moment)) == at(due)


@pytest.mark.parametrize("cron", ["60 * * * *", "* 24 * * *", "x * * * *", "0 0 30 2 *", "*/5 * * * *", "0 0 * * SON"])
def test_what_is_no_schedule_says_so(cron: str) -> None:
    minute, hour, day, month, weekday = cron.split()
    with pytest.raises(ConfigurationInvalid):
        due_before((minute, hour, day, month, weekday), at("2026-12-01"))


@given(moment=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_it_was_never_due_later_than_now_and_nothing_lies_between(moment: datetime) -> None:
    for schedule in SCHEDULES:
        due = due_before(schedule.fields(), moment)
        assert due <= moment
        assert due_before(schedule.fields(), due) == due
        assert moment - due <= timedelta(days=7)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "test.db", (SCHEMA,), new_uuid="0" * 32)
    yield opened
    opened.close()


class Job:
    """Counts, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.runs = 0
        self._failures = failures

    def __call__(self) -> None:
        self.runs += 1
        if self.runs <= self._failures:
            raise Unavailable("working", "not now")


def test_each_run_happens_once_whoever_looks_and_again_an_hour_later(database: Database) -> None:
    clock, job = FakeClock(at("2026-12-01 10:17:30")), Job()
    one, other = (LocalSchedule(database, clock, {"job": job}, [HOURLY]) for _ in range(2))
    assert one.run_due() == 0, "what was due before the folder was there is nobody's"
    clock.advance(3_600)
    assert [one.run_due(), other.run_due(), one.run_due()] == [1, 0, 0]
    clock.advance(3_600)
    assert [other.run_due(), one.run_due()] == [1, 0]
    assert job.runs == 2


def test_what_could_not_begin_in_its_time_is_left_to_the_next_run(database: Database) -> None:
    clock, job = FakeClock(at("2026-12-01 09:17:00")), Job()
    schedule = LocalSchedule(database, clock, {"job": job}, [HOURLY])
    schedule.run_due()
    clock.advance(4_201)
    assert (schedule.run_due(), job.runs) == (0, 0)
    clock.advance(3_000)
    assert (schedule.run_due(), job.runs) == (1, 1)


def test_a_run_that_failed_is_tried_again_as_often_as_the_schedule_says(database: Database) -> None:
    clock, job = FakeClock(at("2026-12-01 10:17:30")), Job(failures=9)
    schedule = LocalSchedule(database, clock, {"job": job}, [HOURLY])
    schedule.run_due()
    clock.advance(3_600)
    assert [schedule.run_due() for _ in range(4)] == [1, 1, 0, 0]


def test_a_run_whose_worker_died_is_taken_over(database: Database) -> None:
    clock = FakeClock(at("2026-12-01 10:17:30"))
    long = Schedule("daily", "17 10 * * *", "job", "does it", latest_start_seconds=20_000, attempts=3)

    def die() -> None:
        raise KeyboardInterrupt

    dying = LocalSchedule(database, clock, {"job": die}, [long])
    dying.run_due()
    clock.advance(24 * 3_600)
    with pytest.raises(KeyboardInterrupt):
        dying.run_due()
    job = Job()
    schedule = LocalSchedule(database, clock, {"job": job}, [long])
    assert schedule.run_due() == 0, "it may be at work still"
    clock.advance(3_601)
    assert schedule.run_due() == 1


def test_a_schedule_without_a_job_at_home_is_nobody_s(database: Database) -> None:
    assert LocalSchedule(database, FakeClock(at("2026-12-01 10:17:30")), {}, [HOURLY]).run_due() == 0
