"""When a schedule is due: five fields of cron, in UTC, so that no hour is there twice or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from contentplatform.errors import ConfigurationInvalid

_WEEKDAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_LONGEST: Final = timedelta(days=366 * 4 + 1)
"""Every date that there is comes within four years."""


def due_before(fields: tuple[str, str, str, str, str], moment: datetime) -> datetime:
    """The last minute, at or before ``moment``, in which a schedule is due.

    A field is ``*``, a number, a list of numbers with commas between, or, for the day of the week, also a name.

    Raises:
        ConfigurationInvalid: a field is none of these, or the date never comes.
    """
    minutes, hours, days, months = (
        _numbers(field, first, last)
        for field, (first, last) in zip(fields, ((0, 59), (0, 23), (1, 31), (1, 12)), strict=False)
    )
    weekdays = _weekdays(fields[4])
    day = moment.astimezone(UTC).replace(second=0, microsecond=0)
    earliest = day - _LONGEST
    at = day
    while at > earliest:
        if at.month in months and at.day in days and at.weekday() in weekdays:
            for hour in sorted(hours, reverse=True):
                for minute in sorted(minutes, reverse=True):
                    found = at.replace(hour=hour, minute=minute)
                    if found <= day:
                        return found
        at = (at - timedelta(days=1)).replace(hour=23, minute=59)
    raise ConfigurationInvalid("reading a schedule", f"{' '.join(fields)!r} is a date that never comes")


def _numbers(field: str, first: int, last: int) -> frozenset[int]:
    if field == "*":
        return frozenset(range(first, last + 1))
    parts = field.split(",")
    if not all(part.isascii() and part.isdigit() and first <= int(part) <= last for part in parts):
        raise ConfigurationInvalid("reading a schedule", f"{field!r} is no list of numbers from {first} to {last}")
    return frozenset(int(part) for part in parts)


def _weekdays(field: str) -> frozenset[int]:
    """Days of the week, Monday is 0; as numbers cron counts from Sunday, 0."""
    if field in _WEEKDAYS:
        return frozenset({_WEEKDAYS.index(field)})
    return frozenset((number - 1) % 7 for number in _numbers(field, 0, 7))
