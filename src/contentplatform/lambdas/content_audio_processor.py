"""Makes a sound's renditions: a task of the workflow. Nothing is routed here yet."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Refuse, in words."""
    return call.platform.steps.refuse(call.event)
