"""What each Task of the state machine does, in both homes: plain JSON in, plain JSON out.

Each step can be repeated at any time: what it stores is named by version and recipe, what it writes is conditional.
A step raises on failure; the engine decides by the error whether to try again. On aws each is a function of its own
over the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from contentplatform.catalog.port import Catalog, LedgerEntry, Rendition
from contentplatform.clock import Clock, timestamp
from contentplatform.delivery.port import Edge
from contentplatform.delivery.rules import paths_to_purge, raw_edge_key
from contentplatform.errors import NotFound
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.processing.port import MediaProcessor, Rendered, Transcoder
from contentplatform.processing.presets import recipe
from contentplatform.processing.scanning import Scan
from contentplatform.storage.port import BucketRole, ObjectStore
from contentplatform.together import Beside, Together, in_turn
from contentplatform.workflow.definition import failure_of
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.videos import VideoSteps
from contentplatform.workflow.workbench import Make, Workbench, result_of

Step = Callable[[Mapping[str, Any]], dict[str, Any]]

_REPLACED_LIMIT: Final = 100
"""Most public keys that one version is said to replace; a version has about twenty."""

_NOTHING_TO_SHOW: Final = "there is nothing in it to show"
"""The note of a file of which nothing could be made, although nothing was wrong with it."""


class Steps:
    """The tasks of the workflow over the platform's ports.

    ``wake`` ends an execution's next Wait at once, where somebody can: for a video that needs no transcoding. ``scan``
    looks at every file before anything else does, where an operator wants that.
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        publication: Publication,
        edge: Edge,
        processor: MediaProcessor,
        clock: Clock,
        scratch_root: Path,
        together: Together,
        *,
        transcoder: Transcoder,
        beside: Beside = in_turn,
        wake: Callable[[str], object] = lambda _execution: None,
        scan: Scan | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._publication = publication
        self._edge = edge
        self._processor = processor
        self._clock = clock
        self._bench = Workbench(store, catalog, publication, scratch_root, together, beside, scan)
        self.videos = VideoSteps(self._bench, catalog, publication, processor, transcoder, wake)

    def tasks(self) -> dict[str, Step]:
        """Every task by the name of its function."""
        return {
            "content-image-processor": self.process_image,
            "content-video-processor": self.videos.process,
            "check-mediaconvert-status": self.videos.check,
            "content-video-finisher": self.videos.finish,
            "content-audio-processor": self.process_audio,
            "content-document-processor": self.process_document,
            "content-generic-processor": self.process_generic,
            "update-metadata": self.update_metadata,
            "record-failure": self.record_failure,
            "cloudfront-invalidation": self.invalidate,
        }

    # -- processing ------------------------------------------------------------------------------------------

    def process_image(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make an image's renditions, or take those of the same content; store them under the version's own keys."""
        return self._process(data, self._render_image)

    def process_audio(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make a sound's renditions, as ``process_image`` does an image's."""
        return self._process(data, self._render_audio)

    def process_document(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make a document's renditions, and take its text."""
        return self._process(data, self._render_document)

    def _process(self, data: Mapping[str, Any], make: Make) -> dict[str, Any]:
        entry = self._bench.begin(data)
        result = self._bench.reuse(entry) or self._bench.make(entry, data["key"], make)
        self._bench.discard_if_gone(entry, data["key"])
        return result

    def _render_image(self, _entry: LedgerEntry, source: Path, scratch: Path) -> Rendered:
        return self._processor.process_image(source, scratch)

    def _render_audio(self, _entry: LedgerEntry, source: Path, scratch: Path) -> Rendered:
        return self._processor.process_audio(source, scratch)

    def _render_document(self, entry: LedgerEntry, source: Path, scratch: Path) -> Rendered:
        return self._processor.process_document(source, scratch, content_type=entry.content_type)

    def process_generic(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Note what can be told of any file."""
        entry = self._bench.begin(data)
        version = self._store.head(BucketRole.PRIMARY, data["key"], version_id=entry.version_id)
        facts = {
            "content_type": entry.content_type,
            "size": version.size_bytes,
            "last_modified": timestamp(version.created_at),
            "etag": version.etag,
            "sha256": entry.file_hash,
        }
        return result_of([], facts, {}, reused_from=None)

    # -- committing ------------------------------------------------------------------------------------------

    def update_metadata(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Commit the manifest, once, and let record and public keys follow it."""
        result = data["result"]
        renditions = tuple(Rendition(**rendition) for rendition in result["renditions"])
        turned_out = MediaKind(result["kind"]) if "kind" in result else None
        empty = "" if data["route"] == MediaKind.GENERIC.value else _NOTHING_TO_SHOW

        def completed(entry: LedgerEntry) -> LedgerEntry:
            return replace(
                entry,
                kind=turned_out or entry.kind,
                recipe=recipe(turned_out) if turned_out else entry.recipe,
                status=ProcessingStatus.COMPLETED,
                renditions=renditions,
                processing_metadata=result["metadata"],
                note=_noted(entry.note, result["metadata"].get("note") or ("" if renditions else empty)),
                descriptive=result["descriptive"],
                processed_at=self._clock.now(),
                error=None,
                error_code=None,
            )

        replaced = self._replaced(data, renditions)
        entry = self._bench.commit(data, completed)
        return {"status": entry.status.value, "renditions": len(entry.renditions), "replaced": replaced}

    def _replaced(self, data: Mapping[str, Any], renditions: tuple[Rendition, ...]) -> list[list[str]]:
        """What the edge may have cached and this version replaces there, as [key, SHA-256]; bounded."""
        try:
            entry = self._catalog.get_entry(data["file_id"], data["version_id"])
        except NotFound:
            return []
        shown = [list(pair) for pair in self._publication.shown(entry, renditions)]
        original = raw_edge_key(data["key"])
        if original is not None and len(self._catalog.entries(entry.file_id)) > 1:
            shown.append([original, ""])
        return shown[:_REPLACED_LIMIT]

    def record_failure(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Write down that this version failed, and why, for a person."""
        failure = failure_of(data)
        self.videos.let_go(data.get("job", {}), cancel=True)

        def failed(entry: LedgerEntry) -> LedgerEntry:
            return replace(
                entry,
                status=ProcessingStatus.FAILED,
                error=failure.words,
                error_code=failure.code,
                attempts=max(entry.attempts, 1),
                processed_at=self._clock.now(),
            )

        with suppress(NotFound):  # the file was moved or its version deleted meanwhile: nobody is left to be told
            self._bench.commit(data, failed)
        return failure.as_result()

    def invalidate(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Let the edge forget what this version replaced: the exact paths of the old and the new manifest.

        A first version costs nothing. Of the new manifest those paths are named whose key was public before: between
        manifest and public keys somebody may have asked for the new bytes and got the old ones.
        """
        replaced = [(key, sha256) for key, sha256 in data["update"].get("replaced", ())]
        keys = {key for key, _ in replaced}
        renewed = [(made["key"], made["sha256"]) for made in data["result"]["renditions"] if made["key"] in keys]
        paths = paths_to_purge((*replaced, *renewed))
        told = self._edge.invalidate(paths, data["execution"])
        if told is None:
            return {"status": "not needed", "reason": "no earlier version was public", "paths": 0}
        return {"status": told.status.value, "id": told.id, "reference": told.reference, "paths": len(told.paths)}


def _noted(note: str | None, told: str) -> str | None:
    """A version's note, and what processing has to say to it; once, however often it says so."""
    if not told or (note is not None and told in note):
        return note
    return told if note is None else f"{note}; {told}"
