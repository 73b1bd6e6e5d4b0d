"""Time and ids, injected everywhere: nothing else reads the clock or draws a random number."""

from __future__ import annotations

import os
import secrets
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """Wall time, aware, UTC. For people and records, never for ordering."""
        ...

    def monotonic_seconds(self) -> float:
        """Seconds since this machine's boot: the same scale in every process, immune to clock jumps."""
        ...

    def boot_id(self) -> str:
        """Which boot ``monotonic_seconds`` counts from; times of another boot can't be compared."""
        ...

    def wait(self, event: threading.Event, timeout_seconds: float) -> bool:
        """Wait until ``event`` is set or the time is over; True if it was set."""
        ...


class IdSource(Protocol):
    """Where identifiers and jitter come from."""

    def new_id(self) -> str:
        """A fresh opaque id: 32 lower-case hex digits, time-ordered prefix, unique without coordination."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1), for jitter."""
        ...


class SystemClock:
    """The machine's own clock."""

    def __init__(self) -> None:
        self._boot_id = _read_boot_id()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        # CLOCK_MONOTONIC is shared by all processes of one boot, on Linux and macOS.
        return time.monotonic()

    def boot_id(self) -> str:
        return self._boot_id

    def wait(self, event: threading.Event, timeout_seconds: float) -> bool:
        return event.wait(timeout_seconds)


class RandomIds:
    """Ids from the kernel's random source, with a millisecond prefix so that indexes grow at one end."""

    def new_id(self) -> str:
        milliseconds = time.time_ns() // 1_000_000
        return f"{milliseconds & (2**48 - 1):012x}{secrets.token_hex(10)}"

    def fraction(self) -> float:
        return secrets.randbits(53) / 2**53


def timestamp(moment: datetime) -> str:
    """``moment`` as the platform writes time everywhere: UTC, ISO 8601, microseconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """The inverse of :func:`timestamp`; any ISO 8601 text with an offset is understood."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp without a time zone: {text!r}")
    return moment.astimezone(UTC)


def _read_boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        # macOS has no boot id file; the boot second is as good, as it only needs to differ between boots.
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{round(time.time() - time.monotonic(), -1)}-{os.uname().nodename}"))
