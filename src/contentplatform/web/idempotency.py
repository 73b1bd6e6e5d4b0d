"""A write that is sent again under its ``Idempotency-Key`` is done once, and answered as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from anyio import CancelScope, to_thread
from fastapi import Request, Response

from contentplatform.app import Home
from contentplatform.errors import Conflict
from contentplatform.replies.port import Replies, Reply
from contentplatform.web.auth import door_of

IDEMPOTENCY_KEY: Final = "idempotency-key"
REPLAYED: Final = "Idempotent-Replayed"
_KEPT_HEADERS: Final = frozenset({"content-type", "etag", "location"})

Handle = Callable[[Request], Awaitable[Response]]


async def once(request: Request, key: str, handle: Handle, *, told_once: bool) -> Response:
    """The answer to a write with a key: that of ``handle``, or what it was the first time.

    What failed left nothing, and is done again. Keys of others are other keys, and whoever is not let in has none.

    Args:
        request: a write.
        key: as it was sent.
        handle: does the write.
        told_once: the answer has a secret in it, and is not kept.

    Raises:
        Conflict: it is being done at this moment; or it was done, and its secret was told. KeyReused.
    """
    principal = await to_thread.run_sync(door_of(request).principal, request)
    if principal is None:
        return await handle(request)
    home: Home = request.app.state.home
    replies = await to_thread.run_sync(lambda: home.platform.replies)
    begin = partial(replies.begin, principal.id, key, _fingerprint(request, await request.body()))
    there = await to_thread.run_sync(begin)
    if there is not None:
        return _again(there)
    try:
        response = await handle(request)
    except BaseException:
        with CancelScope(shield=True):
            await to_thread.run_sync(replies.drop, principal.id, key)
        raise
    await to_thread.run_sync(partial(_settle, replies, principal.id, key, response, told_once=told_once))
    return response


def _settle(replies: Replies, who: str, key: str, response: Response, *, told_once: bool) -> None:
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        replies.drop(who, key)
        return
    headers = tuple((name, value) for name, value in response.headers.items() if name in _KEPT_HEADERS)
    replies.keep(who, key, Reply(response.status_code, headers, None if told_once else bytes(response.body)))


def _again(there: Reply) -> Response:
    if there.body is None:
        raise Conflict("repeating a write", "it was done, and the secret in its answer is told once only")
    return Response(there.body, there.status, {**dict(there.headers), REPLAYED: "true"})


def _fingerprint(request: Request, body: bytes) -> str:
    told = (request.method, request.url.path, request.url.query)
    digest = hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape"))
    digest.update(b"\n" + body)
    return digest.hexdigest()
