"""Executions and their histories as JSON, the same wherever they are shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from contentplatform.clock import timestamp
from contentplatform.workflow.port import Execution, HistoryEvent


def summary(execution: Execution) -> dict[str, Any]:
    """An execution."""
    return {
        "name": execution.name,
        "status": execution.status.value,
        "state": execution.state,
        "lane": execution.lane.name.lower(),
        "file_id": execution.file_id,
        "version_id": execution.version_id,
        "created_at": timestamp(execution.created_at),
        "started_at": timestamp(execution.started_at) if execution.started_at else None,
        "ended_at": timestamp(execution.ended_at) if execution.ended_at else None,
        "pending_reason": execution.pending_reason,
        "error": execution.error,
        "cause": execution.cause,
        "input": dict(execution.input),
        "output": dict(execution.output) if execution.output is not None else None,
    }


def told(event: HistoryEvent) -> dict[str, Any]:
    """One thing that happened in an execution."""
    return {**asdict(event), "at": timestamp(event.at)}
