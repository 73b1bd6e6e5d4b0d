"""``/invalidations``: what the edge was told to forget."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Path, Query, Response

from contentplatform.accounts.port import Principal, Scope
from contentplatform.clock import timestamp
from contentplatform.delivery.rules import paths_to_purge, raw_edge_key
from contentplatform.errors import InvalidRequest
from contentplatform.web.access import note, record_of
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import Administrator, APlatform, Writer
from contentplatform.web.api.shapes import Invalidation, InvalidationPage, InvalidationQuery, InvalidationWish

router = new_router("invalidations")


@router.get(
    "/invalidations",
    operation_id="list_invalidations",
    summary="What the edge was told to forget",
    responses=failures(),
)
def list_invalidations(
    platform: APlatform, _administrator: Administrator, asked: Annotated[InvalidationQuery, Query()]
) -> InvalidationPage:
    """A page of invalidations, the newest first."""
    page = platform.edge.invalidations(cursor=asked.cursor, limit=asked.limit)
    items = [
        {"id": each.id, "status": each.status.value, "created_at": timestamp(each.created_at)}
        for each in page.invalidations
    ]
    return InvalidationPage.model_validate({"items": items, "next": page.cursor})


@router.get(
    "/invalidations/{invalidation_id}",
    operation_id="get_invalidation",
    summary="One invalidation",
    responses=failures(404),
)
def get_invalidation(
    platform: APlatform,
    _administrator: Administrator,
    invalidation_id: Annotated[str, Path(pattern="^[A-Za-z0-9]{1,64}$")],
) -> Invalidation:
    """One invalidation, with its paths and how it stands."""
    found = platform.edge.invalidation(invalidation_id)
    return Invalidation(
        id=found.id,
        reference=found.reference,
        paths=list(found.paths),
        status=found.status.value,
        created_at=timestamp(found.created_at),
    )


@router.post(
    "/invalidations",
    operation_id="create_invalidation",
    summary="Let the edge forget",
    status_code=201,
    responses=failures(404, 409),
)
def create_invalidation(
    platform: APlatform, writer: Writer, response: Response, wish: InvalidationWish
) -> Invalidation:
    """Let the edge forget a file's renditions, or, for an administrator, exact paths."""
    paths = _paths(platform, writer, wish)
    made = platform.edge.invalidate(paths, wish.reference or f"by-hand-{secrets.token_hex(8)}")
    if made is None:
        raise InvalidRequest("telling the edge to forget", "nothing of this is on the edge")
    note(platform, writer, "invalidation.create", made.id, paths=len(made.paths))
    response.headers["Location"] = f"/api/v1/invalidations/{made.id}"
    return Invalidation(
        id=made.id,
        reference=made.reference,
        paths=list(made.paths),
        status=made.status.value,
        created_at=timestamp(made.created_at),
    )


def _paths(platform: APlatform, principal: Principal, wish: InvalidationWish) -> tuple[str, ...]:
    if (wish.file_id is None) == (wish.paths is None):
        raise InvalidRequest("telling the edge to forget", "either a file_id or paths have to be given")
    if wish.paths is not None:
        principal.needs(Scope.ADMIN)
        return tuple(wish.paths)
    record = record_of(platform, principal, str(wish.file_id))
    shown = [(rendition.key, rendition.sha256) for rendition in record.renditions]
    raw = raw_edge_key(record.file_path)
    return paths_to_purge([*shown, *([(raw, record.file_hash)] if raw else [])])
