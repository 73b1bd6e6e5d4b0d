"""The edge's access log: CloudFront's standard log of 33 fields, in the analytics bucket, a folder an hour.

A thread writes what came together into a file of the data folder, every second or so, and when a file is full, old, or
its hour is over, puts it into the store and removes it. So a clean stop loses nothing, and a kill the last second at
most: the file that is left is taken over by whoever starts next. A file is locked for as long as its writer lives, so
nobody takes another's. It is put under a name that is its own, so taking it over twice stores it once.

What viewers send stays within its field: characters that could end a field or a line, or confuse whoever reads one,
are percent-encoded, and long values are cut. Signatures are left out, because they would open what they open again.
"""

from __future__ import annotations

import fcntl
import gzip
import ipaddress
import logging
import os
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

from contentplatform import log
from contentplatform.clock import Clock, IdSource
from contentplatform.delivery.ranges import Slice
from contentplatform.drivers.files import Files, translated_os_errors
from contentplatform.errors import Conflict, PlatformError
from contentplatform.storage.lifecycle import EDGE_LOGS_FOLDER
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions

FIELDS: Final = (
    "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) "
    "cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken "
    "x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status "
    "fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len "
    "sc-range-start sc-range-end"
)
HEADER_LINES: Final = f"#Version: 1.0\n#Fields: {FIELDS}\n".encode("ascii")
FOLDER_NAME: Final = "edge-log"
"""In the data folder: files that are being written, or that somebody left."""
EDGE_NAME: Final = "LOCAL"
"""Where CloudFront names the airport."""
HOST_NAME: Final = "content-platform"
"""Where CloudFront names the distribution's domain."""
FIELD_LIMIT: Final = 2_048
"""Longest value of a field that a viewer chooses, in characters of the log."""
WAITING_LIMIT: Final = 200_000
"""Lines that wait in memory while the disk takes none; the oldest go first."""
HEADER_EXTRA_BYTES: Final = 4
"""Of a header, beside its name and value."""
_LINE_BYTES: Final = 16
"""Of a request's first line, beside its address."""
_TOGETHER: Final = 2_000
_HOUR_LENGTH: Final = len("2030-01-31\t23")
_SHORTEST_SECONDS: Final = 0.000_5
_STATUS_LENGTH: Final = 3
_NO_CLIENT: Final = ("", 0)
_SAFE: Final = re.compile(rb"[!$&()*+,\-./0-9:;=?@A-Z_a-z]*")
_SAFE_IN_ADDRESS: Final = re.compile(rb"[!$%&()*+,\-./0-9:;=?@A-Z_a-z~]*")
"""Of a path or a query, which a client has encoded already: the percent signs are its own."""
_SIGNED: Final = re.compile(rb"(?i)((?:^|&)signature=)[^&]*")
_NAME: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})-([0-9]{2})\.([0-9a-f]{32})\.log")
_NONE: Final = "-"

_logger: Final = logging.getLogger(__name__)


class Addresses(StrEnum):
    """How much of a viewer's address is written."""

    FULL = "full"
    MASKED = "masked"
    """Of IPv4 the first 24 bits, of IPv6 the first 48."""
    NONE = "none"


class Exchange(NamedTuple):
    """One request and its answer."""

    at: datetime
    scope: Mapping[str, Any]
    """The request, as ASGI tells it."""
    status: int
    """0: the viewer hung up."""
    sent_bytes: int
    result: str
    """One of ``Result``, as plain text: enumerations are slow, and this is made for every request."""
    request_id: str
    """Harmless in a line."""
    taken_seconds: float
    first_byte_seconds: float
    content_type: str
    content_length: int
    part: Slice | None = None
    original: str = ""
    """The key of the original that was asked for, where that is known."""


class Fixed(NamedTuple):
    """What of a line is the same for every request for the same thing."""

    asked: str
    """Method, distribution, path and status."""
    query: str
    result: str
    content: str
    """Type, length and range, and the line's end."""


