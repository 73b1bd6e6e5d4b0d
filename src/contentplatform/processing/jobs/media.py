"""The entry of the process that forks jobs on films and sounds: importing it imports all that they will ever need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from contentplatform.processing.jobs import audio, finish, probe

_JOBS: Final[Mapping[str, Callable[[Mapping[str, Any], int], Mapping[str, Any]]]] = {
    "probe": probe.probe,
    "audio": audio.render,
    "finish": finish.finish,
}


def run(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """Do the job that ``request`` names on the file behind the descriptor ``source``.

    Raises:
        ProcessingFailed: as the job says.
    """
    return _JOBS[request["job"]](request, source)
