"""Asks how far the encoding of a video is: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Tell how far it is; the record shows it, too."""
    return call.platform.steps.videos.check(call.event)
