"""Compares the second copy with the first: called by a schedule."""

from __future__ import annotations

from contentplatform.lambdas.runtime import BACKUPS_COMPARED, VERSIONS_OVERDUE, Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Compare, report, and tell somebody if something is wrong."""
    report = call.home.backup_validator().run()
    call.count(BACKUPS_COMPARED)
    call.count(VERSIONS_OVERDUE, report.overdue_count)
    return report.as_json()
