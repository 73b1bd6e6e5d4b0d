"""Where a request really comes from: what a proxy says of it is believed if we were told to trust that proxy.

From anybody else ``X-Forwarded-*`` is taken away, and from everybody what would let a request pass for another one, so
that nothing behind this can believe it by mistake. ``Forwarded`` is believed from nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from contentplatform.errors import ConfigurationInvalid

Network = IPv4Network | IPv6Network

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_OVERRIDE: Final = b"x-http-method-override"
_TAKEN_AWAY: Final = frozenset(
    {
        _FOR,
        _PROTO,
        _HOST,
        _OVERRIDE,
        b"forwarded",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-server",
        b"x-real-ip",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-original-host",
        b"x-host",
        b"x-method-override",
        b"x-http-method",
    }
)
_HOPS_LIMIT: Final = 20


class Forwarding:
    """Around everything: sets ``client``, ``scheme`` and ``Host`` of a request as the outermost trusted proxy saw them.

    Args:
        app: what answers.
        trusted: networks of proxies, as ``networks`` reads them from the settings.
    """

    def __init__(self, app: ASGIApp, trusted: Iterable[Network] = ()) -> None:
        self._app = app
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(1_024)(self._within)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope, as ASGI calls it."""
        if scope["type"] == "http":
            scope = self.seen(scope)
        await self._app(scope, receive, send)

    def seen(self, scope: Scope) -> Scope:
        """A request as whoever is behind this sees it."""
        for name, _ in scope["headers"]:
            if name in _TAKEN_AWAY:
                return self._told(scope)
        return scope

    def _told(self, scope: Scope) -> Scope:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        kept = [header for header in headers if header[0] not in _TAKEN_AWAY]
        # The one way in which tus clients behind old firewalls can PATCH: a POST that says so, which is no safe method.
        if scope["method"] == "POST":
            kept += [header for header in headers if header[0] == _OVERRIDE]
        told = {**scope, "headers": kept}
        client = scope.get("client")
        if client and self._is_trusted(client[0]):
            self._believe(told, headers)
        return told

    def _believe(self, told: Scope, headers: list[tuple[bytes, bytes]]) -> None:
        hops = _values(headers, _FOR)
        for hop in reversed(hops[-_HOPS_LIMIT:]):
            address = _address(hop)
            if address is None:
                break  # whoever wrote this wrote what stands before it, too
            told["client"] = (address, 0)
            if not self._is_trusted(address):
                break
        scheme = _values(headers, _PROTO)[-1:]
        if scheme and scheme[0].lower() in {"http", "https"}:
            told["scheme"] = scheme[0].lower()
        host = _values(headers, _HOST)[-1:]
        if host:
            kept = [header for header in told["headers"] if header[0] != b"host"]
            told["headers"] = [(b"host", host[0].encode("latin-1")), *kept]

    def _within(self, address: str) -> bool:
        known = _address(address)
        return known is not None and any(ip_address(known) in network for network in self._trusted)


def networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks, comma between. Raises ConfigurationInvalid for what is neither."""
    found = []
    for part in text.split(","):
        if part.strip():
            try:
                found.append(ip_network(part.strip(), strict=False))
            except ValueError:
                raise ConfigurationInvalid(
                    "reading the settings", f"server.trusted_proxies: {part.strip()!r} is neither address nor network"
                ) from None
    return tuple(found)


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Every value of a header that may come several times, in the order in which proxies added them."""
    return [
        part.strip() for found, value in headers if found == name for part in value.decode("latin-1").split(",") if part
    ]


def _address(text: str) -> str | None:
    """An address as we write it, without a port; None for what is none."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)
