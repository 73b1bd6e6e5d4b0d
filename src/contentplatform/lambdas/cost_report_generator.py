"""Reports what the last week cost: called by a schedule."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Make the report and send it."""
    return call.home.cost_reporter().run().as_json()
