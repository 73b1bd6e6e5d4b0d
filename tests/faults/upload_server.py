"""Servers of uploads over one data folder, each a process that can be killed: forked from one that has all loaded.

``python upload_server.py`` reads ``ROOT CRASHPOINT COUNT`` a line (``-`` for none), starts a server, and answers with
its process and port.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from contentplatform.accounts.port import machine
from contentplatform.clock import RandomIds, SystemClock
from contentplatform.config import ServerSettings
from contentplatform.drivers import crashpoint
from contentplatform.drivers.sqlite import Database
from contentplatform.ingest.upload_sessions import SCHEMA, LocalUploads, UploadRules
from contentplatform.storage.local import SCHEMA as STORAGE_SCHEMA
from contentplatform.storage.local import LocalObjectStore, stored_uuid
from contentplatform.web.server import HttpServer, listening_socket
from contentplatform.web.uploads import UploadOptions, UploadsApp

CHECKPOINT_BYTES = 256 << 10
CACHED_BYTES = 1 << 20
"""What lies behind that goes past the kernel's cache."""


def open_uploads(root: Path) -> tuple[Database, LocalObjectStore, LocalUploads]:
    """Everything over one folder."""
    database = Database(
        root / "catalog.db", [STORAGE_SCHEMA, SCHEMA], new_uuid=stored_uuid(root) or RandomIds().new_id()
    )
    store = LocalObjectStore(database, root, SystemClock(), RandomIds())
    store.staging.cached_bytes = CACHED_BYTES
    rules = UploadRules(checkpoint_bytes=CHECKPOINT_BYTES)
    return database, store, LocalUploads(database, store, SystemClock(), RandomIds(), rules)


class Site:
    """The application, with the lifespan that a server asks for."""

    def __init__(self, uploads: LocalUploads) -> None:
        self._app = UploadsApp(uploads, lambda _scope: machine("test"), UploadOptions())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)
            return
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})


def serve(root: Path, point: str, count: int) -> None:
    """Serve until killed."""
    database, _store, uploads = open_uploads(root)
    listener = listening_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    if point != "-":
        crashpoint.arm(point, count)

    def tell() -> None:
        sys.stdout.write(f"{os.getpid()} {port}\n")
        sys.stdout.flush()

    HttpServer(Site(uploads), ServerSettings(), threading.Event(), tell).run(listener)
    database.close()


def main() -> None:
    """Start a server for every line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the killed
    for line in sys.stdin:
        root, point, count = line.split()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sys.stdin.close()
            serve(Path(root), point, int(count))
            os._exit(0)


if __name__ == "__main__":
    main()
