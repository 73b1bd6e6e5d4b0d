"""Refuses releases of parsers that are known to be dangerous, before they get the first byte of a stranger's file.

The sandbox holds whatever breaks out of a parser; this keeps those out that are known to break. What a release is, it
tells itself: the FFmpeg program is run, the libraries are asked in a sandboxed child.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imageio_ffmpeg

from contentplatform.drivers import process
from contentplatform.drivers.sandbox import Sandbox
from contentplatform.errors import ConfigurationInvalid, ProcessingFailed

_DOING: Final = "checking the versions of what reads strangers' files"
_VERSIONS_JOB: Final = "contentplatform.processing.jobs.versions:tell"
_TELL_SECONDS: Final = 20.0
_MOST_CHARACTERS: Final = 100
_REINSTALL: Final = "Install the platform's locked packages again"
PROGRAM: Final = "FFmpeg program"

_RELEASE: Final = re.compile(r"n?(\d+)\.(\d+)(?:\.(\d+))?(?P<rest>[-+~].*)?", re.ASCII)
_BEFORE_A_RELEASE: Final = re.compile(r"[-+~](?:dev|rc|alpha|beta|pre|git)", re.ASCII | re.IGNORECASE)

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """Which releases are safe to use."""

    spans: tuple[tuple[Version, Version | None], ...]
    """From the first that is, up to one that isn't any more; None for no end."""
    danger: str
    hint: str = _REINSTALL

    def allows(self, version: Version) -> bool:
        """Whether a release lies in one of the spans."""
        return any(first <= version and (end is None or version < end) for first, end in self.spans)

    def wanted(self) -> str:
        """The spans, in words."""
        return " or ".join(
            f"from {_dotted(first)} on" if end is None else f"from {_dotted(first)} to before {_dotted(end)}"
            for first, end in self.spans
        )


@dataclass(frozen=True, slots=True)
class Gate:
    """One library or program, and what is wrong with its release, if anything."""

    name: str
    version: str
    problem: str = ""
    hint: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it may be used."""
        return not self.problem


_FFMPEG_SPANS: Final = (((7, 1, 5), (8, 0, 0)), ((8, 0, 3), (8, 1, 0)), ((8, 1, 2), None))
_FFMPEG_DANGER: Final = "lets a film run code of its own (CVE-2026-8461, MagicYUV)"

RULES: Final[Mapping[str, Rule]] = {
    PROGRAM: Rule(
        _FFMPEG_SPANS,
        _FFMPEG_DANGER,
        hint=f"{_REINSTALL}; if IMAGEIO_FFMPEG_EXE is set, unset it or point it to a safe release",
    ),
    "FFmpeg in PyAV": Rule(_FFMPEG_SPANS, _FFMPEG_DANGER),
    "libvips": Rule((((8, 18, 3), None),), "writes beyond its buffers on crafted pictures"),
    "libheif": Rule((((1, 22, 0), None),), "writes beyond its buffers on crafted pictures (CVE-2026-32741)"),
    "libde265": Rule((((1, 0, 17), None),), "writes beyond its buffers on crafted pictures (CVE-2026-33165)"),
    "LibRaw": Rule((((0, 22, 1), None),), "writes beyond its buffers on crafted camera raw files (CVE-2026-21413)"),
    "SQLite": Rule(
        (((3, 44, 6), (3, 44, 7)), ((3, 50, 7), (3, 50, 8)), ((3, 51, 3), None)),
        "can corrupt a database that several processes write",
    ),
}
"""What has no rule is told and never refused."""


def parsed(version: str) -> Version | None:
    """The release that a version is, or is built on; None when it can't be told, as of a state between releases.

    ``n9.0.2-17-g2a571b6068`` is 17 changes after release 9.0.2. ``N-118527-g…`` and ``8.2-dev`` are no releases:
    whether they have a fix can't be known.
    """
    match = _RELEASE.fullmatch(version.strip())
    if match is None or _BEFORE_A_RELEASE.match(match["rest"] or ""):
        return None
    major, minor, patch = (int(part or 0) for part in match.groups()[:3])
    return major, minor, patch


def judged(name: str, version: str) -> Gate:
    """Hold a version against its rule."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in version[:_MOST_CHARACTERS])
    rule = RULES.get(name)
    if rule is None:
        return Gate(name, shown)
    release = parsed(version)
    if release is None:
        problem = f'what "{shown}" is built on can\'t be told; {rule.wanted()} is needed'
        return Gate(name, shown, problem, rule.hint)
    if not rule.allows(release):
        return Gate(name, shown, f"{shown} {rule.danger}; {rule.wanted()} is needed", rule.hint)
    return Gate(name, shown)


def look_at_versions(program: Path | None = None) -> tuple[Gate, ...]:
    """Every library and program that reads strangers' files, held against its rule.

    Args:
        program: the FFmpeg program, the installed one if not given.

    Raises:
        ConfigurationInvalid: one of them can't be started at all.
        JobInterrupted: the child that was to tell was killed.
    """
    told = _told_by_the_libraries()
    return (
        judged(PROGRAM, _told_by_the_program(program or installed_program())),
        *(judged(name, version) for name, version in told.items()),
    )


def check_versions(program: Path | None = None) -> tuple[Gate, ...]:
    """Look at all of them and refuse to go on with one that is dangerous.

    Raises:
        ConfigurationInvalid: one is, or can't be started at all.
        JobInterrupted: the child that was to tell was killed.
    """
    gates = look_at_versions(program)
    refuse_closed(gates)
    return gates


def refuse_closed(gates: tuple[Gate, ...]) -> None:
    """Raise ConfigurationInvalid, naming all that may not be used."""
    closed = [gate for gate in gates if not gate.is_open]
    if closed:
        raise ConfigurationInvalid(
            _DOING,
            "; ".join(f"{gate.name}: {gate.problem}" for gate in closed),
            hint=". ".join(dict.fromkeys(gate.hint for gate in closed)),
        )


def installed_program() -> Path:
    """The FFmpeg program that the platform uses. Raises ConfigurationInvalid: there is none."""
    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise ConfigurationInvalid(_DOING, "there is no FFmpeg program", hint=_REINSTALL, private=str(error)) from error


def _told_by_the_program(program: Path) -> str:
    """The third word of "ffmpeg version n9.0.2 Copyright …"."""
    told = process.run(
        [str(program), "-version"], doing=_DOING, timeout_seconds=_TELL_SECONDS, environment={"LANG": "C.UTF-8"}
    )
    words = told.output.split(maxsplit=3)
    if not told.succeeded or words[:2] != ["ffmpeg", "version"] or len(words) < 3:
        raise ConfigurationInvalid(
            _DOING, f"{program.name} doesn't tell its version", hint=_REINSTALL, private=told.last_words()
        )
    return words[2]


def _told_by_the_libraries() -> dict[str, str]:
    sandbox = Sandbox(_VERSIONS_JOB)
    try:
        with tempfile.TemporaryDirectory(prefix="versions-") as scratch:
            report = sandbox.run({}, Path(os.devnull), Path(scratch), doing=_DOING)
    except ProcessingFailed as error:
        raise ConfigurationInvalid(
            _DOING, "a library doesn't tell its version", hint=_REINSTALL, private=f"{error.code}: {error.private}"
        ) from error
    finally:
        sandbox.close()
    return {str(name): str(version) for name, version in report.result.items()}


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)
