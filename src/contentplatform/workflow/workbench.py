"""What the steps share: a version at work, changed only by the execution that works on it, made or taken over.

Every write is conditional and every file is named by version and recipe, so that all of it can be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from contentplatform import log
from contentplatform.catalog.port import Catalog, LedgerEntry, Rendition
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.scratch import scratch_folder
from contentplatform.errors import Corrupt, ErrorCode, NotFound, ProcessingFailed
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import recipe
from contentplatform.processing.scanning import Scan
from contentplatform.storage.port import BucketRole, ObjectStore
from contentplatform.together import Beside, Together, repeated
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.renditions import RenditionShelf

Make = Callable[[LedgerEntry, Path, Path], Rendered]
"""Makes renditions of a version: its entry, its bytes as a file, an empty folder."""

_logger: Final = logging.getLogger(__name__)


class Workbench:
    """Where the steps work on one version after another; ``shelf`` holds what they made.

    ``scan`` looks at every file before anything else does, where an operator wants that.
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        publication: Publication,
        scratch_root: Path,
        together: Together,
        beside: Beside,
        scan: Scan | None,
    ) -> None:
        self.shelf = RenditionShelf(store, publication, beside)
        self._store = store
        self._catalog = catalog
        self._publication = publication
        self._scratch_root = scratch_root
        self._together = together
        self._beside = beside
        self._scan = scan

    def begin(self, data: Mapping[str, Any]) -> LedgerEntry:
        """Mark the version as being processed by this execution, and return its entry.

        Raises:
            ProcessingFailed: there is malware in it.
        """

        def processing(entry: LedgerEntry) -> LedgerEntry:
            return replace(
                entry,
                status=ProcessingStatus.PROCESSING,
                recipe=recipe(MediaKind(data["route"])),
                attempts=entry.attempts + 1,
            )

        entry = self.commit(data, processing, publish=False)
        if self._scan is not None:
            with self.scratch() as scratch, self.original(entry, data["key"], scratch) as source:
                self._scan(source)
        return entry

    def commit(
        self, data: Mapping[str, Any], change: Callable[[LedgerEntry], LedgerEntry], *, publish: bool = True
    ) -> LedgerEntry:
        """Apply ``change`` to the entry if this execution is still the one that works on it; the record follows.

        Raises:
            ProcessingFailed: another execution took over, or a person cancelled; what was made is discarded.
            NotFound: the file was moved meanwhile.
        """

        def work() -> LedgerEntry:
            entry = self._change(data, change)
            self._follow(entry, publish=publish)
            return entry

        return repeated(lambda: self._together(work), f"recording {data['key']}")

    def _change(self, data: Mapping[str, Any], change: Callable[[LedgerEntry], LedgerEntry]) -> LedgerEntry:
        return self._catalog.put_entry(change(self.check_still_ours(data)))

    def check_still_ours(self, data: Mapping[str, Any]) -> LedgerEntry:
        """The version's entry, if this execution is still the one that works on it; raises as ``commit``."""
        entry = self._catalog.get_entry(data["file_id"], data["version_id"])
        if entry.execution != data["execution"]:
            raise ProcessingFailed(
                f"processing {data['key']}",
                "another execution took this version over, or it was cancelled",
                code=ErrorCode.CANCELLED,
            )
        return entry

    def _follow(self, entry: LedgerEntry, *, publish: bool) -> None:
        if publish:
            self._publication.follow(entry)
        else:
            self._publication.note_status(entry)

    def make(self, entry: LedgerEntry, key: str, make: Make, *, anew: bool | None = None) -> dict[str, Any]:
        """Make renditions and store them; those that an earlier attempt stored are not stored again."""
        anew = entry.attempts == 1 if anew is None else anew
        with self.scratch() as scratch, self.original(entry, key, scratch) as source:
            rendered = make(entry, source, empty_folder(scratch))
            renditions = self.shelf.keep(entry, key, rendered.files, anew=anew)
        crashpoint("steps.renditions_stored")
        return result_of(renditions, self.shelf.bounded(entry, rendered), rendered.descriptive, reused_from=None)

    def discard_if_gone(self, entry: LedgerEntry, key: str) -> None:
        """Erase what was just stored if its version was deleted for good, or moved, meanwhile: nobody else would.

        Raises:
            NotFound: so it was.
        """
        try:
            looks: list[Callable[[], object]] = [
                partial(self._store.head, BucketRole.PRIMARY, key, version_id=entry.version_id),
                partial(self._catalog.get_entry, entry.file_id, entry.version_id),
            ]
            self._beside(looks)
        except NotFound:
            self._publication.erase_renditions(entry)
            raise

    def reuse(self, entry: LedgerEntry) -> dict[str, Any] | None:
        """Renditions of the same content under this recipe, copied without bytes; None if there are none.

        Only by hashes that were computed, on both sides: one that is only claimed may be a lie, and would show this
        file's renditions under another, or another's under this.
        """
        if not entry.hash_verified:
            return None
        twin = self._catalog.find_processed(entry.file_hash, entry.recipe)
        if twin is None or not twin.hash_verified or not self._publication.intact(twin):
            return None
        key = self._catalog.get(entry.file_id).file_path
        try:
            renditions = self.shelf.copied(twin.renditions, entry, key)
        except Corrupt as error:
            log.event(_logger, logging.WARNING, "renditions not reused", **{log.KEY: key, log.REASON: str(error)})
            return None
        return result_of(renditions, twin.processing_metadata, twin.descriptive, reused_from=twin.version_id)

    # -- files to work on ------------------------------------------------------------------------------------

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for one piece of work; gone afterwards."""
        with scratch_folder(self._scratch_root) as folder:
            yield folder

    @contextmanager
    def original(self, entry: LedgerEntry, key: str, scratch: Path) -> Iterator[Path]:
        """A version's own bytes as a file; raises as ``RenditionShelf.opened``."""
        with self.shelf.opened(BucketRole.PRIMARY, key, scratch, version_id=entry.version_id) as source:
            yield source


def empty_folder(scratch: Path) -> Path:
    """For what is made, beside what it is made of."""
    folder = scratch / "out"
    folder.mkdir()
    return folder


def result_of(
    renditions: list[Rendition],
    metadata: Mapping[str, Any],
    descriptive: Mapping[str, Any],
    *,
    reused_from: str | None,
) -> dict[str, Any]:
    """What a processing step answers: JSON that goes from state to state."""
    return {
        "renditions": [asdict(rendition) for rendition in renditions],
        "metadata": dict(metadata),
        "descriptive": dict(descriptive),
        "reused_from": reused_from,
    }
