"""The journal beside the blobs: it can rebuild the rows, survives damage where it can, and stays small."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentplatform.clock import RandomIds
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Conflict
from contentplatform.findings import CheckRun, Finding, run_checks
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.journal import Line, rebuild_from_journal
from contentplatform.storage.local import SCHEMA, LocalObjectStore, stored_uuid
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions, StorageClass
from fakes.clock import FakeClock, SequentialIds

PRIMARY = BucketRole.PRIMARY
GRACE = 3_600


class Home:
    """A data folder whose database can be lost."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.open_database()
        self.open_store()

    def open_database(self) -> None:
        uuid = stored_uuid(self.root) or RandomIds().new_id()
        self.database = Database(self.root / "catalog.db", [SCHEMA], new_uuid=uuid)

    def open_store(self) -> None:
        self.store = LocalObjectStore(self.database, self.root, self.clock, RandomIds(), gc_grace_seconds=GRACE)

    def lose_database(self) -> None:
        """And make a new, empty one; the store is not opened on it yet."""
        self.database.close()
        for path in self.root.glob("catalog.db*"):
            path.unlink()
        self.open_database()

    def put(self, key: str, data: bytes, options: PutOptions | None = None) -> ObjectVersion:
        return self.store.put(PRIMARY, key, io.BytesIO(data), options or PutOptions())

    def everything(self) -> list[tuple[object, ...]]:
        """Every row of every version, tombstones too, and every pointer."""
        with self.database.read() as connection:
            rows = connection.rows("SELECT * FROM object_versions ORDER BY commit_seq")
            return rows + connection.rows("SELECT * FROM object_current ORDER BY bucket, key")

    def findings(self, *, repair: bool = False) -> list[Finding]:
        return list(run_checks(storage_checks(self.store), CheckRun(deep=True, repair=repair)))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.database.close()


def live_through_everything(home: Home) -> None:
    first = home.put("a", b"first", PutOptions("text/plain", {"author": "me"}, {"t": "1"}))
    home.put("a", b"second")
    home.put("ü/😀", b"third", PutOptions(storage_class=StorageClass.STANDARD_IA))
    home.store.flush_journal()
    home.store.set_tags(PRIMARY, "a", {"t": "2"}, version_id=first.version_id)
    home.store.copy(first, BucketRole.BACKUP, "copy")
    marker = home.store.delete(PRIMARY, "a")
    home.store.flush_journal()
    home.store.delete_version(PRIMARY, "a", marker.version_id)
    gone = home.put("gone", b"gone")
    home.store.delete_version(PRIMARY, "gone", gone.version_id)
    home.store.delete(PRIMARY, "hidden")


def test_rebuilt_rows_are_the_rows_that_were_lost(home: Home) -> None:
    live_through_everything(home)
    home.store.flush_journal()
    before = home.everything()
    home.lose_database()
    rebuilt = rebuild_from_journal(home.database, home.root, home.store.blobs)
    home.open_store()
    assert (rebuilt.damaged_lines, rebuilt.unclaimed_blobs) == (0, 0)
    assert home.everything() == before
    assert home.findings() == []


def test_rebuilt_store_counts_on(home: Home) -> None:
    """New versions come after the old ones, in commits and in the journal, so a second rebuild is right, too."""
    live_through_everything(home)
    home.store.flush_journal()
    for _ in range(2):
        home.lose_database()
        rebuild_from_journal(home.database, home.root, home.store.blobs)
        home.open_store()
        home.put("a", b"after the rebuild")
        home.store.flush_journal()
        with home.store.open(PRIMARY, "a") as reader:
            assert reader.read() == b"after the rebuild"
    before = home.everything()
    home.lose_database()
    rebuild_from_journal(home.database, home.root, home.store.blobs)
    assert home.everything() == before


def test_rebuild_refuses_a_database_with_versions(home: Home) -> None:
    home.put("k", b"data")
    with pytest.raises(Conflict):
        rebuild_from_journal(home.database, home.root, home.store.blobs)


def test_bytes_that_no_line_mentions_are_kept_and_named_on_request(home: Home) -> None:
    """Stored in the last moment before the loss: reported, never collected, an object again after a repair."""
    home.put("k", b"journalled")
    home.store.flush_journal()
    lost = home.put("lost", b"not journalled")
    home.lose_database()
    assert rebuild_from_journal(home.database, home.root, home.store.blobs).unclaimed_blobs == 1
    home.open_store()
    for _ in range(3):
        home.store.collect_garbage()
        home.clock.advance(GRACE)
    assert [(finding.invariant, finding.repaired) for finding in home.findings()] == [("I4", False)]
    assert [(finding.invariant, finding.repaired) for finding in home.findings(repair=True)] == [("I4", True)]
    assert home.findings() == []
    with home.store.open(PRIMARY, f"lost+found/{lost.sha256}") as reader:
        assert reader.read() == b"not journalled"


