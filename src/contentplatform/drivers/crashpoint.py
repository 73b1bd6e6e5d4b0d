"""Named points at which a test can kill the process, exactly as ``kill -9`` or a power cut would.

Every boundary between two durable effects has one. In production nothing is armed and a point costs one comparison.
``CONTENTPLATFORM_CRASHPOINT=name:n`` kills the process with SIGKILL when ``name`` is passed for the n-th time.
A point that no test ever reaches fails the test run (tests/faults).
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

POINTS: Final = frozenset(
    {
        "storage.put.temp_written",
        "storage.put.temp_synced",
        "storage.put.linked",
        "storage.put.folder_synced",
        "storage.put.before_commit",
        "storage.put.linked_again",
        "storage.put.committed",
        "storage.copy.before_commit",
        "storage.delete.before_commit",
        "storage.delete_version.before_commit",
        "storage.set_tags.before_commit",
        "storage.gc.marked",
        "storage.gc.before_unlink",
        "storage.gc.unlinked",
        "storage.journal.written",
        "storage.journal.renamed",
        "storage.journal.merged",
        "sqlite.before_commit",
        "sqlite.committed",
        "sqlite.before_checkpoint",
        "sqlite.checkpointed",
        "uploads.created",
        "uploads.written",
        "uploads.synced",
        "uploads.recorded",
        "uploads.joined",
        "uploads.published",
        "uploads.committed",
        "ingest.recorded",
        "ingest.handled",
        "workflow.claimed",
        "workflow.step_done",
        "workflow.advanced",
        "transcoding.claimed",
        "transcoding.stored",
        "transcoding.completed",
        "steps.transcoding_submitted",
        "steps.renditions_stored",
        "steps.manifest_committed",
        "steps.plain_keys_written",
    }
)
VARIABLE: Final = "CONTENTPLATFORM_CRASHPOINT"

_armed_name, _, _armed_count = os.environ.get(VARIABLE, "").partition(":")
_remaining = int(_armed_count or 1)
_lock = threading.Lock()


def arm(name: str, count: int = 1) -> None:
    """Kill this process when ``name`` is passed for the ``count``-th time from now; an empty name disarms."""
    global _armed_name, _remaining
    if name and name not in POINTS:
        raise ValueError(f"no crash point is named {name!r}")
    with _lock:
        _armed_name, _remaining = name, count


def crashpoint(name: str) -> None:
    """Die here if a test asked for it."""
    if name != _armed_name:
        return
    global _remaining  # noqa: PLW0603 - one process has one fate
    with _lock:
        _remaining -= 1
        if _remaining > 0:
            return
    os.kill(os.getpid(), signal.SIGKILL)
