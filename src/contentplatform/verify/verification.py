"""Is everything there and healthy? Puts real files through a running home and looks at what comes out.

Each check can fail, and what is not built yet says so. Everything that a run makes lies under ``_verify/<run>/`` and is
removed again, every version, in each bucket that allows it.
"""

from __future__ import annotations

import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from contentplatform.app import Home
from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.clock import IdSource
from contentplatform.errors import ErrorCode, NotFound, PlatformError
from contentplatform.ingest.service import raw_key
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.processing.samples import (
    SAMPLE_PAGES,
    SAMPLE_WORD,
    sample_document,
    sample_film,
    sample_photo,
    sample_sound,
)
from contentplatform.storage.port import BucketRole, ByteRange, ObjectVersion, PutOptions, erase, walk_versions
from contentplatform.together import repeated
from contentplatform.verify.report import FailedCheck, Report, Row, Verdict, judged
from contentplatform.workflow.definition import STATE_MACHINE, problems
from contentplatform.workflow.port import ExecutionStatus
from contentplatform.workflow.publication import manifest_key

FOLDER: Final = "_verify"
_RECENT_EXECUTIONS: Final = 200
_SUCCESS_RATE: Final = 0.95
_MADE: Final = ("photo.jpg", "film.mp4", "sound.wav", "letter.pdf", "broken.jpg", "bucket.txt")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


_DESERVED: Final = frozenset(code.value for code in ErrorCode) - {ErrorCode.INTERNAL, ErrorCode.NO_SPACE}
"""Failures that say something of the file, not of the platform."""


