"""Writes the catalog as a table, for questions about what there is: called by a schedule."""

from __future__ import annotations

from contentplatform.lambdas.runtime import FILES_EXPORTED, Invocation, Result, function


@function
def handle(call: Invocation) -> Result:
    """Export every file that there is; ``{key, files, size_bytes}`` of what was written."""
    done = call.home.metadata_export().run()
    call.count(FILES_EXPORTED, done.files)
    return {"key": done.key, "files": done.files, "size_bytes": done.size_bytes}
