"""Finds out what is in a film or a sound: headers, and as few packets as that takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from contentplatform.processing.jobs.demux import open_container
from contentplatform.processing.port import MediaFacts
from contentplatform.processing.presets import VideoLimits

_DOING: Final = "looking at what is in the file"


def probe(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """The job: the facts of the film or sound behind the descriptor ``source``."""
    limits = VideoLimits(**request["limits"])
    with open_container(source, limits, doing=_DOING) as container:
        facts = MediaFacts(
            format=container.format.name,
            duration_seconds=(container.duration or 0) / 1_000_000,
            duration_is_exact=False,
            bit_rate=container.bit_rate or None,
            size_bytes=container.size,
        )
    return facts.to_json()
