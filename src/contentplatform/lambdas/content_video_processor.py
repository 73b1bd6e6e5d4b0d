"""Starts the encoding of a video: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Find out what is in it, and ask for its rungs."""
    call.sweep_scratch()
    return call.platform.steps.videos.process(call.event)
