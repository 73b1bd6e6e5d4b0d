"""The owner's ends of all that connects it with one job: what the job answers and says, what the zygote tells of it.

Everything read here but the verdict comes from a process that read untrusted bytes, so each stream has a cap, and what
a job says is never waited for longer than the job may run.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from contentplatform.clock import Clock
from contentplatform.drivers.zygote import LENGTH, KilledFor

_READ_BYTES: Final = 1 << 16
_LINE_BYTES: Final = 8 << 10
_LAST_WORDS_BYTES: Final = 16 << 10
_VERDICT_BYTES: Final = 64 << 10
_CANCEL_CHECK_SECONDS: Final = 0.1
_KILL_SECONDS: Final = 5.0


class ZygoteLost(Exception):  # noqa: N818 - never crosses the room's door; named for what happened
    """The zygote ended before it told how the job did."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt ended, as the zygote tells it, and what the child left to be read."""

    answer: bytes
    last_words: str
    """The end of what a program complained of: printable characters and line ends; untrusted."""
    cancelled: bool
    refused: str | None
    """Why no process could be started."""
    exit_code: int | None
    signal: int | None
    killed_for: KilledFor | None
    peak_resident_bytes: int
    cpu_seconds: float


class _Capped:
    """Keeps the first bytes; what is over the limit is dropped, and what is left is no JSON."""

    def __init__(self, limit_bytes: int) -> None:
        self.content = bytearray()
        self._limit_bytes = limit_bytes

    def take(self, piece: bytes) -> None:
        if len(self.content) <= self._limit_bytes:
            self.content += piece

    def finish(self) -> None:
        """Nothing is held back."""


class _Tail:
    """Keeps the last bytes; hands lines on, too, where somebody wants them."""

    def __init__(self, hand_on: Callable[[str], None] | None) -> None:
        self._content = b""
        self._lines = None if hand_on is None else _Lines(hand_on)

    def take(self, piece: bytes) -> None:
        self._content = (self._content + piece)[-_LAST_WORDS_BYTES:]
        if self._lines is not None:
            self._lines.take(piece)

    def finish(self) -> None:
        if self._lines is not None:
            self._lines.finish()

    def text(self) -> str:
        characters = self._content.decode("utf-8", "replace")
        return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in characters).strip()


class _Lines:
    """Hands lines on as they are complete; one that is longer than a line of sense is dropped."""

    def __init__(self, hand_on: Callable[[str], None]) -> None:
        self._hand_on = hand_on
        self._begun = b""
        self._too_long = False

    def take(self, piece: bytes) -> None:
        *complete, rest = (self._begun + piece).split(b"\n")
        for line in complete:
            self._tell(line)
        self._begun = rest
        if len(rest) > _LINE_BYTES:
            self._begun, self._too_long = b"", True

    def finish(self) -> None:
        if self._begun:
            self._tell(self._begun)

    def _tell(self, line: bytes) -> None:
        if not self._too_long and len(line) <= _LINE_BYTES:
            self._hand_on(line.decode("utf-8", "replace").rstrip("\r"))
        self._too_long = False


class JobPipes:
    """Pipes for one attempt at one job. ``theirs`` are the ends that travel to the zygote; close them once sent."""

    def __init__(
        self,
        answer_bytes: int,
        *,
        on_line: Callable[[str], None] | None = None,
        on_complaint: Callable[[str], None] | None = None,
    ) -> None:
        self._answer = _Capped(answer_bytes)
        self._told = _Capped(_VERDICT_BYTES)
        self._errors = _Tail(on_complaint)
        self._verdict, verdict = socket.socketpair()
        self._streams: dict[int, _Capped | _Tail | _Lines] = {self._verdict.fileno(): self._told}
        self._pipes: list[int] = []
        self.theirs = [self._opened_pipe(self._answer), verdict.detach()]
        if on_line is not None:
            self.theirs += [self._opened_pipe(_Lines(on_line)), self._opened_pipe(self._errors)]

    def hand_over(self) -> None:
        """Close the zygote's ends here. Idempotent."""
        while self.theirs:
            os.close(self.theirs.pop())

    def close(self) -> None:
        """Give all up. A job that still runs is killed for it."""
        self.hand_over()
        self._verdict.close()
        while self._pipes:
            os.close(self._pipes.pop())

    def read(self, clock: Clock, patience_seconds: float, is_cancelled: Callable[[], bool] | None) -> Ended:
        """Read all of them to their ends; a job that is cancelled is killed, and its end waited for.

        Raises:
            ZygoteLost: it ended, or said nothing for ``patience_seconds``.
        """
        poll = select.poll()
        for descriptor in self._streams:
            poll.register(descriptor, select.POLLIN)
        deadline = clock.monotonic_seconds() + patience_seconds
        cancelled = False
        try:
            while self._streams:
                if not cancelled and is_cancelled is not None and is_cancelled():
                    cancelled, deadline = True, clock.monotonic_seconds() + _KILL_SECONDS
                    self._recall()
                left_seconds = deadline - clock.monotonic_seconds()
                if left_seconds <= 0:
                    raise ZygoteLost
                asks = is_cancelled is not None and not cancelled
                self._take(poll, min(left_seconds, _CANCEL_CHECK_SECONDS) if asks else left_seconds)
        except BaseException:
            self._recall()
            raise
        return self._ended(cancelled=cancelled)

    def _opened_pipe(self, stream: _Capped | _Tail | _Lines) -> int:
        read, write = os.pipe()
        self._pipes.append(read)
        self._streams[read] = stream
        return write

    def _take(self, poll: select.poll, wait_seconds: float) -> None:
        for descriptor, _ in poll.poll(wait_seconds * 1000):
            piece = os.read(descriptor, _READ_BYTES)
            if piece:
                self._streams[descriptor].take(piece)
            else:
                poll.unregister(descriptor)
                self._streams.pop(descriptor).finish()

    def _recall(self) -> None:
        """Let the zygote know that the job is to be killed."""
        with suppress(OSError):  # it has ended
            self._verdict.shutdown(socket.SHUT_WR)

    def _ended(self, *, cancelled: bool) -> Ended:
        told = unframed(self._told.content)
        if told is None:
            raise ZygoteLost
        killed_for = told.get("killed_for")
        return Ended(
            answer=bytes(self._answer.content),
            last_words=self._errors.text(),
            cancelled=cancelled,
            refused=told.get("refused"),
            exit_code=told.get("exit_code"),
            signal=told.get("signal"),
            killed_for=None if killed_for is None else KilledFor(killed_for),
            peak_resident_bytes=told.get("peak_resident_bytes", 0),
            cpu_seconds=told.get("cpu_seconds", 0.0),
        )


def unframed(frame: bytes | bytearray) -> Mapping[str, Any] | None:
    """The JSON object of one whole frame; None when it is none, or has what can't be stored, as infinities."""
    if len(frame) < LENGTH.size or LENGTH.unpack_from(frame)[0] != len(frame) - LENGTH.size:
        return None
    try:
        value = json.loads(frame[LENGTH.size :])
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
