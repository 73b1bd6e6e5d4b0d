"""Disks that fail while a file comes: what was acknowledged stays, what a sync can't vouch for is lost and says so.

Each scenario is run with its n-th effect on files failing, for n = 1, 2, … until nothing is left to fail; once with the
fault passing by, and once with it staying until the client has given up.
"""

from __future__ import annotations

import errno
import mmap
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from contentplatform.clock import RandomIds
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import NoSpace, NotFound, PlatformError, Unavailable
from contentplatform.findings import CheckRun, Severity, run_checks
from contentplatform.ingest.upload_sessions import SCHEMA, LocalUploads, UploadRules
from contentplatform.ingest.uploads import NewUpload, Receiving, UploadKind
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.local import SCHEMA as STORAGE_SCHEMA
from contentplatform.storage.local import LocalObjectStore
from contentplatform.storage.port import BucketRole, versions_of
from fakes.clock import FakeClock
from faults.faulty import Fault, FaultyFiles

PRIMARY = BucketRole.PRIMARY
PIECES = (b"one " * 20_000, b"two " * 20_000)
WHOLE = b"".join(PIECES)
LARGE_BYTES = 4 << 20
MOST_EFFECTS = 100
TRIES = 4


class Disk:
    """Uploads over a disk that can fail."""

    def __init__(self, folder: Path, number: int) -> None:
        self.fault = Fault()
        self.clock = FakeClock()
        self.database = Database(folder / "catalog.db", [STORAGE_SCHEMA, SCHEMA], new_uuid="a")
        files = FaultyFiles(self.fault, number)
        self.store = LocalObjectStore(self.database, folder, self.clock, RandomIds(), files=files)
        rules = UploadRules(checkpoint_bytes=50_000)
        self.uploads = LocalUploads(self.database, self.store, self.clock, RandomIds(), rules)

    def damage(self) -> list[str]:
        """What fsck finds that is wrong."""
        found = run_checks(storage_checks(self.store), CheckRun(deep=True))
        return [str(finding) for finding in found if finding.severity is Severity.DAMAGE]


