"""The edge's access log: its lines, its files, and that no line is lost or stored twice."""

from __future__ import annotations

import fcntl
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.analytics.tables import CLOUDFRONT_FIELDS, CLOUDFRONT_LOGS
from contentplatform.app import local_schemas
from contentplatform.delivery.access_log import FIELD_LIMIT, FIELDS, AccessLog, Addresses, Exchange, Lines
from contentplatform.delivery.ranges import Slice
from contentplatform.delivery.recording import SAVE_SECONDS, EdgeRecorder
from contentplatform.delivery.statistics import EdgeStatistics
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import NoSpace
from contentplatform.storage.local import LocalObjectStore
from contentplatform.storage.port import BucketRole
from fakes.clock import FakeClock, SequentialIds

AT: Final = datetime(2030, 1, 31, 23, 59, 58, 123, tzinfo=UTC)


def exchange(at: datetime = AT, *, client: Any = ("192.0.2.77", 40_000), **headers: Any) -> Exchange:
    """A request for a picture, and its answer."""
    told = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    scope = {
        "method": "GET",
        "scheme": "https",
        "http_version": "1.1",
        "raw_path": b"/processed/webp/a.png.webp",
        "query_string": b"v=0123456789abcdef",
        "headers": told,
        "client": client,
    }
    return Exchange(at, scope, 200, 5_120, "Hit", "id-1", 0.25, 0.125, "image/webp", 5_000, None, "a.png")


def fields(line: bytes) -> list[str]:
    """The fields of one line."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return line[:-1].decode("ascii").split("\t")


# -- lines --------------------------------------------------------------------------------------------------------


def test_a_line_has_the_fields_of_the_table_in_its_order() -> None:
    line = Lines(Addresses.FULL).line(
        exchange(user_agent=b"A browser/1.0", referer=b"https://x.example/?a=b", host=b"media.example", cookie=b"s=1")
    )
    told = dict(zip((column.name for column in CLOUDFRONT_LOGS.columns), fields(line), strict=False))
    assert len(fields(line)) == CLOUDFRONT_FIELDS == len(FIELDS.split())
    assert told == {
        "log_date": "2030-01-31",
        "log_time": "23:59:58",
        "edge_location": "LOCAL",
        "bytes_sent": "5120",
        "client_ip": "192.0.2.77",
        "method": "GET",
        "host": "content-platform",
        "uri_stem": "/processed/webp/a.png.webp",
        "status_code": "200",
        "referer": "https://x.example/?a=b",
        "user_agent": "A%20browser/1.0",
        "uri_query": "v=0123456789abcdef",
        "cookie": "-",
        "result_type": "Hit",
        "request_id": "id-1",
        "host_header": "media.example",
        "request_protocol": "https",
        "bytes_received": "154",
        "time_taken": "0.250",
        "forwarded_for": "-",
        "ssl_protocol": "-",
        "ssl_cipher": "-",
        "response_result_type": "Hit",
        "http_version": "HTTP/1.1",
        "fle_status": "-",
        "fle_encrypted_fields": "-",
        "port": "40000",
        "time_to_first_byte": "0.125",
        "detail_result_type": "Hit",
        "content_type": "image/webp",
        "content_length": "5000",
        "range_start": "-",
        "range_end": "-",
    }


def test_a_part_tells_its_range_and_a_viewer_who_hung_up_has_status_000() -> None:
    part = exchange()._replace(part=Slice(10, 19, 100), status=206)
    assert fields(Lines(Addresses.FULL).line(part))[-2:] == ["10", "19"]
    assert fields(Lines(Addresses.FULL).line(exchange()._replace(status=0)))[8] == "000"


@given(
    st.dictionaries(st.sampled_from(["user_agent", "referer", "host", "x_forwarded_for"]), st.binary(max_size=300)),
    st.binary(max_size=100),
    st.binary(max_size=100),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_whatever_a_viewer_sends_is_one_line_of_33_fields(
    headers: dict[str, Any], path: bytes, query: bytes, method: str, address: str
) -> None:
    made = exchange(client=(address, 1), **headers)
    scope = {**made.scope, "raw_path": path, "query_string": query, "method": method}
    for addresses in Addresses:
        line = Lines(addresses).line(made._replace(scope=scope))
        told = fields(line)
        assert len(told) == 33
        assert all(told)
        assert not set("".join(told)) - {chr(code) for code in range(0x21, 0x7F)}


def test_long_values_are_cut() -> None:
    for name in ("user_agent", "referer", "host"):
        long: dict[str, Any] = {name: b'\t"\x1b' * 22_000}
        line = Lines(Addresses.FULL).line(exchange(**long))
        assert max(map(len, fields(line))) <= FIELD_LIMIT


@pytest.mark.parametrize(
    ("addresses", "client", "written"),
    [
        (Addresses.FULL, "192.0.2.77", "192.0.2.77"),
        (Addresses.MASKED, "192.0.2.77", "192.0.2.0"),
        (Addresses.NONE, "192.0.2.77", "-"),
        (Addresses.FULL, "2001:db8:1:2:3::4", "2001:db8:1:2:3::4"),
        (Addresses.MASKED, "2001:db8:1:2:3::4", "2001:db8:1::"),
        (Addresses.MASKED, "fe80::1%eth0", "fe80::"),
        (Addresses.FULL, "a\tb", "-"),
        (Addresses.FULL, "", "-"),
    ],
)
def test_an_address_is_written_as_far_as_it_may_be(addresses: Addresses, client: str, written: str) -> None:
    told = fields(Lines(addresses).line(exchange(client=(client, 1), x_forwarded_for=b"203.0.113.9")))
    assert told[4] == written
    assert told[19] == ("203.0.113.9" if addresses is Addresses.FULL else "-")


def test_a_signature_is_not_written() -> None:
    made = exchange()
    query = b"v=0123456789abcdef&Expires=1&Signature=secret-1&Key-Id=ab&signature=secret-2"
    told = fields(Lines(Addresses.FULL).line(made._replace(scope={**made.scope, "query_string": query})))
    assert "secret" not in told[11]
    assert told[11].startswith("v=0123456789abcdef&Expires=1&Signature=-&Key-Id=ab")


# -- files --------------------------------------------------------------------------------------------------------


class Shelf:
    """A store in a folder, a log beside it, and what has arrived."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(datetime(2030, 1, 31, 23, 0, tzinfo=UTC))
        self.ids = SequentialIds()
        self.database = Database(folder / "db", local_schemas(), new_uuid=self.ids.new_id())
        self.store = LocalObjectStore(self.database, folder, self.clock, self.ids)
        self.folder = folder / "edge-log"

    def log(self, **options: Any) -> AccessLog:
        """Another writer, as another process is."""
        return AccessLog(self.store, self.folder, self.clock, self.ids, **options)

    def line(self, name: str) -> bytes:
        """A line of this moment."""
        return Lines(Addresses.FULL).line(exchange(self.clock.now(), user_agent=name.encode()))

    def arrived(self) -> dict[str, list[str]]:
        """The user agents of the lines of every stored file."""
        found = {}
        for entry in self.store.list(BucketRole.ANALYTICS).objects:
            with self.store.open(BucketRole.ANALYTICS, entry.key) as reader:
                text = gzip.decompress(reader.read()).decode()
            assert text.startswith("#Version: 1.0\n#Fields: date time x-edge-location ")
            found[entry.key] = [line.split("\t")[10] for line in text.splitlines()[2:]]
        return found

    def left(self) -> list[str]:
        """The files that wait."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A shelf in a folder of its own."""
    made = Shelf(tmp_path)
    yield made
    made.database.close()