def test_flush_writes_each_change_once(home: Home) -> None:
    home.put("k", b"data")
    home.put("k", b"more")
    assert home.store.journal.lag() == 2
    assert home.store.flush_journal() == 2
    assert home.store.journal.lag() == 0
    assert home.store.flush_journal() == 0
    assert len(home.store.journal.segments()) == 1


def test_segments_written_twice_are_harmless(home: Home) -> None:
    """As after a crash between writing a segment and striking its changes off, with other changes in between."""
    version = home.put("k", b"data")
    home.store.flush_journal()
    (segment,) = home.store.journal.segments()
    old = segment.path.read_bytes()
    home.store.set_tags(PRIMARY, "k", {"t": "new"})
    home.store.flush_journal()
    (home.root / "manifests" / "0000000000000000001-0000000000000000001-zzz.jsonl").write_bytes(old)
    before = home.everything()
    home.lose_database()
    rebuild_from_journal(home.database, home.root, home.store.blobs)
    assert home.everything() == before
    home.open_store()
    assert home.store.tags(PRIMARY, "k", version_id=version.version_id) == {"t": "new"}


def test_number_of_segments_stays_small(home: Home) -> None:
    for number in range(80):
        home.put("k", b"%d" % number)
        home.store.flush_journal()
        assert len(home.store.journal.segments()) <= 40
    before = home.everything()
    home.lose_database()
    assert rebuild_from_journal(home.database, home.root, home.store.blobs).versions == 80
    assert home.everything() == before


def test_damaged_line_is_skipped_told_and_mended(home: Home) -> None:
    for key in ("a", "b", "c"):
        home.put(key, key.encode())
    home.store.flush_journal()
    (segment,) = home.store.journal.segments()
    lines = segment.path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"b"', b'"x"', 1)
    segment.path.chmod(0o640)
    segment.path.write_bytes(b"\n".join(lines))
    segment.path.chmod(0o440)
    (finding,) = home.findings()
    assert finding.invariant == "I17"
    assert "1 damaged lines, 1 versions" in finding.message
    (mended,) = home.findings(repair=True)
    assert mended.repaired
    assert home.findings() == []
    before = home.everything()
    home.lose_database()
    assert rebuild_from_journal(home.database, home.root, home.store.blobs).damaged_lines == 0
    assert home.everything() == before


def test_missing_segment_is_told_and_mended(home: Home) -> None:
    home.put("a", b"a")
    home.store.flush_journal()
    home.store.journal.segments()[0].path.unlink()
    assert [finding.invariant for finding in home.findings()] == ["I17"]
    home.findings(repair=True)
    assert home.findings() == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"check": "x"}', b"\xff\xfe", b'{"change_seq": 1, "row": {}, "check": ""}']
)
def test_line_that_is_none_is_none(text: bytes) -> None:
    assert Line.parse(text) is None


def test_other_files_in_the_folder_are_not_segments(home: Home) -> None:
    for name in ("notes.txt", "x.jsonl", "1-x-y.jsonl", ".jsonl"):
        (home.root / "manifests" / name).write_text("{}")
    home.put("k", b"data")
    home.store.flush_journal()
    assert len(home.store.journal.segments()) == 1


def test_two_processes_merge_at_once(home: Home) -> None:
    """The slower one finds some of its segments gone, or all of them; nothing they said is lost."""
    for number in range(10):
        home.put("k", b"%d" % number)
        home.store.flush_journal()
    before = home.everything()
    seen = home.store.journal.segments()
    home.store.journal._merge(seen[:5])
    home.store.journal._merge(seen[3:8])
    home.store.journal._merge(seen[:5])
    assert len(home.store.journal.segments()) == 4
    assert home.findings() == []
    home.lose_database()
    rebuild_from_journal(home.database, home.root, home.store.blobs)
    assert home.everything() == before


def test_two_processes_flush_at_once(home: Home) -> None:
    """Whoever strikes the changes off, every one is in the journal."""
    other = Database(home.root / "catalog.db", [SCHEMA], new_uuid="x")
    second = LocalObjectStore(other, home.root, home.clock, SequentialIds(), gc_grace_seconds=GRACE)
    for number in range(5):
        home.put(f"k{number}", b"data")
    pending = second.journal._pending()
    home.store.flush_journal()
    second.journal._write_segment([Line(change_seq, row) for change_seq, row in pending])
    other.close()
    assert home.findings() == []
