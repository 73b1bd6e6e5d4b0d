"""The three steps of a video: have it encoded, ask how far that is, verify and complete what came of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from contentplatform import log
from contentplatform.catalog.port import Catalog, LedgerEntry
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.errors import ErrorCode, NotFound, PlatformError, ProcessingFailed
from contentplatform.media import MediaKind
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
from contentplatform.processing.probe import kind_of
from contentplatform.storage.port import BucketRole
from contentplatform.workflow.port import Execution
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.renditions import RUNG_EXTENSION, public_names
from contentplatform.workflow.workbench import Workbench, empty_folder, result_of

_FACTS_LIMIT_BYTES: Final = 64_000
"""Of what a probe found, on its way from state to state; chapters beyond it are left behind."""

_logger: Final = logging.getLogger(__name__)


class VideoSteps:
    """The tasks of a video.

    ``wake`` ends an execution's next Wait at once, where somebody can: for a video that needs no encoding.
    """

    def __init__(
        self,
        bench: Workbench,
        catalog: Catalog,
        publication: Publication,
        processor: MediaProcessor,
        transcoder: Transcoder,
        wake: Callable[[str], object],
    ) -> None:
        self._bench = bench
        self._catalog = catalog
        self._publication = publication
        self._processor = processor
        self._transcoder = transcoder
        self._wake = wake

    def process(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Find out what is in a video and have its rungs encoded; the job, for the states that wait for it.

        Two need no encoding, and their job has no id: content that has renditions already, which are taken over here,
        and a film without pictures, of which ``finish`` makes what is made of a sound.
        """
        entry, key = self._bench.begin(data), data["key"]
        reused = self._bench.reuse(entry)
        if reused is not None:
            self._bench.discard_if_gone(entry, key)
            return self._nothing_to_encode(data, {"reused": reused})
        facts = _portable(self._probed(entry, key))
        if kind_of(facts) is not MediaKind.VIDEO:
            return self._nothing_to_encode(data, {"facts": facts.to_json()})
        rungs = plan(facts, lambda name: self._publication.stored_key(entry, name, RUNG_EXTENSION))
        request = TranscodeRequest(data["execution"], entry.file_id, entry.version_id, key, facts, rungs)
        job_id = self._transcoder.submit(request)
        crashpoint("steps.transcoding_submitted")
        try:
            self._bench.discard_if_gone(entry, key)
            self._bench.check_still_ours(data)
        except (NotFound, ProcessingFailed):  # not for what passes: asking again would find the cancelled job
            self._transcoder.cancel(job_id)
            raise
        self._note_progress(entry, 0, "transcoding")
        return {"id": job_id, "facts": facts.to_json(), "rungs": [asdict(rung) for rung in rungs]}

    def check(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """How far the encoding is; the record shows it, too."""
        job_id = data["job"]["id"]
        if not job_id:
            return _told(TranscodeStatus(TranscodeState.COMPLETE, 100))
        entry = self._bench.check_still_ours(data)
        try:
            status = self._transcoder.status(job_id)
        except NotFound:
            words = "the encoding was lost: nothing is known of it any more"
            status = TranscodeStatus(TranscodeState.ERROR, error=words, error_code=ErrorCode.INTERNAL)
        if status.percent is not None and not status.state.is_final:
            self._note_progress(entry, status.percent, "transcoding")
        return _told(status)

    def finish(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Verify the encoded rungs and make all other renditions of a video."""
        entry, key, job = self._bench.check_still_ours(data), data["key"], data["job"]
        if "reused" in job:
            return dict(job["reused"])
        facts = MediaFacts.from_json(job["facts"])
        rungs = tuple(Rung(**rung) for rung in job.get("rungs", ()))
        if rungs:
            self._note_progress(entry, 100, "finishing")
            damage = str(data.get("job_status", {}).get("damage", ""))
            # Of a damaged film the rungs may lack what it lacks, so its length is no measure for theirs.
            measure = replace(facts, duration_is_exact=False) if damage else facts
            result = _flagged(self._complete(entry, key, measure, rungs), damage)
        else:
            sound = replace(entry, recipe=recipe(MediaKind.AUDIO))
            made = self._bench.reuse(sound) or self._bench.make(sound, key, self._render_sound, anew=False)
            result = {**made, "kind": MediaKind.AUDIO.value}
        self._bench.discard_if_gone(entry, key)
        self.let_go(job)
        return result

    def _render_sound(self, _entry: LedgerEntry, source: Path, scratch: Path) -> Rendered:
        return self._processor.process_audio(source, scratch)

    def _probed(self, entry: LedgerEntry, key: str) -> MediaFacts:
        with self._bench.scratch() as scratch, self._bench.original(entry, key, scratch) as source:
            return self._processor.probe(source, empty_folder(scratch))

    def _complete(self, entry: LedgerEntry, key: str, facts: MediaFacts, rungs: tuple[Rung, ...]) -> dict[str, Any]:
        with ExitStack() as stack:
            scratch = stack.enter_context(self._bench.scratch())
            files = {
                rung.name: stack.enter_context(
                    self._bench.shelf.opened(BucketRole.PROCESSED, rung.stored_key, scratch, name=rung.name)
                )
                for rung in rungs
            }
            if any(track.is_text for track in facts.subtitles):
                source = stack.enter_context(self._bench.original(entry, key, scratch))
            else:
                source = files[rungs[0].name]  # nothing is taken from the original, which may be large and far away
            names = public_names(key, facts, rungs)
            rendered = self._processor.finish_video(source, files, facts, names, empty_folder(scratch))
            renditions = [
                *self._bench.shelf.keep_rungs(key, rungs, files),
                *self._bench.shelf.keep(entry, key, rendered.files, anew=False),
            ]
        crashpoint("steps.renditions_stored")
        return result_of(renditions, self._bench.shelf.bounded(entry, rendered), rendered.descriptive, reused_from=None)

    def _nothing_to_encode(self, data: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
        self._wake(data["execution"])
        return {"id": "", "rungs": [], **job}

    def note_transcoding(self, execution: Execution, percent: int) -> None:
        """Let the record of a video that is being encoded show how far that is, also between two ``check``."""
        with suppress(NotFound):
            entry = self._catalog.get_entry(execution.file_id, execution.version_id)
            if entry.execution == execution.name:
                self._note_progress(entry, percent, "transcoding")

    def _note_progress(self, entry: LedgerEntry, percent: int, stage: str) -> None:
        """Let people see how far it is; where that can't be written, nothing is lost."""
        with suppress(PlatformError):
            self._publication.note_progress(entry, percent, stage)

    def let_go(self, job: Mapping[str, Any], *, cancel: bool = False) -> None:
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


def _portable(facts: MediaFacts) -> MediaFacts:
    """The facts, with as many chapters as there is room for."""
    while facts.chapters and len(json.dumps(facts.to_json())) > _FACTS_LIMIT_BYTES:
        facts = replace(facts, chapters=facts.chapters[: len(facts.chapters) // 2])
    return facts


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