@pytest.fixture(scope="module", params=[errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    disk = Disk(tmp_path_factory.mktemp("disk"), request.param)
    yield disk
    disk.database.close()


def send(uploads: LocalUploads, key: str, upload_id: str, acknowledged: int) -> tuple[str, int]:
    """What a client does in one try: begin, unless it has; ask how far it is; send the rest. Where it got to."""
    try:
        offset = uploads.get(upload_id).offset if upload_id else 0
        assert offset >= acknowledged, "what was acknowledged is there"
    except NotFound:
        upload_id, offset = "", 0
    if not upload_id:
        upload_id = uploads.create(NewUpload("ann", key, len(WHOLE))).id
    while offset < len(WHOLE):
        end = len(PIECES[0]) if offset < len(PIECES[0]) else len(WHOLE)
        with uploads.append(upload_id, offset) as appending:
            appending.write(WHOLE[offset : end - 1_000])
            appending.write(WHOLE[end - 1_000 : end])
            offset = appending.end().offset
    return upload_id, offset


@pytest.mark.parametrize("for_ever", [False, True])
def test_an_upload_survives_the_failure_of_any_effect(disk: Disk, *, for_ever: bool) -> None:
    for number in count(1):
        assert number < MOST_EFFECTS
        key, upload_id, acknowledged = f"{for_ever}/{number}", "", 0
        disk.fault.arm(number, for_ever=for_ever)
        for _ in range(TRIES):
            try:
                upload_id, acknowledged = send(disk.uploads, key, upload_id, acknowledged)
                break
            except Unavailable:
                disk.fault.disarm() if for_ever else None
                sessions = disk.uploads.open_sessions("ann")
                upload_id = sessions[-1].id if sessions else ""
                acknowledged = sessions[-1].offset if sessions else 0
        struck = disk.fault.struck
        disk.fault.disarm()
        assert acknowledged == len(WHOLE)
        (version,) = versions_of(disk.store, PRIMARY, key)
        with disk.store.open(PRIMARY, key, version_id=version.version_id) as reader:
            assert reader.read() == WHOLE
        for session in disk.uploads.open_sessions("ann"):
            disk.uploads.terminate(session.id)
        if not struck:
            break
    assert disk.damage() == []


def send_in_one_go(uploads: LocalUploads, key: str) -> str:
    """All of it, as a version."""
    receiving = uploads.receive(NewUpload("ann", key, None))
    assert isinstance(receiving, Receiving)
    try:
        receiving.write(WHOLE)
        return receiving.finish()
    finally:
        receiving.abandon()


def test_bytes_in_one_go_are_a_version_or_nothing(disk: Disk) -> None:
    for number in count(1):
        assert number < MOST_EFFECTS
        key = f"go/{number}"
        disk.fault.arm(number, for_ever=False)
        try:
            version_id = send_in_one_go(disk.uploads, key)
        except Unavailable:
            assert versions_of(disk.store, PRIMARY, key) == ()
            continue
        finally:
            disk.fault.disarm()
        (version,) = versions_of(disk.store, PRIMARY, key)
        assert version.version_id == version_id
        if not disk.fault.struck:
            break
    assert disk.damage() == []


def test_parts_are_put_together_though_any_effect_fails(disk: Disk) -> None:
    for number in count(1):
        assert number < MOST_EFFECTS
        key, parts = f"parts/{number}", []
        for piece in PIECES:
            part = disk.uploads.create(NewUpload("ann", "", len(piece), UploadKind.PARTIAL))
            with disk.uploads.append(part.id, 0) as appending:
                appending.write(piece)
            parts.append(part.id)
        new = NewUpload("ann", key, None, UploadKind.FINAL, parts=tuple(parts))
        disk.fault.arm(number, for_ever=False)
        try:
            disk.uploads.create(new)
        except PlatformError:
            disk.fault.disarm()
            disk.uploads.create(new)
        struck = disk.fault.struck
        disk.fault.disarm()
        disk.uploads.expire()
        assert disk.uploads.open_sessions("ann") == []
        (_version,) = versions_of(disk.store, PRIMARY, key)
        with disk.store.open(PRIMARY, key) as reader:
            assert reader.read() == WHOLE
        if not struck:
            break
    assert disk.damage() == []


def test_a_full_disk_keeps_the_upload_and_what_it_acknowledged(tmp_path: Path) -> None:
    disk = Disk(tmp_path, errno.ENOSPC)
    session = disk.uploads.create(NewUpload("ann", "a", len(WHOLE)))
    with disk.uploads.append(session.id, 0) as appending:
        appending.write(PIECES[0][:1_000])
    appending = disk.uploads.append(session.id, 1_000)
    appending.write(PIECES[0][1_000:2_000])
    disk.fault.arm(1, for_ever=False)
    with pytest.raises(NoSpace):
        appending.write(PIECES[0][2_000:])
    assert appending.cut_off().offset == 2_000
    assert send(disk.uploads, "a", session.id, 2_000)[1] == len(WHOLE)
    with disk.store.open(PRIMARY, "a") as reader:
        assert reader.read() == WHOLE
    disk.database.close()


def test_a_disk_that_gets_full_by_what_goes_past_the_cache_keeps_what_came_before(tmp_path: Path) -> None:
    disk = Disk(tmp_path, errno.ENOSPC)
    disk.store.staging.cached_bytes = 0
    memory = mmap.mmap(-1, LARGE_BYTES)
    memory[:] = random.Random(7).randbytes(LARGE_BYTES)
    session = disk.uploads.create(NewUpload("ann", "a", LARGE_BYTES))
    half = memoryview(memory)[: LARGE_BYTES // 2]
    appending = disk.uploads.append(session.id, 0)
    appending.write(half)
    disk.fault.arm(1, for_ever=False)
    with pytest.raises(NoSpace):
        appending.write(half)
    assert disk.fault.struck == 1
    assert appending.cut_off().offset == len(half)
    assert disk.store.staging.path(session.id).stat().st_size == len(half)
    with disk.uploads.append(session.id, len(half)) as appending:
        appending.write(memoryview(memory)[len(half) :])
        assert appending.end().version_id is not None
    with disk.store.open(PRIMARY, "a") as reader:
        assert reader.read() == memory[:]
    assert disk.damage() == []
    disk.database.close()


def test_a_failed_sync_is_not_tried_again_the_upload_is_lost(tmp_path: Path) -> None:
    disk = Disk(tmp_path, errno.EIO)
    session = disk.uploads.create(NewUpload("ann", "a", len(WHOLE)))
    with disk.uploads.append(session.id, 0) as appending:
        appending.write(PIECES[0])
    appending = disk.uploads.append(session.id, len(PIECES[0]))
    appending.write(PIECES[1][:100])
    disk.fault.arm(1, for_ever=False)
    with pytest.raises(Unavailable, match="lost"):
        appending.end()
    assert disk.fault.struck == 1
    with pytest.raises(NotFound):
        disk.uploads.get(session.id)
    assert list(disk.store.staging.folder.iterdir()) == []
    assert versions_of(disk.store, PRIMARY, "a") == ()
    disk.database.close()


def test_a_checkpoint_that_fails_ends_the_piece_however_it_goes_on(tmp_path: Path) -> None:
    disk = Disk(tmp_path, errno.EIO)
    session = disk.uploads.create(NewUpload("ann", "a", len(WHOLE)))
    appending = disk.uploads.append(session.id, 0)
    disk.fault.arm(2, for_ever=False)  # the write, then the sync beside it
    appending.write(PIECES[0])
    disk.uploads.checkpoints.shutdown()
    assert disk.fault.struck == 1
    with pytest.raises(Unavailable, match="lost"):
        appending.write(PIECES[1][:10])
    with pytest.raises(Unavailable, match="lost"):
        appending.cut_off()
    with pytest.raises(NotFound):
        disk.uploads.get(session.id)
    disk.database.close()


def test_a_file_that_became_shorter_is_a_lost_upload(tmp_path: Path) -> None:
    disk = Disk(tmp_path, errno.EIO)
    session = disk.uploads.create(NewUpload("ann", "a", len(WHOLE)))
    with disk.uploads.append(session.id, 0) as appending:
        appending.write(PIECES[0])
    path = disk.store.staging.path(session.id)
    path.write_bytes(b"short")
    with pytest.raises(PlatformError, match="instead of"):
        disk.uploads.append(session.id, len(PIECES[0]))
    with pytest.raises(NotFound):
        disk.uploads.get(session.id)
    disk.database.close()


def test_what_lies_beyond_the_offset_is_cut_and_sent_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path, errno.EIO)
    session = disk.uploads.create(NewUpload("ann", "a", len(WHOLE)))
    with disk.uploads.append(session.id, 0) as appending:
        appending.write(PIECES[0])
    with disk.store.staging.path(session.id).open("ab") as file:
        file.write(b"a torn tail")
    assert send(disk.uploads, "a", session.id, len(PIECES[0]))[1] == len(WHOLE)
    with disk.store.open(PRIMARY, "a") as reader:
        assert reader.read() == WHOLE
    disk.database.close()


def test_live_uploads_are_no_garbage_and_leftovers_are(tmp_path: Path) -> None:
    disk = Disk(tmp_path, errno.EIO)
    session = disk.uploads.create(NewUpload("ann", "a", len(WHOLE)))
    with disk.uploads.append(session.id, 0) as appending:
        appending.write(PIECES[0])
    assert disk.damage() == [], "an upload on its way is no damage"
    left = disk.store.staging.folder / "left-by-nobody"
    left.write_bytes(b"x")
    for _ in range(3):
        disk.store.collect_garbage()
        disk.clock.advance(90_000)
    assert not left.exists()
    assert send(disk.uploads, "a", session.id, len(PIECES[0]))[1] == len(WHOLE)
    assert disk.damage() == []
    disk.database.close()
