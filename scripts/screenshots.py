"""Takes the pictures in docs/screenshots anew: serves a library of made-up media, and looks at it. `make screenshots`.

It needs what the tests of the console need: Debian's Chromium and the test media's makers.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

ROOT: Final = Path(__file__).resolve().parents[1]
TARGET: Final = ROOT / "docs" / "screenshots"
LIMIT_BYTES: Final = 150_000
sys.path.insert(0, str(ROOT / "tests"))

import document_files  # noqa: E402 - found by the line above
import sample_clips  # noqa: E402
import sample_media  # noqa: E402
from browser.served import PHONE, Person, chromium, serving  # noqa: E402

WINDOW: Final[Any] = {"width": 1280, "height": 800}
_PALETTES: Final = (
    ((250, 214, 165), (214, 123, 96), (46, 52, 84)),
    ((198, 226, 240), (110, 164, 176), (28, 66, 72)),
    ((242, 232, 207), (163, 177, 138), (52, 78, 65)),
    ((230, 210, 240), (140, 120, 180), (40, 32, 72)),
    ((255, 236, 200), (236, 160, 80), (90, 44, 40)),
    ((214, 228, 214), (126, 160, 150), (30, 52, 60)),
)


def hills(width: int, height: int, seed: int) -> Image.Image:
    """A landscape: a sky, a sun, and hills one behind the other."""
    random = np.random.default_rng(seed)
    sky, middle, near = (np.array(colour, np.float32) for colour in _PALETTES[seed % len(_PALETTES)])
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = sky + (255 - sky) * (0.35 * rows / height)[..., None]
    x, y = random.uniform(0.2, 0.8) * width, random.uniform(0.18, 0.4) * height
    glow = np.exp(-(((columns - x) ** 2 + (rows - y) ** 2) / (0.006 * width * height)))
    picture += (255 - picture) * glow[..., None]
    layers = 5
    for layer in range(layers):
        share = (layer + 1) / layers
        ridge = np.full(width, (0.42 + 0.13 * layer) * height, np.float32)
        for wave in (1, 2, 4, 9):
            size = random.uniform(0.02, 0.06) * height / wave**0.7
            ridge += size * np.sin(
                columns[0] / width * 2 * np.pi * wave * random.uniform(0.6, 1.3) + random.uniform(0, 6)
            )
        colour = middle + (near - middle) * share
        picture = np.where((rows > ridge)[..., None], colour + 10 * (1 - rows / height)[..., None], picture)
    picture += random.normal(0, 2, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def media() -> dict[str, tuple[str, bytes]]:
    """What a small team has."""
    names = ("harbour at dawn", "slipway", "lighthouse", "north quay", "tide tables cover", "gulls", "old mast", "nets",
             "regatta", "buoy seven", "winter storm", "ferry")  # fmt: skip
    sizes = ((900, 640), (640, 900), (1000, 600))
    pictures = {
        f"{name}.jpg": ("image/jpeg", sample_media.encoded(hills(*sizes[seed % 3], seed), "JPEG", quality=88))
        for seed, name in enumerate(names)
    }
    words = ("Annual report of the harbour", "Boats, tides and weather", "What was built, and what it cost")
    text = b"".join(
        b"BT /F1 22 Tf 72 %d Td (%s) Tj ET " % (700 - 40 * n, line.encode()) for n, line in enumerate(words)
    )
    return {
        "film of the regatta.mkv": ("video/x-matroska", sample_clips.three_subtitles_mkv().read_bytes()),
        "annual report.pdf": ("application/pdf", document_files.pdf([text])),
        "fog horn.wav": ("audio/wav", sample_clips.sound("wav").read_bytes()),
        "not a picture.jpg": ("image/jpeg", b"words"),
        **pictures,
        "telling.jpg": ("image/jpeg", sample_media.telling_jpeg(hills(1200, 800, 4))),
    }


def taken(page: Page, name: str) -> None:
    """One picture of a page as it is seen, light and dark."""
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")  # type: ignore[arg-type]
        page.wait_for_timeout(400)
        picture = Image.open(io.BytesIO(page.screenshot()))
        path = TARGET / f"{name}-{colours}.webp"
        picture.convert("RGB").save(path, "WEBP", quality=82, method=6)
        assert path.stat().st_size < LIMIT_BYTES, path
    page.emulate_media(color_scheme="light")


def show(person: Person, files: int) -> None:
    """Go through the pages, once every file is done."""
    page = person.page
    expect(page.locator(".card")).to_have_count(files, timeout=60_000)
    expect(page.locator(".card[data-busy]")).to_have_count(0, timeout=180_000)
    page.goto("/library")
    for name in ("harbour at dawn.jpg", "regatta.jpg", "buoy seven.jpg"):
        page.get_by_label(f"Pick {name}").check(force=True)
    page.locator(".bulk summary", has_text="Tag").click()
    page.get_by_label("Tags, divided by commas").fill("harbour, press kit")
    page.get_by_role("button", name="Add", exact=True).click()
    page.goto("/library")
    taken(page, "library")
    for name, shot in (("telling.jpg", "picture"), ("film of the regatta.mkv", "film"), ("fog horn.wav", "sound"),
                       ("annual report.pdf", "document")):  # fmt: skip
        person.open(name)
        if shot == "film":
            page.wait_for_function("() => document.querySelector('#film').dataset.streaming === '1'")
        taken(page, shot)
    person.open("regatta.jpg")
    page.get_by_role("link", name="Share").click()
    taken(page, "share")
    for name in ("activity", "delivery", "settings"):
        page.goto(f"/{name}")
        taken(page, name)


def main() -> None:
    """Serve, fill, look."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as (url, password),
        chromium() as browser,
    ):
        person = Person(browser.new_context(base_url=url, viewport=WINDOW))
        person.sign_in(password)
        files = media()
        person.drop(files)
        show(person, len(files))
        state = person.context.storage_state()
        phone = Person(
            browser.new_context(
                base_url=url, viewport=PHONE, device_scale_factor=2, is_mobile=True, storage_state=state
            )  # type: ignore[arg-type]
        )
        phone.page.goto("/library")
        taken(phone.page, "phone")


if __name__ == "__main__":
    main()
