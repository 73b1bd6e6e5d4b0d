"""The queue between the primary bucket and the upload handler on AWS, as data.

S3 tells the queue, the queue calls the handler: so a burst waits instead of being dropped, and what fails again and
again ends in a queue of its own, from which a person can send it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue, its dead-letter queue, and how the handler is called from it."""

    name: str
    dead_letter_name: str
    visibility_timeout_seconds: int
    """Six times the handler's own time-out, as AWS advises, so that no message is seen twice while it is worked on."""
    retention_seconds: int
    attempts: int
    """How often a message is tried before it is dead."""
    batch_size: int


UPLOADS: Final = Queue(
    name="content-platform-uploads",
    dead_letter_name="content-platform-uploads-dead",
    visibility_timeout_seconds=6 * 900,
    retention_seconds=14 * 86_400,
    attempts=5,
    batch_size=10,
)
EVENTS: Final = (
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:ObjectRestore:Completed",
    "s3:LifecycleExpiration:*",
)
"""What S3 tells of the primary bucket; each names a key, and nothing more of it is believed."""
