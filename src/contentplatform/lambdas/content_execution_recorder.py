"""Keeps an execution that ended, and makes its record end true: called by EventBridge."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Record the execution that the event names."""
    return call.home.recorder().handle(call.event)
