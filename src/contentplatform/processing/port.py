"""What processing promises: renditions and facts out of bytes that nobody trusts.

Both homes parse untrusted bytes only in a sandboxed child (drivers/sandbox.py). What differs is where the bytes come
from and where renditions go, and that is the business of the workflow's steps, not of this port.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One rendition, as a file in the job's scratch folder."""

    name: str
    """The rendition's name, as in platform keys: ``thumbnail``, ``medium``, ``webp``, …"""
    path: Path
    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    user_metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """All renditions of one source, and what was found in it."""

    files: tuple[RenderedFile, ...]
    metadata: Mapping[str, Any]
    """JSON values: ``width``, ``height``, ``format``, ``exif``, … as in the catalog's ``processing_metadata``.
    Private facts (GPS) are under ``private``."""
    descriptive: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of itself for people, from IPTC and XMP: ``title``, ``description``, ``tags`` (list),
    ``credit``, ``rights``. Only what is there."""


class MediaProcessor(ABC):
    """Makes the renditions of one source file. Stateless and safe to call from several threads."""

    @abstractmethod
    def process_image(self, source: Path, scratch: Path) -> Rendered:
        """Make every image rendition of ``source`` in the empty folder ``scratch``.

        Idempotent: the same bytes give the same renditions. ``source`` is opened by path and never written to.
        aws: the same code in the content-image-processor function; ``source`` was downloaded to its /tmp by version.

        Raises:
            ProcessingFailed: the bytes are broken, over a limit, not allowed, or crashed the decoder twice; terminal.
            JobInterrupted: the child was killed from outside; try again.
            NoSpace: scratch is full; try again later.
            Cancelled: ``close`` was called meanwhile.
        """

    @abstractmethod
    def close(self) -> None:
        """End every child. Idempotent."""
