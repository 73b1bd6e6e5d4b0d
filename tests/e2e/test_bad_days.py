"""Full disks, wrong folders, damaged databases, crowds: words instead of losses."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import NO_MOUNT
from e2e.commands import Commands
from sample_media import encoded, photo

PICTURE = encoded(photo(200, 150), "JPEG", quality=85)
MEBIBYTE = 1 << 20


# -- a disk that is full ---------------------------------------------------------------------------------------


class SmallDisk:
    """A file system that can be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, left_bytes: int) -> None:
        """Leave only so much space."""
        self.free()
        told = os.statvfs(self.folder)
        with self._ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, told.f_bavail * told.f_frsize - left_bytes))

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip(NO_MOUNT)
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files of 1 MiB that no disk can compress, and a small picture."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.bin").write_bytes(os.urandom(MEBIBYTE))
    (folder / "small.jpg").write_bytes(PICTURE)
    return folder


def test_a_full_disk_is_told_what_is_there_stays_and_the_same_command_goes_on_later(
    disk: SmallDisk, files: Path
) -> None:
    home = Commands(disk.folder / "data")
    home.run("add", files / "small.jpg")
    disk.fill(left_bytes=2 * MEBIBYTE)
    told = home.run("add", files, code=None)
    assert told.code in {1, 11}
    assert "the disk is full" in told.out + told.stderr
    assert home.run("get", "small.jpg", "-o", "-").stdout == PICTURE
    assert home.run("get", "small.jpg", "--rendition", "webp", "-o", "-").stdout
    assert home.json("show", "small.jpg")["processing_status"] == "completed"

    disk.free()
    home.run("add", files)
    assert {item["processing_status"] for item in home.json("list")["items"]} == {"completed"}
    for path in files.iterdir():
        assert home.run("get", path.name, "-o", "-").stdout == path.read_bytes()
    assert home.json("fsck", "--deep")["clean"]


