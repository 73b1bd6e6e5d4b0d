"""Brings changed records into the search table: fed by the records' stream."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Index what changed; name the change to begin again with."""
    return call.home.search_feed().handle(call.event)
