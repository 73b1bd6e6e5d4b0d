"""Archives that are written while they are sent: readable by others, safe to unpack anywhere, in constant memory."""

from __future__ import annotations

import io
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentplatform.errors import Archived, Corrupt, NotFound, PlatformError
from contentplatform.storage.port import BucketRole, ObjectReader, ObjectVersion, PutOptions
from contentplatform.web.zips import LEFT_OUT_NAME, ArchiveNames, Entry, archive_name, originals, zip_chunks
from fakes.catalog import make_record
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

AT: Final = datetime(2030, 6, 1, 12, 30, 20, tzinfo=UTC)
MIB: Final = 1 << 20


@dataclass
class Bytes:
    """An object to read."""

    pieces: list[bytes]
    closed: list[bool] = field(default_factory=list)

    @property
    def version(self) -> ObjectVersion:
        raise AssertionError("nobody asks")

    def read(self, _size: int = -1, /) -> bytes:
        raise AssertionError("it is read in pieces")

    def chunks(self) -> Iterator[bytes]:
        yield from self.pieces

    @contextmanager
    def open(self) -> Iterator[ObjectReader]:
        try:
            yield self
        finally:
            self.closed.append(True)


def entry(name: str, *pieces: bytes, size: int | None = None) -> Entry:
    """A file of these pieces."""
    length = sum(map(len, pieces))
    return Entry(name, length if size is None else size, AT, Bytes(list(pieces)).open)


def refusing(name: str, error: PlatformError) -> Entry:
    """A file that can't be opened."""

    def opened() -> AbstractContextManager[ObjectReader]:
        raise error

    return Entry(name, 3, AT, opened)


def archive(*entries: Entry) -> zipfile.ZipFile:
    """What another program reads of it."""
    return zipfile.ZipFile(io.BytesIO(b"".join(zip_chunks(entries))))


def test_another_program_reads_every_file_back() -> None:
    made = archive(entry("a/写真.jpg", b"one", b"two"), entry("empty"), entry("b.txt", b"x" * 70_000))
    assert made.testzip() is None
    assert made.namelist() == ["a/写真.jpg", "empty", "b.txt"]
    assert made.read("a/写真.jpg") == b"onetwo"
    assert made.read("empty") == b""
    told = made.infolist()[0]
    assert (told.date_time, told.compress_type, told.file_size) == ((2030, 6, 1, 12, 30, 20), zipfile.ZIP_STORED, 6)
    assert (told.external_attr >> 16, told.create_system, told.extract_version) == (0o100644, 3, 20)


def test_an_archive_of_nothing_is_one() -> None:
    assert archive().namelist() == []


def test_more_than_65_535_files_are_counted() -> None:
    made = archive(*(entry(f"{number}") for number in range(65_540)))
    assert len(made.namelist()) == 65_540


def test_offsets_beyond_4_gib_are_read_back(tmp_path: Path) -> None:
    path, begin = tmp_path / "large.zip", 5 << 30
    with path.open("wb") as file:  # a file with a hole: it takes no room
        file.seek(begin)
        for chunk in zip_chunks([entry("a", b"first"), entry("b", b"second")], begin=begin):
            file.write(chunk)
    with zipfile.ZipFile(path) as made:
        assert made.infolist()[1].header_offset > 1 << 32
        assert [made.read(name) for name in ("a", "b")] == [b"first", b"second"]


def test_a_file_of_more_than_4_gib_is_told_in_64_bits(tmp_path: Path) -> None:
    piece, path = bytes(64 * MIB), tmp_path / "large.zip"
    large = entry("film.mov", *[piece] * 65)
    with path.open("wb") as file:
        for chunk in zip_chunks([large, entry("after", b"x")]):
            if chunk is piece:
                file.seek(len(piece), io.SEEK_CUR)
            else:
                file.write(chunk)
    with zipfile.ZipFile(path) as made:
        [told, after] = made.infolist()
        assert (told.file_size, told.compress_size, told.extract_version) == (65 * len(piece), 65 * len(piece), 45)
        assert made.read(after) == b"x"
        assert made.open(told).read(10) == bytes(10)


