"""Makes renditions on this machine: hands the source to a sandboxed child and checks everything that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from contentplatform.drivers.confinement import Confinement, JobLimits
from contentplatform.drivers.sandbox import Sandbox, plain_file
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.port import MediaProcessor, Rendered, RenderedFile
from contentplatform.processing.presets import IMAGE_PRESETS, PROCESSOR, ImageLimits, ImagePreset
from contentplatform.processing.probe import HEAD_SIZE_BYTES, sniff

IMAGE_JOB: Final = "contentplatform.processing.image:render"
_DOING: Final = "making the image's renditions"
ENVIRONMENT: Final = {
    # One thread a job: jobs run beside each other, and two threads on one picture are slower in sum.
    "VIPS_CONCURRENCY": "1",
    # Few heaps: a job's memory is limited.
    "MALLOC_ARENA_MAX": "2",
    # Should libvips want a temporary file, the scratch folder is the only place where it can make one.
    "TMPDIR": ".",
}
"""All that the zygote and the jobs see of the environment, beside the way to the modules."""


class LocalMediaProcessor(MediaProcessor):
    """Runs each job in a child of one zygote. The zygote starts with the first job."""

    def __init__(self, *, image_limits: ImageLimits | None = None, job_limits: JobLimits | None = None) -> None:
        self._image_limits = image_limits or ImageLimits()
        self._sandbox = Sandbox(IMAGE_JOB, limits=job_limits, environment=ENVIRONMENT)

    def confinement(self) -> Confinement:
        """Which walls the kernel puts around jobs here; ``gaps()`` of it is for the operator to read at start."""
        return self._sandbox.confinement()

    def process_image(self, source: Path, scratch: Path) -> Rendered:
        with source.open("rb") as stream:
            head = stream.read(HEAD_SIZE_BYTES)
        request = {
            "content_type": sniff(head, source.stat().st_size).content_type,
            "limits": asdict(self._image_limits),
        }
        report = self._sandbox.run(request, source, scratch, doing=_DOING)
        return _checked(report.result, scratch)

    def close(self) -> None:
        self._sandbox.close()


def _checked(result: object, scratch: Path) -> Rendered:
    """What the child answered, if it has the shape that our code gives it.

    Raises:
        ProcessingFailed: it hasn't; the child was taken over by its input.
    """
    match result:
        case {"files": [*entries], "metadata": dict(metadata), "descriptive": dict(descriptive)} if len(entries) == len(
            IMAGE_PRESETS
        ):
            pairs = zip(entries, IMAGE_PRESETS, strict=True)
            files = tuple(_checked_file(entry, preset, scratch, metadata) for entry, preset in pairs)
            return Rendered(files, metadata, descriptive)
    raise _nonsense("the result's shape")


def _checked_file(entry: object, preset: ImagePreset, scratch: Path, metadata: Mapping[str, Any]) -> RenderedFile:
    match entry:
        case {"name": preset.name, "file": str(name), "width": int(width), "height": int(height)} if (
            0 < width <= preset.width and 0 < height <= preset.height
        ):
            return RenderedFile(
                name=preset.name,
                path=plain_file(scratch, name, doing=_DOING),
                content_type=preset.content_type,
                extension=preset.extension,
                width=width,
                height=height,
                user_metadata={
                    "processed": "true",
                    "processor": PROCESSOR,
                    "format": preset.format,
                    "original-format": str(metadata.get("format")),
                },
            )
    raise _nonsense(f"the entry of {preset.name}")


def _nonsense(private: str) -> ProcessingFailed:
    return ProcessingFailed(_DOING, "the decoder answered nonsense", code=ErrorCode.CRASH, private=private)
