"""Many processes share one database file: one checkpoint at a time is enough, and nobody fails over another's."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from contentplatform.drivers.sqlite import Database, Schema

SCHEMA = Schema(room="storage", migrations=("CREATE TABLE things (name BLOB NOT NULL) STRICT;",))
# SQLite's lock of whoever checkpoints: WAL_CKPT_LOCK, the second of eight bytes from 120 on in the -shm file.
HOLD_THE_CHECKPOINT_LOCK = (
    "import fcntl, sys\n"
    "with open(sys.argv[1], 'r+b') as shared:\n"
    "    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 121)\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_writes_go_on_while_another_process_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with closing(Database(path, [SCHEMA], new_uuid="0" * 32)) as database:
        argv = [sys.executable, "-c", HOLD_THE_CHECKPOINT_LOCK, f"{path}-shm"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            database.write(lambda unit: unit.run("INSERT INTO things VALUES (zeroblob(2000000))"))
            wait_for_the_idle_checkpoint(database)
            database.write(lambda unit: unit.run("INSERT INTO things VALUES (x'00')"))
            other.communicate()
        with database.read() as view:
            assert view.value("SELECT count(*) FROM things") == 2


def wait_for_the_idle_checkpoint(database: Database) -> None:
    """Until the writer, which has nothing to do, has tried."""
    pause = threading.Event()
    for _ in range(1_000):
        if database._wal_pages == 0:
            return
        pause.wait(0.01)
    raise AssertionError("no checkpoint was tried")
