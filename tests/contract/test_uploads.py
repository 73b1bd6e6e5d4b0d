"""Every home of uploads keeps the same contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import Database
from contentplatform.errors import (
    ChecksumMismatch,
    Conflict,
    Denied,
    InvalidRequest,
    NotFound,
    PlatformError,
    QuotaExceeded,
    RateLimited,
)
from contentplatform.ingest.upload_sessions import SCHEMA, LocalUploads, UploadRules
from contentplatform.ingest.uploads import (
    Busy,
    Checksum,
    NewUpload,
    Receiving,
    TooLarge,
    UploadKind,
    Uploads,
    UploadSession,
)
from contentplatform.storage.local import SCHEMA as STORAGE_SCHEMA
from contentplatform.storage.local import LocalObjectStore
from contentplatform.storage.outgoing_files import OutgoingFiles
from contentplatform.storage.port import BucketRole, ObjectStore
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore
from fakes.uploads import MemoryUploads, sha256

RULES = UploadRules(max_bytes=1_000, max_open=4, keep_seconds=100.0)
PRIMARY = BucketRole.PRIMARY


class Purse:
    """An allowance of so many bytes for everybody together; keys of links get a folder."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self.kept: dict[str, int] = {}
        self.settled: dict[str, int] = {}

    def begin(self, new: NewUpload, upload_id: str, _until: object, /) -> str:
        self._keep(upload_id, new.length or 0)
        return f"inbox/{new.key}" if new.by_link else new.key

    def resize(self, session: UploadSession, size_bytes: int, /) -> None:
        self._keep(session.id, size_bytes)

    def settle(self, session: UploadSession, version_id: str, /) -> None:
        self.settled[version_id] = self.kept.pop(session.id, 0)

    def release(self, session: UploadSession, /) -> None:
        self.kept.pop(session.id, None)

    def _keep(self, upload_id: str, size_bytes: int) -> None:
        others = sum(self.kept.values()) + sum(self.settled.values()) - self.kept.get(upload_id, 0)
        if others + size_bytes > self.room_bytes:
            raise QuotaExceeded("keeping room", "there is none")
        self.kept[upload_id] = size_bytes


class World:
    """Uploads, and what they act on."""

    def __init__(self, uploads: Uploads, store: ObjectStore, clock: FakeClock, purse: Purse) -> None:
        self.uploads = uploads
        self.store = store
        self.clock = clock
        self.purse = purse

    def begin(self, length: int | None = 10, key: str = "a.bin", owner: str = "ann", **more: object) -> UploadSession:
        return self.uploads.create(NewUpload(owner, key, length, **more))  # type: ignore[arg-type]  # fields by name

    def send(self, upload_id: str, offset: int, data: bytes, checksum: Checksum | None = None) -> UploadSession:
        appending = self.uploads.append(upload_id, offset, checksum=checksum)
        appending.write(data)
        return appending.end()

    def part(self, data: bytes, owner: str = "ann") -> str:
        session = self.begin(len(data), "", owner, kind=UploadKind.PARTIAL)
        return self.send(session.id, 0, data).id

    def receiving(self, new: NewUpload, idempotency_key: str | None = None) -> Receiving:
        receiving = self.uploads.receive(new, idempotency_key=idempotency_key)
        assert isinstance(receiving, Receiving)
        return receiving

    def read(self, key: str = "a.bin") -> bytes:
        with self.store.open(PRIMARY, key) as reader:
            return reader.read()

    def exists(self, key: str = "a.bin") -> bool:
        try:
            self.store.head(PRIMARY, key)
        except NotFound:
            return False
        return True

    def is_gone(self, upload_id: str) -> bool:
        try:
            self.uploads.get(upload_id)
        except NotFound:
            return True
        return False


