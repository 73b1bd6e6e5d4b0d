"""Whether the edge serves what was made, byte for byte, and nothing that is not there; one check for both homes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from contentplatform.catalog.port import Record
from contentplatform.delivery.port import Edge
from contentplatform.verify.report import FailedCheck

Fetch = Callable[[str], tuple[int, Mapping[str, str], bytes]]
"""A link in; status, headers by lower-case names, and body out."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What the edge is asked for."""

    key: str
    sha256: str
    content_type: str


def thumbnail_of(record: Record) -> Thumbnail | None:
    """A photo's thumbnail; None where it has none."""
    for rendition in record.renditions:
        if rendition.name == "thumbnail":
            return Thumbnail(rendition.key, rendition.sha256, rendition.content_type)
    return None


def check_edge(edge: Edge, thumbnail: Thumbnail | None, fetch: Fetch) -> str:
    """Ask for a thumbnail, and for one that is not there; what was found, in words.

    Raises:
        FailedCheck: one of them was not answered rightly.
    """
    if thumbnail is None:
        raise FailedCheck("no photo went through, so that nothing is there to be asked for")
    url = edge.url(thumbnail.key, thumbnail.sha256)
    status, headers, body = fetch(url)
    if status != HTTPStatus.OK:
        raise FailedCheck(f"{url} answers {status}")
    if hashlib.sha256(body).hexdigest() != thumbnail.sha256:
        raise FailedCheck(f"{url} answers with other bytes than the rendition's")
    if headers.get("content-type", "").partition(";")[0] != thumbnail.content_type:
        raise FailedCheck(f"{url} says that it is {headers.get('content-type')}")
    missing, _, _ = fetch(edge.url(f"{thumbnail.key}.nothing", "0" * 64))
    if missing not in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        raise FailedCheck(f"what is not there answers {missing}")
    return "serves the thumbnail, byte for byte"
