"""Finds what no event told: called by a schedule."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from contentplatform.lambdas.runtime import KEYS_FAILED, KEYS_MENDED, KEYS_SEEN, Invocation, Result, function

LEFT_FOR_THE_LAST_KEY_SECONDS: Final = 120.0
"""A key is looked at to its end; a large file that nobody hashed yet takes a while."""


@function
def handle(call: Invocation) -> Result:
    """Compare store and catalog for as long as this call may take; the next one goes on."""
    found = call.home.reconciliation().run(call.remaining_seconds() - LEFT_FOR_THE_LAST_KEY_SECONDS)
    call.count(KEYS_SEEN, found.keys_seen)
    call.count(KEYS_MENDED, found.keys_mended)
    call.count(KEYS_FAILED, found.keys_failed)
    return asdict(found.checked())
