"""What all pages of links share: wrong secrets are counted, and no answer is cached, indexed or told on."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentplatform.accounts.pauses import network_of
from contentplatform.clock import Clock
from contentplatform.errors import RateLimited

PAGE_POLICY: Final = (
    "default-src 'none'; img-src 'self' data:; media-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; worker-src 'self' blob:; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""A player puts a film together from its pieces: that is what ``blob:`` is for."""
_WINDOW_SECONDS: Final = 60.0
_ADDRESSES_LIMIT: Final = 10_000
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": PAGE_POLICY,
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""Where the answer says nothing else."""
_ALWAYS: Final = {"referrer-policy": "no-referrer", "x-robots-tag": "noindex, nofollow"}


@dataclass(slots=True)
class _Window:
    began: float
    count: int


class WrongLinks:
    """Counts what leads nowhere, by address; a whole network of IPv6 counts as one. Safe from any thread."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def note(self, address: str) -> None:
        """Count one more. Raises RateLimited once there were too many within a minute."""
        now, network = self._clock.monotonic_seconds(), network_of(address)
        with self._lock:
            window = self._windows.get(network)
            if window is None or now - window.began >= _WINDOW_SECONDS:
                self._forget(now)
                window = self._windows[network] = _Window(now, 0)
            window.count += 1
            too_many = window.count > self._per_minute
            left = window.began + _WINDOW_SECONDS - now
        if too_many:
            raise RateLimited(
                "following a link", "too many that led nowhere came from here", retry_after_seconds=max(1, round(left))
            )

    def is_over(self, address: str) -> bool:
        """Whether too many came already: a secret that can be guessed is not even looked at."""
        now = self._clock.monotonic_seconds()
        with self._lock:
            window = self._windows.get(network_of(address))
            return window is not None and now - window.began < _WINDOW_SECONDS and window.count >= self._per_minute

    def _forget(self, now: float) -> None:
        """Keep the table small, however many addresses there are."""
        if len(self._windows) >= _ADDRESSES_LIMIT:
            self._windows = {
                network: window for network, window in self._windows.items() if now - window.began < _WINDOW_SECONDS
            }
        if len(self._windows) >= _ADDRESSES_LIMIT:
            self._windows.clear()


class Unlisted:
    """Puts the headers of links on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope, as ASGI calls it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                message["headers"] = headers.raw
            await send(message)

        await self._app(scope, receive, with_headers)
