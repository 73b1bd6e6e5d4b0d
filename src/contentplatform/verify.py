"""Is everything there and healthy? Puts real files through a running home and looks at what comes out.

Each check can fail, and what is not built yet says so. Everything that a run makes lies under ``_verify/<run>/`` and is
removed again, every version, in each bucket that allows it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Final

from contentplatform.app import LocalHome
from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.clock import IdSource
from contentplatform.drivers.volumes import Encryption, encryption_of
from contentplatform.errors import ErrorCode, NotFound, PlatformError
from contentplatform.findings import CheckRun, Severity, run_checks
from contentplatform.ingest.service import raw_key
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.processing.samples import sample_photo
from contentplatform.storage.port import BucketRole, ByteRange, ObjectVersion, PutOptions, erase, walk_versions
from contentplatform.workflow.definition import STATE_MACHINE, problems
from contentplatform.workflow.port import ExecutionStatus
from contentplatform.workflow.publication import manifest_key

FOLDER: Final = "_verify"
_RECENT_EXECUTIONS: Final = 200
_SUCCESS_RATE: Final = 0.95
_WAITED_SECONDS: Final = 120.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Verdict(StrEnum):
    """How a check came out."""

    PASSED = "passed"
    WARNING = "warning"
    """Could not be told, or is not as it should be without being broken."""
    FAILED = "failed"
    NOT_BUILT = "not built"
    """This version of the platform has no such part."""


@dataclass(frozen=True, slots=True)
class Row:
    """One check and its outcome."""

    name: str
    verdict: Verdict
    detail: str


@dataclass(slots=True)
class Report:
    """A whole run."""

    run: str
    rows: list[Row] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """What the run made and could not remove, with its date."""

    @property
    def healthy(self) -> bool:
        """Whether nothing failed and nothing was left behind."""
        return not self.left_over and all(row.verdict is not Verdict.FAILED for row in self.rows)


class FailedCheck(Exception):  # noqa: N818 - private to this module's checks; named for what happened
    """The reason, in words."""


class UnsureCheck(Exception):  # noqa: N818 - same
    """Why it can't be told."""


_DESERVED: Final = frozenset(code.value for code in ErrorCode) - {ErrorCode.INTERNAL, ErrorCode.NO_SPACE}
"""Failures that say something of the file, not of the platform."""
_NOT_BUILT: Final = (
    ("edge answers", "delivery"),
    ("replication configured and at least 90 % complete", "backup"),
    ("lifecycle rules are applied", "moving between tiers"),
    ("metrics", "monitoring"),
)


