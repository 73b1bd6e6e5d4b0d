"""Commits what processing found: a task of the workflow."""

from __future__ import annotations

from contentplatform.lambdas.runtime import Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Commit the manifest, once; record and public keys follow."""
    return call.platform.steps.update_metadata(call.event)
