"""Pictures on the fly as a viewer gets them: a real data folder, real jobs in the fence, the edge's own rules."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from PIL import Image

import sample_media
from contentplatform.app import LocalHome, open_local
from contentplatform.config import Settings
from contentplatform.delivery.image_cache import CACHE_FOLDER_NAME
from contentplatform.delivery.serving import EdgeApp
from contentplatform.media import file_id
from contentplatform.storage.port import BucketRole, PutOptions

MODERN = "image/avif,image/webp,*/*"
KEY = "trip/a photo.jpg"
SECRET = "private/secret.png"


@dataclass
class Library:
    """A library that its edge serves."""

    home: LocalHome
    folder: Path
    edge: EdgeApp

    def put(self, key: str, content: bytes) -> None:
        """Store and process."""
        self.home.store.put(BucketRole.PRIMARY, key, io.BytesIO(content), PutOptions())
        self.settle()

    def settle(self) -> None:
        """Take in what happened, and work until nothing is left to do."""
        self.home.finish()
        self.home.executor().drain([execution.name for execution in self.home.engine.list().executions])
        self.home.finish()

    def link(self, options: str, key: str, *, signed: bool = False) -> str:
        """A link to a picture as it is given out."""
        until = self.home.platform.clock.now() + timedelta(hours=1) if signed else None
        return self.home.edge.image_url(options, key, self.home.catalog.get(file_id(key)).file_hash, until)

    def get(self, *targets: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> httpx.Response:
        """The last answer of several that are asked for at once."""
        return asyncio.run(self._get(targets, method, {"accept": MODERN, **(headers or {})}))

    async def _get(self, targets: tuple[str, ...], method: str, headers: Mapping[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.edge), base_url="http://edge") as client:
            answers = await asyncio.gather(*(client.request(method, target, headers=headers) for target in targets))
        return answers[-1]

    def kept(self) -> list[Path]:
        """Every picture that is kept."""
        return [path for path in (self.folder / CACHE_FOLDER_NAME).rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("data")
    home = open_local(Settings(data_folder=folder))
    edge = home.edge_app()
    opened = Library(home, folder, edge)
    opened.put(KEY, sample_media.encoded(sample_media.photo(1_200, 800), "JPEG", quality=90))
    opened.put(SECRET, sample_media.encoded(sample_media.transparent(), "PNG"))
    yield opened
    edge.close()
    home.close()


def size_of(answer: httpx.Response) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(answer.content)) as image:
        image.load()
        return image.format, image.size


def test_a_picture_has_the_headers_of_the_edge(library: Library) -> None:
    link = library.link("t_card-512", KEY)
    first, second = library.get(link), library.get(link)
    assert first.status_code == 200
    assert size_of(first) == ("AVIF", (512, 341))
    assert first.content == second.content
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert first.headers["vary"].lower() == "accept"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in first.headers["content-security-policy"]
    assert first.headers["access-control-allow-origin"] == "*"
    assert (first.headers["x-cache"][:4], second.headers["x-cache"][:3]) == ("Miss", "Hit")
    etag = first.headers["etag"]
    again = library.get(link, headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["vary"].lower() == "accept"
    head = library.get(link, method="HEAD")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(first.content)))
    part = library.get(link, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, first.content[10:20])
    assert library.get(link, headers={"accept": "image/webp"}).headers["content-type"] == "image/webp"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/images/w_300/trip/a%20photo.jpg", 403),
        ("/images/t_card-512/private/secret.png", 403),
        ("/images/t_card-512/none.jpg", 404),
        ("/images/t_huge/trip/a%20photo.jpg", 400),
        ("/images/w_1000000000,h_1000000000/trip/a%20photo.jpg", 400),
        ("/images/dpr_2,t_card-512/trip/a%20photo.jpg", 301),
        ("/images/t_card-512/%70rivate/secret.png", 400),
    ],
)
def test_what_is_refused_says_so(library: Library, target: str, status: int) -> None:
    answer = library.get(target)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_private_pictures_are_for_the_bearer_of_a_link(library: Library) -> None:
    answer = library.get(library.link("w_100,h_100,c_fill,f_webp", SECRET, signed=True))
    assert size_of(answer) == ("WEBP", (100, 100))
    assert answer.headers["cache-control"] == "private, no-store"


def test_fifty_viewers_at_once_get_one_picture(library: Library) -> None:
    before = len(library.kept())
    link = library.link("t_square-96", KEY)
    assert size_of(library.get(*[link] * 50)) == ("AVIF", (96, 96))
    assert len(library.kept()) == before + 1


def test_replaced_and_deleted_files_take_their_pictures_along(library: Library) -> None:
    key = "a.png"
    library.put(key, sample_media.encoded(Image.new("RGB", (300, 300), (250, 0, 0)), "PNG"))
    target = library.link("t_square-96", key).partition("?")[0]
    before, kept_before = library.get(target), set(library.kept())
    library.put(key, sample_media.encoded(Image.new("RGB", (300, 300), (0, 0, 250)), "PNG"))
    after = library.get(target)
    assert before.headers["etag"] != after.headers["etag"]
    assert len(set(library.kept()) - kept_before) == 1
    folder = library.folder / CACHE_FOLDER_NAME / file_id(key)[:2] / file_id(key)
    assert len(list(folder.iterdir())) == 1
    library.home.platform.library.remove(key)
    assert not folder.exists()
    assert library.get(target).status_code == 404
    library.settle()
    assert library.get(target).status_code == 404
