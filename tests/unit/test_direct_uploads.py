"""Uploads that go straight to a far store: what is told and counted, and what a crash between two stores leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from contentplatform.accounts.port import machine
from contentplatform.clock import RandomIds
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Conflict, Denied, InvalidRequest, NotFound, QuotaExceeded, RateLimited, Unavailable
from contentplatform.ingest.direct_uploads import SCHEMA, FarUploads
from contentplatform.ingest.upload_sessions import UploadRules
from contentplatform.ingest.uploads import DirectUpload, Incomplete, NewUpload, TooLarge, UploadKind, UploadSession
from contentplatform.storage.parts import LARGEST_PART_BYTES, PARTS_LIMIT, SMALLEST_PART_BYTES, PartPlan, plan_parts
from contentplatform.storage.port import BucketRole, PutOptions, versions_of
from contentplatform.web.uploads import UploadsApp
from fakes.clock import FakeClock
from fakes.object_store import MemoryObjectStore
from fakes.parts import MemoryParts
from fakes.uploads import MemoryUploads

PRIMARY = BucketRole.PRIMARY
DAY = 86_400.0


class Counted:
    """An allowance of 100 bytes; it can be told to fail when it settles."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.settled: dict[str, str] = {}
        self.failures = 0

    def begin(self, new: NewUpload, upload_id: str, _until: datetime, /) -> str:
        if sum(self.held.values()) + (new.length or 0) > 100:
            raise QuotaExceeded("counting", "too much")
        self.held[upload_id] = new.length or 0
        return new.key

    def resize(self, session: UploadSession, size_bytes: int, /) -> None:
        raise AssertionError((session, size_bytes))

    def settle(self, session: UploadSession, version_id: str, /) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("settling", "it was told to fail")
        assert session.offset == self.held[session.id]
        self.settled[session.id] = version_id

    def release(self, session: UploadSession, /) -> None:
        self.held.pop(session.id)


class World:
    def __init__(self, database: Database) -> None:
        self.clock = FakeClock()
        self.store = MemoryObjectStore(self.clock, RandomIds())
        self.parts = MemoryParts(self.store)
        self.allowance = Counted()
        rules = UploadRules(max_bytes=1_000, max_open=3, keep_seconds=7 * DAY)
        self.uploads = FarUploads(
            database, self.store, self.parts, self.clock, RandomIds(), rules, self.allowance, part_size_bytes=4
        )

    def send(self, upload: DirectUpload, data: bytes, *numbers: int) -> None:
        [transfer] = {part.url.partition("transfer=")[2].partition("&")[0] for part in upload.parts}
        for part in upload.parts:
            if not numbers or part.number in numbers:
                piece = data[part.first_byte : part.first_byte + part.size_bytes]
                self.parts.bytes[transfer][part.number] = piece


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database(tmp_path / "rows.db", [SCHEMA], new_uuid="a")
    yield World(database)
    database.close()


# -- the plan ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "count"),
    [
        (1, 1),
        (SMALLEST_PART_BYTES, 1),
        (SMALLEST_PART_BYTES + 1, 2),
        (SMALLEST_PART_BYTES * PARTS_LIMIT, PARTS_LIMIT),
        (SMALLEST_PART_BYTES * PARTS_LIMIT + 1, 9_412),
        (5 << 40, 9_987),
    ],
)
def test_a_body_is_cut_into_at_most_10_000_parts(size_bytes: int, count: int) -> None:
    plan = plan_parts(size_bytes)
    assert plan.count == count <= 10_000
    assert sum(plan.size_of(number) for number in range(1, count + 1)) == size_bytes
    assert plan.first_byte(count) + plan.size_of(count) == size_bytes
    assert plan.part_size_bytes % (1 << 20) == 0


@pytest.mark.parametrize("size_bytes", [0, -1, LARGEST_PART_BYTES * PARTS_LIMIT + 1])
def test_a_body_of_no_bytes_or_too_many_has_no_plan(size_bytes: int) -> None:
    with pytest.raises(InvalidRequest):
        plan_parts(size_bytes)


def test_a_part_of_another_size_is_missing() -> None:
    assert PartPlan(10, 4).missing({1: 4, 2: 3, 3: 2, 9: 4}) == [2]


# -- the way of one ------------------------------------------------------------------------------------------------


def test_parts_go_up_in_any_order_and_become_one_version(world: World) -> None:
    begun = world.uploads.create(NewUpload("ann", "a/b.txt", 10, claimed_type="text/plain"))
    assert [(part.number, part.first_byte, part.size_bytes) for part in begun.parts] == [
        (1, 0, 4),
        (2, 4, 4),
        (3, 8, 2),
    ]
    assert all("seconds=3600" in part.url and part.headers == {"x-signed": "yes"} for part in begun.parts)
    world.send(begun, b"0123456789", 3, 1)
    with pytest.raises(Incomplete, match="1 are missing: 2"):
        world.uploads.complete(begun.id)
    looked = world.uploads.get(begun.id)
    assert (looked.parts_there, [part.number for part in looked.parts]) == ((1, 3), [2])
    world.send(looked, b"0123456789")
    made = world.uploads.complete(begun.id)
    version = world.store.head(PRIMARY, "a/b.txt")
    assert made.version_id == version.version_id == world.allowance.settled[begun.id]
    assert (version.size_bytes, version.content_type) == (10, "text/plain")
    assert version.user_metadata == {"claimed-type": "text/plain", "upload-id": begun.id}
    assert world.uploads.complete(begun.id) == world.uploads.get(begun.id) == made
    assert len(versions_of(world.store, PRIMARY, "a/b.txt")) == 1


