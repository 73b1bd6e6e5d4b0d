"""Makes renditions on this machine: hands the source to a sandboxed child and checks everything that comes back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from math import ceil, inf
from pathlib import Path
from typing import Final

from contentplatform.drivers.confinement import Confinement, JobLimits
from contentplatform.drivers.sandbox import Sandbox
from contentplatform.processing.answers import (
    DOCUMENT_RENDITIONS,
    IMAGE_RENDITIONS,
    nonsense,
    rendered,
    transformed,
    video_renditions,
)
from contentplatform.processing.claims import media_facts
from contentplatform.processing.playlists import check, refers
from contentplatform.processing.port import MediaFacts, MediaProcessor, Rendered, Transformation, Transformed
from contentplatform.processing.presets import (
    DocumentLimits,
    ImageLimits,
    VideoLimits,
)
from contentplatform.processing.probe import HEAD_SIZE_BYTES, sniff
from contentplatform.processing.sounds import render_sound, sounding_limits
from contentplatform.processing.transformations import TRANSFORMATION_SECONDS

IMAGE_JOB: Final = "contentplatform.processing.image:render"
TRANSFORM_JOB: Final = "contentplatform.processing.jobs.transform:transform"
MEDIA_JOBS: Final = "contentplatform.processing.jobs.media:run"
DOCUMENT_JOB: Final = "contentplatform.processing.jobs.document:render"
_DOING: Final = "making the image's renditions"
_TRANSFORMING: Final = "making the picture that was asked for"
_PROBING: Final = "looking at what is in the file"
_FINISHING: Final = "completing the video's renditions"
_READING: Final = "reading the document"
_FINISHING_SECONDS_A_SECOND: Final = 0.2
"""Measured: 0.05, of which short films take most."""
_READ_BYTES_A_SECOND: Final = 20 << 20
_PLAYLIST_LIMIT_BYTES: Final = 64 << 20
"""A day in segments of two seconds, with the longest of names, percent-encoded."""
ENVIRONMENT: Final = {
    # One thread a job: jobs run beside each other, and two threads on one picture are slower in sum.
    "VIPS_CONCURRENCY": "1",
    # numpy would start threads where it is imported, and a process with threads can't be forked safely.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Few heaps: a job's memory is limited.
    "MALLOC_ARENA_MAX": "2",
    # Should libvips want a temporary file, the scratch folder is the only place where it can make one.
    "TMPDIR": ".",
}
"""All that the zygote and the jobs see of the environment, beside the way to the modules."""
TRANSFORM_ENVIRONMENT: Final = {
    **ENVIRONMENT,
    # One heap that grows by 8 MiB, takes all but the largest blocks and gives nothing back, in pages of 2 MiB where the
    # kernel has them: so short a job would spend a good part of its time on faulting in small ones. C libraries that
    # know neither variable ignore it.
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}"
        for name in ("hugetlb=1", "top_pad=8388608", "mmap_threshold=33554432", "trim_threshold=134217728")
    ),
}


class LocalMediaProcessor(MediaProcessor):
    """Runs each job in a child of a zygote, one zygote a family of parsers. Each starts with its first job."""

    def __init__(
        self,
        *,
        image_limits: ImageLimits | None = None,
        video_limits: VideoLimits | None = None,
        document_limits: DocumentLimits | None = None,
        job_limits: JobLimits | None = None,
        media_limits: JobLimits | None = None,
        normalise_loudness: bool = False,
        processors: int | None = None,
        longest_job_seconds: float = inf,
    ) -> None:
        """Start nothing yet.

        ``processors`` is how many a single call may use; as many as this process may, if not given. Limits that grow
        with the source stay within ``longest_job_seconds``, which is for where the caller itself is ended then.
        """
        self._image_limits = image_limits or ImageLimits()
        self._video_limits = video_limits or VideoLimits()
        self._document_limits = document_limits or DocumentLimits()
        self._normalise_loudness = normalise_loudness
        self._processors = processors or usable_processors()
        self._job_limits = job_limits or JobLimits()
        self._media_limits = media_limits or self._job_limits
        self._longest_job_seconds = longest_job_seconds
        self._images = Sandbox(IMAGE_JOB, limits=job_limits, environment=ENVIRONMENT)
        self._transformations = Sandbox(TRANSFORM_JOB, limits=job_limits, environment=TRANSFORM_ENVIRONMENT)
        self._media = Sandbox(MEDIA_JOBS, limits=self._media_limits, environment=ENVIRONMENT)
        self._documents = Sandbox(DOCUMENT_JOB, limits=job_limits, environment=ENVIRONMENT)

    def confinement(self) -> Confinement:
        """Which walls the kernel puts around jobs here; ``gaps()`` of it is for the operator to read at start."""
        return self._images.confinement()

    def process_image(self, source: Path, scratch: Path) -> Rendered:
        with source.open("rb") as stream:
            head = stream.read(HEAD_SIZE_BYTES)
        request = {
            "content_type": sniff(head, source.stat().st_size).content_type,
            "limits": asdict(self._image_limits),
        }
        report = self._images.run(request, source, scratch, doing=_DOING)
        return rendered(report.result, scratch, IMAGE_RENDITIONS, doing=_DOING)

    def transform(self, source: Path, scratch: Path, wanted: Transformation) -> Transformed:
        with source.open("rb") as stream:
            head = stream.read(HEAD_SIZE_BYTES)
        request = {
            "content_type": sniff(head, source.stat().st_size).content_type,
            "limits": asdict(self._image_limits),
            "wanted": asdict(wanted),
        }
        # Somebody waits for it.
        limits = replace(
            self._job_limits,
            wall_seconds=min(self._job_limits.wall_seconds, TRANSFORMATION_SECONDS),
            cpu_seconds=min(self._job_limits.cpu_seconds, ceil(TRANSFORMATION_SECONDS)),
        )
        report = self._transformations.run(request, source, scratch, doing=_TRANSFORMING, limits=limits)
        file = transformed(report.result, scratch, wanted, doing=_TRANSFORMING)
        return Transformed(file, report.cpu_seconds)

    def probe(self, source: Path, scratch: Path) -> MediaFacts:
        request = {"job": "probe", "limits": asdict(self._video_limits)}
        report = self._media.run(request, source, scratch, doing=_PROBING)
        try:
            return media_facts(report.result)
        except ValueError as error:
            raise nonsense(_PROBING, str(error)) from error

    def finish_video(
        self, source: Path, rungs: Mapping[str, Path], facts: MediaFacts, names: Mapping[str, str], scratch: Path
    ) -> Rendered:
        request = {
            "job": "finish",
            "limits": asdict(self._video_limits),
            "facts": facts.to_json(),
            "rungs": list(rungs),
            "names": dict(names),
        }
        report = self._media.run(
            request,
            source,
            scratch,
            doing=_FINISHING,
            others=tuple(rungs.values()),
            limits=self._in_time(finishing_limits(self._job_limits, source, rungs.values(), facts)),
        )
        finished = rendered(report.result, scratch, video_renditions(names), doing=_FINISHING)
        for file in finished.files:
            if refers(file.name):
                check_references(file.path, names)
        return finished

    def process_audio(self, source: Path, scratch: Path) -> Rendered:
        request = {"job": "audio", "limits": asdict(self._video_limits), "normalise": self._normalise_loudness}
        limits = sounding_limits(self._media_limits, source.stat().st_size, self._video_limits.duration_seconds)
        limits = self._in_time(limits)
        return render_sound(self._media, request, source, scratch, limits=limits, processors=self._processors)

    def process_document(self, source: Path, scratch: Path, *, content_type: str) -> Rendered:
        request = {"content_type": content_type, "limits": asdict(self._document_limits)}
        report = self._documents.run(request, source, scratch, doing=_READING)
        return rendered(report.result, scratch, DOCUMENT_RENDITIONS, doing=_READING)

    def _in_time(self, limits: JobLimits) -> JobLimits:
        most_seconds = self._longest_job_seconds
        return replace(
            limits,
            wall_seconds=min(limits.wall_seconds, most_seconds),
            cpu_seconds=limits.cpu_seconds if most_seconds == inf else min(limits.cpu_seconds, ceil(most_seconds)),
        )

    def close(self) -> None:
        for sandbox in (self._images, self._transformations, self._media, self._documents):
            sandbox.close()


def usable_processors() -> int:
    """On how many processors this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finishing_limits(limits: JobLimits, source: Path, rungs: Iterable[Path], facts: MediaFacts) -> JobLimits:
    """What completing a video may take: it is read and copied whole, and nobody knows how many hours it has."""
    sizes = [rung.stat().st_size for rung in rungs]
    seconds = facts.duration_seconds * _FINISHING_SECONDS_A_SECOND + source.stat().st_size / _READ_BYTES_A_SECOND
    return replace(
        limits,
        wall_seconds=limits.wall_seconds + seconds,
        cpu_seconds=limits.cpu_seconds + ceil(seconds),
        file_bytes=max(limits.file_bytes, 2 * max(sizes)),
        scratch_bytes=max(limits.scratch_bytes, 2 * sum(sizes)),
    )


def check_references(path: Path, names: Mapping[str, str]) -> None:
    """Make sure that a playlist leads to this video's own files and nowhere else, whoever wrote it.

    Raises:
        ProcessingFailed: it doesn't.
    """
    with path.open("rb") as stream:
        content = stream.read(_PLAYLIST_LIMIT_BYTES + 1)
    try:
        if len(content) > _PLAYLIST_LIMIT_BYTES:
            raise ValueError("longer than any playlist")
        check(content.decode("utf-8"), names.values())
    except ValueError as error:
        raise nonsense(_FINISHING, f"{path.name}: {error}") from error
