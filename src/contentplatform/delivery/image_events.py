"""``/images/<options>/<key>`` as a function behind CloudFront: events of its address, and answers to them.

The edge checked the signature where its rules ask for one; nobody else can call. Nothing is kept here but for the next
call of the same container: what was made, the edge keeps. A question whether a picture is still the same is answered
from the file's record alone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from contentplatform.catalog.port import Catalog
from contentplatform.delivery.image_rules import was_signed
from contentplatform.delivery.images import ImageOptions, image_path, read_image_path
from contentplatform.delivery.rules import (
    PRIVATE_CACHE_CONTROL,
    UNVERSIONED_CACHE_CONTROL,
    VERSION_LENGTH,
    VERSION_PARAMETER,
    VERSIONED_CACHE_CONTROL,
    path_of,
)
from contentplatform.delivery.transformed import Order, Transformer
from contentplatform.errors import ErrorCode, InvalidRequest, NotFound, PlatformError, ProcessingFailed
from contentplatform.media import file_id
from contentplatform.processing.transformations import TRANSFORMATION_FORMATS

Answer = dict[str, Any]
"""Status, headers and body, as Lambda sends them on."""

LARGEST_BODY_BYTES: Final = 4_500_000
"""Lambda's limit for an answer is 6 MB, and bytes grow by a third in it."""
_WHOLE_RENDITION: Final = "webp"
_NEEDS_SIGNATURE: Final = "this picture needs a signed link"
_VERSION: Final = re.compile(rf"[0-9a-f]{{{VERSION_LENGTH}}}")
_CLIENT: Final = "the edge"
"""Who asks: the edge, for whoever asks it. Nobody's processor time is counted here."""


class ImageEvents:
    """Answers the events of the function's address. For one call at a time, as Lambda makes them.

    Args:
        transformer: makes the pictures.
        catalog: knows the renditions that stand for what can't be sent.
        private_prefix: as for every edge.
    """

    def __init__(self, transformer: Transformer, catalog: Catalog, *, private_prefix: str) -> None:
        self._transformer = transformer
        self._catalog = catalog
        self._private_prefix = private_prefix

    def answer(self, event: Mapping[str, Any]) -> Answer:
        """The answer to one event.

        Raises:
            PlatformError: what is no viewer's business; the edge says 502 then, and the function's log why.
        """
        if event["requestContext"]["http"]["method"] == "OPTIONS":
            return {"statusCode": 204}  # what pages elsewhere may do, the edge adds
        try:
            return self._answer(event)
        except InvalidRequest as error:
            return _refusal(400, error)
        except NotFound as error:
            return _refusal(404, error)
        except ProcessingFailed as error:
            return _refusal(422, error)

    def close(self) -> None:
        """Wait for what is being made. Idempotent."""
        self._transformer.close()

    def _answer(self, event: Mapping[str, Any]) -> Answer:
        path = str(event["rawPath"])
        options, key = read_image_path(path)
        version = dict(parse_qsl(str(event.get("rawQueryString", "")))).get(VERSION_PARAMETER, "")
        is_private = bool(self._private_prefix) and key.startswith(self._private_prefix)
        signed = was_signed(path, self._private_prefix)
        if (is_private or options.is_free) and not signed:
            return _said(403, _NEEDS_SIGNATURE)
        if image_path(options, key) != path:
            if signed:  # a link was signed as it stands, and led elsewhere it would open nothing
                raise InvalidRequest("reading a path", f"these options are written {options.text}")
            return _led(301, image_path(options, key, version if _VERSION.fullmatch(version) else ""))
        headers: Mapping[str, str] = event.get("headers", {})
        order = self._transformer.order(key, options, headers.get("accept", ""))
        told = _told(order, options, version, is_private=is_private)
        if told["etag"] in headers.get("if-none-match", ""):
            return {"statusCode": 304, "headers": told}
        content_type = TRANSFORMATION_FORMATS[order.wanted.format].content_type
        if event["requestContext"]["http"]["method"] == "HEAD":
            return {"statusCode": 200, "headers": {**told, "content-type": content_type}}
        picture = self._transformer.kept(order) or self._transformer.make(order, _CLIENT).result()
        if len(picture.body) > LARGEST_BODY_BYTES:
            return self._too_large(order, is_private=is_private)
        return {
            "statusCode": 200,
            "headers": {**told, "content-type": picture.content_type},
            "body": base64.b64encode(picture.body).decode("ascii"),
            "isBase64Encoded": True,
        }

    def _too_large(self, order: Order, *, is_private: bool) -> Answer:
        """Where the whole picture is instead; a private one is elsewhere only for who has another signature."""
        record = self._catalog.get(file_id(order.key))
        whole = next((each for each in record.renditions if each.name == _WHOLE_RENDITION), None)
        if whole is None or is_private or record.file_hash != order.source_sha256:
            raise ProcessingFailed(
                "sending a picture",
                f"it has more than {LARGEST_BODY_BYTES} bytes",
                code=ErrorCode.LIMIT,
                hint="Ask for a smaller one, or for another format",
            )
        return _led(302, path_of(whole.key, whole.sha256))


def _told(order: Order, options: ImageOptions, version: str, *, is_private: bool) -> dict[str, str]:
    """What is said of a picture before it is made. The ETag names what it is made of, so it need not be made for it."""
    is_exact = version == order.source_sha256[:VERSION_LENGTH]
    control = VERSIONED_CACHE_CONTROL if is_exact else UNVERSIONED_CACHE_CONTROL
    return {
        "etag": f'"{order.place.name}"',
        "cache-control": PRIVATE_CACHE_CONTROL if is_private else control,
        **({"vary": "Accept"} if options.depends_on_accept else {}),
    }


def _led(status: int, target: str) -> Answer:
    return {"statusCode": status, "headers": {"location": target, "cache-control": UNVERSIONED_CACHE_CONTROL}}


def _refusal(status: int, error: PlatformError) -> Answer:
    return _said(status, error.public)


def _said(status: int, text: str) -> Answer:
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": UNVERSIONED_CACHE_CONTROL}
    return {"statusCode": status, "headers": headers, "body": f"{text}\n"}