def test_what_the_store_has_and_the_rows_do_not_know_is_found(world: World) -> None:
    begun = world.uploads.create(NewUpload("ann", "a.txt", 5))
    world.send(begun, b"hello")
    world.allowance.failures = 1
    with pytest.raises(Unavailable):
        world.uploads.complete(begun.id)
    [version] = versions_of(world.store, PRIMARY, "a.txt")
    assert world.uploads.get(begun.id).version_id == version.version_id
    assert world.allowance.settled == {begun.id: version.version_id}


def test_a_transfer_that_the_store_gave_up_ends_the_upload(world: World) -> None:
    begun = world.uploads.create(NewUpload("ann", "a.txt", 5))
    world.parts.bytes.clear()
    for _ in range(2):
        with pytest.raises(NotFound):
            world.uploads.get(begun.id)
    assert world.allowance.held == {}


def test_a_file_that_must_not_exist_and_came_meanwhile_ends_the_upload(world: World) -> None:
    begun = world.uploads.create(NewUpload("ann", "a.txt", 5, create_only=True))
    world.send(begun, b"hello")
    world.store.put(PRIMARY, "a.txt", BytesIO(b"other"), PutOptions())
    with pytest.raises(Conflict):
        world.uploads.complete(begun.id)
    assert (world.allowance.held, world.parts.bytes) == ({}, {})
    with pytest.raises(Conflict):
        world.uploads.create(NewUpload("ann", "a.txt", 5, create_only=True))


# -- limits --------------------------------------------------------------------------------------------------------


def test_limits_are_those_of_every_upload(world: World) -> None:
    for new, error in (
        (NewUpload("ann", "a", None), InvalidRequest),
        (NewUpload("ann", "a", 0), InvalidRequest),
        (NewUpload("ann", "", 5), InvalidRequest),
        (NewUpload("ann", "a", 1_001), TooLarge),
        (NewUpload("ann", "a", 101), QuotaExceeded),
        (NewUpload("ann", "a", 5, by_link=True), Denied),
        (NewUpload("ann", "", 5, kind=UploadKind.PARTIAL), Denied),
    ):
        with pytest.raises(error):
            world.uploads.create(new)
    assert (world.allowance.held, world.parts.bytes) == ({}, {})
    for _ in range(3):
        world.uploads.create(NewUpload("ann", "a", 5))
    with pytest.raises(RateLimited):
        world.uploads.create(NewUpload("ann", "a", 5))
    world.uploads.create(NewUpload("bob", "a", 5))


# -- ending --------------------------------------------------------------------------------------------------------


def test_an_upload_that_is_ended_frees_its_parts_and_its_room(world: World) -> None:
    begun = world.uploads.create(NewUpload("ann", "a", 5))
    world.uploads.terminate(begun.id)
    assert (world.allowance.held, world.parts.bytes) == ({}, {})
    with pytest.raises(NotFound):
        world.uploads.terminate(begun.id)


def test_what_nobody_finishes_ends_by_itself_and_what_became_a_version_stays(world: World) -> None:
    finished = world.uploads.create(NewUpload("ann", "a", 5))
    world.send(finished, b"hello")
    world.uploads.complete(finished.id)
    world.clock.advance(DAY)
    left = world.uploads.create(NewUpload("ann", "b", 5))
    world.clock.advance(7 * DAY - 60)
    assert "seconds=60" in world.uploads.get(left.id).parts[0].url
    assert world.uploads.expire() == 1  # the finished one
    world.clock.advance(60)
    with pytest.raises(NotFound):
        world.uploads.get(left.id)
    assert (world.uploads.expire(), world.uploads.expire()) == (1, 0)
    assert (list(world.allowance.held), world.parts.bytes) == ([finished.id], {})
    assert world.store.head(PRIMARY, "a").size_bytes == 5


def test_at_most_a_hundred_addresses_are_told_at_once(world: World) -> None:
    world.allowance.begin = lambda new, _id, _until: new.key  # type: ignore[method-assign]  # a key is free at once
    begun = world.uploads.create(NewUpload("ann", "a", 1_000))
    assert [part.number for part in begun.parts] == list(range(1, 101))


# -- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_far", [False, True])
def test_a_home_says_whether_it_takes_the_bytes_itself(world: World, *, is_far: bool) -> None:
    near = MemoryUploads(world.store, world.clock, RandomIds(), UploadRules())
    app = UploadsApp(near, lambda _scope: machine("ann"), direct=world.uploads if is_far else None)

    async def ask(**wanted: object) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site.test") as client:
            return await client.post("/api/v1/uploads", json={"key": "a", "size_bytes": 5} | wanted)

    answer = asyncio.run(ask(direct=True))
    if is_far:
        assert (answer.status_code, answer.json()["parts"][0]["size_bytes"]) == (201, 4)
    else:
        assert (answer.status_code, answer.json()) == (200, {"already_here": False, "direct": False, "key": "a"})
    for wrong in ({}, {"direct": "yes"}, {"direct": True, "create_only": 1}, {"direct": True, "sha256": 5}):
        assert asyncio.run(ask(**wrong)).status_code == 400
