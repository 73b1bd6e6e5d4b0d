"""Upload of 1 GiB by tus, against nginx's WebDAV ``PUT`` of it followed by ``openssl dgst -sha256`` of what it stored.

Ours is the real site with its guard, users and a token; when the answer comes the file is hashed, synced, and a
version. nginx neither syncs nor hashes, so the hash is taken of its file afterwards. curl sends on both sides. Runs
alternate; the best of each side counts. Memory is the server's greatest resident size beyond that at the beginning.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contentplatform import config
from contentplatform.accounts.port import Scope, machine
from contentplatform.app import open_local

SIZE_BYTES = 1 << 30
RUNS = 5
SPEED_BAR = 1.0
MEMORY_BAR_MIB = 64
NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; dav_methods PUT; create_full_put_path on; }}
}}
"""
_PATHS = [*os.environ.get("PATH", "").split(":"), "/usr/sbin"]


@dataclass(frozen=True)
class Ours:
    """The site, and how it is spoken to."""

    url: str
    token: str
    process_id: int

    def peak_mib(self) -> float:
        """The greatest resident size of the server so far."""
        status = Path(f"/proc/{self.process_id}/status").read_text("ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def make_source(path: Path) -> None:
    """1 GiB that no file system can compress or share."""
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES >> 20):
            file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())


def renew(path: Path) -> str:
    """Make other bytes of it, as those that are there already would be compared and not stored; their SHA-256."""
    with path.open("r+b") as file:
        file.write(os.urandom(1 << 10))
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for(url: str) -> None:
    """Return once a server answers."""
    for _ in range(3_000):
        try:
            urllib.request.urlopen(url)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"nothing answers at {url}")


@contextlib.contextmanager
def served(data_folder: Path) -> Iterator[Ours]:
    """The real site over a new data folder."""
    home = open_local(config.load(data_folder=data_folder, environment={}))
    home.platform.accounts.ensure_administrator()
    (user,) = home.platform.accounts.users()
    secret, _ = home.platform.accounts.create_token(user.id, "benchmark", {Scope.WRITE}, by=machine("benchmark"))
    home.close()
    url = f"http://127.0.0.1:{(port := free_port())}"
    program = [sys.executable, "-m", "contentplatform.cli", "--data", str(data_folder)]
    command = [*program, "serve", "--part", "app", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(f"{url}/health/live")
            yield Ours(url, secret, process.pid)
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """A server of files that takes them by PUT."""
    (folder / "files").mkdir(parents=True)
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port), "utf-8")
    program = next(Path(place) / "nginx" for place in _PATHS if (Path(place) / "nginx").exists())
    command = [str(program), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(url := f"http://127.0.0.1:{port}")
            yield url
        finally:
            process.terminate()
            process.wait(60)


def tus_seconds(ours: Ours, source: Path, name: str) -> float:
    """One run of ours: creation and one PATCH."""
    authorisation = {"Authorization": f"Bearer {ours.token}", "Tus-Resumable": "1.0.0"}
    said = f"filename {base64.b64encode(name.encode()).decode()}"
    headers = {**authorisation, "Upload-Length": str(SIZE_BYTES), "Upload-Metadata": said}
    started = time.perf_counter()
    request = urllib.request.Request(f"{ours.url}/api/v1/uploads", b"", headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        address = ours.url + answer.headers["Location"]
    more = {**authorisation, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    told = [part for name_, value in more.items() for part in ("-H", f"{name_}: {value}")]
    curl(["-X", "PATCH", *told], source, address)
    return time.perf_counter() - started


def put_seconds(url: str, folder: Path, source: Path, name: str) -> float:
    """One run of the rival."""
    stored = folder / "files" / name
    started = time.perf_counter()
    curl([], source, f"{url}/{name}")
    subprocess.run(["openssl", "dgst", "-sha256", str(stored)], check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - started
    stored.unlink()
    return taken


def curl(options: list[str], source: Path, url: str) -> None:
    """Send a file."""
    subprocess.run(["curl", "-sS", "--fail", "-o", os.devnull, *options, "-T", str(source), url], check=True)


def check(data_folder: Path, sent: dict[str, str]) -> None:
    """Every upload must be a version with the bytes that were sent."""
    home = open_local(config.load(data_folder=data_folder, environment={}))
    for name, sha256 in sent.items():
        if home.platform.library.current(name).sha256 != sha256:
            raise RuntimeError(f"{name} is not what was sent")
    home.close()


def main() -> int:
    """Run both sides and print the ratio."""
    missing = [name for name in ("nginx", "curl", "openssl") if shutil.which(name, path=":".join(_PATHS)) is None]
    if missing:
        print(f"upload_tus: {', '.join(missing)} missing (apt install nginx curl openssl)")
        return 1
    mine: list[float] = []
    theirs: list[float] = []
    sent: dict[str, str] = {}
    with contextlib.ExitStack() as on:
        folder = Path(on.enter_context(tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None)))
        source = folder / "source.bin"
        make_source(source)
        ours = on.enter_context(served(folder / "data"))
        url = on.enter_context(nginx(folder / "nginx"))
        before = ours.peak_mib()
        for number in range(RUNS):
            sent[f"{number}.bin"] = renew(source)
            theirs.append(put_seconds(url, folder / "nginx", source, f"{number}.bin"))
            mine.append(tus_seconds(ours, source, f"{number}.bin"))
        growth = ours.peak_mib() - before
        check(folder / "data", sent)
    ratio = min(theirs) / min(mine)
    passed = ratio >= SPEED_BAR and growth <= MEMORY_BAR_MIB
    print(
        f"upload_tus: ratio {ratio:.2f} (bar {SPEED_BAR:.2f}) ours {min(mine):.2f} s,"
        f" nginx + openssl {min(theirs):.2f} s, memory growth {growth:.0f} MiB (bar {MEMORY_BAR_MIB})"
    )
    print(
        json.dumps(
            {
                "name": "upload_tus",
                "ratio": round(ratio, 3),
                "bar": SPEED_BAR,
                "passed": passed,
                "ours_seconds": [round(seconds, 3) for seconds in mine],
                "baseline_seconds": [round(seconds, 3) for seconds in theirs],
                "memory_growth_mib": round(growth, 1),
                "memory_bar_mib": MEMORY_BAR_MIB,
            }
        )
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
