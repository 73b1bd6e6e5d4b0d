"""``/images/<options>/<key>``: who may have which picture, and what browsers may keep of it.

Anybody may have presets of public files; all else needs a link that was signed for exactly these options of this file.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from contentplatform.delivery.answers import Content, Refusal, Request, Result
from contentplatform.delivery.image_cache import KeptPicture
from contentplatform.delivery.images import ImageOptions, image_path, read_image_path
from contentplatform.delivery.rules import (
    CORS_HEADERS,
    UNVERSIONED_CACHE_CONTROL,
    VERSION_LENGTH,
    VERSION_PARAMETER,
    VERSIONED_CACHE_CONTROL,
)
from contentplatform.delivery.transformed import Order, Transformer
from contentplatform.errors import Cancelled, InvalidRequest, ProcessingFailed, RateLimited

T = TypeVar("T")

_PRIVATE_CACHE_CONTROL: Final = "private, no-store"
_VERSION: Final = re.compile(rf"[0-9a-f]{{{VERSION_LENGTH}}}")
_SIGNATURE: Final = "Signature"
_READERS: Final = 4
_NEEDS_SIGNATURE: Final = "this picture needs a signed link"


class ImageRequests:
    """The handler of ``/images/``, to be mounted in the edge.

    Args:
        transformer: has the pictures. Closed by ``close``.
        check_link: raises InvalidRequest for the target of a request that carries no valid signature.
        private_prefix: keys of originals under it need a signature whatever is asked of them.
        open_options: whether anybody may choose options freely, for sites that trust their viewers.
    """

    def __init__(
        self,
        transformer: Transformer,
        check_link: Callable[[str], object],
        *,
        private_prefix: str,
        open_options: bool = False,
    ) -> None:
        self._transformer = transformer
        self._check_link = check_link
        self._private_prefix = private_prefix
        self._open_options = open_options
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="kept-picture")

    async def __call__(self, request: Request) -> Content | Refusal:
        """See ``answers.Handler``."""
        try:
            return await self._answer(request)
        except InvalidRequest as error:
            return Refusal(400, error.public, policy=CORS_HEADERS)
        except RateLimited as error:
            waiting = ((b"retry-after", str(error.retry_after_seconds).encode("ascii")),)
            return Refusal(429, error.public, waiting, policy=CORS_HEADERS)
        except ProcessingFailed as error:
            return Refusal(422, error.public, cache_control=UNVERSIONED_CACHE_CONTROL, policy=CORS_HEADERS)
        except Cancelled as error:
            return Refusal(503, error.public, policy=CORS_HEADERS)

    async def _answer(self, request: Request) -> Content | Refusal:
        options, key = read_image_path(request.path)
        is_private = bool(self._private_prefix) and key.startswith(self._private_prefix)
        told = dict(parse_qsl(request.query, keep_blank_values=True))
        version = told.get(VERSION_PARAMETER, "")
        if _SIGNATURE in told:
            try:
                await self._in_thread(lambda: self._check_link(f"{request.path}?{request.query}"))
            except InvalidRequest as error:
                return Refusal(403, error.public, policy=CORS_HEADERS)
        elif is_private or (options.is_free and not self._open_options):
            return Refusal(403, _NEEDS_SIGNATURE, policy=CORS_HEADERS)
        elif image_path(options, key) != request.path:
            return _moved(options, key, version)
        accept = request.header(b"accept")
        order, picture = await self._in_thread(lambda: self._looked_up(key, options, accept))
        result = Result.HIT
        if picture is None:
            try:
                picture, result = await self._made(order, request.client), Result.MISS
            except RateLimited:
                picture = await self._in_thread(lambda: self._transformer.instead(order))
                if picture is None:
                    raise
                return _stand_in(picture)
        return Content(
            content_type=picture.content_type,
            etag=picture.sha256,
            cache_control=_PRIVATE_CACHE_CONTROL if is_private else _cache_control(order, version),
            body=picture.body,
            vary="Accept" if options.depends_on_accept else "",
            policy=CORS_HEADERS,
            result=result,
        )

    def _looked_up(self, key: str, options: ImageOptions, accept: str) -> tuple[Order, KeptPicture | None]:
        order = self._transformer.order(key, options, accept)
        return order, self._transformer.kept(order)

    async def _made(self, order: Order, client: str) -> KeptPicture:
        future = self._transformer.make(order, client)
        try:
            # Others may wait for the same picture: a viewer who leaves does not take it from them.
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if future.cancelled():
                raise Cancelled("making a picture", "the service is stopping") from None
            raise

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def close(self) -> None:
        """Wait for what is being made, and let go of everything. Idempotent."""
        self._transformer.close()
        self._readers.shutdown(wait=True, cancel_futures=True)


def _stand_in(picture: KeptPicture) -> Content:
    """A smaller picture for a viewer who has to wait for the right one; nobody keeps it."""
    return Content(picture.content_type, picture.sha256, "no-store", picture.body, policy=CORS_HEADERS)


def _cache_control(order: Order, version: str) -> str:
    """A year only where the link names the bytes that the picture was made of."""
    is_exact = version == order.source_sha256[:VERSION_LENGTH]
    return VERSIONED_CACHE_CONTROL if is_exact else UNVERSIONED_CACHE_CONTROL


def _moved(options: ImageOptions, key: str, version: str) -> Refusal:
    """Where the picture is: there is one way to write each, so that caches keep each of them once."""
    path = image_path(options, key, version if _VERSION.fullmatch(version) else "")
    return Refusal(
        301,
        "there is one way to write these options",
        headers=((b"location", path.encode("ascii")),),
        cache_control=UNVERSIONED_CACHE_CONTROL,
        policy=CORS_HEADERS,
    )
