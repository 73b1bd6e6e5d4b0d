"""The doorbell between processes: who rings is heard, who is dead is known, nobody ever waits to ring."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from contentplatform.drivers.doorbell import Doorbell
from contentplatform.errors import ConfigurationInvalid

SECONDS = 300.0


def test_everybody_hears_every_ring(tmp_path: Path) -> None:
    doorbell = Doorbell(tmp_path / "run")
    first, second = doorbell.listen("first"), doorbell.listen("second")
    doorbell.ring(b"a")
    Doorbell(tmp_path / "run").ring(b"b")
    assert first.wait(SECONDS) == b"ab"
    assert second.wait(SECONDS) == b"ab"
    assert first.wait(0) == b""
    first.ring(b"c")
    assert (first.wait(SECONDS), second.wait(0)) == (b"c", b"")
    first.close()
    second.close()


def test_a_ring_wakes_who_waits(tmp_path: Path) -> None:
    doorbell = Doorbell(tmp_path)
    listener = doorbell.listen("one")
    heard: list[bytes] = []
    waiting = threading.Thread(target=lambda: heard.append(listener.wait(SECONDS)))
    waiting.start()
    doorbell.ring(b"w")
    waiting.join(SECONDS)
    assert heard == [b"w"]
    listener.close()


def test_ringing_where_nobody_listens_does_nothing(tmp_path: Path) -> None:
    Doorbell(tmp_path / "missing").ring(b"w")
    Doorbell(tmp_path).ring(b"w")
    assert list(tmp_path.iterdir()) == []


def test_ringing_never_waits_for_a_listener_that_is_busy(tmp_path: Path) -> None:
    """The pipe is full long before the last ring; those are lost, and nobody stands still."""
    doorbell = Doorbell(tmp_path)
    listener = doorbell.listen("busy")
    for _ in range(70_000):
        listener.ring(b"w")
    doorbell.ring(b"w")
    assert listener.wait(SECONDS)
    listener.close()


def test_a_killed_process_is_known_to_be_dead_and_its_bell_is_taken_down(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from contentplatform.drivers.doorbell import Doorbell;"
        " bell = Doorbell(Path(sys.argv[1])).listen('child'); print('up', flush=True); bell.wait(300)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        doorbell = Doorbell(tmp_path)
        assert not doorbell.is_dead("child")
        child.kill()
        child.wait(SECONDS)
        assert doorbell.is_dead("child")
        doorbell.ring(b"w")
        assert list(tmp_path.iterdir()) == []
        assert doorbell.is_dead("child")


def test_whether_somebody_lives_is_not_claimed_where_it_can_not_be_told(tmp_path: Path) -> None:
    assert not Doorbell(tmp_path / "missing").is_dead("anybody")


def test_a_bell_can_go_by_another_name(tmp_path: Path) -> None:
    doorbell = Doorbell(tmp_path)
    listener = doorbell.listen("before")
    assert listener.rename("after")
    assert (doorbell.is_dead("before"), doorbell.is_dead("after")) == (True, False)
    doorbell.ring(b"w")
    assert listener.wait(SECONDS) == b"w"
    (tmp_path / "after.bell").unlink()
    assert not listener.rename("again")
    listener.close()


def test_the_path_of_a_bell_may_be_long(tmp_path: Path) -> None:
    """A socket's path would end at 108 bytes."""
    folder = tmp_path.joinpath(*["x" * 60] * 5)
    listener = Doorbell(folder).listen("one")
    Doorbell(folder).ring(b"w")
    assert listener.wait(SECONDS) == b"w"
    listener.close()


def test_a_folder_that_can_not_hold_bells_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigurationInvalid, match="no FIFO can be made there"):
        Doorbell(tmp_path / "run").listen("one")
