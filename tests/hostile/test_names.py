"""Row H44: a file whose key looks like a place of the platform's own is a file, and that place stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from contentplatform.media import file_id
from edge_site import EdgeSite, edge_site

OWN: Final = (
    "processed/thumbnails/mine.jpg",
    "video-processed/mine/master.m3u8",
    "raw/mine.jpg",
    "images/w_10/mine.jpg",
    "api/v1/files",
    "health/live",
    "static/console.css",
    "_admin",
    ".well-known/security.txt",
)
SECRET: Final = b"nobody published this"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeSite]:
    with edge_site(tmp_path_factory.mktemp("names")) as opened:
        for key in OWN:
            opened.keep_original(key, SECRET)
        yield opened


@pytest.mark.parametrize("key", OWN)
def test_h44_a_key_like_a_place_of_ours_is_served_by_nobody(site: EdgeSite, key: str) -> None:
    got = site.ask(f"/{key}")
    assert got.status in {400, 403, 404}
    assert SECRET not in got.body


def test_h44_a_key_like_a_rendition_s_starts_one_execution_and_no_other(site: EdgeSite) -> None:
    site.publish(OWN[0], b"what a job made")
    site.home.take_in_all()
    for key in OWN:
        assert len(site.home.platform.engine.list(file_id=file_id(key)).executions) == 1, key
    assert site.ask(f"/{OWN[0]}").body == b"what a job made"
