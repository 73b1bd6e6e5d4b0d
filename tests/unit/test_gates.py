"""Which releases of the parsers are refused, how they are read, and what the operator is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import sqlite_is_safe
from contentplatform.errors import ConfigurationInvalid
from contentplatform.processing.gates import (
    PROGRAM,
    RULES,
    Gate,
    check_versions,
    judged,
    look_at_versions,
    parsed,
    refuse_closed,
)

UNKNOWN = "can't be told"


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("8.1.2", (8, 1, 2)),
        ("9.0", (9, 0, 0)),
        ("n9.0.2", (9, 0, 2)),
        ("n9.0.2-17-g2a571b6068-20260930", (9, 0, 2)),
        ("5.1.9-0+deb12u1", (5, 1, 9)),
        ("7.1.5-tessus", (7, 1, 5)),
        ("8.1.2~bpo12+1", (8, 1, 2)),
        (" 8.1.2\n", (8, 1, 2)),
        ("N-118527-g1b8b7b7c5e", None),
        ("n8.2-dev-123-gabcdef1234", None),
        ("8.2-rc1", None),
        ("2026-09-30-git-abcdef1234-full_build", None),
        ("git-2026-09-30", None),
        ("9", None),
        ("", None),
        ("8.1.2.1", None),
        ("८.१.२", None),
        ("v8.1.2", None),
    ],
)
def test_a_version_is_read_or_not_understood(version: str, release: tuple[int, int, int] | None) -> None:
    assert parsed(version) == release


@pytest.mark.parametrize("name", [PROGRAM, "FFmpeg in PyAV"])
@pytest.mark.parametrize(
    ("version", "is_open"),
    [
        ("5.1.9-0+deb12u1", False),
        ("7.1.4", False),
        ("7.1.5", True),
        ("7.9.9", True),
        ("8.0", False),
        ("8.0.2", False),
        ("8.0.3", True),
        ("8.0.99", True),
        ("8.1", False),
        ("8.1.1", False),
        ("8.1.1-400-gabcdef1234", False),
        ("8.1.2", True),
        ("n9.0.2-17-g2a571b6068-20260930", True),
        ("N-118527-g1b8b7b7c5e", False),
        ("9.1-dev", False),
    ],
)
def test_ffmpeg_is_let_in_from_the_releases_that_are_mended(name: str, version: str, *, is_open: bool) -> None:
    assert judged(name, version).is_open is is_open


@pytest.mark.parametrize(
    ("name", "last_bad", "first_good"),
    [
        ("libvips", "8.18.2", "8.18.3"),
        ("libheif", "1.21.2", "1.22.0"),
        ("libde265", "1.0.16", "1.0.17"),
        ("LibRaw", "0.22.0", "0.22.1"),
    ],
)
def test_other_libraries_are_let_in_from_a_release_on(name: str, last_bad: str, first_good: str) -> None:
    assert not judged(name, last_bad).is_open
    assert judged(name, first_good).is_open


@pytest.mark.parametrize(
    "version", ["3.40.1", "3.44.5", "3.44.6", "3.44.7", "3.50.6", "3.50.7", "3.50.8", "3.51.2", "3.51.3", "3.54.1"]
)
def test_sqlite_is_judged_as_its_driver_judges_it(version: str) -> None:
    assert judged("SQLite", version).is_open is sqlite_is_safe(version)


def test_what_has_no_rule_is_told_and_let_in() -> None:
    assert judged("PDFium", "8149") == Gate("PDFium", "8149")


def test_a_refusal_says_what_why_and_what_next() -> None:
    gate = judged(PROGRAM, "8.1.1")
    assert gate.problem == (
        "8.1.1 lets a film run code of its own (CVE-2026-8461, MagicYUV); from 7.1.5 to before 8.0.0 "
        "or from 8.0.3 to before 8.1.0 or from 8.1.2 on is needed"
    )
    assert "IMAGEIO_FFMPEG_EXE" in gate.hint
    assert UNKNOWN in judged(PROGRAM, "N-1-g2").problem


def test_a_version_from_elsewhere_can_t_write_on_the_terminal() -> None:
    assert "\x1b" not in judged(PROGRAM, "8\x1b[31m" + "9" * 500).problem
    assert len(judged(PROGRAM, "8" * 5_000).version) == 100


def test_all_that_is_refused_is_named_at_once() -> None:
    gates = (judged(PROGRAM, "5.1.9"), judged("libheif", "1.0.0"), judged("libvips", "8.18.7"))
    with pytest.raises(ConfigurationInvalid) as caught:
        refuse_closed(gates)
    assert f"{PROGRAM}: 5.1.9" in caught.value.why
    assert "libheif: 1.0.0" in caught.value.why
    assert "libvips" not in caught.value.why
    assert caught.value.hint


def test_what_is_installed_is_let_in() -> None:
    gates = check_versions()
    assert {gate.name for gate in gates} >= set(RULES), "each of them told its version"


def planted(folder: Path, says: str, *, exit_code: int = 0) -> Path:
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {exit_code}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_planted_program_is_asked_and_refused(tmp_path: Path) -> None:
    program = planted(tmp_path, "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers")
    assert look_at_versions(program)[0].version == "5.1.9-0+deb12u1"
    with pytest.raises(ConfigurationInvalid, match=r"5\.1\.9"):
        check_versions(program)


@pytest.mark.parametrize("says", ["", "hello", "ffmpeg version", "something version 9.0.2 Copyright"])
def test_a_program_that_says_something_else_is_refused(tmp_path: Path, says: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="doesn't tell its version"):
        check_versions(planted(tmp_path, says))


def test_a_program_that_fails_or_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="doesn't tell its version"):
        check_versions(planted(tmp_path, "ffmpeg version 9.0.2 Copyright", exit_code=1))
    with pytest.raises(ConfigurationInvalid, match="can't be run"):
        check_versions(tmp_path / "missing")
