"""Notes what can be told of any file: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Content type, size and checksums of the version."""
    return call.platform.steps.process_generic(call.event)