class HomeChecks(ABC):
    """What is looked at in one home only."""

    @abstractmethod
    def before(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        """Checks by name of what has to be there. A check returns what it saw, or raises."""

    @abstractmethod
    def after(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        """Checks that look at what the run has put through, or at how the home stands."""

    @abstractmethod
    def shown(self, record: Record) -> None:
        """A photo has gone through: the checks behind may look at what became of it."""

    @abstractmethod
    def takes_films(self) -> bool:
        """Whether a film is put through: where somebody charges for its encoding, none is."""

    @abstractmethod
    def settle(self) -> None:
        """Return when what was set off has come to rest."""

    @abstractmethod
    def guarded(self, role: BucketRole) -> bool:
        """Whether people can't write to or delete from this bucket: what comes there by itself stays."""

    @abstractmethod
    def not_built(self) -> tuple[tuple[str, str], ...]:
        """Checks that can't be made yet, and which part is missing."""


class Verification:
    """One run of every check. ``wait`` returns when the executions of these keys have ended, or raises."""

    def __init__(self, home: Home, checks: HomeChecks, ids: IdSource, wait: Callable[[list[str]], None]) -> None:
        self._home = home
        self._platform = home.platform
        self._of_home = checks
        self._wait = wait
        self._run = ids.new_id()
        self._started_at = home.platform.clock.now()
        self._prefix = f"{FOLDER}/{self._run}/"

    def run(self) -> Report:
        """Run every check, then remove what they made."""
        report = Report(self._run)
        try:
            for name, check in self._checks():
                report.rows.append(judged(name, check))
            report.rows.extend(
                Row(name, Verdict.NOT_BUILT, f"there is no {room} yet") for name, room in self._of_home.not_built()
            )
        finally:
            self._clean_up(report)
        return report

    def _checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "buckets are there and take objects", self._buckets
        yield "versions are kept", self._versioning
        yield from self._of_home.before(self._run)
        yield "the workflow's definition is sound", self._definition
        yield "an image goes through", self._image
        if self._of_home.takes_films():
            yield "a video goes through", self._film
        yield "a sound goes through", self._sound
        yield "a document goes through", self._document
        yield "a broken file named .jpg fails, in words", self._broken
        yield "records are well-formed", self._records
        yield "executions succeed", self._success_rate
        yield from self._of_home.after(self._run)

    # -- what is there ---------------------------------------------------------------------------------------

    def _buckets(self) -> str:
        key = f"{self._prefix}bucket.txt"
        for role in BucketRole:
            if self._of_home.guarded(role):
                self._platform.store.list(role, limit=1)
                continue
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

    def _definition(self) -> str:
        found = problems(STATE_MACHINE)
        if found:
            raise FailedCheck("; ".join(found))
        return f"{len(STATE_MACHINE.states)} states"

    # -- going through ---------------------------------------------------------------------------------------

    def _image(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            record = self._completed("photo.jpg", sample_photo(Path(folder)), {"thumbnail", "medium", "webp"})
        self._of_home.shown(record)
        return "thumbnail, medium and WebP appeared"

    def _film(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            record = self._completed("film.mp4", sample_film(Path(folder)), {"480p", "hls", "poster", "captions-en"})
        return f"{len(record.renditions)} renditions appeared, HLS and captions among them"

    def _sound(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            record = self._completed("sound.wav", sample_sound(Path(folder)), {"m4a", "opus", "waveform", "peaks"})
        loudness = record.processing_metadata.get("loudness", {}).get("integrated_lufs")
        return f"AAC, Opus, waveform and peaks appeared; its loudness is {loudness} LUFS"

    def _document(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            record = self._completed("letter.pdf", sample_document(Path(folder)), {"thumbnail", "medium", "text"})
        pages = record.processing_metadata.get("pages")
        if pages != SAMPLE_PAGES or SAMPLE_WORD not in str(record.processing_metadata.get("text")):
            raise FailedCheck("pages and text are not those of the document")
        return f"its {pages} pages were counted, its text was read, its first page is shown"

    def _completed(self, name: str, sample: Path, wanted: set[str]) -> Record:
        """Put a file through; its record, once it is completed with these renditions, each as the record says."""
        record = self._put_through(name, sample.read_bytes())
        if record.status is not ProcessingStatus.COMPLETED:
            raise FailedCheck(f"ended {record.status.value}: {record.error}")
        for rendition in record.renditions:
            if self._platform.store.head(BucketRole.PROCESSED, rendition.key).sha256 != rendition.sha256:
                raise FailedCheck(f"{rendition.key} is not the rendition that the record names")
        missing = wanted - {rendition.name for rendition in record.renditions}
        if missing:
            raise FailedCheck(f"no {', '.join(sorted(missing))}")
        return record

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

    # -- cleaning up -----------------------------------------------------------------------------------------

    def _clean_up(self, report: Report) -> None:
        """Remove every version of what this run made; the report tells what could not be removed, with its date."""
        for name in _MADE:
            self._forget(self._prefix + name)
        self._of_home.settle()
        for name in _MADE:  # an event that came late may have written it once more
            erase(self._platform.store, BucketRole.ANALYTICS, manifest_key(file_id(self._prefix + name)))
        for role in BucketRole:
            for version in list(self._made(role)):
                try:
                    self._platform.store.delete_version(role, version.key, version.version_id)
                except PlatformError as error:
                    told = f"{role}/{version.key} of {version.created_at:%Y-%m-%d}: {error.why}"
                    (report.kept if self._of_home.guarded(role) else report.left_over).append(told)
        self._home.finish()

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
        self._platform.ingest.handle(key)

        def remove() -> None:
            catalog.remove(record.file_id, catalog.get(record.file_id).revision)

        repeated(remove, f"removing the record of {key}")
        erase(store, BucketRole.ANALYTICS, manifest_key(record.file_id))

    def _made(self, role: BucketRole) -> Iterator[ObjectVersion]:
        """Every version below this run's folder; in the data lake, in the hours in which it ran."""
        prefixes = {self._prefix}
        if role is BucketRole.RAW:
            prefixes |= {raw_key(self._prefix, moment) for moment in (self._started_at, self._platform.clock.now())}
        for prefix in sorted(prefixes):
            yield from walk_versions(self._platform.store, role, prefix)
