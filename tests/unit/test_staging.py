"""What goes past the kernel's cache, and what by way of it: the same bytes in the end, and the same hash."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from contentplatform.drivers.files import BLOCK_BYTES, Files
from contentplatform.errors import Unavailable
from contentplatform.storage.staging import OpenStaged, Staging

MIB: Final = 1 << 20
CACHED_BYTES: Final = 2 * MIB
DATA: Final = random.Random(11).randbytes(8 * MIB)


class NotingFiles(Files):
    """Notes of each write how many bytes it had, and whether they were to go past the cache."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, bool]] = []

    def write(self, descriptor: int, data: memoryview) -> None:
        self.writes.append((len(data), goes_past_cache(descriptor)))
        super().write(descriptor, data)


def goes_past_cache(descriptor: int) -> bool:
    """Whether what is written there now goes past the kernel's cache."""
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def pages(data: bytes) -> memoryview:
    """The bytes, in memory that begins with a page."""
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memoryview(memory)


@pytest.fixture
def can_pass(tmp_path: Path) -> bool:
    """Whether this file system lets anything go past the cache."""
    try:
        os.close(os.open(tmp_path / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.fixture
def files() -> NotingFiles:
    return NotingFiles()


@pytest.fixture
def staging(tmp_path: Path, files: NotingFiles) -> Iterator[Staging]:
    folder = tmp_path / "staged"
    folder.mkdir()
    staging = Staging(folder, files)
    staging.cached_bytes = CACHED_BYTES
    yield staging
    staging.hashing.shutdown()


def check(staged: OpenStaged, data: bytes) -> None:
    """The file and its hash are of exactly these bytes."""
    assert b"".join(staged.pieces()) == data
    assert staged.sha256() == hashlib.sha256(data).hexdigest()


def test_the_beginning_and_small_pieces_go_by_way_of_the_cache(
    staging: Staging, files: NotingFiles, *, can_pass: bool
) -> None:
    with staging.open("a", 0) as staged:
        staged.write(pages(DATA[: 2 * MIB]))
        staged.write(pages(DATA[2 * MIB : 4 * MIB]))
        staged.write(pages(DATA[4 * MIB : 4 * MIB + BLOCK_BYTES]))
        staged.write(pages(DATA[4 * MIB + BLOCK_BYTES : 6 * MIB + 17]))
        staged.write(pages(DATA[6 * MIB + 17 :]))
        assert files.writes == [
            (2 * MIB, False),
            (2 * MIB, can_pass),
            (BLOCK_BYTES, False),
            (2 * MIB - BLOCK_BYTES, can_pass),
            (17, False),
            (2 * MIB - 17, False),  # begins within a block
        ]
        check(staged, DATA)


def test_a_file_that_is_opened_again_goes_on_past_the_cache(staging: Staging, files: NotingFiles) -> None:
    with staging.open("a", 0) as staged:
        staged.write(pages(DATA[: 3 * MIB]))
        staged.write(pages(DATA[3 * MIB : 5 * MIB]))
    with Staging(staging.folder, files).open("a", 4 * MIB) as staged:  # what nobody acknowledged is cut off
        staged.write(pages(DATA[4 * MIB :]))
        check(staged, DATA)


def test_who_goes_back_to_a_mark_writes_over_what_went_past_the_cache(staging: Staging) -> None:
    with staging.open("a", 0) as staged:
        staged.write(pages(DATA[: 3 * MIB]))
        mark = staged.mark()
        staged.write(pages(DATA[: 4 * MIB]))
        staged.back_to(mark)
        staged.write(pages(DATA[3 * MIB :]))
        check(staged, DATA)


def test_bytes_from_anywhere_in_memory_are_stored(staging: Staging) -> None:
    with staging.open("a", 0) as staged:
        staged.write(DATA[: 3 * MIB])
        staged.write(pages(DATA)[3 * MIB : 5 * MIB])
        staged.write(pages(DATA[:1] + DATA[5 * MIB :])[1:])
        check(staged, DATA)


@pytest.mark.parametrize("size_bytes", [BLOCK_BYTES, BLOCK_BYTES + 1, 1])
def test_what_can_t_go_past_the_cache_is_written_as_ever(tmp_path: Path, size_bytes: int) -> None:
    path, files = tmp_path / "a", Files()
    descriptor = files.create(path)
    try:
        files.write_past_cache(descriptor, pages(DATA[:size_bytes]))
        assert not goes_past_cache(descriptor)
        files.write_past_cache(descriptor, pages(DATA[size_bytes : size_bytes + BLOCK_BYTES]))
    finally:
        os.close(descriptor)
    assert path.read_bytes() == DATA[: size_bytes + BLOCK_BYTES]


def test_a_file_that_takes_nothing_says_so_either_way(tmp_path: Path) -> None:
    files, data = Files(), pages(DATA[:BLOCK_BYTES])
    descriptor = os.open(tmp_path / "a", os.O_CREAT | os.O_RDONLY)
    counter = os.eventfd(0)  # takes eight bytes, and calls fewer invalid
    try:
        with pytest.raises(Unavailable):
            files.write_past_cache(descriptor, data)
        assert not goes_past_cache(descriptor)
        with pytest.raises(Unavailable) as caught:
            files.write(counter, data[:1])
    finally:
        os.close(counter)
        os.close(descriptor)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EINVAL
