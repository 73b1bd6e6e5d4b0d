"""What each Task of the state machine does, in both homes: plain JSON in, plain JSON out.

Each step can be repeated at any time: what it stores is named by version and recipe, what it writes is conditional.
A step raises on failure; the engine decides by the error whether to try again. On aws each is a function of its own
over the same code.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from contentplatform import log
from contentplatform.catalog.port import Catalog, LedgerEntry, Rendition
from contentplatform.clock import Clock, timestamp
from contentplatform.delivery.port import Edge
from contentplatform.delivery.rules import paths_to_purge, raw_edge_key
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.scratch import scratch_folder
from contentplatform.errors import Corrupt, ErrorCode, NotFound, PlatformError, ProcessingFailed
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.processing.ladder import plan
from contentplatform.processing.port import (
    MediaFacts,
    MediaProcessor,
    Rendered,
    Rung,
    Transcoder,
    TranscodeRequest,
    TranscodeState,
    TranscodeStatus,
)
from contentplatform.processing.presets import recipe
from contentplatform.processing.scanning import Scan
from contentplatform.storage.port import BucketRole, ObjectStore
from contentplatform.together import Beside, Together, in_turn, repeated
from contentplatform.workflow.definition import failure_of
from contentplatform.workflow.port import Execution
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.renditions import RUNG_EXTENSION, RenditionShelf, public_names

Step = Callable[[Mapping[str, Any]], dict[str, Any]]
Make = Callable[[LedgerEntry, Path, Path], Rendered]
"""Makes renditions of a version: its entry, its bytes as a file, an empty folder."""

_REPLACED_LIMIT: Final = 100
"""Most public keys that one version is said to replace; a version has about twenty."""

_NOTHING_TO_SHOW: Final = "there is nothing in it to show"
"""The note of a file of which nothing could be made, although nothing was wrong with it."""

_FACTS_LIMIT_BYTES: Final = 64_000
"""Of what a probe found, on its way from state to state; chapters beyond it are left behind."""

_logger: Final = logging.getLogger(__name__)


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
        self._shelf = RenditionShelf(store, publication, beside)
        self._edge = edge
        self._processor = processor
        self._transcoder = transcoder
        self._clock = clock
        self._scratch_root = scratch_root
        self._together = together
        self._beside = beside
        self._wake = wake
        self._scan = scan

    def tasks(self) -> dict[str, Step]:
        """Every task by the name of its function."""
        return {
            "content-image-processor": self.process_image,
            "content-video-processor": self.process_video,
            "check-mediaconvert-status": self.check_video,
            "content-video-finisher": self.finish_video,
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
        entry = self._begin(data)
        result = self._reuse(entry) or self._make(entry, data["key"], make)
        self._discard_if_gone(entry, data["key"])
        return result

    def _render_image(self, _entry: LedgerEntry, source: Path, scratch: Path) -> Rendered:
        return self._processor.process_image(source, scratch)

    def _render_audio(self, _entry: LedgerEntry, source: Path, scratch: Path) -> Rendered:
        return self._processor.process_audio(source, scratch)

    def _render_document(self, entry: LedgerEntry, source: Path, scratch: Path) -> Rendered:
        return self._processor.process_document(source, scratch, content_type=entry.content_type)

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

    # -- videos ----------------------------------------------------------------------------------------------

    def process_video(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Find out what is in a video and have its rungs encoded; the job, for the states that wait for it.

        Two need no encoding, and their job has no id: content that has renditions already, which are taken over here,
        and a film without pictures, of which ``finish_video`` makes what is made of a sound.
        """
        entry, key = self._begin(data), data["key"]
        reused = self._reuse(entry)
        if reused is not None:
            self._discard_if_gone(entry, key)
            return self._nothing_to_encode(data, {"reused": reused})
        facts = _portable(self._probed(entry, key))
        if not facts.video:
            return self._nothing_to_encode(data, {"facts": facts.to_json()})
        rungs = plan(facts, lambda name: self._publication.stored_key(entry, name, RUNG_EXTENSION))
        request = TranscodeRequest(data["execution"], entry.file_id, entry.version_id, key, facts, rungs)
        job_id = self._transcoder.submit(request)
        crashpoint("steps.transcoding_submitted")
        try:
            self._discard_if_gone(entry, key)
            self._check_still_ours(data)
        except (NotFound, ProcessingFailed):  # not for what passes: asking again would find the cancelled job
            self._transcoder.cancel(job_id)
            raise
        self._note_progress(entry, 0, "transcoding")
        return {"id": job_id, "facts": facts.to_json(), "rungs": [asdict(rung) for rung in rungs]}

    def check_video(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """How far the encoding is; the record shows it, too."""
        job_id = data["job"]["id"]
        if not job_id:
            return _told(TranscodeStatus(TranscodeState.COMPLETE, 100))
        entry = self._check_still_ours(data)
        try:
            status = self._transcoder.status(job_id)
        except NotFound:
            words = "the encoding was lost: nothing is known of it any more"
            status = TranscodeStatus(TranscodeState.ERROR, error=words, error_code=ErrorCode.INTERNAL)
        if status.percent is not None and not status.state.is_final:
            self._note_progress(entry, status.percent, "transcoding")
        return _told(status)

    def finish_video(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Verify the encoded rungs and make all other renditions of a video."""
        entry, key, job = self._check_still_ours(data), data["key"], data["job"]
        if "reused" in job:
            return dict(job["reused"])
        facts = MediaFacts.from_json(job["facts"])
        rungs = tuple(Rung(**rung) for rung in job.get("rungs", ()))
        if rungs:
            self._note_progress(entry, 100, "finishing")
            damage = str(data.get("job_status", {}).get("damage", ""))
            # Of a damaged film the rungs may lack what it lacks, so its length is no measure for theirs.
            measure = replace(facts, duration_is_exact=False) if damage else facts
            result = _flagged(self._finish(entry, key, measure, rungs), damage)
        else:
            sound = replace(entry, recipe=recipe(MediaKind.AUDIO))
            made = self._reuse(sound) or self._make(sound, key, self._render_audio, anew=False)
            result = {**made, "kind": MediaKind.AUDIO.value}
        self._discard_if_gone(entry, key)
        self._let_go(job)
        return result

    def _probed(self, entry: LedgerEntry, key: str) -> MediaFacts:
        with (
            scratch_folder(self._scratch_root) as scratch,
            self._shelf.opened(BucketRole.PRIMARY, key, scratch, version_id=entry.version_id) as source,
        ):
            return self._processor.probe(source, _empty_folder(scratch))

    def _finish(self, entry: LedgerEntry, key: str, facts: MediaFacts, rungs: tuple[Rung, ...]) -> dict[str, Any]:
        with ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder(self._scratch_root))
            files = {
                rung.name: stack.enter_context(
                    self._shelf.opened(BucketRole.PROCESSED, rung.stored_key, scratch, name=rung.name)
                )
                for rung in rungs
            }
            if any(track.is_text for track in facts.subtitles):
                source = stack.enter_context(
                    self._shelf.opened(BucketRole.PRIMARY, key, scratch, version_id=entry.version_id)
                )
            else:
                source = files[rungs[0].name]  # nothing is taken from the original, which may be large and far away
            names = public_names(key, facts, rungs)
            rendered = self._processor.finish_video(source, files, facts, names, _empty_folder(scratch))
            renditions = [
                *self._shelf.keep_rungs(key, rungs, files),
                *self._shelf.keep(entry, key, rendered.files, anew=False),
            ]
        crashpoint("steps.renditions_stored")
        return _result(renditions, self._shelf.bounded(entry, rendered), rendered.descriptive, reused_from=None)

    def _nothing_to_encode(self, data: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
        self._wake(data["execution"])
        return {"id": "", "rungs": [], **job}

    def note_transcoding(self, execution: Execution, percent: int) -> None:
        """Let the record of a video that is being encoded show how far that is, also between two ``check_video``."""
        with suppress(NotFound):
            entry = self._catalog.get_entry(execution.file_id, execution.version_id)
            if entry.execution == execution.name:
                self._note_progress(entry, percent, "transcoding")

    def _note_progress(self, entry: LedgerEntry, percent: int, stage: str) -> None:
        """Let people see how far it is; where that can't be written, nothing is lost."""
        with suppress(PlatformError):
            self._publication.note_progress(entry, percent, stage)

    def _let_go(self, job: Mapping[str, Any], *, cancel: bool = False) -> None:
        """Give back what an encoding still holds. What can't be given back now costs room, and fails nothing."""
        job_id = job.get("id")
        if not job_id:
            return
        try:
            if cancel:
                self._transcoder.cancel(job_id)
            self._transcoder.forget(job_id)
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "encoding not let go", job=job_id, **{log.REASON: str(error)})

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
        self._let_go(data.get("job", {}), cancel=True)

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

    # -- parts -----------------------------------------------------------------------------------------------

    def _begin(self, data: Mapping[str, Any]) -> LedgerEntry:
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

        entry = self._commit(data, processing, publish=False)
        if self._scan is not None:
            with (
                scratch_folder(self._scratch_root) as scratch,
                self._shelf.opened(BucketRole.PRIMARY, data["key"], scratch, version_id=entry.version_id) as source,
            ):
                self._scan(source)
        return entry

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
        return self._catalog.put_entry(change(self._check_still_ours(data)))

    def _check_still_ours(self, data: Mapping[str, Any]) -> LedgerEntry:
        """The version's entry, if this execution is still the one that works on it; raises as ``_commit``."""
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

    def _make(self, entry: LedgerEntry, key: str, make: Make, *, anew: bool | None = None) -> dict[str, Any]:
        """Make renditions and store them; those that an earlier attempt stored are not stored again."""
        anew = entry.attempts == 1 if anew is None else anew
        with (
            scratch_folder(self._scratch_root) as scratch,
            self._shelf.opened(BucketRole.PRIMARY, key, scratch, version_id=entry.version_id) as source,
        ):
            rendered = make(entry, source, _empty_folder(scratch))
            renditions = self._shelf.keep(entry, key, rendered.files, anew=anew)
        crashpoint("steps.renditions_stored")
        return _result(renditions, self._shelf.bounded(entry, rendered), rendered.descriptive, reused_from=None)

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
        try:
            renditions = self._shelf.copied(twin.renditions, entry, key)
        except Corrupt as error:
            log.event(_logger, logging.WARNING, "renditions not reused", **{log.KEY: key, log.REASON: str(error)})
            return None
        return _result(renditions, twin.processing_metadata, twin.descriptive, reused_from=twin.version_id)


def _empty_folder(scratch: Path) -> Path:
    folder = scratch / "out"
    folder.mkdir()
    return folder


def _portable(facts: MediaFacts) -> MediaFacts:
    """The facts, with as many chapters as there is room for."""
    while facts.chapters and len(json.dumps(facts.to_json())) > _FACTS_LIMIT_BYTES:
        facts = replace(facts, chapters=facts.chapters[: len(facts.chapters) // 2])
    return facts


def _noted(note: str | None, told: str) -> str | None:
    """A version's note, and what processing has to say to it; once, however often it says so."""
    if not told or (note is not None and told in note):
        return note
    return told if note is None else f"{note}; {told}"


def _told(status: TranscodeStatus) -> dict[str, Any]:
    told: dict[str, Any] = {"status": status.state.value, "percent": status.percent}
    if status.state in {TranscodeState.ERROR, TranscodeState.CANCELED}:
        words = status.error or "the encoding was cancelled"
        told |= {"error": words, "error_code": (status.error_code or ErrorCode.INTERNAL).value}
    elif status.damage:
        told["damage"] = status.damage
    return told


def _flagged(result: dict[str, Any], damage: str) -> dict[str, Any]:
    """The result, whose facts say what was lost of the original, for programs and for people."""
    if not damage:
        return result
    told = {"damaged": True, "damage": damage, "note": f"The original is damaged: {damage}"}
    return {**result, "metadata": {**result["metadata"], **told}}


def _result(
    renditions: list[Rendition],
    metadata: Mapping[str, Any],
    descriptive: Mapping[str, Any],
    *,
    reused_from: str | None,
) -> dict[str, Any]:
    return {
        "renditions": [asdict(rendition) for rendition in renditions],
        "metadata": dict(metadata),
        "descriptive": dict(descriptive),
        "reused_from": reused_from,
    }
