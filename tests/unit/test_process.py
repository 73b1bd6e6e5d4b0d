"""Tools as child processes: what they say, how they end, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from contentplatform.drivers.process import run
from contentplatform.errors import ConfigurationInvalid, Unavailable

PYTHON = sys.executable


def python(program: str) -> list[str]:
    """The arguments that run a program."""
    return [PYTHON, "-c", program]


def test_both_outputs_arrive_line_by_line_and_are_kept_apart() -> None:
    heard: list[str] = []
    program = "import sys; print('one'); print('two'); print('oh', file=sys.stderr); sys.exit(3)"
    finished = run(python(program), doing="trying", timeout_seconds=30, on_line=heard.append)
    assert (finished.exit_code, finished.output, finished.errors) == (3, "one\ntwo", "oh")
    assert sorted(heard) == ["oh", "one", "two"]
    assert not finished.succeeded
    assert finished.last_words() == "oh"


def test_it_reads_what_it_is_given_and_runs_where_it_is_told(tmp_path: Path) -> None:
    program = (
        "import os, sys; print(sys.stdin.read().upper(), os.getcwd(), sorted(k for k in os.environ if k != 'LC_CTYPE'))"
    )
    finished = run(
        python(program), doing="trying", timeout_seconds=30, given="words", folder=tmp_path, environment={"A": "b"}
    )
    assert finished.output == f"WORDS {tmp_path} ['A']"


def test_what_it_does_not_read_harms_nobody() -> None:
    assert run(python("pass"), doing="trying", timeout_seconds=30, given="x" * 1_000_000).succeeded


def test_nothing_is_ever_read_by_a_shell(tmp_path: Path) -> None:
    words = f"; touch {tmp_path}/made $(id) `id` 'quoted"
    finished = run([*python("import sys; print(sys.argv[1])"), words], doing="trying", timeout_seconds=30)
    assert finished.output == words
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(ConfigurationInvalid, match="trying: /nowhere/tool can't be run"):
        run(["/nowhere/tool"], doing="trying", timeout_seconds=30)


def test_a_tool_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import os, signal, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "signal.pause()\n"
    )
    with pytest.raises(Unavailable, match="took longer than 2 s and was ended"):
        run(python(program), doing="trying", timeout_seconds=2)
    assert ended(int(note.read_text("ascii")))


def test_what_a_tool_leaves_behind_does_not_hold_it_up() -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(child.pid, flush=True)\n"
    )
    finished = run(python(program), doing="trying", timeout_seconds=60)
    assert finished.succeeded
    assert ended(int(finished.output))


def test_ctrl_c_ends_the_tool_and_is_passed_on(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        f"import os, signal; open({str(note)!r}, 'w').write(str(os.getpid())); print('up', flush=True); signal.pause()"
    )

    def interrupt(_line: str) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(python(program), doing="trying", timeout_seconds=60, on_line=interrupt)
    assert ended(int(note.read_text("ascii")))


def test_only_the_end_of_a_flood_is_kept() -> None:
    finished = run(python("for n in range(900000): print('line', n)"), doing="trying", timeout_seconds=60)
    assert len(finished.output) <= 4 << 20
    assert finished.output.endswith("line 899999")


def ended(pid: int) -> bool:
    """Whether a process is no more, or is only waiting to be buried; it has a moment to go."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text("ascii"):
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        threading.Event().wait(0.01)
    return False
