"""What the commands of one call share: the output, the settings, and the opened home."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import click

from contentplatform.cli.output import Output
from contentplatform.config import Settings
from contentplatform.errors import InvalidRequest, Unauthenticated

if TYPE_CHECKING:
    from contentplatform.app import AwsHome, Home, LocalHome, Platform
    from contentplatform.worker import Worker

_LOCAL_PAUSE_SECONDS: Final = 0.05
_AWS_PAUSE_SECONDS: Final = 0.25
"""Each look costs requests there, and at a server."""


class HomeName(StrEnum):
    """Where the platform runs."""

    LOCAL = "local"
    AWS = "aws"


@dataclass(slots=True)
class Session:
    """Opens the home when a command first needs it."""

    output: Output
    home_name: HomeName
    load_settings: Callable[[], Settings]
    arguments: tuple[str, ...] = ()
    """The shared options as they were given, for a child that is to find the same home."""
    server: str | None = None
    """The address of a server that does the work, instead of a home that is opened here."""
    token: str | None = None
    """By which it lets us in."""
    _home: Home | None = field(default=None)

    @property
    def home(self) -> Home:
        """The home that the command was asked to work in."""
        if self._home is None:
            # `--help` must not load a database driver or a cloud library
            from contentplatform.app import open_aws, open_local  # noqa: PLC0415

            settings = self.load_settings()
            if self.server is not None:
                self._home = self._remote(settings)
                return self._home
            self._home = open_local(settings) if self.home_name is HomeName.LOCAL else open_aws(settings)
        return self._home

    def _remote(self, settings: Settings) -> Home:
        from contentplatform.cli.remote import RemoteHome  # noqa: PLC0415 - as above
        from contentplatform.client import Client  # noqa: PLC0415 - as above

        if not self.token:
            raise Unauthenticated(
                f"asking {self.server}", "no token was given", hint="Put one into $CONTENTPLATFORM_TOKEN"
            )
        return RemoteHome(Client(str(self.server), self.token), settings)

    @property
    def local(self) -> LocalHome:
        """The home on this machine, with what only it has: worker, checks, maintenance.

        Raises:
            InvalidRequest: the command was asked to work in another home.
        """
        from contentplatform.app import LocalHome  # noqa: PLC0415 - as above

        if not isinstance(self.home, LocalHome):
            raise InvalidRequest(
                "starting this command", "it is for the home on this machine; AWS, or the server, does this work itself"
            )
        return self.home

    @property
    def aws(self) -> AwsHome | None:
        """The home on AWS, if the command works there."""
        from contentplatform.app import AwsHome  # noqa: PLC0415 - as above

        return self.home if isinstance(self.home, AwsHome) else None

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

    def __init__(self, session: Session) -> None:
        self._session = session
        self._home = session.home
        self._pause_seconds = _LOCAL_PAUSE_SECONDS
        if session.aws is not None or session.server is not None:
            self._pause_seconds = _AWS_PAUSE_SECONDS
        self._own: Worker | None = None

    def see_to_it(self) -> None:
        """Begin to work here if nobody works for this home (any more)."""
        if self._session.server is None and self._own is None and not self._home.workers():
            from contentplatform.worker import Worker  # noqa: PLC0415

            self._own = Worker(self._session.local)
            self._own.start()

    def pause(self) -> None:
        """Let the others get on for a moment.

        Raises:
            Unavailable: nothing more can be written by this process, so that waiting for its own work is in vain.
        """
        self._home.check_usable()
        self.see_to_it()
        self._home.platform.clock.wait(threading.Event(), self._pause_seconds)

    def wait_for(self, executions: Collection[str]) -> None:
        """Wait until these executions have ended."""
        while self._home.unfinished(executions):
            self.pause()

    def stop(self) -> None:
        """Stop working here."""
        if self._own is not None:
            self._own.stop()


@contextmanager
def hands(session: Session) -> Iterator[Hands]:
    """Somebody who works, for as long as the block lasts."""
    helping = Hands(session)
    try:
        yield helping
    finally:
        helping.stop()


pass_session = click.make_pass_decorator(Session)