class Verification:
    """One run of every check. ``wait`` returns when the executions of these keys have ended, or raises."""

    def __init__(self, home: LocalHome, ids: IdSource, wait: Callable[[list[str]], None]) -> None:
        self._home = home
        self._platform = home.platform
        self._wait = wait
        self._run = ids.new_id()
        self._started_at = home.platform.clock.now()
        self._prefix = f"{FOLDER}/{self._run}/"

    def run(self) -> Report:
        """Run every check, then remove what they made."""
        report = Report(self._run)
        try:
            for name, check in self._checks():
                report.rows.append(_judged(name, check))
            report.rows.extend(Row(name, Verdict.NOT_BUILT, f"there is no {room} yet") for name, room in _NOT_BUILT)
        finally:
            report.left_over = self._clean_up()
        return report

    def _checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "buckets are there and take objects", self._buckets
        yield "versions are kept", self._versioning
        yield "the catalog's tables are whole", self._catalog
        yield "jobs on untrusted bytes are fenced in", self._sandbox
        yield "the workflow's definition is sound", self._definition
        yield "an image goes through", self._image
        yield "a document goes through", self._document
        yield "a broken file named .jpg fails, in words", self._broken
        yield "records are well-formed", self._records
        yield "executions succeed", self._success_rate
        yield "nobody else can read the files", self._permissions
        yield "files are encrypted at rest", self._encryption

    # -- what is there ---------------------------------------------------------------------------------------

    def _buckets(self) -> str:
        for role in BucketRole:
            key = f"{self._prefix}bucket.txt"
            body = f"verify {self._run} {role}".encode()
            self._platform.store.put(role, key, BytesIO(body), PutOptions(content_type="text/plain"))
            with self._platform.store.open(role, key, byte_range=ByteRange(0, len(body) - 1)) as reader:
                if reader.read() != body:
                    raise FailedCheck(f"{role} gave back other bytes")
        return ", ".join(role.value for role in BucketRole)

    def _versioning(self) -> str:
        store, key = self._platform.store, f"{self._prefix}versions.txt"
        first = store.put(BucketRole.ANALYTICS, key, BytesIO(b"one"), PutOptions())
        store.put(BucketRole.ANALYTICS, key, BytesIO(b"two"), PutOptions())
        with store.open(BucketRole.ANALYTICS, key, version_id=first.version_id) as reader:
            if reader.read() != b"one":
                raise FailedCheck("the older version is not what was stored")
        return "an overwritten object was read back by its version"

    def _catalog(self) -> str:
        findings = [
            finding for finding in run_checks(self._home.checks(), CheckRun()) if finding.severity is Severity.DAMAGE
        ]
        if findings:
            raise FailedCheck(f"{len(findings)} findings, the first: {findings[0].message}; run `fsck`")
        return "no damage found by fsck"

    def _sandbox(self) -> str:
        gaps = self._home.gaps()
        if gaps:
            raise UnsureCheck("; ".join(gaps))
        return "no network, own files only, limits on memory, time and size"

    def _definition(self) -> str:
        found = problems(STATE_MACHINE)
        if found:
            raise FailedCheck("; ".join(found))
        return f"{len(STATE_MACHINE.states)} states"

    # -- going through ---------------------------------------------------------------------------------------

    def _image(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            record = self._put_through("photo.jpg", sample_photo(Path(folder)).read_bytes())
        if record.status is not ProcessingStatus.COMPLETED:
            raise FailedCheck(f"ended {record.status.value}: {record.error}")
        for rendition in record.renditions:
            if self._platform.store.head(BucketRole.PROCESSED, rendition.key).sha256 != rendition.sha256:
                raise FailedCheck(f"{rendition.key} is not the rendition that the record names")
        missing = {"thumbnail", "medium", "webp"} - {rendition.name for rendition in record.renditions}
        if missing:
            raise FailedCheck(f"no {', '.join(sorted(missing))}")
        return "thumbnail, medium and WebP appeared"

    def _document(self) -> str:
        record = self._put_through("note.txt", b"Content Platform verifies itself.\n" * 20)
        if record.status is not ProcessingStatus.COMPLETED:
            raise FailedCheck(f"ended {record.status.value}: {record.error}")
        return f"completed as {record.content_type}"

    def _broken(self) -> str:
        record = self._put_through("broken.jpg", b"This is text, whatever its name says.\n")
        if record.status is not ProcessingStatus.FAILED or record.error_code is not ErrorCode.TYPE_MISMATCH:
            raise FailedCheck(f"ended {record.status.value} ({record.error_code})")
        if not record.error:
            raise FailedCheck("failed without a reason")
        return record.error

    def _put_through(self, name: str, body: bytes) -> Record:
        key = self._prefix + name
        self._platform.library.add(key, BytesIO(body))
        self._wait([key])
        return self._platform.library.record(key)

    # -- how it stands ---------------------------------------------------------------------------------------

    def _records(self) -> str:
        page = self._platform.catalog.search(SearchQuery(), limit=1_000)
        for record in page.records:
            if record.file_id != file_id(record.file_path):
                raise FailedCheck(f"{record.file_path} has the file_id of another key")
            if not _SHA256.fullmatch(record.file_hash):
                raise FailedCheck(f"{record.file_path} has no SHA-256")
            if record.status is ProcessingStatus.FAILED and not record.error:
                raise FailedCheck(f"{record.file_path} failed without a reason")
        more = ", the newest of more" if page.cursor else ""
        return f"{len(page.records)} looked at{more}"

    def _success_rate(self) -> str:
        page = self._platform.engine.list(limit=_RECENT_EXECUTIONS)
        ended = [
            execution
            for execution in page.executions
            if execution.status.ended and not str(execution.input.get("key", "")).startswith(f"{FOLDER}/")
        ]
        if not ended:
            return "none but this run's has ended yet"
        faults = [
            execution
            for execution in ended
            if execution.status is ExecutionStatus.FAILED and execution.error not in _DESERVED
        ]
        rate = 1 - len(faults) / len(ended)
        if rate < _SUCCESS_RATE:
            raise FailedCheck(f"{len(faults)} of the last {len(ended)} failed by a fault of the platform")
        return f"{rate:.0%} of the last {len(ended)} ended as their files deserve"

    def _permissions(self) -> str:
        folder = self._platform.settings.data_folder
        mode = folder.stat().st_mode & 0o777
        if mode & 0o007:
            raise FailedCheck(f"{folder} is open to every user of this machine (mode {mode:o}); chmod o= it")
        return f"{folder} has mode {mode:o}"

    def _encryption(self) -> str:
        match encryption_of(self._platform.settings.data_folder):
            case Encryption.ENCRYPTED:
                return "the volume is encrypted"
            case Encryption.PLAIN:
                raise UnsureCheck("off, and the volume below is not encrypted")
            case Encryption.UNKNOWN:
                raise UnsureCheck("off, and it can't be told whether the volume below is encrypted")

    # -- cleaning up -----------------------------------------------------------------------------------------

    def _clean_up(self) -> list[str]:
        """Remove every version of what this run made; what could not be removed, with its date."""
        left: list[str] = []
        for name in ("photo.jpg", "note.txt", "broken.jpg", "bucket.txt"):
            self._forget(self._prefix + name)
        for role in BucketRole:
            for version in list(self._made(role)):
                try:
                    self._platform.store.delete_version(role, version.key, version.version_id)
                except PlatformError as error:
                    left.append(f"{role}/{version.key} of {version.created_at:%Y-%m-%d}: {error.why}")
        self._home.finish()
        return left

    def _forget(self, key: str) -> None:
        catalog, store = self._platform.catalog, self._platform.store
        try:
            record = catalog.get(file_id(key))
        except NotFound:
            return
        for entry in catalog.entries(record.file_id):
            for rendition in entry.renditions:
                erase(store, BucketRole.PROCESSED, rendition.stored_key)
                erase(store, BucketRole.PROCESSED, rendition.key)
        erase(store, BucketRole.PRIMARY, key)
        self._home.take_in_all()
        catalog.remove(record.file_id, catalog.get(record.file_id).revision)
        erase(store, BucketRole.ANALYTICS, manifest_key(record.file_id))

    def _made(self, role: BucketRole) -> Iterator[ObjectVersion]:
        """Every version below this run's folder; in the data lake, in the hours in which it ran."""
        prefixes = {self._prefix}
        if role is BucketRole.RAW:
            prefixes |= {raw_key(self._prefix, moment) for moment in (self._started_at, self._platform.clock.now())}
        for prefix in sorted(prefixes):
            yield from walk_versions(self._platform.store, role, prefix)


def _judged(name: str, check: Callable[[], str]) -> Row:
    try:
        return Row(name, Verdict.PASSED, check())
    except FailedCheck as error:
        return Row(name, Verdict.FAILED, str(error))
    except UnsureCheck as error:
        return Row(name, Verdict.WARNING, str(error))
    except PlatformError as error:
        return Row(name, Verdict.FAILED, error.public)
