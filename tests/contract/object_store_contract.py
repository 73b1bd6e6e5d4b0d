"""What every store must do, as plain functions over a store: the contract of ``storage.port``, one promise a check.

``test_object_store`` runs each on every home; ``test_planted_faults`` shows that the checks have teeth.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from contentplatform.errors import (
    Archived,
    ChecksumMismatch,
    Conflict,
    InvalidRequest,
    NotFound,
    PlatformError,
)
from contentplatform.storage.port import (
    BucketRole,
    ByteRange,
    Listing,
    ObjectStore,
    ObjectVersion,
    PutOptions,
    StorageClass,
)

Check = Callable[[ObjectStore], None]
CHECKS: Final[list[Check]] = []
PRIMARY: Final = BucketRole.PRIMARY
PLAIN: Final = PutOptions()


def check(function: Check) -> Check:
    """Make the function a part of the contract."""
    CHECKS.append(function)
    return function


def put(store: ObjectStore, key: str, data: bytes = b"data", options: PutOptions = PLAIN) -> ObjectVersion:
    """Store ``data`` in the primary bucket."""
    return store.put(PRIMARY, key, io.BytesIO(data), options)


def read(store: ObjectStore, key: str, version_id: str | None = None, byte_range: ByteRange | None = None) -> bytes:
    """All the bytes of an object of the primary bucket."""
    with store.open(PRIMARY, key, version_id=version_id, byte_range=byte_range) as reader:
        return reader.read()


def keys(listing: Listing) -> list[str]:
    return [version.key for version in listing.objects]


def pages(
    store: ObjectStore, limit: int, prefix: str = "", delimiter: str = "", *, versions: bool = False
) -> Iterator[Listing]:
    """Every page of a listing."""
    continuation: str | None = None
    while True:
        if versions:
            page = store.list_versions(PRIMARY, prefix=prefix, continuation=continuation, limit=limit)
        else:
            page = store.list(PRIMARY, prefix=prefix, delimiter=delimiter, continuation=continuation, limit=limit)
        yield page
        continuation = page.continuation
        if continuation is None:
            return


def exists(store: ObjectStore, key: str, version_id: str | None = None) -> bool:
    try:
        store.head(PRIMARY, key, version_id=version_id)
    except NotFound:
        return False
    return True


class Trickle(io.RawIOBase):
    """A stream of unknown length that gives a few bytes at a time, and cannot seek."""

    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self._data = data
        self._piece_bytes = piece_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        count = self._piece_bytes if size < 0 else min(size, self._piece_bytes)
        piece, self._data = self._data[:count], self._data[count:]
        return piece

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]  # typeshed: any writable buffer
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class BrokenStream(io.RawIOBase):
    """A stream that fails after its first bytes, as a connection does that is cut."""

    def __init__(self) -> None:
        self._given = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._given:
            raise ConnectionResetError("cut")
        self._given = True
        return b"half"[:size]

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]  # typeshed: any writable buffer
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


# -- put and read ----------------------------------------------------------------------------------------------


@check
def put_then_read_gives_the_same_bytes(store: ObjectStore) -> None:
    data = bytes(range(256)) * 40
    version = put(store, "a.bin", data)
    assert read(store, "a.bin") == data
    assert version.sha256 == hashlib.sha256(data).hexdigest()
    assert version.size_bytes == len(data)
    assert version.is_latest
    assert not version.is_delete_marker


@check
def writing_stores_what_putting_does(store: ObjectStore) -> None:
    options = PutOptions(content_type="text/plain", user_metadata={"a": "b"})
    version_id = store.write(PRIMARY, "written", io.BytesIO(b"data"), options)
    there = store.head(PRIMARY, "written")
    assert (there.version_id, there.content_type, there.user_metadata) == (version_id, "text/plain", {"a": "b"})
    assert read(store, "written") == b"data"
    copy_id = store.write_copy(there, BucketRole.RAW, "copied")
    copy = store.head(BucketRole.RAW, "copied")
    assert (copy.version_id, copy.sha256, copy.user_metadata) == (copy_id, there.sha256, {"a": "b"})
    with pytest.raises(Conflict):
        store.write(PRIMARY, "written", io.BytesIO(b"other"), PutOptions(create_only=True))


@check
def empty_object(store: ObjectStore) -> None:
    version = put(store, "empty", b"")
    assert version.size_bytes == 0
    assert read(store, "empty") == b""
    with store.open(PRIMARY, "empty") as reader:
        assert list(reader.chunks()) == []


@check
def stream_of_unknown_length_in_small_pieces(store: ObjectStore) -> None:
    data = bytes(range(251)) * 200
    store.put(PRIMARY, "trickle", Trickle(data, 777), PLAIN)  # type: ignore[arg-type]  # a raw stream is enough
    assert read(store, "trickle") == data


@check
def object_of_several_buffers(store: ObjectStore) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(2_600_000))  # 10.4 MB: more than two buffers
    put(store, "large", data)
    assert read(store, "large") == data


@check
def broken_stream_leaves_nothing(store: ObjectStore) -> None:
    with pytest.raises(ConnectionResetError):
        store.put(PRIMARY, "cut", BrokenStream(), PLAIN)  # type: ignore[arg-type]  # a raw stream is enough
    assert not exists(store, "cut")
    assert store.list_versions(PRIMARY).objects == ()


@check
def head_tells_what_open_reads(store: ObjectStore) -> None:
    stored = put(store, "k", b"12345", PutOptions(content_type="image/png", user_metadata={"author": "A. N. Other"}))
    head = store.head(PRIMARY, "k")
    assert head == stored
    assert (head.content_type, dict(head.user_metadata)) == ("image/png", {"author": "A. N. Other"})
    with store.open(PRIMARY, "k") as reader:
        assert reader.version == head


@check
def reads_in_pieces(store: ObjectStore) -> None:
    put(store, "k", b"0123456789")
    with store.open(PRIMARY, "k") as reader:
        assert (reader.read(4), reader.read(4), reader.read(4), reader.read(4)) == (b"0123", b"4567", b"89", b"")
    with store.open(PRIMARY, "k") as reader:
        assert reader.read(1) + b"".join(reader.chunks()) == b"0123456789"


@check
def ranges(store: ObjectStore) -> None:
    put(store, "k", b"0123456789")
    assert read(store, "k", byte_range=ByteRange(2, 4)) == b"234"
    assert read(store, "k", byte_range=ByteRange(7)) == b"789"
    assert read(store, "k", byte_range=ByteRange(8, 500)) == b"89"
    assert read(store, "k", byte_range=ByteRange(0, 9)) == b"0123456789"


@check
def range_outside_is_refused(store: ObjectStore) -> None:
    put(store, "k", b"0123456789")
    put(store, "empty", b"")
    for key, wrong in (("k", ByteRange(10)), ("k", ByteRange(5, 4)), ("empty", ByteRange(0))):
        with pytest.raises(InvalidRequest):
            read(store, key, byte_range=wrong)


@check
def missing_is_not_found(store: ObjectStore) -> None:
    put(store, "there")
    for attempt in (
        lambda: read(store, "nowhere"),
        lambda: store.head(PRIMARY, "nowhere"),
        lambda: store.tags(PRIMARY, "nowhere"),
        lambda: store.set_tags(PRIMARY, "nowhere", {}),
        lambda: store.head(PRIMARY, "there", version_id="no-such-version"),
        lambda: store.head(BucketRole.RAW, "there"),
    ):
        with pytest.raises(NotFound):
            attempt()


@check
def expected_hash_is_checked(store: ObjectStore) -> None:
    wrong = PutOptions(expected_sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(ChecksumMismatch):
        put(store, "k", b"data", wrong)
    assert not exists(store, "k")
    right = PutOptions(expected_sha256=hashlib.sha256(b"data").hexdigest())
    assert put(store, "k", b"data", right).sha256 == right.expected_sha256


@check
def create_only_refuses_an_existing_key(store: ObjectStore) -> None:
    only = PutOptions(create_only=True)
    first = put(store, "k", b"first", only)
    with pytest.raises(Conflict):
        put(store, "k", b"second", only)
    assert read(store, "k") == b"first"
    with pytest.raises(Conflict):
        store.copy(first, PRIMARY, "k", only)
    assert len(store.list_versions(PRIMARY).objects) == 1


@check
def create_only_takes_a_deleted_key(store: ObjectStore) -> None:
    put(store, "k", b"first")
    store.delete(PRIMARY, "k")
    put(store, "k", b"second", PutOptions(create_only=True))
    assert read(store, "k") == b"second"


@check
def create_only_has_one_winner(store: ObjectStore) -> None:
    def attempt(number: int) -> bool:
        try:
            put(store, "k", b"%d" % number, PutOptions(create_only=True))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(8)))
    assert outcomes.count(True) == 1
    assert read(store, "k") == b"%d" % outcomes.index(True)


@check
def concurrent_puts_are_each_one_version(store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda number: put(store, "k", b"%d" % number), range(24)))
    assert len({version.version_id for version in versions}) == 24
    listed = store.list_versions(PRIMARY).objects
    assert {version.version_id for version in listed} == {version.version_id for version in versions}
    assert [version.is_latest for version in listed] == [True] + [False] * 23
    for number, version in enumerate(versions):
        assert read(store, "k", version.version_id) == b"%d" % number
    assert store.head(PRIMARY, "k").version_id == listed[0].version_id


# -- keys and values -------------------------------------------------------------------------------------------


@check
def keys_are_data_not_paths(store: ObjectStore) -> None:
    strange = [
        "../../../etc/passwd",
        "/absolute",
        "a//b",
        "./a",
        "..",
        "a\\b",
        "trailing/",
        "ü",
        "u\u0308",
        "日本/写真.jpg",
        "😀",
        "con.txt ",
        "a+b c%20d?x#y&z",
        "-rf",
        "new\nline",
        "'\"; DROP TABLE object_versions; --",
        "\u202egpj.exe",
        "%",
        "_",
        "A",
        "a",
        "x" * 1_024,
    ]
    for key in strange:
        put(store, key, key.encode())
    for key in strange:
        assert read(store, key) == key.encode()
    assert keys(store.list(PRIMARY)) == sorted(strange, key=str.encode)


@check
def impossible_keys_are_refused(store: ObjectStore) -> None:
    for key in ("", "x" * 1_025, "ü" * 513, "nul\0", "half \ud800"):
        with pytest.raises(InvalidRequest):
            put(store, key)
        with pytest.raises(InvalidRequest):
            store.delete(PRIMARY, key)


@check
def impossible_keys_are_never_found(store: ObjectStore) -> None:
    """Asking for one is answered like asking for any other that is not there, or refused; nothing else happens."""
    put(store, "k")
    for key in ("", "x" * 1_025, "nul\0", "half \ud800"):
        for attempt in (
            lambda key=key: store.head(PRIMARY, key),
            lambda key=key: read(store, key),
            lambda key=key: store.tags(PRIMARY, key),
            lambda key=key: store.set_tags(PRIMARY, key, {}),
            lambda key=key: store.head(PRIMARY, "k", version_id=key),
        ):
            with pytest.raises((NotFound, InvalidRequest)):
                attempt()


@check
def bad_options_are_refused(store: ObjectStore) -> None:
    for options in (
        PutOptions(user_metadata={"Upper": "x"}),
        PutOptions(user_metadata={"a b": "x"}),
        PutOptions(user_metadata={"a": "line\r\nbreak"}),
        PutOptions(user_metadata={"a": "ü"}),
        PutOptions(user_metadata={"a": "x" * 2_048}),
        PutOptions(tags={f"t{number}": "" for number in range(11)}),
        PutOptions(tags={"": "x"}),
        PutOptions(tags={"x" * 129: ""}),
        PutOptions(tags={"a": "x" * 257}),
        PutOptions(tags={"a": "tab\t"}),
        PutOptions(content_type=""),
        PutOptions(content_type="text/html\r\nx: y"),
        PutOptions(expected_sha256="xyz"),
    ):
        with pytest.raises(InvalidRequest):
            put(store, "k", options=options)
    assert store.list_versions(PRIMARY).objects == ()


@check
def buckets_are_apart(store: ObjectStore) -> None:
    for bucket in BucketRole:
        store.put(bucket, "k", io.BytesIO(bucket.encode()), PLAIN)
    store.delete(BucketRole.RAW, "k")
    for bucket in set(BucketRole) - {BucketRole.RAW}:
        with store.open(bucket, "k") as reader:
            assert reader.read() == bucket.encode()
        assert keys(store.list(bucket)) == ["k"]
    assert keys(store.list(BucketRole.RAW)) == []


# -- versions, markers, tombstones -----------------------------------------------------------------------------


@check
def every_put_is_a_version(store: ObjectStore) -> None:
    versions = [put(store, "k", b"%d" % number) for number in range(3)]
    assert read(store, "k") == b"2"
    for number, version in enumerate(versions):
        assert read(store, "k", version.version_id) == b"%d" % number
        assert store.head(PRIMARY, "k", version_id=version.version_id).is_latest == (number == 2)
    assert [version.version_id for version in store.list_versions(PRIMARY).objects] == [
        version.version_id for version in reversed(versions)
    ]


@check
def same_bytes_again_are_a_new_version(store: ObjectStore) -> None:
    first, second = put(store, "k", b"same"), put(store, "k", b"same")
    assert first.version_id != second.version_id
    assert first.etag == second.etag
    store.delete_version(PRIMARY, "k", first.version_id)
    assert read(store, "k") == b"same"


@check
def different_bytes_have_different_etags(store: ObjectStore) -> None:
    assert put(store, "k", b"one").etag != put(store, "k", b"two").etag


@check
def delete_adds_a_marker(store: ObjectStore) -> None:
    version = put(store, "k", b"data")
    marker = store.delete(PRIMARY, "k")
    assert marker.is_delete_marker
    assert marker.is_latest
    assert not exists(store, "k")
    assert keys(store.list(PRIMARY)) == []
    assert read(store, "k", version.version_id) == b"data"
    listed = store.list_versions(PRIMARY).objects
    assert [(one.is_delete_marker, one.is_latest) for one in listed] == [(True, True), (False, False)]


@check
def marker_cannot_be_read(store: ObjectStore) -> None:
    marker = store.delete(PRIMARY, "never-was")
    assert marker.is_delete_marker
    with pytest.raises(NotFound):
        store.head(PRIMARY, "never-was", version_id=marker.version_id)
    with pytest.raises(NotFound):
        read(store, "never-was", marker.version_id)
    with pytest.raises(NotFound):
        store.copy(marker, PRIMARY, "copy")


@check
def deleting_the_marker_brings_the_object_back(store: ObjectStore) -> None:
    put(store, "k", b"data")
    marker = store.delete(PRIMARY, "k")
    store.delete_version(PRIMARY, "k", marker.version_id)
    assert read(store, "k") == b"data"
    assert store.head(PRIMARY, "k").is_latest


@check
def deleting_the_newest_version_restores_the_one_before(store: ObjectStore) -> None:
    first, second = put(store, "k", b"first"), put(store, "k", b"second")
    store.delete_version(PRIMARY, "k", second.version_id)
    assert read(store, "k") == b"first"
    assert store.head(PRIMARY, "k").version_id == first.version_id
    assert not exists(store, "k", second.version_id)
    assert keys(store.list(PRIMARY)) == ["k"]


@check
def deleting_an_old_version_leaves_the_current(store: ObjectStore) -> None:
    first, _second = put(store, "k", b"first"), put(store, "k", b"second")
    store.delete_version(PRIMARY, "k", first.version_id)
    assert read(store, "k") == b"second"
    assert len(store.list_versions(PRIMARY).objects) == 1


@check
def deleting_the_newest_above_a_marker_shows_nothing(store: ObjectStore) -> None:
    put(store, "k", b"first")
    store.delete(PRIMARY, "k")
    third = put(store, "k", b"third")
    store.delete_version(PRIMARY, "k", third.version_id)
    assert not exists(store, "k")
    assert keys(store.list(PRIMARY)) == []


@check
def deleting_every_version_leaves_nothing(store: ObjectStore) -> None:
    for version in [put(store, "k", b"1"), put(store, "k", b"2")]:
        store.delete_version(PRIMARY, "k", version.version_id)
    assert not exists(store, "k")
    assert store.list_versions(PRIMARY).objects == ()
    assert keys(store.list(PRIMARY)) == []


@check
def delete_version_is_idempotent(store: ObjectStore) -> None:
    first, second = put(store, "k", b"1"), put(store, "k", b"2")
    for _ in range(2):
        store.delete_version(PRIMARY, "k", second.version_id)
    store.delete_version(PRIMARY, "k", "no-such-version")
    store.delete_version(PRIMARY, "no-such-key", first.version_id)
    assert read(store, "k") == b"1"


@check
def tombstone_is_never_seen_again(store: ObjectStore) -> None:
    gone = put(store, "k", b"gone")
    put(store, "k", b"kept")
    store.delete_version(PRIMARY, "k", gone.version_id)
    put(store, "k", b"later")
    assert gone.version_id not in {version.version_id for version in store.list_versions(PRIMARY).objects}
    for attempt in (
        lambda: read(store, "k", gone.version_id),
        lambda: store.copy(gone, PRIMARY, "copy"),
        lambda: store.set_tags(PRIMARY, "k", {"a": "b"}, version_id=gone.version_id),
    ):
        with pytest.raises(NotFound):
            attempt()


# -- listing ---------------------------------------------------------------------------------------------------

ORDER: Final = ["B", "a", "a!", "a/", "a/b", "a0", "aa", "b", "z", "é", "日", "\uffee", "\U00010000", "😀"]
"""In the order of their UTF-8 bytes, which is not that of UTF-16 nor of any language."""


@check
def listing_is_in_utf8_order(store: ObjectStore) -> None:
    for key in reversed(ORDER):
        put(store, key)
    assert keys(store.list(PRIMARY)) == ORDER


@check
def pages_join_without_gap_or_repeat(store: ObjectStore) -> None:
    for key in ORDER:
        put(store, key)
    for limit in (1, 2, 3, len(ORDER), len(ORDER) + 1):
        found = list(pages(store, limit))
        assert [key for page in found for key in keys(page)] == ORDER
        assert all(len(page.objects) <= limit for page in found)


@check
def prefix_is_text_not_a_pattern(store: ObjectStore) -> None:
    for key in ("a", "a%", "a%b", "a_", "ab", "A%", "b", "a\U0010ffff", "a\U0010ffffz"):
        put(store, key)
    assert keys(store.list(PRIMARY, prefix="a%")) == ["a%", "a%b"]
    assert keys(store.list(PRIMARY, prefix="a_")) == ["a_"]
    assert keys(store.list(PRIMARY, prefix="a\U0010ffff")) == ["a\U0010ffff", "a\U0010ffffz"]
    assert keys(store.list(PRIMARY, prefix="nothing")) == []


FOLDERS: Final = ["a.txt", "a/1", "a/2", "a/b/3", "a/b/4", "a0", "b/5", "c", "d/", "d/6", "e/f/7"]


@check
def delimiter_rolls_up_common_prefixes(store: ObjectStore) -> None:
    for key in FOLDERS:
        put(store, key)
    top = store.list(PRIMARY, delimiter="/")
    assert keys(top) == ["a.txt", "a0", "c"]
    assert top.common_prefixes == ("a/", "b/", "d/", "e/")
    inside = store.list(PRIMARY, prefix="a/", delimiter="/")
    assert keys(inside) == ["a/1", "a/2"]
    assert inside.common_prefixes == ("a/b/",)
    folder_itself = store.list(PRIMARY, prefix="d/", delimiter="/")
    assert (keys(folder_itself), folder_itself.common_prefixes) == (["d/", "d/6"], ())


@check
def pages_with_a_delimiter_join_without_gap_or_repeat(store: ObjectStore) -> None:
    for key in FOLDERS:
        put(store, key)
    for limit in range(1, 9):
        found = list(pages(store, limit, delimiter="/"))
        assert [key for page in found for key in keys(page)] == ["a.txt", "a0", "c"]
        assert [prefix for page in found for prefix in page.common_prefixes] == ["a/", "b/", "d/", "e/"]
        assert all(len(page.objects) + len(page.common_prefixes) <= limit for page in found)
        assert all(len(page.objects) + len(page.common_prefixes) == limit for page in found[:-1])


@check
def delimiter_of_several_characters(store: ObjectStore) -> None:
    for key in ("a--b", "a-b", "a--c", "x"):
        put(store, key)
    listing = store.list(PRIMARY, delimiter="--")
    assert (keys(listing), listing.common_prefixes) == (["a-b", "x"], ("a--",))


@check
def many_keys_below_one_prefix_are_one_entry(store: ObjectStore) -> None:
    for number in range(150):
        put(store, f"many/{number:03}")
    put(store, "after")
    put(store, "next/1")
    listing = store.list(PRIMARY, delimiter="/", limit=10)
    assert (keys(listing), listing.common_prefixes, listing.continuation) == (["after"], ("many/", "next/"), None)


@check
def listing_survives_changes_between_pages(store: ObjectStore) -> None:
    for number in range(6):
        put(store, f"k{number}")
    first = store.list(PRIMARY, limit=3)
    store.delete(PRIMARY, "k2")
    store.delete(PRIMARY, "k3")
    put(store, "k0a")
    rest = store.list(PRIMARY, continuation=first.continuation, limit=3)
    assert keys(rest) == ["k4", "k5"]
    assert rest.continuation is None


@check
def last_page_says_so(store: ObjectStore) -> None:
    for number in range(4):
        put(store, f"k{number}")
    assert store.list(PRIMARY, limit=4).continuation is None
    assert store.list(PRIMARY, limit=3).continuation is not None
    assert store.list(BucketRole.RAW).continuation is None


@check
def foreign_continuation_is_refused(store: ObjectStore) -> None:
    for continuation in ("", "nonsense", "%%%", "bm9uc2Vuc2U=", "W10=", "eyJhIjogMX0=", "ü", "\ud800"):
        with pytest.raises(InvalidRequest):
            store.list(PRIMARY, continuation=continuation)
        with pytest.raises(InvalidRequest):
            store.list_versions(PRIMARY, continuation=continuation)


@check
def page_size_outside_one_to_a_thousand_is_refused(store: ObjectStore) -> None:
    for limit in (-1, 0, 1_001):
        with pytest.raises(InvalidRequest):
            store.list(PRIMARY, limit=limit)
        with pytest.raises(InvalidRequest):
            store.list_versions(PRIMARY, limit=limit)


@check
def versions_are_listed_newest_first_within_a_key(store: ObjectStore) -> None:
    expected: list[str] = []
    for key in ("a", "b", "c"):
        ids = [put(store, key, b"%d" % number).version_id for number in range(3)]
        ids.append(store.delete(PRIMARY, key).version_id)
        expected += reversed(ids)
    for limit in (1, 2, 3, 5, 12, 13):
        found = [version for page in pages(store, limit, versions=True) for version in page.objects]
        assert [version.version_id for version in found] == expected
        assert [version.is_latest for version in found] == [True, False, False, False] * 3


@check
def versions_are_listed_below_a_prefix(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "b/1"):
        put(store, key)
        put(store, key)
    found = [version.key for page in pages(store, 1, prefix="a/", versions=True) for version in page.objects]
    assert found == ["a/1", "a/1", "a/2", "a/2"]


# -- copy, tags, classes ---------------------------------------------------------------------------------------


@check
def copy_brings_everything_along(store: ObjectStore) -> None:
    options = PutOptions("image/png", {"author": "me"}, {"project": "x"}, StorageClass.STANDARD_IA)
    source = put(store, "k", b"data", options)
    made = store.copy(source, BucketRole.PROCESSED, "copy")
    assert (made.content_type, dict(made.user_metadata)) == ("image/png", {"author": "me"})
    assert (made.storage_class, made.size_bytes, made.is_latest) == (StorageClass.STANDARD_IA, 4, True)
    assert dict(store.tags(BucketRole.PROCESSED, "copy")) == {"project": "x"}
    with store.open(BucketRole.PROCESSED, "copy") as reader:
        assert reader.read() == b"data"


@check
def copy_with_options_takes_them_instead(store: ObjectStore) -> None:
    source = put(store, "k", b"data", PutOptions("image/png", {"author": "me"}, {"project": "x"}))
    made = store.copy(source, PRIMARY, "copy", PutOptions("text/plain", storage_class=StorageClass.GLACIER_IR))
    assert (made.content_type, dict(made.user_metadata)) == ("text/plain", {})
    assert made.storage_class is StorageClass.GLACIER_IR
    assert dict(store.tags(PRIMARY, "copy")) == {}
    assert read(store, "copy") == b"data"


@check
def copy_of_an_old_version_becomes_current(store: ObjectStore) -> None:
    old = put(store, "k", b"old")
    put(store, "k", b"new")
    made = store.copy(old, PRIMARY, "k")
    assert read(store, "k") == b"old"
    assert made.version_id != old.version_id
    assert len(store.list_versions(PRIMARY).objects) == 3


@check
def copy_outlives_its_source(store: ObjectStore) -> None:
    source = put(store, "k", b"data")
    for bucket in (PRIMARY, BucketRole.BACKUP):
        store.copy(source, bucket, "copy")
    store.delete_version(PRIMARY, "k", source.version_id)
    for bucket in (PRIMARY, BucketRole.BACKUP):
        with store.open(bucket, "copy") as reader:
            assert reader.read() == b"data"


@check
def tags_can_be_replaced(store: ObjectStore) -> None:
    first = put(store, "k", b"1", PutOptions(tags={"a": "1"}))
    put(store, "k", b"2")
    assert dict(store.tags(PRIMARY, "k")) == {}
    assert dict(store.tags(PRIMARY, "k", version_id=first.version_id)) == {"a": "1"}
    for _ in range(2):
        store.set_tags(PRIMARY, "k", {"b": "ü: x=1/2", "c": ""})
    store.set_tags(PRIMARY, "k", {}, version_id=first.version_id)
    assert dict(store.tags(PRIMARY, "k")) == {"b": "ü: x=1/2", "c": ""}
    assert dict(store.tags(PRIMARY, "k", version_id=first.version_id)) == {}
    with pytest.raises(InvalidRequest):
        store.set_tags(PRIMARY, "k", {f"t{number}": "" for number in range(11)})


@check
def tagging_is_not_a_version(store: ObjectStore) -> None:
    version = put(store, "k")
    store.set_tags(PRIMARY, "k", {"a": "b"})
    assert store.head(PRIMARY, "k") == version
    assert len(store.list_versions(PRIMARY).objects) == 1


@check
def archived_object_must_be_restored_first(store: ObjectStore) -> None:
    for storage_class in (StorageClass.GLACIER, StorageClass.DEEP_ARCHIVE):
        key = storage_class.value
        version = put(store, key, b"cold", PutOptions(storage_class=storage_class))
        assert store.head(PRIMARY, key).storage_class is storage_class
        with pytest.raises(Archived):
            read(store, key)
        with pytest.raises(Archived):
            store.copy(version, PRIMARY, "warm")


@check
def every_other_class_reads_at_once(store: ObjectStore) -> None:
    for storage_class in StorageClass:
        if not storage_class.archived:
            put(store, storage_class.value, b"warm", PutOptions(storage_class=storage_class))
            assert read(store, storage_class.value) == b"warm"


@check
def errors_say_what_and_why(store: ObjectStore) -> None:
    with pytest.raises(PlatformError) as caught:
        store.head(PRIMARY, "holiday.jpg")
    assert "holiday.jpg" in caught.value.public
    assert caught.value.why
