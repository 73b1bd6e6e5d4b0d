"""``/server``, ``/statistics/delivery``: what the server is, and what its edge did."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query

from contentplatform import __version__
from contentplatform.app import LocalHome
from contentplatform.delivery.statistics import Minute, together
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole
from contentplatform.web import problems
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import Administrator, AHome, Reader
from contentplatform.web.api.shapes import Server, Traffic

router = new_router("server")

Hours = Annotated[int, Query(ge=1, le=840, description="So many hours back; each minute is kept for 35 days.")]


@router.get("/server", operation_id="get_server", summary="What the server is", responses=failures())
def get_server(home: AHome, _reader: Reader) -> Server:
    """Which version and home answers, and what a client has to know of its settings."""
    settings = home.platform.settings
    return Server(
        version=__version__,
        home="local" if isinstance(home, LocalHome) else "aws",
        bucket=bucket_name(BucketRole.PRIMARY, settings.storage.bucket_suffix),
        private_prefix=settings.ingest.private_prefix,
        public_url=settings.server.public_url,
        edge_url=settings.server.edge_url,
        workers=home.workers(),
    )


@router.get("/statistics/delivery", operation_id="get_traffic", summary="What the edge did", responses=failures())
def get_traffic(home: AHome, _administrator: Administrator, hours: Hours = 24) -> Traffic:
    """Requests, bytes, hits and errors of the edge, altogether and hour by hour; some seconds late."""
    if not isinstance(home, LocalHome):
        raise problems.Refusal(problems.NOT_HERE, "On AWS the distribution's own figures tell", hint="See CloudWatch")
    now = home.platform.clock.now()
    minutes = home.traffic(now - timedelta(hours=hours), now)
    by_hour: dict[str, list[Minute]] = {}
    for minute in minutes:
        by_hour.setdefault(minute.begins_at[:13], []).append(minute)
    items = [{"hour": f"{hour}:00:00.000000Z", **_figures(together(tuple(some)))} for hour, some in by_hour.items()]
    return Traffic.model_validate({"total": _figures(together(minutes)), "items": items})


def _figures(told: Minute) -> dict[str, Any]:
    return {
        "requests": told.requests,
        "bytes_sent": told.bytes_sent,
        "hits": told.hits,
        "misses": told.misses,
        "errors": told.errors,
        "hit_ratio": told.hit_ratio,
        "by_status": {str(status): count for status, count in sorted(told.by_status.items())},
    }
