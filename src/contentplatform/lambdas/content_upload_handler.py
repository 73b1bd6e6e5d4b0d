"""Takes in what S3 told the queue of uploads."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Bring catalog and workflow to what the store says of each key; name the messages that have to come again."""
    return call.home.take_in_batch(call.event["Records"])
