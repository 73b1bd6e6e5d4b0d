"""Makes a document's pictures and takes its text: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Make the renditions, or take those of the same content."""
    call.sweep_scratch()
    return call.platform.steps.process_document(call.event)