def test_files_are_read_when_their_turn_comes_in_constant_memory() -> None:
    def entries() -> Iterator[Entry]:
        for number in range(200):
            yield entry(f"{number}", *(bytes(MIB) for _ in range(1)), size=MIB)

    tracemalloc.start()
    length = sum(len(chunk) for chunk in zip_chunks(entries()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length > 200 * MIB
    assert peak < 8 * MIB


def test_what_can_t_be_had_is_left_out_and_named() -> None:
    gone = refusing("gone.jpg", NotFound("reading", "it was removed"))
    cold = refusing("cold.jpg", Archived("reading", "it is in an archive"))
    made = archive(entry("a", b"x"), gone, cold, entry("b", b"y"))
    assert made.namelist() == ["a", "b", LEFT_OUT_NAME]
    assert made.read(LEFT_OUT_NAME).decode() == "gone.jpg: it was removed\ncold.jpg: it is in an archive\n"


@pytest.mark.parametrize("size", [2, 4])
def test_a_file_that_is_not_as_long_as_told_ends_the_archive(size: int) -> None:
    chunks = zip_chunks([entry("a", b"abc", size=size)])
    with pytest.raises(Corrupt):
        list(chunks)


def test_whoever_stops_reading_closes_the_file_that_is_open() -> None:
    source = Bytes([b"a", b"b"])
    chunks = zip_chunks([Entry("x", 2, AT, source.open)])
    next(chunks)
    next(chunks)
    assert source.closed == []
    chunks.close()
    assert source.closed == [True]


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("..\\..\\x", ".._.._x"),
        ("/etc/x", "etc/x"),
        ("a//b/./c", "a/_/b/_/c"),
        ("C:\\x", "C__x"),
        ("\\\\?\\x", "____x"),
        ("con", "_con"),
        ("a/NUL.txt", "a/_NUL.txt"),
        ("lpt1.tar.gz", "_lpt1.tar.gz"),
        ("dots. . .", "dots"),
        ("...", "_"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("zero\u200bwidth", "zero_width"),
        ('a"b*c?<d>|e', "a_b_c__d__e"),
        ("-rf `x` $(y);'", "-rf `x` $(y);'"),
        ("日本/写真 😀.jpg", "日本/写真 😀.jpg"),
    ],
)
def test_every_name_unpacks_below_the_folder_it_is_unpacked_in(path: str, name: str) -> None:
    assert ArchiveNames().name_of(path) == name


def test_names_that_some_systems_hold_for_the_same_are_told_apart() -> None:
    names = ArchiveNames()
    paths = ("x.jpg", "X.JPG", "x.jpg", "a/é", "a/e\u0301", "A/É", ".hidden", ".HIDDEN", "a?b", "a*b")
    given = [names.name_of(path) for path in paths]
    assert given[:3] == ["x.jpg", "X (2).JPG", "x (3).jpg"]
    assert given[6:] == [".hidden", ".HIDDEN (2)", "a_b", "a_b (2)"]
    assert len({name.casefold() for name in given}) == len(given)


def test_a_file_and_a_folder_of_the_same_name_are_told_apart_whichever_comes_first() -> None:
    names = ArchiveNames()
    assert [names.name_of(path) for path in ("v1", "v1/x", "v1/y")] == ["v1", "v1 (2)/x", "v1 (2)/y"]
    names = ArchiveNames()
    assert [names.name_of(path) for path in ("v1/x", "v1")] == ["v1/x", "v1 (2)"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.sampled_from("aA./\\é\u0301é ~\0:\u202e写"), min_size=1, max_size=12), max_size=12))
def test_whatever_files_are_called_no_two_get_in_each_other_s_way(paths: list[str]) -> None:
    names = ArchiveNames()
    folded = [unicodedata.normalize("NFC", names.name_of(path)).casefold() for path in paths]
    assert len(set(folded)) == len(folded)
    for name in folded:
        segments = name.split("/")
        assert all(segment.strip(" .") for segment in segments), name
        assert all(len(segment.encode()) <= 255 and segment[-1] not in " ." for segment in segments), name
        above = {"/".join(segments[:depth]) for depth in range(1, len(segments))}
        assert above.isdisjoint(folded), name


def test_a_long_name_is_cut_before_its_ending() -> None:
    name = ArchiveNames().name_of("写" * 200 + ".jpeg")
    assert name.endswith("写.jpeg")
    assert len(name.encode()) <= 240
    assert len(ArchiveNames().name_of("x" * 300)) == 240


def test_originals_are_named_below_their_folder_and_read_at_their_version() -> None:
    store = MemoryObjectStore(FakeClock(), SequentialIds())
    version = store.put(BucketRole.PRIMARY, "a/b/x.jpg", io.BytesIO(b"old"), PutOptions())
    store.put(BucketRole.PRIMARY, "a/b/x.jpg", io.BytesIO(b"newer"), PutOptions())
    record = make_record("a/b/x.jpg", version_id=version.version_id, size_bytes=3)
    never = make_record("a/none.jpg", version_id="none", size_bytes=3)
    made = archive(*originals(store, [record, never], below="a"))
    assert made.namelist() == ["b/x.jpg", LEFT_OUT_NAME]
    assert made.read("b/x.jpg") == b"old"
    assert archive(*originals(store, [record])).namelist() == ["a/b/x.jpg"]


def test_nobody_s_file_is_taken_for_the_list_of_what_is_left_out() -> None:
    record = make_record("not included.TXT", version_id="none")
    [only] = originals(MemoryObjectStore(FakeClock(), SequentialIds()), [record])
    assert only.name == "not included (2).TXT"


def test_an_archive_has_a_name() -> None:
    assert archive_name("For Acme") == "For Acme.zip"
    assert archive_name(" ", "clients/acme") == "acme.zip"
    assert archive_name("") == "files.zip"
