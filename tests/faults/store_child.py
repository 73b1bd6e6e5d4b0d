"""The real store in a process of its own, told what to do line by line, and killed by the crash point that is armed.

``python store_child.py ROOT ELAPSED_SECONDS`` reads one JSON command a line and answers with one JSON line.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contentplatform.clock import RandomIds
from contentplatform.drivers import crashpoint
from contentplatform.drivers.files import Files
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import PlatformError
from contentplatform.findings import CheckRun, run_checks
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.local import SCHEMA, LocalObjectStore, stored_uuid
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions, StorageClass
from fakes.clock import FakeClock
from faults.store_driver import GRACE_SECONDS


class CollectingFiles(Files):
    """Lets the collector run at the worst moment: when a blob has its name, before its row is committed."""

    def __init__(self) -> None:
        self.collect: Callable[[], object] | None = None

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        if self.collect is not None and len(folder.name) == 2:  # the folder of a blob
            collect, self.collect = self.collect, None
            collect()


class Child:
    """The commands."""

    def __init__(self, root: Path, elapsed_seconds: float) -> None:
        self.clock = FakeClock(start=datetime.now(UTC))
        self.clock.advance(elapsed_seconds)
        self.files = CollectingFiles()
        self.database = Database(root / "catalog.db", [SCHEMA], new_uuid=stored_uuid(root) or RandomIds().new_id())
        self.store = LocalObjectStore(
            self.database, root, self.clock, RandomIds(), gc_grace_seconds=GRACE_SECONDS, files=self.files
        )

    def arm(self, point: str, count: int) -> None:
        crashpoint.arm(point, count)

    def put(self, bucket: str, key: str, data: str, tags: dict[str, str]) -> str:
        return self._store(bucket, key, data, PutOptions(tags=tags))

    def create(self, bucket: str, key: str, data: str) -> str:
        return self._store(bucket, key, data, PutOptions(create_only=True))

    def _store(self, bucket: str, key: str, data: str, options: PutOptions) -> str:
        return self.store.put(BucketRole(bucket), key, io.BytesIO(data.encode()), options).version_id

    def put_while_collecting(self, bucket: str, key: str, data: str) -> str:
        self.files.collect = self.store.collect_garbage
        return self.put(bucket, key, data, {})

    def copy(self, bucket: str, key: str, version_id: str, to_bucket: str, to_key: str, storage_class: str) -> str:
        source = self.store.head(BucketRole(bucket), key, version_id=version_id)
        options = PutOptions(storage_class=StorageClass(storage_class))
        return self.store.copy(source, BucketRole(to_bucket), to_key, options).version_id

    def delete(self, bucket: str, key: str) -> str:
        return self.store.delete(BucketRole(bucket), key).version_id

    def delete_version(self, bucket: str, key: str, version_id: str) -> None:
        self.store.delete_version(BucketRole(bucket), key, version_id)

    def set_tags(self, bucket: str, key: str, version_id: str, tags: dict[str, str]) -> None:
        self.store.set_tags(BucketRole(bucket), key, tags, version_id=version_id)

    def flush(self) -> int:
        return self.store.flush_journal()

    def collect(self) -> None:
        self.store.collect_garbage()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def wait_for_checkpoint(self) -> bool:
        """Until the idle writer has emptied the write-ahead log; False if it never does."""
        pause = threading.Event()
        for _ in range(500):
            if self.database._wal_pages < 256:
                return True
            pause.wait(0.01)
        return False

    def findings(self, kinds: list[str]) -> list[str]:
        found = run_checks(storage_checks(self.store), CheckRun(deep=True))
        return [str(finding) for finding in found if finding.severity in kinds]

    def state(self) -> dict[str, Any]:
        """Everything that can be seen through the port, and the events."""
        versions, current = [], []
        for bucket in (BucketRole.PRIMARY, BucketRole.BACKUP):
            continuation: str | None = None
            while True:
                page = self.store.list_versions(bucket, continuation=continuation)
                versions += [self._seen(version) for version in page.objects]
                continuation = page.continuation
                if continuation is None:
                    break
            current += [[bucket, version.key, version.version_id] for version in self.store.list(bucket).objects]
        with self.database.read() as connection:
            events = [list(row) for row in connection.rows("SELECT key, kind FROM object_events ORDER BY event_id")]
        return {"versions": versions, "current": current, "events": events}

    def _seen(self, version: ObjectVersion) -> list[Any]:
        place = [version.bucket, version.key, version.version_id]
        if version.is_delete_marker:
            return [*place, None, {}]
        with self.store.open(version.bucket, version.key, version_id=version.version_id) as reader:
            data = reader.read().decode()
        return [*place, data, dict(self.store.tags(version.bucket, version.key, version_id=version.version_id))]


def answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    root, elapsed_seconds = sys.argv[1:]
    child = Child(Path(root), float(elapsed_seconds))
    answer({"result": "ready"})
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer({"result": getattr(child, name)(*arguments)})
        except PlatformError as error:
            answer({"error": type(error).__name__, "message": str(error)})
    child.database.close()


if __name__ == "__main__":
    main()
