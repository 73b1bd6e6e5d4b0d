"""Takes in what S3 told the queue of uploads."""

from __future__ import annotations

from typing import Final

from contentplatform.lambdas.runtime import Invocation, Result, function

LEFT_FOR_ONE_MESSAGE_SECONDS: Final = 300.0
"""No message is begun with less: the largest file that is hashed at once, 5 GB, is copied and hashed in that time."""


@function
def handle(call: Invocation) -> Result:
    """Bring catalog and workflow to what the store says of each key; name the messages that have to come again."""
    return call.home.take_in_batch(
        call.event["Records"], lambda: call.remaining_seconds() < LEFT_FOR_ONE_MESSAGE_SECONDS
    )
