"""Writes down why processing failed: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import FILES_FAILED, Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Say in the catalog that the version failed and why; count it."""
    failure = call.platform.steps.record_failure(call.event)
    call.count(FILES_FAILED)
    return failure
