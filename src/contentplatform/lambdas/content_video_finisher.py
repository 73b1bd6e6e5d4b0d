"""Completes a video's renditions: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Verify what was encoded, and make all else."""
    call.sweep_scratch()
    return call.platform.steps.videos.finish(call.event)
