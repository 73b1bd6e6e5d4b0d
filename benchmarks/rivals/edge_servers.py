"""The local edge and nginx, each one process on the first processor, serving the same files; and wrk on the second.

Started as a program, this is our side: it opens the data folder, prints the address, and serves until its input ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.config import ServerSettings
from contentplatform.web.claim import Part
from contentplatform.web.server import HttpServer, address_of, listening_socket
from contentplatform.web.site import open_site

SERVER_CORE = "0"
CLIENT_CORE = "1"
NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    types {{ image/jpeg jpg; video/mp4 mp4; }}
    access_log {folder}/access.log combined;
    sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {root}; add_header Cache-Control "public, max-age=31536000, immutable"; }}
}}
"""
WRK = """
local targets = {{ {targets} }}
local requests = {{}}
init = function()
  for i, target in ipairs(targets) do requests[i] = wrk.format("GET", target[1], target[2]) end
end
local turn = 0
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
"""


@dataclass(frozen=True)
class Target:
    """What is asked for."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Server:
    """One side."""

    url: str
    process: int

    def processor_seconds(self) -> float:
        """What it has used so far, all its threads together."""
        fields = Path(f"/proc/{self.process}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """One run of wrk."""

    requests_per_second: float
    bytes_per_second: float


def missing_programs() -> list[str]:
    """What has to be installed first."""
    found = {name for name in ("nginx", "wrk", "taskset") for folder in _PATHS if (Path(folder) / name).exists()}
    return sorted({"nginx", "wrk", "taskset"} - found)


_PATHS = [*os.environ.get("PATH", "").split(":"), "/usr/sbin"]


@contextlib.contextmanager
def ours(data_folder: Path) -> Iterator[Server]:
    """Our edge as a site of its own."""
    command = ["taskset", "-c", SERVER_CORE, sys.executable, __file__, str(data_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process.stdout.readline().strip() if process.stdout else "", process.pid)
        finally:
            if process.stdin:
                process.stdin.close()
            process.wait(30)


@contextlib.contextmanager
def nginx(folder: Path, root: Path) -> Iterator[Server]:
    """Nginx over the files in ``root``."""
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, root=root), "utf-8")
    program = next(Path(place) / "nginx" for place in _PATHS if (Path(place) / "nginx").exists())
    command = ["taskset", "-c", SERVER_CORE, str(program), "-p", str(folder), "-c", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield Server(_answering(f"http://127.0.0.1:{port}"), process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _answering(url: str) -> str:
    for _ in range(200):
        try:
            urllib.request.urlopen(url)
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.02)
    return url


def etag(url: str, target: Target) -> str:
    """The entity tag that a server gives."""
    with urllib.request.urlopen(url + target.path) as answer:
        return str(answer.headers["ETag"])


def status_of(url: str, target: Target) -> int:
    """The status of the answer to one request."""
    request = urllib.request.Request(url + target.path, headers=dict(target.headers))
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def wrk(url: str, targets: list[Target], folder: Path, *, status: int, seconds: int, connections: int) -> Measured:
    """Ask for the targets in turn. Raises RuntimeError for an answer of another status.

    Some are looked at before; wrk itself only tells refusals, as a script for each answer would slow it down.
    """
    for target in targets[:5]:
        found = status_of(url, target)
        if found != status:
            raise RuntimeError(f"{target.path}: {found} instead of {status}")
    rows = []
    for target in targets:
        headers = ", ".join(f"[{_quoted(name)}] = {_quoted(value)}" for name, value in target.headers.items())
        rows.append(f"{{{_quoted(target.path)}, {{{headers}}}}}")
    script = folder / "targets.lua"
    script.write_text(WRK.format(targets=", ".join(rows)), "utf-8")
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", told)
    amount = re.search(r"Transfer/sec:\s+([0-9.]+)([KMG]?)B", told)
    if rate is None or amount is None:
        raise RuntimeError(told)
    return Measured(float(rate[1]), float(amount[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[amount[2]])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def serve(data_folder: Path) -> None:
    """Our side: what `serve --part edge` serves."""
    home = open_local(config.load(data_folder=data_folder, environment={}))
    listener = listening_socket("127.0.0.1", 0)
    site = open_site(home, [Part.EDGE], listening_host="127.0.0.1")

    def ready() -> None:
        print(address_of(listener), flush=True)

    server = HttpServer(site.app, ServerSettings(), threading.Event(), ready, quick=site.quick)

    def end_with_input() -> None:
        sys.stdin.read()
        server.stop()

    threading.Thread(target=end_with_input, daemon=True).start()
    server.run(listener)
    site.close()
    home.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