def fixed_of_file(path: bytes, query: bytes, status: int, content_type: str, length: int) -> Fixed:
    """Of a hit: a whole file by GET, or the news that it has not changed."""
    asked = _asked("GET", address_field(path), status)
    return Fixed(asked, _query(query), "Hit", f"{_type(content_type)}\t{length}\t-\t-\n")


def fixed_of_part(whole: Fixed, part: Slice) -> Fixed:
    """Of a part of the file."""
    content_type = whole.content.partition("\t")[0]
    content = f"{content_type}\t{part.length}\t{part.first}\t{part.last}\n"
    return Fixed(f"{whole.asked[:-_STATUS_LENGTH]}206", whole.query, whole.result, content)


def fixed_of_hang_up(whole: Fixed) -> Fixed:
    """Of a viewer that hung up before it had everything."""
    return Fixed(f"{whole.asked[:-_STATUS_LENGTH]}000", whole.query, "Error", "text/plain\t0\t-\t-\n")


def _asked(method: str, path: str, status: int) -> str:
    return f"{method}\t{HOST_NAME}\t{path}\t{status:03}"


class Asker(NamedTuple):
    """What of a line is the same for every request that one client makes with the same headers."""

    address: str
    sent_by: str
    """Referer and user agent."""
    host: str
    """And the scheme."""
    forwarded: str
    version: str
    received_bytes: int
    """Of the headers."""
    port: int
    """0: the client is one that a proxy told of."""


# -- lines ----------------------------------------------------------------------------------------------------------


class Lines:
    """Writes exchanges as lines; for one thread. Called for every request, so it does without what is slow."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._known = (-1, -1, -1, -1)
        self._second = ""

    def line(self, exchange: Exchange) -> bytes:
        """The line of an exchange: exactly 33 fields, and one line's end."""
        scope, part = exchange.scope, exchange.part
        begin, end = (str(part.first), str(part.last)) if part is not None else (_NONE, _NONE)
        content_type, length = exchange.content_type, exchange.content_length
        asker = self.asker(scope)
        return self.line_of(
            self.second_of(exchange.at),
            asker,
            asker.port,
            len(scope.get("raw_path", b"")) + len(scope["query_string"]),
            exchange.sent_bytes,
            Fixed(
                _asked(_method(scope["method"]), address_field(scope.get("raw_path", b"")), exchange.status),
                _query(scope["query_string"]),
                exchange.result,
                f"{_type(content_type)}\t{length}\t{begin}\t{end}\n",
            ),
            request_id=exchange.request_id,
            taken=exchange.taken_seconds,
            first=exchange.first_byte_seconds,
        )

    def asker(self, scope: Mapping[str, Any]) -> Asker:
        """Who asks, and with what; everything of the request but what it asks for."""
        host = agent = referer = forwarded = b""
        received = _LINE_BYTES
        for name, value in scope["headers"]:
            received += len(name) + len(value) + HEADER_EXTRA_BYTES
            if name == b"host":
                host = value
            elif name == b"user-agent":
                agent = value
            elif name == b"referer":
                referer = value
            elif name == b"x-forwarded-for":
                forwarded = value
        address, port = scope.get("client") or _NO_CLIENT
        return Asker(
            masked(address, self._addresses),
            f"{field(referer)}\t{field(agent)}",
            f"{field(host)}\t{scope.get('scheme', 'http')}",
            self._forwarded(forwarded) if forwarded else _NONE,
            f"HTTP/{scope.get('http_version', '1.1')}",
            received,
            port,
        )

    def second_of(self, at: datetime) -> str:
        """Date and time, as a line begins with."""
        known = (at.second, at.minute, at.hour, at.day)
        if known != self._known:
            self._known, self._second = known, at.strftime("%Y-%m-%d\t%H:%M:%S")
        return self._second

    def line_of(
        self,
        second: str,
        asker: Asker,
        port: int,
        address_bytes: int,
        sent_bytes: int,
        fixed: Fixed,
        *,
        request_id: str,
        taken: float,
        first: float,
    ) -> bytes:
        """The same, of what is known already and what is not; ``address_bytes`` are those that told what was asked."""
        address, sent_by, host, forwarded, version, received, told_port = asker
        asked, query, result, content = fixed
        whole = _seconds(taken)
        return (
            f"{second}\t{EDGE_NAME}\t{sent_bytes}\t{address}\t{asked}\t{sent_by}\t{query}\t-\t{result}\t{request_id}"
            f"\t{host}\t{received + address_bytes}\t{whole}\t{forwarded}\t-\t-\t{result}\t{version}\t-\t-"
            f"\t{port if told_port else 0}\t{whole if first == taken else _seconds(first)}\t{result}\t{content}"
        ).encode("ascii")

    def _forwarded(self, value: bytes) -> str:
        return field(value) if self._addresses is Addresses.FULL else _NONE


