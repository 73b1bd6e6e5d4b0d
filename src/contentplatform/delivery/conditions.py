"""Whether a viewer's conditions let content be sent (RFC 9110, section 13).

All our entity tags are strong. Times have whole seconds; a date that can't be read is as good as none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

from contentplatform.delivery.answers import Content, Request

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
_LIST_LIMIT: Final = 8_192
"""Longest list of tags that is read; no viewer has so many."""
_DATE_LIMIT: Final = 40


class Outcome(Enum):
    """What the conditions come to."""

    SEND = "send"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


def outcome(request: Request, content: Content) -> Outcome:
    """What the conditions of a GET or HEAD come to, in the order of the standard."""
    given = {name: value for name, value in request.headers if name.startswith(b"if-")}
    return _outcome(request, content) if given else Outcome.SEND


def _outcome(request: Request, content: Content) -> Outcome:
    if match := request.header(b"if-match"):
        if not names(match, content.etag, weakly=False):
            return Outcome.FAILED
    elif (since := _date(request.header(b"if-unmodified-since"))) and is_newer(content.modified_at, since):
        return Outcome.FAILED
    if none_match := request.header(b"if-none-match"):
        return Outcome.NOT_MODIFIED if names(none_match, content.etag, weakly=True) else Outcome.SEND
    since = _date(request.header(b"if-modified-since"))
    if since and content.modified_at and not is_newer(content.modified_at, since):
        return Outcome.NOT_MODIFIED
    return Outcome.SEND


def range_applies(request: Request, content: Content) -> bool:
    """Whether a range may be sent: without ``If-Range``, or where it names these very bytes."""
    condition = request.header(b"if-range").strip()
    if not condition:
        return True
    if condition.startswith('"'):
        return condition == f'"{content.etag}"'
    since = _date(condition)
    # The standard asks for the very date; a weak tag is no date, and never matches.
    return since is not None and content.modified_at is not None and since == content.modified_at.replace(microsecond=0)


def names(tags: str, etag: str, *, weakly: bool) -> bool:
    """Whether a list of entity tags names this one; ``*`` names any."""
    if tags == f'"{etag}"' or tags.strip() == "*":
        return True
    if len(tags) > _LIST_LIMIT:
        return False
    return any(opaque == etag and (weakly or not weak) for weak, opaque in _TAG.findall(tags))


def is_newer(modified_at: datetime | None, since: datetime) -> bool:
    """Whether something was changed after a second that a header told."""
    return modified_at is not None and modified_at.replace(microsecond=0) > since


def http_date(moment: datetime) -> str:
    """A moment as HTTP writes it, in English and GMT whatever the machine's language is."""
    utc = moment.astimezone(UTC)
    return f"{_DAYS[utc.weekday()]}, {utc.day:02} {_MONTHS[utc.month - 1]} {utc:%Y %H:%M:%S} GMT"


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _date(text: str) -> datetime | None:
    if not text or len(text) > _DATE_LIMIT:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
