"""The whole site of one process: which parts it serves, put together."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass

from starlette.types import ASGIApp

from contentplatform.app import Home
from contentplatform.web.app import create_app
from contentplatform.web.claim import Part


@dataclass(slots=True)
class Site:
    """An application, and what has to be closed after it."""

    app: ASGIApp
    welcome: tuple[str, ...] = ()
    """What whoever started it should know, a line each."""

    def close(self) -> None:
        """Write down what is still in memory. Idempotent."""


def open_site(home: Home, parts: Collection[Part], *, url: str, stopping: threading.Event) -> Site:
    """The parts that one process serves over one home.

    Args:
        home: opened; whoever opened it closes it.
        parts: what to serve.
        url: how clients reach it.
        stopping: set when the process is asked to stop.
    """
    return Site(create_app(home))