def _seconds(taken: float) -> str:
    return "0.000" if taken < _SHORTEST_SECONDS else f"{taken:.3f}"


def field(value: bytes) -> str:
    """A value that a viewer chose, as it stands in a field: ``-`` for none, percent-encoded and cut."""
    return (_field(value) if len(value) <= FIELD_LIMIT else _field(value[:FIELD_LIMIT])) if value else _NONE


def address_field(value: bytes) -> str:
    """A path or a query as it stands in a field."""
    value = value[:FIELD_LIMIT]
    if _SAFE_IN_ADDRESS.fullmatch(value):
        return value.decode("ascii") or _NONE
    return "".join(_ADDRESS_BYTES[byte] for byte in value)[:FIELD_LIMIT]


@lru_cache(maxsize=4_096)
def _field(value: bytes) -> str:
    return "".join(_BYTES[byte] for byte in value)[:FIELD_LIMIT]


_BYTES: Final = tuple(chr(byte) if _SAFE.fullmatch(bytes([byte])) else f"%{byte:02X}" for byte in range(256))
_ADDRESS_BYTES: Final = tuple(
    chr(byte) if _SAFE_IN_ADDRESS.fullmatch(bytes([byte])) else f"%{byte:02X}" for byte in range(256)
)


@lru_cache(maxsize=4_096)
def masked(address: str, addresses: Addresses) -> str:
    """A viewer's address, as much of it as is to be written."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return _NONE
    if addresses is Addresses.FULL:
        return str(known)
    if addresses is Addresses.NONE:
        return _NONE
    bits = 24 if known.version == 4 else 48
    return str(ipaddress.ip_network(f"{known.compressed.partition('%')[0]}/{bits}", strict=False).network_address)


@lru_cache(maxsize=256)
def _type(content_type: str) -> str:
    return field(content_type.partition(";")[0].encode("latin-1", "replace"))


@lru_cache(maxsize=256)
def _method(method: str) -> str:
    return field(method.encode("latin-1", "replace"))


def _query(query: bytes) -> str:
    if b"ignature=" in query:
        query = _SIGNED.sub(rb"\1-", query)
    return address_field(query)


# -- files ----------------------------------------------------------------------------------------------------------


class _LogFile:
    """The file of one hour that is being written, locked."""

    def __init__(self, folder: Path, hour: datetime, identifier: str, opened_seconds: float) -> None:
        self.hour = hour
        self.opened_seconds = opened_seconds
        self.path = folder / f"{hour:%Y-%m-%d-%H}.{identifier}.log"
        with translated_os_errors("opening the access log"):
            self.descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self.size_bytes = 0
        self.write(HEADER_LINES)

    def write(self, data: bytes) -> None:
        """Append whole lines, or nothing."""
        try:
            Files().write(self.descriptor, memoryview(data))
        except PlatformError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.size_bytes)
                os.lseek(self.descriptor, self.size_bytes, os.SEEK_SET)
            raise
        self.size_bytes += len(data)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)


class AccessLog:
    """Notes exchanges, and brings them into the analytics bucket.

    Args:
        store: where the analytics bucket is.
        folder: where files are written; made if it is missing.
        clock: how old a file is.
        ids: names of files.
        roll_seconds: after this time a file goes into the store.
        roll_bytes: or when it has grown to this size.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: Path,
        clock: Clock,
        ids: IdSource,
        *,
        roll_seconds: float = 300.0,
        roll_bytes: int = 32 << 20,
    ) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock
        self._ids = ids
        self._roll_seconds = roll_seconds
        self._roll_bytes = roll_bytes
        self._waiting: list[bytes] = []
        self._file: _LogFile | None = None
        self._lock = threading.Lock()

    def write(self, lines: Iterable[bytes]) -> None:
        """Write lines down, and store the file where it is full or old. Blocks; never raises PlatformError."""
        with self._lock:
            self._waiting.extend(lines)
            try:
                self._write(self._waiting)
                if self._file is not None and self._is_due(self._file):
                    self._roll()
            except PlatformError as error:
                log.event(_logger, logging.WARNING, "the access log has to wait", **{log.REASON: error.public})
            del self._waiting[:-WAITING_LIMIT]

    def take_over(self) -> int:
        """Store the files that processes left which are not alive any more; returns how many. Blocks."""
        with self._lock:
            return sum(self._take_over(path) for path in self._left())

    def close(self) -> None:
        """Write down and store everything. What the store does not take now stays for the next start. Blocks."""
        self.write(())
        with self._lock:
            if self._file is None:
                return
            try:
                self._roll()
            except PlatformError as error:
                log.event(_logger, logging.WARNING, "the access log has to wait", **{log.REASON: error.public})

    # -- writing ----------------------------------------------------------------------------------------------

    def _write(self, lines: list[bytes]) -> None:
        """Write lines into the files of their hours, and take them off the list: some at a time, or none."""
        while lines:
            hour = lines[0][:_HOUR_LENGTH]
            ahead = 1
            while ahead < min(len(lines), _TOGETHER) and lines[ahead].startswith(hour):
                ahead += 1
            self._open(datetime.strptime(hour.decode("ascii"), "%Y-%m-%d\t%H").replace(tzinfo=UTC)).write(
                b"".join(lines[:ahead])
            )
            del lines[:ahead]

    def _open(self, hour: datetime) -> _LogFile:
        if self._file is not None and self._file.hour != hour:
            self._roll()
        if self._file is None:
            with translated_os_errors("making the folder of the access log"):
                self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._file = _LogFile(self._folder, hour, self._ids.new_id(), self._clock.monotonic_seconds())
        return self._file

    def _is_due(self, file: _LogFile) -> bool:
        is_old = self._clock.monotonic_seconds() - file.opened_seconds >= self._roll_seconds
        is_over = not _is_within(self._clock.now(), file.hour)
        return is_old or is_over or file.size_bytes >= self._roll_bytes

    def _roll(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            self._put(file.path)
        finally:
            file.close()

    def _put(self, path: Path) -> None:
        """Store a file under its own name, and remove it. Idempotent."""
        found = _NAME.fullmatch(path.name)
        if found is None:
            return
        with translated_os_errors(f"reading {path.name}"):
            data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last line
        if whole.count(b"\n") > HEADER_LINES.count(b"\n"):
            year, month, day, hour, identifier = found.groups()
            name = f"{HOST_NAME}.{year}-{month}-{day}-{hour}.{identifier}.gz"
            key = f"{EDGE_LOGS_FOLDER}{year}/{month}/{day}/{hour}/{name}"
            options = PutOptions(content_type="application/gzip", create_only=True)
            with suppress(Conflict):  # somebody had stored it, and died before removing it
                self._store.put(BucketRole.ANALYTICS, key, BytesIO(gzip.compress(whole, 6, mtime=0)), options)
        Files().unlink(path)

    # -- what was left ------------------------------------------------------------------------------------------

    def _left(self) -> Iterable[Path]:
        try:
            return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
        except FileNotFoundError:
            return ()

    def _take_over(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:
                return False
            self._put(path)
        except OSError:
            return False  # its writer lives
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "the access log has to wait", **{log.REASON: error.public})
            return False
        finally:
            os.close(descriptor)
        return True


def _is_within(at: datetime, hour: datetime) -> bool:
    return 0 <= (at - hour).total_seconds() < 3_600
