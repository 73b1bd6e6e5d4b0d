"""How fast a photograph of 12 megapixels is shown in 512 pixels when nobody asked before, against thumbor.

    python benchmarks/transform_12mp.py [--rounds 3] [--requests 5]

Servers take turns on the same JPEGs; clients ask for the same picture again and again, in JPEG of quality 80: thumbor
keeps nothing, and of ours what it keeps is taken away before each request. The best round of each counts. Two ways:

* ``machine``: both servers are offered all processors, and four clients with a photograph each ask them. Ours makes a
  picture a processor at once; of thumbor as many processes are started, each on a port of its own with its share of
  the clients: on one port, one of them could take all connections. This is the bar.
* ``core``: both on one processor, thumbor with one process, one client on another. So one sees what a picture costs.
  Thumbor decodes in the process that serves; ours forks a fenced process for each picture.

Quality is PSNR and SSIM of what came over the wire against Pillow's exact Lanczos of the whole picture, and beside it
that very picture, written by Pillow in the same quality.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from PIL import Image
from rivals import edge_servers

import sample_media
from contentplatform import config
from contentplatform.app import open_local
from contentplatform.delivery.image_cache import CACHE_FOLDER_NAME
from contentplatform.media import file_id
from contentplatform.processing.local import usable_processors
from contentplatform.storage.port import BucketRole, PutOptions

BAR_RATIO = 1.2
SIDE = 512
WIDTH, HEIGHT = 4_000, 3_000
KEYS = tuple(f"photo-{number}.jpg" for number in range(4))
ROUNDING = 0.0005
"""What both figures of quality may differ by and still be the same."""
BUILD = Path(__file__).resolve().parents[1] / "build"
RIVAL_PACKAGE = "thumbor==7.8.0"
THUMBOR = """
LOADER = "thumbor.loaders.file_loader"
FILE_LOADER_ROOT_PATH = {folder!r}
STORAGE = "thumbor.storages.no_storage"
RESULT_STORAGE = None
ALLOW_UNSAFE_URL = True
QUALITY = 80
"""
UNLIMITED = "[delivery]\nimages_cpu_seconds = 1000000.0\n"
Ask = Callable[[], bytes]


def rival_program() -> Path | None:
    """Thumbor in an environment of its own; None, with a word why, where it can't be had."""
    home = BUILD / "thumbor-venv"
    program = home / "bin" / "thumbor"
    if (
        program.exists()
        and subprocess.run([str(program), "--version"], capture_output=True, check=False).returncode == 0
    ):
        return program
    venv.create(home, with_pip=True, clear=True)
    install = [
        str(home / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        RIVAL_PACKAGE,
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"thumbor can't be installed here, so there is no ratio: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return program


@contextlib.contextmanager
def thumbor(program: Path, folder: Path, pinned: Sequence[str]) -> Iterator[str]:
    """One process of thumbor over the files in ``folder``; yields where it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = folder / "thumbor.conf"
    settings.write_text(THUMBOR.format(folder=str(folder)), "utf-8")
    command = [*pinned, str(program), "-i", "127.0.0.1", "-p", str(port), "-c", str(settings), "-l", "error"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(500):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def ours(data_folder: Path, pinned: Sequence[str]) -> Iterator[str]:
    """Our edge as a site of its own; yields where it is."""
    command = [*pinned, sys.executable, edge_servers.__file__, str(data_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            if process.stdin:
                process.stdin.close()
            process.wait(30)


def prepared(folder: Path, photos: Mapping[str, bytes]) -> None:
    """A data folder that holds the photographs, processed."""
    folder.mkdir()
    (folder / config.CONFIG_FILE_NAME).write_text(UNLIMITED, "utf-8")
    home = open_local(config.load(data_folder=folder, environment={}))
    for key, photo in photos.items():
        home.store.put(BucketRole.PRIMARY, key, io.BytesIO(photo), PutOptions(content_type="image/jpeg"))
    home.finish()
    home.executor().drain([execution.name for execution in home.engine.list().executions])
    for key in photos:
        status = home.catalog.get(file_id(key)).status
        if status != "completed":
            raise SystemExit(f"{key} is {status}")
    home.close()


def asking(url: str, path: str, *, kept: Path | None = None) -> Ask:
    """A client that keeps its connection and insists on a JPEG that was made for it."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def ask() -> bytes:
        if kept is not None:
            shutil.rmtree(kept, ignore_errors=True)
        connection.request("GET", path, headers={"Accept": "image/jpeg,*/*"})
        answer = connection.getresponse()
        body = answer.read()
        is_kept = answer.headers.get("X-Cache", "Miss").startswith("Hit")
        if answer.status != HTTPStatus.OK or answer.headers["Content-Type"] != "image/jpeg" or is_kept:
            raise SystemExit(f"{path}: {answer.status} {answer.headers}")
        return body

    return ask


def images_per_second(asks: Sequence[Ask], requests: int) -> float:
    """How many a second all clients together get."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(asks)) as clients:
        for ended in [clients.submit(_ask_often, ask, requests) for ask in asks]:
            ended.result()
    return len(asks) * requests / (time.perf_counter() - began)


def _ask_often(ask: Ask, requests: int) -> None:
    for _ in range(requests):
        ask()


def quality(made: Image.Image, exact: Image.Image) -> tuple[float, float]:
    """PSNR of all channels, and SSIM of the brightness in blocks of 8 pixels."""
    one, other = (np.asarray(image.convert("RGB"), np.float64) for image in (made, exact))
    decibels = float(10 * np.log10(255**2 / ((one - other) ** 2).mean()))
    return decibels, _likeness(*(np.asarray(image.convert("L"), np.float64) for image in (made, exact)))


def _likeness(one: Any, other: Any) -> float:
    height, width = one.shape[0] // 8 * 8, one.shape[1] // 8 * 8
    blocks = [
        image[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 64)
        for image in (one, other)
    ]
    means, spreads = [block.mean(1) for block in blocks], [block.var(1) for block in blocks]
    together = ((blocks[0] - means[0][:, None]) * (blocks[1] - means[1][:, None])).mean(1)
    dark, flat = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    upper = (2 * means[0] * means[1] + dark) * (2 * together + flat)
    lower = (means[0] ** 2 + means[1] ** 2 + dark) * (spreads[0] + spreads[1] + flat)
    return float((upper / lower).mean())


def said(body: bytes, exact: Image.Image) -> dict[str, Any]:
    """What a picture that came over the wire is worth."""
    with Image.open(io.BytesIO(body)) as made:
        if made.size != exact.size:
            raise SystemExit(f"it has {made.size} pixels instead of {exact.size}")
        decibels, likeness = quality(made, exact)
    return {"db": round(decibels, 2), "ssim": round(likeness, 4), "bytes": len(body)}


def served(way: str, folder: Path, until: contextlib.ExitStack) -> dict[str, list[Ask]]:
    """Clients of each server that can be had, one for each photograph that is asked for in this way."""
    keys = KEYS if way == "machine" else KEYS[:1]
    pinned = [] if way == "machine" else ["taskset", "-c", edge_servers.SERVER_CORE]
    processes = usable_processors() if way == "machine" else 1  # what ours takes for the number of its jobs
    data, files = folder / "data", folder / "files"
    url = until.enter_context(ours(data, pinned))
    cache = data / CACHE_FOLDER_NAME
    kept = {key: cache / file_id(key)[:2] / file_id(key) for key in keys}
    asks = {"ours": [asking(url, f"/images/t_card-{SIDE}/{key}", kept=kept[key]) for key in keys]}
    program = rival_program()
    if program is not None:
        urls = [until.enter_context(thumbor(program, files, pinned)) for _ in range(processes)]
        path = f"/unsafe/fit-in/{SIDE}x{SIDE}"
        asks["thumbor"] = [asking(url, f"{path}/{key}") for url, key in zip(cycle(urls), keys, strict=False)]
    return asks


def rates(asks: Mapping[str, Sequence[Ask]], rounds: int, requests: int) -> dict[str, float]:
    """The best round of each server; they take turns, after one request that warms them up."""
    best = dict.fromkeys(asks, 0.0)
    for clients in asks.values():
        images_per_second(clients, 1)
    for _ in range(rounds):
        for name, clients in asks.items():
            best[name] = max(best[name], images_per_second(clients, requests))
    return best


def measure(folder: Path, rounds: int, requests: int) -> dict[str, Any]:
    """All figures."""
    photo = sample_media.encoded(sample_media.photo(WIDTH, HEIGHT), "JPEG", quality=90)
    # Bytes behind the picture's end make another file of the same picture.
    photos = {key: photo + key.encode() for key in KEYS}
    with Image.open(io.BytesIO(photo)) as whole:
        exact = whole.resize((SIDE, SIDE * HEIGHT // WIDTH), Image.Resampling.LANCZOS)
    prepared(folder / "data", photos)
    (folder / "files").mkdir()
    for key, content in photos.items():
        (folder / "files" / key).write_bytes(content)
    reference = io.BytesIO()
    exact.save(reference, "JPEG", quality=80)
    figure: dict[str, Any] = {"benchmark": "transform_12mp", "lanczos": said(reference.getvalue(), exact)}
    for way in ("machine", "core"):
        with contextlib.ExitStack() as until:
            asks = served(way, folder, until)
            figure |= {name: said(clients[0](), exact) for name, clients in asks.items()}
            best = rates(asks, rounds, requests)
        figure[f"{way}_per_second"] = {name: round(rate, 1) for name, rate in best.items()}
        if "thumbor" in best:
            figure[f"{way}_ratio"] = round(best["ours"] / best["thumbor"], 2)
    if "thumbor" in figure:
        is_as_good = all(figure["ours"][unit] >= figure["thumbor"][unit] - ROUNDING for unit in ("db", "ssim"))
        figure["met"] = figure["machine_ratio"] >= BAR_RATIO and is_as_good
    return figure


def main() -> int:
    """Print a line and a JSON line; 1 if the bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=5)
    arguments = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        figure = measure(Path(name), arguments.rounds, arguments.requests)
    for name in ("ours", "thumbor", "lanczos"):
        if (told := figure.get(name)) is not None:
            print(f"  {name}: {told['db']} dB, SSIM {told['ssim']}, {told['bytes']} bytes")
    for way in ("machine", "core"):
        print(
            f"12 MP to {SIDE} px on a miss, {way}: {figure[f'{way}_per_second']}, {figure.get(f'{way}_ratio', '-')} x"
        )
    print(json.dumps(figure), flush=True)
    return 0 if figure.get("met", True) else 1


if __name__ == "__main__":
    sys.exit(main())
