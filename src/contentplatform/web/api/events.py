"""``/events``: what happens, as it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from contentplatform.accounts.port import Accounts, Principal
from contentplatform.accounts.port import Scope as Right
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import AAccounts, AFeed, Reader
from contentplatform.web.feed import Feed, Sees

router = new_router("events")

Number = Annotated[int, Query(ge=0, le=2**53, description="The number of the last change that you know.")]
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events until one side ends it.",
        "content": {"text/event-stream": {"schema": {}}},
    }
}
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get(
    "/events",
    operation_id="follow_events",
    summary="What happens, as it happens",
    response_class=StreamingResponse,
    responses=failures() | _STREAM,
)
async def follow_events(
    feed: AFeed,
    accounts: AAccounts,
    reader: Reader,
    after: Number | None = None,
    last_event_id: Annotated[str | None, Header(max_length=20, pattern="^[0-9]{1,16}$")] = None,
) -> StreamingResponse:
    """Server-sent events, one a change of a file that exists for you; `reload`: look at everything anew.

    The event's name is what happened, its data the change as JSON, its id the change's number: a browser sends it as
    `Last-Event-ID` when it comes back, and misses nothing. The stream ends soon after your session or token does.
    """
    place = after if last_event_id is None else int(last_event_id)
    return _Stream(feed, reader, place, _again(accounts, reader))


def _again(accounts: Accounts, reader: Principal) -> Callable[[], Sees | None]:
    """What exists for a reader by now; None: they may not read any more."""

    def again() -> Sees | None:
        who = accounts.anew(reader)
        return who.sees if who is not None and who.may(Right.READ) else None

    return again


class _Stream(StreamingResponse):
    """One listener's stream; refused, before it begins, to whoever has too many."""

    def __init__(self, feed: Feed, reader: Principal, place: int | None, again: Callable[[], Sees | None]) -> None:
        super().__init__(feed.follow(reader.sees, place, again), 200, _HEADERS, "text/event-stream")
        self._listening = feed.listening(reader.id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until one side ends it."""
        with self._listening:
            await super().__call__(scope, receive, send)
