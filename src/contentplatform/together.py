"""Several conditional writes as one piece of work, in a way that both homes can keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from contentplatform.errors import Conflict, Unavailable

T = TypeVar("T")

_ATTEMPTS: Final = 8
_AT_ONCE: Final = 8


class Together(Protocol):
    """Runs what belongs together. At home all its writes commit at once or not at all; on aws it only runs it.

    Services never rely on the first: each write is conditional and each sequence can be repeated.
    """

    def __call__(self, work: Callable[[], T], /) -> T:
        """Run ``work`` and return its result once it is durable."""
        ...


class Beside(Protocol):
    """Runs pieces of work that know nothing of each other, beside each other where that saves time."""

    def __call__(self, works: Sequence[Callable[[], T]], /) -> list[T]:
        """Run them all and return their results, in their order, once all have ended.

        Raises:
            Exception: what the first that failed raised; the others have ended, too.
        """
        ...


def repeated(work: Callable[[], T], doing: str) -> T:
    """Run ``work`` again while its conditional writes lose against somebody else's.

    Raises:
        Unavailable: it lost eight times in a row.
    """
    last: Conflict | None = None
    for _ in range(_ATTEMPTS):
        try:
            return work()
        except Conflict as error:
            last = error
    raise Unavailable(doing, "others keep changing the same thing", hint="Try again") from last


def one_by_one(work: Callable[[], T]) -> T:
    """A ``Together`` of a home where nothing commits together: each conditional write stands for itself."""
    return work()


def in_turn(works: Sequence[Callable[[], T]]) -> list[T]:
    """A ``Beside`` of a home where each piece is quick, and all of them may be one transaction of one thread."""
    return [work() for work in works]


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """A ``Beside`` of a home where most of the time is waiting for answers."""
    if len(works) < 2:
        return in_turn(works)
    with ThreadPoolExecutor(min(len(works), _AT_ONCE), thread_name_prefix="beside") as pool:
        pending = [pool.submit(work) for work in works]
    return [each.result() for each in pending]
