"""Has a sound's renditions made: by one job, or by two beside each other where there are processors for two.

The AAC encoder needs half of all the time, so one job makes nothing else, and the other the rest. Both decode the whole
sound, which costs a twentieth; a job of several threads would lose more, waiting for Python's lock. What comes out is
the same to the byte, however many jobs made it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final, TypeVar

from contentplatform.drivers.confinement import JobLimits
from contentplatform.drivers.sandbox import Sandbox
from contentplatform.errors import Cancelled, ErrorCode, ProcessingFailed
from contentplatform.processing.answers import AUDIO_RENDITIONS, Expected, rendered
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import AUDIO_PRESETS, M4A, OPUS

_DOING: Final = "making the sound's renditions"
_ENCODINGS: Final = frozenset(preset.name for preset in AUDIO_PRESETS)
_ORDER: Final = tuple(AUDIO_RENDITIONS)
_SLOWEST_BITS_A_SECOND: Final = 6_000
"""Speech, as its codecs have it at their least."""
_SECONDS_A_SECOND: Final = 0.1
"""Measured: 0.03 of stereo by one job that makes everything, 0.05 of eight channels."""
_READ_BYTES_A_SECOND: Final = 20 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """What one job makes."""

    encodings: tuple[str, ...]
    rest: bool
    """Whether also the waveform, the peaks and the cover; its facts have the loudness."""

    def request(self) -> dict[str, Any]:
        """As the job is told."""
        return {"encodings": list(self.encodings), "rest": self.rest}

    def expected(self) -> dict[str, Expected]:
        """The renditions that the job may answer."""
        return {
            name: kind
            for name, kind in AUDIO_RENDITIONS.items()
            if name in self.encodings or (self.rest and name not in _ENCODINGS)
        }


WHOLE: Final = Part(tuple(preset.name for preset in AUDIO_PRESETS), rest=True)
HALVES: Final = (Part((M4A.name,), rest=False), Part((OPUS.name,), rest=True))
"""Of about the same length; the one with the rest comes last."""


def render_sound(
    sandbox: Sandbox, request: Mapping[str, Any], source: Path, scratch: Path, *, limits: JobLimits, processors: int
) -> Rendered:
    """Every rendition of a sound, in ``scratch`` or in folders of it.

    ``request`` is what all parts have in common, ``limits`` are those of one job.

    Raises:
        ProcessingFailed: a job said so, or two did not agree on what is in the sound.
        PlatformError: as ``Sandbox.run``.
    """
    if processors < len(HALVES):
        report = sandbox.run({**request, **WHOLE.request()}, source, scratch, doing=_DOING, limits=limits)
        return merged([rendered(report.result, scratch, WHOLE.expected(), doing=_DOING)])
    folders = [scratch / str(number) for number, _ in enumerate(HALVES, 1)]
    for folder in folders:
        folder.mkdir()

    def run(part: Part, folder: Path, is_cancelled: Callable[[], bool]) -> Rendered:
        order = {**request, **part.request()}
        report = sandbox.run(order, source, folder, doing=_DOING, limits=limits, is_cancelled=is_cancelled)
        return rendered(report.result, folder, part.expected(), doing=_DOING)

    works = [partial(run, part, folder) for part, folder in zip(HALVES, folders, strict=True)]
    return merged(all_or_none(works))


def sounding_limits(limits: JobLimits, size_bytes: int, longest_seconds: float) -> JobLimits:
    """What a job on a sound of ``size_bytes`` may take; ``longest_seconds`` is the longest sound that is processed.

    Nobody has looked into it yet, so it is taken to be as long as a file of its size can be.
    """
    most_seconds = min(longest_seconds, size_bytes * 8 / _SLOWEST_BITS_A_SECOND)
    seconds = most_seconds * _SECONDS_A_SECOND + size_bytes / _READ_BYTES_A_SECOND
    return replace(limits, wall_seconds=limits.wall_seconds + seconds, cpu_seconds=limits.cpu_seconds + ceil(seconds))


def all_or_none(works: Sequence[Callable[[Callable[[], bool]], T]]) -> list[T]:
    """What each of ``works`` returned, done beside each other, in threads.

    Each is given a function to ask whether it is wanted no more, which it is not once another failed.

    Raises:
        BaseException: what the first of them raised that failed of itself; all have ended.
    """
    unwanted = threading.Event()
    outcomes: list[Future[T]] = [Future() for _ in works]

    def carry_out(work: Callable[[Callable[[], bool]], T], outcome: Future[T]) -> None:
        try:
            outcome.set_result(work(unwanted.is_set))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the others are waited for
            unwanted.set()
            outcome.set_exception(error)

    threads = [
        threading.Thread(target=carry_out, args=pair, name="sound", daemon=True)
        for pair in zip(works, outcomes, strict=True)
    ]
    begun = []
    try:
        for thread in threads:
            thread.start()
            begun.append(thread)
        wait(outcomes)
    except BaseException:
        unwanted.set()
        raise
    finally:
        for thread in begun:
            thread.join()
    errors = [error for error in (outcome.exception() for outcome in outcomes) if error is not None]
    # Who was stopped says so, too; why is what another says.
    reason = next((error for error in errors if not isinstance(error, Cancelled)), next(iter(errors), None))
    if reason is not None:
        raise reason
    return [outcome.result() for outcome in outcomes]


def merged(parts: Sequence[Rendered]) -> Rendered:
    """The parts as one; the last one has the facts, with which all others have to agree.

    Raises:
        ProcessingFailed: they don't: what comes out differently each time is no sound to be sure of.
    """
    *others, last = parts
    for other in others:
        differing = {
            name
            for name in {*last.metadata, *other.metadata} - {"loudness"}
            if last.metadata.get(name) != other.metadata.get(name)
        }
        if differing or other.descriptive != last.descriptive:
            raise ProcessingFailed(
                _DOING,
                "it sounds different each time it is decoded",
                code=ErrorCode.DECODE,
                hint="The original is kept; send it again if it came in damaged",
                private=f"two jobs differ in {sorted(differing)}"[:500],
            )
    files = sorted((file for part in parts for file in part.files), key=lambda file: _ORDER.index(file.name))
    return Rendered(tuple(files), last.metadata, last.descriptive)
