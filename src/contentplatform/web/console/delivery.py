"""What the edge delivers, and what it was told to forget."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlencode

from starlette.responses import Response

from contentplatform.delivery.port import INVALIDATION_PAGE_SIZE
from contentplatform.delivery.rules import paths_to_purge, raw_edge_key
from contentplatform.delivery.statistics import Minute, together
from contentplatform.errors import InvalidRequest
from contentplatform.web.access import record_by_key
from contentplatform.web.console import words
from contentplatform.web.console.visit import Visit

DELIVERY: Final = "/delivery"
_HOURS: Final = {"1": 1, "24": 24, "168": 168}
_BARS: Final = 48
_HEIGHT: Final = 100
_PERCENT: Final = 100


@runtime_checkable
class TellsTraffic(Protocol):
    """The power of a home whose edge counts what it does."""

    def traffic(self, since: datetime, until: datetime) -> tuple[Minute, ...]:
        """What the edge did, minute by minute."""
        ...


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of time in the picture of requests."""

    x: float
    width: float
    height: float
    missed: float
    """The part of the height that was no hit."""
    told: str


def show_delivery(visit: Visit) -> Response:
    """How much was asked for and answered from what is kept; and invalidations, the newest first."""
    span = visit.asked("hours") if visit.asked("hours") in _HOURS else "24"
    page = visit.platform.edge.invalidations(cursor=visit.asked("cursor") or None, limit=INVALIDATION_PAGE_SIZE)
    since = visit.now - timedelta(hours=_HOURS[span])
    minutes = visit.home.traffic(since, visit.now) if isinstance(visit.home, TellsTraffic) else None
    total = together(minutes) if minutes else None
    return visit.page(
        "delivery.html",
        is_counted=minutes is not None,
        total=total,
        ratio="–" if total is None or total.hit_ratio is None else f"{total.hit_ratio * _PERCENT:.1f} %",
        bars=_bars(minutes or (), since, visit.now),
        span=span,
        spans=(("1", "An hour"), ("24", "A day"), ("168", "A week")),
        invalidations=page.invalidations,
        next_url=f"{DELIVERY}?{urlencode({'cursor': page.cursor})}" if page.cursor else "",
    )


def _bars(minutes: tuple[Minute, ...], since: datetime, until: datetime) -> list[Bar]:
    """Minutes put together into as many bars as a picture shows."""
    width_seconds = (until - since).total_seconds() / _BARS
    groups: list[list[Minute]] = [[] for _ in range(_BARS)]
    for minute in minutes:
        at = datetime.fromisoformat(minute.begins_at)
        place = int((at - since).total_seconds() // width_seconds)
        groups[min(max(place, 0), _BARS - 1)].append(minute)
    sums = [together(tuple(group)) if group else None for group in groups]
    most = max((each.requests for each in sums if each), default=0)
    bars = []
    for number, each in enumerate(sums):
        if each is None or not most:
            continue
        begins = since + timedelta(seconds=number * width_seconds)
        height = each.requests * _HEIGHT / most
        missed = height * (each.misses + each.errors) / max(each.requests, 1)
        told = f"{begins:%-d %b, %H:%M} UTC: {words.count(each.requests, 'request')}, {words.grouped(each.hits)} hits"
        bars.append(Bar(number * 10.0, 8.0, round(height, 2), round(missed, 2), told))
    return bars


def show_invalidation(visit: Visit) -> Response:
    """One invalidation with its paths."""
    found = visit.platform.edge.invalidation(visit.path["invalidation_id"])
    return visit.page("invalidation.html", invalidation=found)


def invalidate(visit: Visit) -> Response:
    """Let the edge forget a file's renditions, or exact paths."""
    given = [line.strip() for line in visit.given("paths").splitlines() if line.strip()]
    if not given:
        raise InvalidRequest("telling the edge to forget", "neither a file nor a path was given")
    paths: list[str] = []
    for line in given:
        paths += [line] if line.startswith("/") else _paths_of_file(visit, line)
    made = visit.platform.edge.invalidate(paths, f"by-hand-{secrets.token_hex(8)}")
    if made is None:
        raise InvalidRequest("telling the edge to forget", "nothing of this is on the edge")
    visit.note("invalidation.create", made.id, paths=len(made.paths))
    return visit.back(DELIVERY, f"The edge forgets {words.count(len(made.paths), 'path')}.")


def _paths_of_file(visit: Visit, key: str) -> list[str]:
    record = record_by_key(visit.platform, visit.principal, key)
    shown = [(rendition.key, rendition.sha256) for rendition in record.renditions]
    raw = raw_edge_key(record.file_path)
    return list(paths_to_purge([*shown, *([(raw, record.file_hash)] if raw else [])]))
