"""Chromium plays what was made of a video: the MP4, its HLS, captions and storyboard, from a server of plain files."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

import encoded_films
import sample_clips
from conftest import NO_CHROMIUM
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.playlists import reference

PAGE: Final = Path(__file__).with_name("player.html")
BROWSER: Final = shutil.which("chromium")
_SECONDS: Final = 300.0
_FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-extensions", "--no-proxy-server", "--disable-background-networking", "--disable-sync"),
    "--autoplay-policy=no-user-gesture-required",
)
_TYPES: Final = {
    ".mp4": "video/mp4",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".vtt": "text/vtt",
    ".jpg": "image/jpeg",
}


class _Files(ThreadingHTTPServer):
    """Serves files by their base names, only with the right ``v``, with ranges; takes one report."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.reports: queue.Queue[dict[str, Any]] = queue.Queue()
        self.refused: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Files
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        name = unquote(asked.path.removeprefix("/"))
        content = self.server.files.get(name)
        version = parse_qs(asked.query).get("v", [""])[0]
        if content is None or (name != PAGE.name and version != hashlib.sha256(content).hexdigest()[:16]):
            if name != "favicon.ico":
                self.server.refused.append(self.path)
            self.send_error(404)
            return
        first, last = 0, len(content) - 1
        if wanted := self.headers.get("Range"):
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end), last) if end else last
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", _TYPES.get(Path(name).suffix, "text/html; charset=utf-8"))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(content[first : last + 1])

    def do_POST(self) -> None:
        self.server.reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page saw in Chromium."""
    if BROWSER is None:
        pytest.skip(NO_CHROMIUM)
    folder = tmp_path_factory.mktemp("player")
    film = encoded_films.two_rungs_with_captions()
    processor = LocalMediaProcessor()
    try:
        finished = film.finished(processor, folder / "scratch")
    finally:
        processor.close()
    paths = {**film.rungs, **{file.name: file.path for file in finished.files}}
    contents = {name: path.read_bytes() for name, path in paths.items()}
    uris = {name: reference(film.names[name], hashlib.sha256(body).hexdigest()) for name, body in contents.items()}
    page = PAGE.read_bytes().replace(b"{/* uris */}", json.dumps(uris).encode())
    server = _Files({PAGE.name: page, **{film.names[name]: body for name, body in contents.items()}})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{PAGE.name}"
    home = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    command = [BROWSER, *_FLAGS, f"--user-data-dir={folder / 'profile'}", url]
    with (folder / "log").open("wb") as log:
        browser = subprocess.Popen(command, stdout=log, stderr=log, env=home, start_new_session=True)
        try:
            report = server.reports.get(timeout=_SECONDS)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
            server.server_close()
    assert server.refused == []
    return report


def test_the_mp4_plays_and_can_be_sought_in(seen: dict[str, Any]) -> None:
    found = seen["mp4"]
    assert "error" not in found, found
    assert (found["width"], found["height"]) == (1280, 720)
    assert found["duration"] == pytest.approx(7.0, abs=0.1)
    assert found["played"] >= 0.5
    assert found["sought"] == pytest.approx(5.0, abs=0.2)
    assert found["sound_bytes"] > 0


@pytest.mark.parametrize(("rung", "size"), [("720p", (1280, 720)), ("480p", (854, 480))])
def test_the_hls_plays_from_its_byte_ranges(seen: dict[str, Any], rung: str, size: tuple[int, int]) -> None:
    found = seen["hls"][rung]
    assert "error" not in found, found
    assert found["supported"]
    assert found["segments"] == 2
    assert (found["width"], found["height"]) == size
    assert found["buffered"] == pytest.approx([0.0, 7.0], abs=0.1)
    assert found["played"] >= 0.5
    assert found["crossed"] >= 6.2, "it plays on from the first segment into the second"
    assert found["sound_bytes"] > 0


def test_hls_plays_natively_where_the_browser_can(seen: dict[str, Any]) -> None:
    found = seen["native"]
    if found["can"]:
        assert "error" not in found, found
        assert found["width"] in {1280, 854}
        assert found["played"] >= 0.5


def test_captions_are_understood(seen: dict[str, Any]) -> None:
    english = seen["captions"]["captions-en"]
    assert english == [[0.2, 0.9, "Good morning"], [1.0, 1.8, "Tom & Jerry <3"]]
    assert [words for _, _, words in seen["captions"]["captions-de"]] == ["Guten Morgen", "Grüße aus Köln"]
    assert [len(cues) for cues in seen["captions"].values()] == [2, 2, 1]
    assert sample_clips.ENGLISH[1][2] == english[1][2]


def test_every_tile_lies_within_the_sprite(seen: dict[str, Any]) -> None:
    board = seen["storyboard"]
    assert len(board["tiles"]) == 7
    for start, end, x, y, width, height in board["tiles"]:
        assert start < end <= 7.1
        assert x + width <= board["width"]
        assert y + height <= board["height"]
