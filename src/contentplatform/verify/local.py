"""What ``verify`` looks at in the home on this machine only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from contentplatform.app import LocalHome
from contentplatform.catalog.port import Record
from contentplatform.drivers.volumes import Encryption, encryption_of
from contentplatform.findings import CheckRun, Severity, run_checks
from contentplatform.processing.gates import look_at_versions
from contentplatform.storage.port import BucketRole
from contentplatform.verify.edge import Thumbnail, check_edge, thumbnail_of
from contentplatform.verify.report import FailedCheck, UnsureCheck
from contentplatform.verify.verification import HomeChecks


class LocalChecks(HomeChecks):
    """The catalog's tables, the fence around jobs, the data folder."""

    def __init__(self, home: LocalHome) -> None:
        self._home = home
        self._platform = home.platform
        self._thumbnail: Thumbnail | None = None

    def before(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        del run
        yield "the catalog's tables are whole", self._catalog
        yield "jobs on untrusted bytes are fenced in", self._sandbox
        yield "what reads untrusted bytes has no known holes", self._versions

    def after(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        del run
        yield "edge answers", self._edge
        yield "nobody else can read the files", self._permissions
        yield "files are encrypted at rest", self._encryption

    def shown(self, record: Record) -> None:
        self._thumbnail = thumbnail_of(record)

    def takes_films(self) -> bool:
        return True

    def settle(self) -> None:
        self._home.take_in_all()

    def guarded(self, role: BucketRole) -> bool:
        del role
        return False

    def not_built(self) -> tuple[tuple[str, str], ...]:
        return (
            ("replication configured and at least 90 % complete", "second copy"),
            ("lifecycle rules are applied", "moving between tiers"),
            ("metrics", "monitoring"),
        )

    def _catalog(self) -> str:
        findings = [
            finding for finding in run_checks(self._home.checks(), CheckRun()) if finding.severity is Severity.DAMAGE
        ]
        if findings:
            raise FailedCheck(f"{len(findings)} findings, the first: {findings[0].message}; run `fsck`")
        return "no damage found by fsck"

    def _sandbox(self) -> str:
        gaps = self._home.gaps()
        if gaps:
            raise UnsureCheck("; ".join(gaps))
        return "no network, own files only, limits on memory, time and size"

    def _versions(self) -> str:
        gates = look_at_versions()
        closed = [f"{gate.name}: {gate.problem}" for gate in gates if not gate.is_open]
        if closed:
            raise FailedCheck("; ".join(closed))
        return ", ".join(f"{gate.name} {gate.version}" for gate in gates)

    def _edge(self) -> str:
        app = self._home.edge_app(logged=False)
        try:
            found = check_edge(self._platform.edge, self._thumbnail, lambda url: asyncio.run(_asked(app, url)))
        finally:
            app.close()
        return f"it {found}"

    def _permissions(self) -> str:
        folder = self._platform.settings.data_folder
        mode = folder.stat().st_mode & 0o777
        if mode & 0o007:
            raise FailedCheck(f"{folder} is open to every user of this machine (mode {mode:o}); chmod o= it")
        return f"{folder} has mode {mode:o}"

    def _encryption(self) -> str:
        match encryption_of(self._platform.settings.data_folder):
            case Encryption.ENCRYPTED:
                return "the volume is encrypted"
            case Encryption.PLAIN:
                raise UnsureCheck("off, and the volume below is not encrypted")
            case Encryption.UNKNOWN:
                raise UnsureCheck("off, and it can't be told whether the volume below is encrypted")


async def _asked(app: Any, url: str) -> tuple[int, Mapping[str, str], bytes]:
    """The answer of an application in this process: whether a server runs is not what is asked."""
    parts = urlsplit(url)
    status, headers, pieces = 0, {}, []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            pieces.append(bytes(message.get("body", b"")))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode("ascii"),
        "query_string": parts.query.encode("ascii"),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"user-agent", b"contentplatform-verify")],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    await app(scope, receive, send)
    return status, headers, b"".join(pieces)