def test_lines_are_stored_by_hour_and_nothing_is_left(shelf: Shelf) -> None:
    log = shelf.log()
    shelf.clock.advance(3_590)
    early = [shelf.line("a"), shelf.line("b")]
    shelf.clock.advance(20)
    log.write([*early, shelf.line("c")])
    log.close()
    arrived = shelf.arrived()
    assert list(arrived.values()) == [["a", "b"], ["c"]]
    first, second = arrived
    assert first.startswith("cloudfront-logs/2030/01/31/23/content-platform.2030-01-31-23.")
    assert second.startswith("cloudfront-logs/2030/02/01/00/content-platform.2030-02-01-00.")
    assert shelf.left() == []


def test_a_file_goes_when_it_is_old_or_large(shelf: Shelf) -> None:
    log = shelf.log(roll_seconds=60, roll_bytes=4_000)
    log.write([shelf.line("a")])
    assert shelf.arrived() == {}
    assert len(shelf.left()) == 1
    shelf.clock.advance(60)
    log.write([])
    assert list(shelf.arrived().values()) == [["a"]]
    log.write([shelf.line("x" * 3_000 + str(number)) for number in range(3)])
    assert sorted(map(len, shelf.arrived().values())) == [1, 3]
    log.close()


def test_a_log_without_lines_stores_nothing(shelf: Shelf) -> None:
    log = shelf.log()
    log.write([])
    log.close()
    assert shelf.arrived() == {}
    assert shelf.left() == []


