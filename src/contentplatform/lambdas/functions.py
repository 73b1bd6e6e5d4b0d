"""Every function of the aws home, as data: its name, its module, its size. The templates are rendered from it.

Each lives in a module of this package by its own name (``content-upload-handler`` in ``content_upload_handler``), whose
``handle(event, context)`` Lambda calls. What each may do is in ``contentplatform_infra.rights``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RUNTIME: Final = "python3.13"
"""Amazon Linux 2023, glibc 2.34; x86_64."""


class Layer(StrEnum):
    """Libraries that functions share."""

    RUNTIME = "runtime"
    """Powertools and the tracer: every function."""
    IMAGES = "images"
    """libvips, the HEIC decoder and LibRaw: whoever draws a picture."""
    ARRAYS = "arrays"
    """numpy, once for all that need it: a function and its layers may have 250 MB."""
    MEDIA = "media"
    """FFmpeg's libraries, by PyAV."""
    DOCUMENTS = "documents"
    """The PDF engine."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function."""

    name: str
    does: str
    memory_mb: int = 512
    """Lambda gives processor time in proportion: 1 769 MB is one whole processor."""
    timeout_seconds: int = 60
    scratch_mb: int = 512
    """Size of its /tmp; 512 MB cost nothing."""
    layers: tuple[Layer, ...] = (Layer.RUNTIME,)

    @property
    def handler(self) -> str:
        """What Lambda calls."""
        return f"contentplatform.lambdas.{self.name.replace('-', '_')}.handle"


LARGEST_SCRATCH_MB: Final = 10_240
"""Lambda's limit. What is larger can't be fetched, and so not be processed here. Priced by the second of a call."""
_SOUND_AND_PICTURE: Final = (Layer.RUNTIME, Layer.IMAGES, Layer.ARRAYS, Layer.MEDIA)

FUNCTIONS: Final = (
    Function("content-upload-handler", "records an upload and starts its processing", timeout_seconds=900),
    Function(
        "content-image-processor",
        "makes an image's renditions",
        # The sandbox's limit for one job, 2 GiB, and Python itself: what fits at home fits here.
        3_008,
        600,
        scratch_mb=2_048,
        layers=(Layer.RUNTIME, Layer.IMAGES, Layer.ARRAYS),
    ),
    Function(
        "content-video-processor",
        "finds out what is in a video and starts its encoding",
        # A whole processor, and the network's share with it: the film is fetched to be looked at.
        1_769,
        300,
        LARGEST_SCRATCH_MB,
        layers=_SOUND_AND_PICTURE,
    ),
    Function("check-mediaconvert-status", "asks how far the encoding is"),
    Function(
        "content-video-finisher",
        "verifies a video's renditions and completes them",
        3_008,
        900,
        LARGEST_SCRATCH_MB,
        layers=_SOUND_AND_PICTURE,
    ),
    Function(
        "content-audio-processor",
        "makes a sound's renditions",
        3_008,
        900,
        LARGEST_SCRATCH_MB,
        layers=_SOUND_AND_PICTURE,
    ),
    Function(
        "content-document-processor",
        "makes a document's preview and takes its text",
        3_008,
        300,
        scratch_mb=2_048,
        layers=(Layer.RUNTIME, Layer.IMAGES, Layer.ARRAYS, Layer.DOCUMENTS),
    ),
    Function("content-generic-processor", "notes what can be told of any file", timeout_seconds=300),
    Function("update-metadata", "commits what processing found"),
    Function("record-failure", "writes down why processing failed"),
    Function("cloudfront-invalidation", "takes what was replaced off the edge"),
    Function(
        "content-image-transformer",
        "makes pictures on the fly",
        3_008,
        # A picture may take half a minute, and fetching its original the rest of what the edge waits.
        90,
        scratch_mb=2_048,
        layers=(Layer.RUNTIME, Layer.IMAGES, Layer.ARRAYS),
    ),
    Function("content-search-indexer", "brings changed records into the search table"),
    Function("content-execution-recorder", "keeps the history of an execution that ended"),
    Function("content-reconciler", "finds what no event told", timeout_seconds=900),
    Function("content-backup-validator", "compares the second copy with the first", timeout_seconds=900),
    Function("content-metadata-export", "writes the catalog where questions can be put to it", 1_769, 900, 2_048),
    Function("cost-report-generator", "reports what the last week cost"),
)
BY_NAME: Final = {function.name: function for function in FUNCTIONS}