@pytest.fixture(params=["fake", "local", "far"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    clock, ids, purse = FakeClock(), SequentialIds(), Purse(10_000)
    if request.param == "fake":
        memory = MemoryObjectStore(clock, ids)
        yield World(MemoryUploads(memory, clock, ids, RULES, purse), memory, clock, purse)
        return
    database = Database(tmp_path / "catalog.db", [STORAGE_SCHEMA, SCHEMA], new_uuid="a")
    if request.param == "local":
        store = LocalObjectStore(database, tmp_path, clock, ids)
        yield World(LocalUploads(database, store, clock, ids, RULES, purse), store, clock, purse)
    else:
        far = MemoryObjectStore(clock, ids)
        keys = partial(map, lambda version: version.key)
        staging = OutgoingFiles(database, far, tmp_path / "out", ids, lambda _sha256: keys(far.list(PRIMARY).objects))
        yield World(LocalUploads(database, far, clock, ids, RULES, purse, staging=staging), far, clock, purse)
        assert list(staging.staging.folder.glob("unnamed-*")) == []
    database.close()


# -- from the first byte to the version ----------------------------------------------------------------------------


def test_pieces_become_one_version(world: World) -> None:
    session = world.begin(claimed_type="text/plain", metadata={"filename": "ä"})
    assert (session.offset, session.length, session.version_id) == (0, 10, None)
    session = world.send(session.id, 0, b"hello")
    assert (session.offset, session.version_id, session.complete) == (5, None, False)
    assert not world.exists()
    session = world.send(session.id, 5, b"world")
    version = world.store.head(PRIMARY, "a.bin")
    assert (session.offset, session.version_id, session.complete) == (10, version.version_id, True)
    assert (version.sha256, version.content_type) == (sha256(b"helloworld"), "text/plain")
    assert world.read() == b"helloworld"
    assert world.uploads.get(session.id) == session
    assert session.metadata == {"filename": "ä"}


def test_no_bytes_are_a_version_at_once(world: World) -> None:
    session = world.begin(0)
    assert session.version_id == world.store.head(PRIMARY, "a.bin").version_id
    assert world.read() == b""


def test_a_length_may_be_told_later_and_once(world: World) -> None:
    session = world.begin(None)
    appending = world.uploads.append(session.id, 0)
    assert appending.room_bytes is None
    appending.write(b"abc")
    assert appending.end().length is None
    appending = world.uploads.append(session.id, 3, length=5)
    assert appending.room_bytes == 2
    appending.write(b"d")
    assert appending.end().length == 5
    with pytest.raises(InvalidRequest):
        world.uploads.append(session.id, 4, length=6)
    assert world.send(session.id, 4, b"e").version_id is not None
    assert world.read() == b"abcde"


def test_a_length_below_what_is_there_is_refused(world: World) -> None:
    session = world.begin(None)
    world.send(session.id, 0, b"abc")
    with pytest.raises(InvalidRequest):
        world.uploads.append(session.id, 3, length=2)


def test_two_uploads_to_one_key_are_two_versions(world: World) -> None:
    one, other = world.begin(3), world.begin(3)
    first = world.send(one.id, 0, b"one").version_id
    second = world.send(other.id, 0, b"two").version_id
    assert first != second
    assert world.read() == b"two"
    assert first is not None
    with world.store.open(PRIMARY, "a.bin", version_id=first) as reader:
        assert reader.read() == b"one"


# -- offsets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "error"), [(4, Conflict), (6, Conflict), (0, Conflict), (11, InvalidRequest)])
def test_only_the_next_byte_is_taken(world: World, offset: int, error: type[PlatformError]) -> None:
    session = world.begin()
    world.send(session.id, 0, b"hello")
    with pytest.raises(error):
        world.uploads.append(session.id, offset)
    assert world.uploads.get(session.id).offset == 5


def test_an_offset_below_zero_is_refused(world: World) -> None:
    session = world.begin()
    with pytest.raises(InvalidRequest):
        world.uploads.append(session.id, -1)


def test_nothing_is_added_to_what_is_complete(world: World) -> None:
    session = world.begin(3)
    world.send(session.id, 0, b"abc")
    with pytest.raises(Denied):
        world.uploads.append(session.id, 3)
    assert world.read() == b"abc"


def test_more_bytes_than_announced_are_none_at_all(world: World) -> None:
    session = world.begin(5)
    appending = world.uploads.append(session.id, 0)
    appending.write(b"abc")
    with pytest.raises(InvalidRequest):
        appending.write(b"def")
    appending.discard()
    assert world.uploads.get(session.id).offset == 0
    assert world.send(session.id, 0, b"right").version_id is not None
    assert world.read() == b"right"


def test_one_writes_at_a_time_and_the_other_is_told_at_once(world: World) -> None:
    session = world.begin()
    appending = world.uploads.append(session.id, 0)
    appending.write(b"hel")
    with pytest.raises(Busy):
        world.uploads.append(session.id, 0)
    with pytest.raises(Busy):
        world.uploads.terminate(session.id)
    assert world.uploads.get(session.id).offset == 0
    appending.write(b"lo")
    assert appending.end().offset == 5
    assert world.send(session.id, 5, b"world").version_id is not None


def test_what_came_before_a_cut_is_kept(world: World) -> None:
    session = world.begin()
    appending = world.uploads.append(session.id, 0)
    appending.write(b"hel")
    assert appending.cut_off().offset == 3
    with world.uploads.append(session.id, 3) as left:
        left.write(b"lo")
    assert world.uploads.get(session.id).offset == 5
    world.send(session.id, 5, b"world")
    assert world.read() == b"helloworld"


def test_a_piece_of_no_bytes_changes_nothing(world: World) -> None:
    session = world.begin()
    appending = world.uploads.append(session.id, 0)
    assert appending.end().offset == 0
    world.send(session.id, 0, b"helloworld")
    assert world.read() == b"helloworld"


# -- checksums -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5", "sha512"])
def test_a_piece_with_the_right_checksum_is_kept(world: World, algorithm: str) -> None:
    session = world.begin(5)
    checksum = Checksum(algorithm, hashlib.new(algorithm, b"hello").digest())
    assert world.send(session.id, 0, b"hello", checksum).version_id is not None


def test_a_piece_with_a_wrong_checksum_is_forgotten(world: World) -> None:
    session = world.begin()
    world.send(session.id, 0, b"hello")
    with pytest.raises(ChecksumMismatch):
        world.send(session.id, 5, b"w0rld", Checksum("sha1", hashlib.sha1(b"world", usedforsecurity=False).digest()))
    assert world.uploads.get(session.id).offset == 5
    world.send(session.id, 5, b"world")
    assert world.read() == b"helloworld"


def test_a_cut_piece_with_a_checksum_is_forgotten(world: World) -> None:
    session = world.begin()
    appending = world.uploads.append(session.id, 0, checksum=Checksum("sha256", hashlib.sha256(b"hello").digest()))
    appending.write(b"hel")
    assert appending.cut_off().offset == 0
    world.send(session.id, 0, b"helloworld")
    assert world.read() == b"helloworld"


def test_an_unknown_checksum_is_refused(world: World) -> None:
    session = world.begin()
    with pytest.raises(InvalidRequest):
        world.uploads.append(session.id, 0, checksum=Checksum("crc32", b"1234"))
    assert world.send(session.id, 0, b"hello").offset == 5


def test_the_promised_hash_of_the_whole_is_checked(world: World) -> None:
    session = world.begin(5, expected_sha256=sha256(b"hello"))
    assert world.send(session.id, 0, b"hello").version_id is not None
    session = world.begin(5, "b.bin", expected_sha256=sha256(b"hello"))
    with pytest.raises(ChecksumMismatch):
        world.send(session.id, 0, b"jello")
    assert not world.exists("b.bin")
    assert world.is_gone(session.id)


def test_a_file_that_must_not_exist_and_does_ends_the_upload(world: World) -> None:
    session = world.begin(3, create_only=True)
    world.send(world.begin(3).id, 0, b"1st")
    with pytest.raises(Conflict):
        world.send(session.id, 0, b"2nd")
    assert world.is_gone(session.id)
    with pytest.raises(Conflict):
        world.begin(3, create_only=True)
    assert world.read() == b"1st"


# -- parts ---------------------------------------------------------------------------------------------------------


def test_parts_become_one_version_in_their_order(world: World) -> None:
    parts = (world.part(b"hello "), world.part(b"wo"), world.part(b"rld"))
    final = world.begin(None, kind=UploadKind.FINAL, parts=parts, expected_sha256=sha256(b"hello world"))
    assert (final.length, final.offset, final.parts) == (11, 11, parts)
    assert final.version_id == world.store.head(PRIMARY, "a.bin").version_id
    assert world.read() == b"hello world"
    with pytest.raises(Denied):
        world.uploads.append(final.id, 11)


def test_the_same_parts_again_are_the_same_upload(world: World) -> None:
    parts = (world.part(b"a"), world.part(b"b"))
    final = world.begin(None, kind=UploadKind.FINAL, parts=parts)
    assert world.begin(None, kind=UploadKind.FINAL, parts=parts).id == final.id
    with pytest.raises(InvalidRequest):
        world.begin(None, "other.bin", kind=UploadKind.FINAL, parts=parts)
    with pytest.raises(InvalidRequest):
        world.begin(None, kind=UploadKind.FINAL, parts=parts[:1])


def test_what_is_no_complete_part_of_the_owner_is_refused(world: World) -> None:
    unfinished = world.begin(3, "", kind=UploadKind.PARTIAL).id
    foreign = world.part(b"x", "bob")
    whole = world.begin(3).id
    part = world.part(b"y")
    for parts in ((unfinished,), (foreign,), (whole,), ("0" * 32,), (part, part), ()):
        with pytest.raises(InvalidRequest):
            world.begin(None, kind=UploadKind.FINAL, parts=parts)
    assert not world.exists()


def test_a_part_is_no_file(world: World) -> None:
    part = world.uploads.get(world.part(b"abc"))
    assert (part.version_id, part.complete, part.partial) == (None, True, True)
    assert world.store.list(PRIMARY).objects == ()


# -- ending --------------------------------------------------------------------------------------------------------


def test_a_terminated_upload_is_gone_and_its_room_free(world: World) -> None:
    session = world.begin()
    world.send(session.id, 0, b"hello")
    assert world.purse.kept == {session.id: 10}
    world.uploads.terminate(session.id)
    assert world.is_gone(session.id)
    assert world.purse.kept == {}
    with pytest.raises(NotFound):
        world.uploads.terminate(session.id)
    with pytest.raises(NotFound):
        world.uploads.append(session.id, 5)


def test_a_version_stays_when_its_upload_is_terminated(world: World) -> None:
    session = world.begin(3)
    world.send(session.id, 0, b"abc")
    world.uploads.terminate(session.id)
    assert world.read() == b"abc"
    assert list(world.purse.settled.values()) == [3]


def test_an_upload_ends_when_nothing_came_for_long(world: World) -> None:
    session = world.begin()
    world.clock.advance(99)
    assert world.uploads.expire() == 0
    world.send(session.id, 0, b"hello")
    world.clock.advance(99)
    assert world.uploads.get(session.id).offset == 5
    world.clock.advance(1)
    assert world.is_gone(session.id)
    assert world.uploads.expire() == 1
    assert world.purse.kept == {}


def test_one_that_is_being_written_does_not_expire(world: World) -> None:
    session = world.begin()
    appending = world.uploads.append(session.id, 0)
    appending.write(b"hello")
    world.clock.advance(1_000)
    assert world.uploads.expire() == 0
    assert appending.end().offset == 5
    assert world.uploads.get(session.id).offset == 5


# -- limits --------------------------------------------------------------------------------------------------------


def test_what_is_too_large_is_refused_before_a_byte_came(world: World) -> None:
    with pytest.raises(TooLarge):
        world.begin(1_001)
    session = world.begin(None)
    with pytest.raises(TooLarge):
        world.uploads.append(session.id, 0, length=1_001)
    appending = world.uploads.append(session.id, 0)
    with pytest.raises(InvalidRequest):
        appending.write(b"x" * 1_001)
    appending.discard()


def test_an_owner_has_only_so_many_open(world: World) -> None:
    sessions = [world.begin() for _ in range(4)]
    with pytest.raises(RateLimited):
        world.begin()
    assert world.begin(owner="bob").owner == "bob"
    world.uploads.terminate(sessions[0].id)
    world.begin()
    assert len(world.uploads.open_sessions("ann")) == 4


def test_a_key_that_names_no_file_is_refused(world: World) -> None:
    for key in ("", "a\nb", "x" * 901):
        with pytest.raises(InvalidRequest):
            world.begin(key=key)


def test_room_is_kept_from_the_beginning_and_counted_once(world: World) -> None:
    world.purse.room_bytes = 15
    session = world.begin(10)
    with pytest.raises(QuotaExceeded):
        world.begin(6, "b.bin")
    world.send(session.id, 0, b"helloworld")
    assert world.purse.kept == {}
    assert list(world.purse.settled.values()) == [10]
    deferred = world.begin(None, "c.bin")
    with pytest.raises(QuotaExceeded):
        world.uploads.append(deferred.id, 0, length=6)
    world.uploads.append(deferred.id, 0, length=5).discard()


def test_a_link_says_where_its_files_go_and_takes_no_parts(world: World) -> None:
    session = world.begin(3, "a.bin", "link", by_link=True)
    assert (session.key, session.by_link) == ("inbox/a.bin", True)
    world.send(session.id, 0, b"abc")
    assert world.read("inbox/a.bin") == b"abc"
    with pytest.raises(Denied):
        world.begin(3, "", "link", by_link=True, kind=UploadKind.PARTIAL)


# -- in one go -----------------------------------------------------------------------------------------------------


def test_bytes_in_one_go_become_a_version(world: World) -> None:
    receiving = world.receiving(NewUpload("ann", "a.bin", None, claimed_type="text/plain"))
    receiving.write(b"hello")
    receiving.write(b"world")
    assert receiving.key == "a.bin"
    assert receiving.finish() == world.store.head(PRIMARY, "a.bin").version_id
    receiving.abandon()
    assert world.read() == b"helloworld"


def test_what_is_abandoned_or_too_short_or_too_long_is_nothing(world: World) -> None:
    receiving = world.receiving(NewUpload("ann", "a.bin", None))
    receiving.write(b"hello")
    receiving.abandon()
    receiving.abandon()
    receiving = world.receiving(NewUpload("ann", "a.bin", 10))
    receiving.write(b"hello")
    with pytest.raises(InvalidRequest):
        receiving.finish()
    receiving = world.receiving(NewUpload("ann", "a.bin", 3))
    with pytest.raises(TooLarge):
        receiving.write(b"hello")
    receiving.abandon()
    receiving = world.receiving(NewUpload("ann", "a.bin", 5, expected_sha256=sha256(b"jello")))
    receiving.write(b"hello")
    with pytest.raises(ChecksumMismatch):
        receiving.finish()
    assert not world.exists()
    assert world.purse.kept == {}


def test_an_idempotency_key_makes_one_version(world: World) -> None:
    receiving = world.receiving(NewUpload("ann", "a.bin", 3), "once")
    receiving.write(b"abc")
    version_id = receiving.finish()
    assert world.uploads.receive(NewUpload("ann", "a.bin", 3), idempotency_key="once") == version_id
    world.receiving(NewUpload("bob", "a.bin", 3), "once").abandon()
    with pytest.raises(InvalidRequest):
        world.uploads.receive(NewUpload("ann", "b.bin", 3), idempotency_key="once")


# -- hash first ----------------------------------------------------------------------------------------------------


def test_content_that_is_here_needs_no_transfer(world: World) -> None:
    world.send(world.begin(5, "there.bin").id, 0, b"hello")
    wanted = NewUpload("ann", "a.bin", 5, claimed_type="text/plain", expected_sha256=sha256(b"hello"))
    version_id = world.uploads.already_here(wanted, lambda _key: True)
    assert version_id == world.store.head(PRIMARY, "a.bin").version_id
    assert world.read() == b"hello"
    assert world.uploads.already_here(wanted, lambda _key: True) == version_id, "nothing new is made of the same"
    assert sorted(world.purse.settled.values()) == [5, 5]


def test_content_that_somebody_may_not_see_is_not_here_for_them(world: World) -> None:
    world.send(world.begin(5, "secret.bin").id, 0, b"hello")
    wanted = NewUpload("bob", "a.bin", 5, expected_sha256=sha256(b"hello"))
    assert world.uploads.already_here(wanted, lambda key: not key.startswith("secret")) is None
    assert world.uploads.already_here(NewUpload("bob", "a.bin", 4, expected_sha256=sha256(b"hello")), bool) is None
    with pytest.raises(InvalidRequest):
        world.uploads.already_here(NewUpload("bob", "a.bin", 5), bool)
    assert not world.exists()
