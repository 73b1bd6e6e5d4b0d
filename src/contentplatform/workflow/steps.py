"""What each Task of the state machine does, in both homes: plain JSON in, plain JSON out.

Each step can be repeated at any time: what it stores is named by version and recipe, what it writes is conditional.
A step raises on failure; the engine decides by the error whether to try again. On aws each is a function of its own
over the same code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from contentplatform.catalog.port import Catalog, LedgerEntry, Rendition
from contentplatform.clock import Clock, timestamp
from contentplatform.delivery.port import Edge
from contentplatform.delivery.rules import paths_to_purge, raw_edge_key
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.scratch import scratch_folder
from contentplatform.errors import ErrorCode, NotFound, ProcessingFailed
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.processing.port import MediaProcessor, Rendered, RenderedFile
from contentplatform.processing.presets import public_key, recipe
from contentplatform.storage.port import BucketRole, HasLocalFiles, ObjectStore, PutOptions
from contentplatform.together import Beside, Together, in_turn, repeated
from contentplatform.workflow.definition import failure_of
from contentplatform.workflow.publication import Publication

Step = Callable[[Mapping[str, Any]], dict[str, Any]]

_NOT_BUILT: Final = (
    "content-video-processor",
    "check-mediaconvert-status",
    "content-video-finisher",
    "content-audio-processor",
    "content-document-processor",
)
_REPLACED_LIMIT: Final = 100
"""Most public keys that one version is said to replace; a version has about twenty."""
_INLINE_METADATA_LIMIT_BYTES: Final = 48_000
"""Facts longer than this go into an object beside the record: Step Functions carries at most 256 KB between states."""


class Steps:
    """The tasks of the workflow over the platform's ports."""

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
        beside: Beside = in_turn,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._publication = publication
        self._edge = edge
        self._processor = processor
        self._clock = clock
        self._scratch_root = scratch_root
        self._together = together
        self._beside = beside

    def tasks(self) -> dict[str, Step]:
        """Every task by the name of its function."""
        return {
            "content-image-processor": self.process_image,
            "content-generic-processor": self.process_generic,
            "update-metadata": self.update_metadata,
            "record-failure": self.record_failure,
            "cloudfront-invalidation": self.invalidate,
            **dict.fromkeys(_NOT_BUILT, self.refuse),
        }

    # -- processing ------------------------------------------------------------------------------------------

    def process_image(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make an image's renditions, or take those of the same content; store them under the version's own keys."""
        entry = self._begin(data)
        result = self._reuse(entry) or self._make(entry, data["key"])
        self._discard_if_gone(entry, data["key"])
        return result

    def process_generic(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Note what can be told of any file."""
        entry = self._begin(data)
        version = self._store.head(BucketRole.PRIMARY, data["key"], version_id=entry.version_id)
        facts = {
            "content_type": entry.content_type,
            "size": version.size_bytes,
            "last_modified": timestamp(version.created_at),
            "etag": version.etag,
            "sha256": entry.file_hash,
        }
        return _result([], facts, {}, reused_from=None)

    # -- committing ------------------------------------------------------------------------------------------

    def update_metadata(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Commit the manifest, once, and let record and public keys follow it."""
        result = data["result"]
        renditions = tuple(Rendition(**rendition) for rendition in result["renditions"])

        def completed(entry: LedgerEntry) -> LedgerEntry:
            return replace(
                entry,
                status=ProcessingStatus.COMPLETED,
                renditions=renditions,
                processing_metadata=result["metadata"],
                descriptive=result["descriptive"],
                processed_at=self._clock.now(),
                error=None,
                error_code=None,
            )

        replaced = self._replaced(data, renditions)
        entry = self._commit(data, completed)
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
            self._commit(data, failed)
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

    def refuse(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Fail what was routed to a processor that does not exist; ingest routes nothing here."""
        raise ProcessingFailed(
            f"processing {data['key']}",
            f"this version of the platform has no processor for {data['route']} files",
            code=ErrorCode.UNSUPPORTED,
        )

    # -- parts -----------------------------------------------------------------------------------------------

    def _begin(self, data: Mapping[str, Any]) -> LedgerEntry:
        """Mark the version as being processed by this execution, and return its entry."""

        def processing(entry: LedgerEntry) -> LedgerEntry:
            return replace(
                entry,
                status=ProcessingStatus.PROCESSING,
                recipe=recipe(MediaKind(data["route"])),
                attempts=entry.attempts + 1,
            )

        return self._commit(data, processing, publish=False)

    def _commit(
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
        entry = self._catalog.get_entry(data["file_id"], data["version_id"])
        if entry.execution != data["execution"]:
            raise ProcessingFailed(
                f"processing {data['key']}",
                "another execution took this version over, or it was cancelled",
                code=ErrorCode.CANCELLED,
            )
        return self._catalog.put_entry(change(entry))

    def _follow(self, entry: LedgerEntry, *, publish: bool) -> None:
        if publish:
            self._publication.follow(entry)
        else:
            self._publication.note_status(entry)

    def _make(self, entry: LedgerEntry, key: str) -> dict[str, Any]:
        with scratch_folder(self._scratch_root) as scratch, self._source(entry, key, scratch) as source:
            folder = scratch / "out"
            folder.mkdir()
            rendered = self._processor.process_image(source, folder)
            renditions = self._beside([partial(self._keep, entry, key, file) for file in rendered.files])
        crashpoint("steps.renditions_stored")
        return _result(renditions, self._bounded(entry, rendered), dict(rendered.descriptive), reused_from=None)

    def _discard_if_gone(self, entry: LedgerEntry, key: str) -> None:
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

    def _reuse(self, entry: LedgerEntry) -> dict[str, Any] | None:
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
        renditions = []
        for rendition in twin.renditions:
            extension = rendition.stored_key.rpartition(".")[2]
            copy = replace(
                rendition,
                key=public_key(rendition.name, key, extension),
                stored_key=self._publication.stored_key(entry, rendition.name, extension),
            )
            if copy.stored_key != rendition.stored_key:
                stored = self._store.head(BucketRole.PROCESSED, rendition.stored_key)
                self._store.write_copy(stored, BucketRole.PROCESSED, copy.stored_key)
            renditions.append(_as_json(copy))
        return _result(renditions, dict(twin.processing_metadata), dict(twin.descriptive), reused_from=twin.version_id)

    def _keep(self, entry: LedgerEntry, key: str, file: RenderedFile) -> dict[str, Any]:
        """Store one rendition under the version's own key, unless an earlier attempt stored those very bytes."""
        stored_key = self._publication.stored_key(entry, file.name, file.extension)
        with file.path.open("rb") as body:
            sha256 = hashlib.file_digest(body, "sha256").hexdigest()
            if entry.attempts == 1 or not self._publication.is_stored(stored_key, sha256):
                body.seek(0)
                options = PutOptions(
                    content_type=file.content_type, user_metadata=file.user_metadata, expected_sha256=sha256
                )
                self._store.write(BucketRole.PROCESSED, stored_key, body, options)
        return _as_json(
            Rendition(
                name=file.name,
                key=public_key(file.name, key, file.extension),
                stored_key=stored_key,
                content_type=file.content_type,
                size_bytes=file.path.stat().st_size,
                sha256=sha256,
                width=file.width,
                height=file.height,
            )
        )

    def _bounded(self, entry: LedgerEntry, rendered: Rendered) -> dict[str, Any]:
        """The facts that fit a record; where they are too long, all of them go into an object beside it."""
        facts = dict(rendered.metadata)
        body = json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()
        if len(body) <= _INLINE_METADATA_LIMIT_BYTES:
            return facts
        path = self._publication.stored_key(entry, "metadata", "json")
        self._store.write(BucketRole.PROCESSED, path, BytesIO(body), PutOptions(content_type="application/json"))
        short = {name: value for name, value in facts.items() if not isinstance(value, dict | list)}
        return {**short, "complete_metadata": path}

    @contextmanager
    def _source(self, entry: LedgerEntry, key: str, scratch: Path) -> Iterator[Path]:
        """The version's bytes as a file: where the store keeps files, the very file; else a download."""
        if isinstance(self._store, HasLocalFiles):
            yield self._store.local_file(self._store.head(BucketRole.PRIMARY, key, version_id=entry.version_id))
            return
        path = scratch / "source"
        with (
            self._store.open(BucketRole.PRIMARY, key, version_id=entry.version_id) as reader,
            path.open("wb") as target,
        ):
            for chunk in reader.chunks():
                target.write(chunk)
        yield path


def _result(
    renditions: list[dict[str, Any]],
    metadata: dict[str, Any],
    descriptive: dict[str, Any],
    *,
    reused_from: str | None,
) -> dict[str, Any]:
    return {
        "renditions": renditions,
        "metadata": metadata,
        "descriptive": descriptive,
        "reused_from": reused_from,
    }


def _as_json(rendition: Rendition) -> dict[str, Any]:
    return {name: getattr(rendition, name) for name in Rendition.__slots__}
