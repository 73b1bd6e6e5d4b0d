"""Many processes share one database file: nobody fails over another, and who failed does not linger."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import Database, Schema
from e2e.commands import Commands

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


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("command", ["worker", "add"])
def test_who_waits_on_a_database_that_failed_ends_in_words_instead_of_living_on(
    tmp_path: Path, command: str, count: int
) -> None:
    """Nothing can be written until the file was opened anew; a process that stays would only look alive."""
    (tmp_path / "words.txt").write_text("words")
    child = Path(__file__).with_name("commit_fails_child.py")
    argv = [sys.executable, str(child), str(count), "--data", str(tmp_path / "data"), command]
    if command == "add":
        argv.append(str(tmp_path / "words.txt"))
    ended = subprocess.run(argv, capture_output=True, timeout=300, check=False)
    assert ended.returncode in {1, 10}
    assert b"commit failed" in ended.stderr or b"disk I/O error" in ended.stderr + ended.stdout
    assert b"Traceback" not in ended.stderr
    home = Commands(tmp_path / "data")
    home.run("add", tmp_path / "words.txt")
    assert home.json("fsck", "--deep")["clean"]
