"""Makes pictures on the fly: called by the edge, at an address of its own. Pictures are parsed in a fenced-in child."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """The picture that was asked for, or why there is none."""
    call.sweep_scratch()
    return call.home.pictures.answer(call.event)
