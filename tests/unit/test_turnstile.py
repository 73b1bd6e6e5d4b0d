"""The turnstile lets writers of several processes through one after the other, and nobody twice before another."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from contentplatform.drivers.turnstile import Turnstile


def wait_until_somebody_is_at_the_gate(path: Path) -> None:
    """Return when another writer holds the gate, and so waits for the turn."""
    gate = os.open(f"{path}-gate", os.O_RDWR)
    try:
        while True:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(gate, fcntl.LOCK_UN)
    finally:
        os.close(gate)


def test_who_writes_back_to_back_lets_the_one_that_waits_go_first(tmp_path: Path) -> None:
    path, order = tmp_path / "db", list[str]()
    greedy, patient = Turnstile(path), Turnstile(path)

    def wait_for_a_turn() -> None:
        with patient.turn():
            order.append("patient")

    waiting = threading.Thread(target=wait_for_a_turn)
    with greedy.turn():
        order.append("greedy")
        waiting.start()
        wait_until_somebody_is_at_the_gate(path)
    with greedy.turn():
        order.append("greedy")
    waiting.join()
    assert order == ["greedy", "patient", "greedy"]


def test_nobody_waits_for_ever_behind_one_that_was_stopped(tmp_path: Path) -> None:
    stopped, other = Turnstile(tmp_path / "db"), Turnstile(tmp_path / "db", looks=3)
    with stopped.turn(), other.turn():
        pass  # reached although the first never gave its turn back


def test_the_turn_is_given_back_after_an_error_and_at_the_end(tmp_path: Path) -> None:
    first, second = Turnstile(tmp_path / "db"), Turnstile(tmp_path / "db", looks=1)
    try:
        with first.turn():
            raise ValueError
    except ValueError:
        pass
    gate = os.open(tmp_path / "db-turn", os.O_RDWR)
    with second.turn():
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = True
        else:
            held = False
    assert held
    fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(gate)