def test_no_room_for_renditions_is_told_while_it_waits_and_goes_on_by_itself(disk: SmallDisk, tmp_path: Path) -> None:
    home = Commands(disk.folder / "data")
    home.run("list")
    picture = tmp_path / "large.png"
    picture.write_bytes(encoded(photo(700, 500), "PNG"))
    disk.fill(left_bytes=picture.stat().st_size + MEBIBYTE // 2)
    with home.start("add", picture, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as adding:
        assert adding.stderr is not None
        told = b""
        while b"not processed yet" not in told:
            told += (line := adding.stderr.readline())
            assert line, told
        assert b"large.png" in told
        assert b"the disk is full" in told
        disk.free()
        assert adding.wait(300) == 0
    assert home.json("show", "large.png")["processing_status"] == "completed"


def test_a_file_too_large_for_the_file_system_hurts_no_other(files: Path, tmp_path: Path) -> None:
    (files / "huge.bin").write_bytes(bytes(5 * MEBIBYTE))
    limited = Commands(tmp_path / "data", through=("prlimit", f"--fsize={4 * MEBIBYTE}"))
    told = {item["file_path"]: item for item in limited.json("add", files, code=1)["items"]}
    assert told["huge.bin"]["processing_status"] == "not stored"
    assert {item["processing_status"] for key, item in told.items() if key != "huge.bin"} == {"completed"}
    home = Commands(limited.data)
    home.run("add", files)
    assert len(home.json("list")["items"]) == 6
    assert home.json("fsck", "--deep")["clean"]


# -- folders and databases that are not what they should be ------------------------------------------------------


def test_a_data_folder_that_is_a_file_or_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    Commands(tmp_path / "file").error("list", code=2)
    Commands(tmp_path / "file" / "below").error("list", code=14)
    Commands(Path("/proc/nothing")).error("list", code=14)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_data_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    Commands(tmp_path / "data").run("list")
    for path in (tmp_path / "data", *(tmp_path / "data").iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    no_override = "-dac_override,-dac_read_search"
    through = ("setpriv", f"--bounding-set={no_override}", f"--inh-caps={no_override}") if os.getuid() == 0 else ()
    try:
        (tmp_path / "words.txt").write_text("words")
        ran = Commands(tmp_path / "data", through=through).run("add", tmp_path / "words.txt", code=None)
        assert ran.code > 0
        assert "Error:" in ran.stderr or "not stored" in ran.out
    finally:
        (tmp_path / "data").chmod(0o755)


@pytest.mark.parametrize("damage", ["junk", "zeros in the middle", "cut short"])
def test_a_damaged_database_is_told_and_the_way_out_is_named_and_works(tmp_path: Path, damage: str) -> None:
    home = Commands(tmp_path / "data")
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    home.run("add", tmp_path / "a.jpg")
    database = home.data / "contentplatform.db"
    content = database.read_bytes()
    damaged = {
        "junk": b"junk",
        "zeros in the middle": content[:2048] + bytes(40_000) + content[42_048:],
        "cut short": content[: len(content) // 2],
    }[damage]
    database.write_bytes(damaged)
    for name in ("contentplatform.db-wal", "contentplatform.db-shm"):
        (home.data / name).unlink(missing_ok=True)
    words = home.error("list", code=8)
    assert "rebuild-catalog" in words
    home.run("fsck", "--rebuild-catalog", code=None)
    assert home.json("show", "a.jpg")["processing_status"] == "completed"
    assert home.run("get", "a.jpg", "-o", "-").stdout == PICTURE


def test_bytes_that_were_damaged_are_told_and_never_handed_out(tmp_path: Path) -> None:
    home = Commands(tmp_path / "data")
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    home.run("add", tmp_path / "a.jpg")
    digest = home.json("show", "a.jpg")["file_hash"]
    (blob,) = (home.data / "blobs").rglob(digest)
    blob.chmod(0o600)
    blob.write_bytes(PICTURE[:-1] + bytes([PICTURE[-1] ^ 1]))
    home.error("get", "a.jpg", "-o", tmp_path / "out", code=8)
    assert not (tmp_path / "out").exists()
    assert not home.json("fsck", "--deep", code=1)["clean"]


# -- crowds ------------------------------------------------------------------------------------------------------


def test_several_adds_at_once_into_one_folder_and_one_into_another(tmp_path: Path) -> None:
    home, other = Commands(tmp_path / "data"), Commands(tmp_path / "other")
    for number in range(3):
        (tmp_path / f"in{number}").mkdir()
        for name in ("same.jpg", f"own{number}.jpg"):
            data = encoded(photo(80, 60, seed=number), "JPEG")
            (tmp_path / f"in{number}" / name).write_bytes(data)
    adding = [
        (other if number == 3 else home).start("add", tmp_path / f"in{number % 3}", stdout=subprocess.DEVNULL)
        for number in range(4)
    ]
    assert [process.wait(300) for process in adding] == [0, 0, 0, 0]
    assert len(home.json("versions", "same.jpg")["items"]) == 3
    assert len(other.json("list")["items"]) == 2
    items = home.json("list")["items"]
    assert sorted(item["file_path"] for item in items) == ["own0.jpg", "own1.jpg", "own2.jpg", "same.jpg"]
    assert {item["processing_status"] for item in items} == {"completed"}
    for commands in (home, other):
        assert commands.json("fsck", "--deep")["clean"]


def test_an_interrupted_add_says_so_and_the_same_command_goes_on(tmp_path: Path, files: Path) -> None:
    home = Commands(tmp_path / "data")
    home.run("list")
    with home.start("add", files, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as adding:
        wait_until_at_work(adding, home.data)
        adding.send_signal(signal.SIGINT)
        out, err = adding.communicate(timeout=300)
    assert b"Traceback" not in out + err
    assert adding.returncode in {0, 130, -signal.SIGINT}
    home.run("add", files)
    assert {item["processing_status"] for item in home.json("list")["items"]} == {"completed"}


def wait_until_at_work(process: subprocess.Popen[bytes], data: Path) -> None:
    """Until a command holds a file of its data folder, or has ended: what it imports is behind it."""
    pause = threading.Event()
    while process.poll() is None:
        for descriptor in Path(f"/proc/{process.pid}/fd").glob("*"):
            with suppress(OSError):
                if descriptor.readlink().is_relative_to(data):
                    return
        pause.wait(0.005)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_fault_and_no_success(tmp_path: Path, unbuffered: str) -> None:
    """Unbuffered, Python's own stdout writes what it can and reports the rest by its return value only."""
    home = Commands(tmp_path / "data", environment={"PYTHONUNBUFFERED": unbuffered})
    (tmp_path / "a.bin").write_bytes(os.urandom(MEBIBYTE))
    home.run("add", tmp_path / "a.bin")
    with home.start("get", "a.bin", "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as getting:
        assert getting.stdout is not None
        assert getting.stderr is not None
        getting.stdout.read(10)
        getting.stdout.close()
        assert getting.stderr.read() == b""
        assert getting.wait(300) != 0