def test_what_a_killed_process_left_is_taken_over_once_without_its_last_half_line(shelf: Shelf) -> None:
    dead = shelf.log()
    dead.write([shelf.line("a"), shelf.line("b")])
    [name] = shelf.left()
    (shelf.folder / name).write_bytes((shelf.folder / name).read_bytes() + shelf.line("c")[:50])
    assert shelf.log().take_over() == 0, "its writer lives"
    abandon(dead)
    assert shelf.log().take_over() == 1
    assert list(shelf.arrived().values()) == [["a", "b"]]
    assert shelf.left() == []
    assert shelf.log().take_over() == 0


def test_a_file_that_was_stored_before_the_kill_is_not_stored_twice(shelf: Shelf) -> None:
    dead = shelf.log()
    dead.write([shelf.line("a")])
    [name] = shelf.left()
    copy = (shelf.folder / name).read_bytes()
    dead.close()
    (shelf.folder / name).write_bytes(copy)
    assert shelf.log().take_over() == 1
    assert list(shelf.arrived().values()) == [["a"]]
    assert shelf.left() == []


def test_other_files_of_the_folder_are_left_alone(shelf: Shelf) -> None:
    shelf.folder.mkdir()
    (shelf.folder / "notes.txt").write_text("mine")
    (shelf.folder / "2030-01-31-23.zz.log").write_text("mine")
    (shelf.folder / f"2030-01-31-23.{'a' * 32}.log").symlink_to("/etc/hostname")
    assert shelf.log().take_over() == 0
    assert len(shelf.left()) == 3


def test_lines_wait_while_the_disk_is_full(shelf: Shelf) -> None:
    log = shelf.log(roll_seconds=1)
    log.write([shelf.line("a")])
    full = FullStore(shelf.store)
    waiting = AccessLog(full, shelf.folder, shelf.clock, shelf.ids, roll_seconds=1)
    waiting.write([shelf.line("b")])
    shelf.clock.advance(2)
    waiting.write([shelf.line("c")])
    waiting.close()
    log.close()
    assert list(shelf.arrived().values()) == [["a"]]
    assert shelf.log().take_over() >= 1
    assert sorted(name for names in shelf.arrived().values() for name in names) == ["a", "b", "c"]


class FullStore(LocalObjectStore):
    """A store whose disk is full."""

    def __init__(self, real: LocalObjectStore) -> None:
        self.__dict__.update(real.__dict__)

    def put(self, *_given: object, **_more: object) -> Any:
        """Never."""
        raise NoSpace("storing the log", "the disk is full")


def abandon(log: AccessLog) -> None:
    """Let go of a log's file as a kill does."""
    file = log._file
    assert file is not None
    fcntl.flock(file.descriptor, fcntl.LOCK_UN)
    file.close()
    log._file = None


# -- the recorder -------------------------------------------------------------------------------------------------


def test_the_recorder_counts_and_writes_and_a_stop_loses_nothing(shelf: Shelf) -> None:
    statistics = EdgeStatistics(shelf.database, shelf.clock)
    recorder = EdgeRecorder(shelf.log(), statistics, shelf.clock)
    for _ in range(3):
        recorder.note(exchange(shelf.clock.now()))
    recorder.record()
    assert len(shelf.left()) == 1
    now = shelf.clock.now()
    assert statistics.minutes(now, now + timedelta(minutes=1)) == ()
    shelf.clock.advance(SAVE_SECONDS)
    recorder.record()
    [minute] = statistics.minutes(now, now + timedelta(minutes=1))
    assert (minute.requests, minute.hits, minute.bytes_sent) == (3, 3, 3 * 5_120)
    recorder.note(exchange(shelf.clock.now())._replace(result="Error", status=404, original=""))
    recorder.close()
    recorder.close()
    [minute] = statistics.minutes(now, now + timedelta(minutes=1))
    assert (minute.requests, minute.errors, minute.by_status) == (4, 1, {200: 3, 404: 1})
    assert sum(map(len, shelf.arrived().values())) == 4
    assert statistics.last_access("a.png") == now.date()


def test_figures_of_several_edges_come_together_and_old_ones_go(shelf: Shelf) -> None:
    now = shelf.clock.now()
    recorders = [EdgeRecorder(None, EdgeStatistics(shelf.database, shelf.clock), shelf.clock) for _ in range(2)]
    for recorder in recorders:
        recorder.note(exchange(now))
        recorder.save()
    statistics = EdgeStatistics(shelf.database, shelf.clock)
    [minute] = statistics.minutes(now, now + timedelta(minutes=1))
    assert minute.requests == 2
    shelf.clock.advance(36 * 86_400)
    recorders[0].note(exchange(shelf.clock.now()))
    recorders[0].save()
    assert statistics.minutes(now, now + timedelta(minutes=1)) == ()
    assert statistics.last_access("a.png") == shelf.clock.now().date()
