"""Several consumers of one stream of pieces, each in a thread of its own: FFmpeg works without Python's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

_MOST_WAITING: Final = 8

T = TypeVar("T")


class Lane(Generic[T]):
    """Hands each piece to ``take``, in order, in a thread; at most eight wait, then the giver does.

    Used as a context manager: when the block is left in order, all that was given has been taken. What ``take`` raised
    comes out of the next ``give``, or of leaving. When the block is left by an error, the rest is not taken.
    """

    def __init__(self, take: Callable[[T], None], name: str) -> None:
        self._take = take
        self._waiting: queue.Queue[tuple[T] | None] = queue.Queue(_MOST_WAITING)
        self._error: BaseException | None = None
        self._gave_up = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def give(self, piece: T) -> None:
        """Put one more piece in the lane; waits while the lane is full."""
        if self._error is not None:
            raise self._error
        self._waiting.put((piece,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gave_up = error is not None
        self._waiting.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (entry := self._waiting.get()) is not None:
            # After an error the queue is still emptied, or the giver would wait for ever.
            if self._error is None and not self._gave_up:
                try:
                    self._take(entry[0])
                except BaseException as error:  # noqa: BLE001 - it is raised again where the pieces come from
                    self._error = error
