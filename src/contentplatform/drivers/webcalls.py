"""Calls to addresses that users gave: never into this machine, its network, or what a redirect leads to.

A name is resolved once, every address it has is looked at, and the connection goes to the very address that was looked
at: a name that says something else a moment later is of no use. TLS still checks the certificate against the name.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from contentplatform.errors import InvalidRequest, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a name, as text. Raises OSError where it has none."""

URL_LIMIT: Final = 2_000
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\.?")
_NUMERIC: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16")
)
"""Networks for purposes of their own that not every release of Python knows."""
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class CallRules:
    """What may be called, and how long it may take."""

    ports: frozenset[int] = frozenset({80, 443})
    """Empty: any."""
    allow_private: bool = False
    """Addresses inside: for tests, and networks of one's own."""
    timeout_seconds: float = 10.0
    """From the first packet to the answer's headers."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads."""

    scheme: str
    host: str
    port: int
    target: str


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that the machine's own resolver knows."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


class WebCalls:
    """Sends requests by the rules. Safe to use from any thread."""

    def __init__(self, rules: CallRules, *, resolve: Resolve = resolve, context: ssl.SSLContext | None = None) -> None:
        self._rules = rules
        self._resolve = resolve
        self._context = context
        self._lock = threading.Lock()
        self._under_way: set[_Connection] = set()

    def give_up(self) -> None:
        """End every call that is under way: each fails as if there were no answer."""
        with self._lock:
            under_way = list(self._under_way)
        for connection in under_way:
            connection.give_up()

    def check(self, url: str) -> None:
        """Raise InvalidRequest for a URL that may not be called, as far as it tells by itself."""
        place = self._place(url)
        literal = _literal(place.host)
        if literal is not None:
            self._check_address(url, literal)

    def post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """POST ``body`` and return the status; the answer's body is not read, and no redirect is followed.

        Raises:
            InvalidRequest: the URL may not be called, or its name leads where no call may go.
            Unavailable: it has no address, or there was no answer in time.
        """
        place = self._place(url)
        address = self._address(url, place)
        connection = _Connection(place, str(address), self._rules.timeout_seconds, self._tls(place))
        timer = threading.Timer(self._rules.timeout_seconds, connection.give_up)
        timer.daemon = True
        timer.start()
        with self._lock:
            self._under_way.add(connection)
        try:
            connection.request("POST", place.target, body, {**headers, "Connection": "close"})
            status = connection.getresponse().status
            if connection.gave_up:  # what was cut off may look like an end
                raise TimeoutError
        except (OSError, http.client.HTTPException) as error:
            why = "there was no answer in time" if connection.gave_up else f"it failed ({type(error).__name__})"
            raise Unavailable(f"calling {_shown(url)}", why, private=str(error)) from error
        finally:
            timer.cancel()
            with self._lock:
                self._under_way.discard(connection)
            connection.close()
        return status

    def _place(self, url: str) -> _Place:
        doing = f"calling {_shown(url)}"
        if len(url) > URL_LIMIT or any(not 0x21 <= ord(character) <= 0x7E for character in url) or "\\" in url:
            raise InvalidRequest(doing, f"a URL has at most {URL_LIMIT} characters, of printable ASCII, and no space")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidRequest(doing, "it is no URL") from error
        host = (parts.hostname or "").lower()
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise InvalidRequest(doing, "only http:// and https:// can be called")
        if "@" in parts.netloc or parts.fragment:
            raise InvalidRequest(doing, "a name or password, or a fragment, can't be part of it")
        if _literal(host) is None and not _is_name(host):
            raise InvalidRequest(doing, "its host is neither a name nor an address as it is usually written")
        port = _DEFAULT_PORTS[parts.scheme] if port is None else port
        if self._rules.ports and port not in self._rules.ports:
            allowed = ", ".join(map(str, sorted(self._rules.ports)))
            raise InvalidRequest(doing, f"port {port} may not be called", hint=f"Allowed are {allowed}")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return _Place(parts.scheme, host, port, target)

    def _address(self, url: str, place: _Place) -> Address:
        literal = _literal(place.host)
        if literal is not None:
            self._check_address(url, literal)
            return literal
        try:
            # A zone (fe80::1%eth0) names an interface: such an address is inside in any case.
            found = [ipaddress.ip_address(text.partition("%")[0]) for text in self._resolve(place.host, place.port)]
        except (OSError, ValueError) as error:
            raise Unavailable(f"calling {_shown(url)}", "its name has no address", private=str(error)) from error
        if not found:
            raise Unavailable(f"calling {_shown(url)}", "its name has no address")
        for address in found:
            self._check_address(url, address)
        return found[0]

    def _check_address(self, url: str, address: Address) -> None:
        if not self._rules.allow_private and not is_public(address):
            raise InvalidRequest(
                f"calling {_shown(url)}",
                "it leads to an address inside this network",
                hint="sharing.allow_private_hooks allows that",
            )

    def _tls(self, place: _Place) -> ssl.SSLContext | None:
        if place.scheme != "https":
            return None
        return self._context or ssl.create_default_context()


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was looked at; the name is only what it is called."""

    def __init__(self, place: _Place, address: str, timeout_seconds: float, context: ssl.SSLContext | None) -> None:
        super().__init__(place.host, place.port, timeout=timeout_seconds)
        self.default_port = _DEFAULT_PORTS[place.scheme]
        self.gave_up = False
        self._address = address
        self._context = context
        self._raw: socket.socket | None = None

    def connect(self) -> None:
        """Connect to the address, then prove the name."""
        self._raw = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._raw
        if self._context is not None:
            # The handshake comes after, so that it can be given up, too.
            wrapped = self._context.wrap_socket(self._raw, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self._raw = wrapped
            wrapped.do_handshake()
        if self.gave_up:
            raise TimeoutError

    def give_up(self) -> None:
        """End it from another thread: whoever reads or writes gets an error."""
        self.gave_up = True
        if self._raw is not None:
            try:
                self._raw.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it ended at this moment


def is_public(address: Address) -> bool:
    """Whether an address is of the open internet, whatever IPv6 wraps it in."""
    inner = _wrapped(address)
    if inner is not None and (address in _NAT64 or not is_public(inner)):
        return is_public(inner)
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )


def _wrapped(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _literal(host: str) -> Address | None:
    """The address that a host is, in the one usual way to write it."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    """Whether a host is a name: one that ends in a number is an address in disguise (``127.1``, ``0x7f000001``)."""
    last = host.rstrip(".").rpartition(".")[2]
    return len(host) <= 253 and _HOST.fullmatch(host) is not None and _NUMERIC.fullmatch(last) is None


def _shown(url: str) -> str:
    """A URL as errors tell it: without its query, which may hold a secret."""
    return repr(url.partition("?")[0][:120])


def ports_of(text: str) -> frozenset[int]:
    """The ports of a setting: numbers with commas between; empty: any.

    Raises:
        InvalidRequest: it is not of that form.
    """
    ports: Collection[str] = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 65_536 for part in ports):
        raise InvalidRequest("reading ports", f"{text[:80]!r} is no list of ports")
    return frozenset(int(part) for part in ports)
