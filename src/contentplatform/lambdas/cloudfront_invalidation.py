"""Takes what was replaced off the edge: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Purge what the edge may still show of an earlier version."""
    return call.platform.steps.invalidate(call.event)
