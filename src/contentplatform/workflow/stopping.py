"""Stops an execution with what works for it elsewhere: a video's encoding goes on by itself, and may cost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from contentplatform import log
from contentplatform.errors import PlatformError
from contentplatform.media import MediaKind
from contentplatform.processing.port import Transcoder
from contentplatform.workflow.port import Execution, ExecutionStatus, WorkflowEngine

Stop = Callable[[str, str], Execution]
"""Stops the execution of this name for this reason, in words; raises and returns as ``WorkflowEngine.cancel``."""

_logger: Final = logging.getLogger(__name__)


def stop_execution(engine: WorkflowEngine, transcoder: Transcoder, name: str, reason: str) -> Execution:
    """Cancel an execution, then the encoding that it waits for. Idempotent; raises NotFound as ``cancel``."""
    execution = engine.cancel(name, reason)
    if execution.status is ExecutionStatus.CANCELLED and execution.input.get("route") == MediaKind.VIDEO.value:
        try:
            for job_id in _jobs(engine, name):
                transcoder.cancel(job_id)
                transcoder.forget(job_id)
        except PlatformError as error:  # it is stopped all the same; what it made is refused, and erased
            fields: dict[str, Any] = {"execution": name, log.REASON: str(error)}
            log.event(_logger, logging.WARNING, "encoding not cancelled", **fields)
    return execution


def _jobs(engine: WorkflowEngine, name: str) -> set[str]:
    """The ids of the encodings that an execution asked for."""
    found = set()
    for event in engine.history(name):
        job = (event.output or {}).get("job")
        if isinstance(job, dict) and job.get("id"):
            found.add(str(job["id"]))
    return found
