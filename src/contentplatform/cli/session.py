"""What the commands of one call share: the output, the settings, and the opened home."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from contentplatform.cli.output import Output
from contentplatform.config import Settings

if TYPE_CHECKING:
    from contentplatform.app import LocalHome, Platform
    from contentplatform.worker import Worker

_PAUSE_SECONDS: Final = 0.05


@dataclass(slots=True)
class Session:
    """Opens the home when a command first needs it."""

    output: Output
    load_settings: Callable[[], Settings]
    _home: LocalHome | None = field(default=None)

    @property
    def home(self) -> LocalHome:
        """The home, with what only it has: worker, checks, maintenance."""
        if self._home is None:
            from contentplatform.app import open_local  # noqa: PLC0415 - `--help` must not load a database driver

            self._home = open_local(self.load_settings())
        return self._home

    @property
    def platform(self) -> Platform:
        """The platform, by its ports."""
        return self.home.platform

    def close(self) -> None:
        """Close the home if it was opened."""
        if self._home is not None:
            self._home.close()
            self._home = None


class Hands:
    """Sees to it that somebody works while a command waits: a worker that runs already, or else this process."""

    def __init__(self, home: LocalHome) -> None:
        self._home = home
        self._own: Worker | None = None

    def see_to_it(self) -> None:
        """Begin to work here if nobody works on this data folder (any more)."""
        if self._own is None and not self._home.workers():
            from contentplatform.worker import Worker  # noqa: PLC0415

            self._own = Worker(self._home)
            self._own.start()

    def pause(self) -> None:
        """Let the others get on for a moment.

        Raises:
            Unavailable: nothing more can be written by this process, so that waiting for its own work is in vain.
        """
        self._home.database.check_usable()
        self.see_to_it()
        self._home.platform.clock.wait(threading.Event(), _PAUSE_SECONDS)

    def wait_for(self, executions: Collection[str]) -> None:
        """Wait until these executions have ended."""
        while self._home.engine.unfinished(executions):
            self.pause()

    def stop(self) -> None:
        """Stop working here."""
        if self._own is not None:
            self._own.stop()


@contextmanager
def hands(session: Session) -> Iterator[Hands]:
    """Somebody who works, for as long as the block lasts."""
    helping = Hands(session.home)
    try:
        yield helping
    finally:
        helping.stop()


pass_session = click.make_pass_decorator(Session)
