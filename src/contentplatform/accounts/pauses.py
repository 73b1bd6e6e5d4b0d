"""How long somebody has to pause who tries wrong passwords.

Counted by name and by address, in the database: a restart forgives nothing, and every process counts along. A try is
counted before the password is looked at and given back if it was right, so that many at once are no way around.
A name's pauses stay short, so that nobody can lock its owner out for long; an address's get longer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final

FORGOTTEN_AFTER: Final = timedelta(hours=24)
_NAME_PAUSE_LIMIT_SECONDS: Final = 300
_SOURCE_PAUSE_LIMIT_SECONDS: Final = 3_600
_SOURCE_FACTOR: Final = 4
"""Several people share an address."""
_IPV6_NETWORK_BITS: Final = 64
"""One customer has so many addresses."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose tries are counted together."""

    id: str
    tries_allowed: int
    pause_limit_seconds: int


@dataclass(frozen=True, slots=True)
class Tries:
    """How often somebody was wrong, and until when that one has to pause."""

    failures: int
    last_at: datetime
    blocked_until: datetime | None = None


def subjects(name: str, source: str, tries_allowed: int) -> tuple[Subject, Subject]:
    """The two for whom a try counts. Names are kept as digests: people type passwords into the wrong field."""
    digest = hashlib.sha256(name.strip().lower().encode(errors="replace")).hexdigest()[:32]
    return (
        Subject(f"name:{digest}", tries_allowed, _NAME_PAUSE_LIMIT_SECONDS),
        Subject(f"source:{network_of(source)}", tries_allowed * _SOURCE_FACTOR, _SOURCE_PAUSE_LIMIT_SECONDS),
    )


def network_of(source: str) -> str:
    """Where an address is from, as far as one customer goes: of IPv6 its /64."""
    try:
        address = ip_address(source)
    except ValueError:
        return source[:64]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    shift = 128 - _IPV6_NETWORK_BITS
    return f"{IPv6Address(int(address) >> shift << shift)}/{_IPV6_NETWORK_BITS}"


def pause_left_seconds(tries: Tries | None, subject: Subject, now: datetime) -> int:
    """How many seconds are left of a pause, rounded up; 0: none.

    A clock that was set back can't make it longer than pauses are.
    """
    if tries is None or tries.blocked_until is None or tries.blocked_until <= now:
        return 0
    left = tries.blocked_until - now
    if left > timedelta(seconds=subject.pause_limit_seconds):
        return 0
    return int(left.total_seconds()) + 1


def after_failure(tries: Tries | None, subject: Subject, now: datetime) -> Tries:
    """What is kept after one more: from the first that is not allowed on a pause, twice as long each time."""
    if tries is None or now - tries.last_at > FORGOTTEN_AFTER:
        tries = Tries(0, now)
    failures = tries.failures + 1
    beyond = failures - subject.tries_allowed
    if beyond < 0:
        return Tries(failures, now)
    pause_seconds = min(2 ** min(beyond, 20), subject.pause_limit_seconds)
    return Tries(failures, now, now + timedelta(seconds=pause_seconds))


def after_success(tries: Tries) -> Tries:
    """What is kept of an address from which somebody signed in: this one try is given back."""
    return replace(tries, failures=max(0, tries.failures - 1), blocked_until=None)
