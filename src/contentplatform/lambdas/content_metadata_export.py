"""``content-metadata-export``: once a day, the catalog as a table."""

from __future__ import annotations

from contentplatform.analytics.export import MetadataExport
from contentplatform.lambdas.runtime import Invocation, Result, function
from contentplatform.storage.lifecycle import Tiering


@function
def handle(call: Invocation) -> Result:
    """Export every file that there is; ``{key, files, size_bytes}`` of what was written."""
    platform = call.platform
    export = MetadataExport(
        platform.catalog,
        platform.store,
        platform.clock,
        tiering=Tiering(platform.settings.storage.tiering),
        scratch_folder=platform.settings.data_folder,
    )
    done = export.run()
    call.count("FilesExported", done.files)
    return {"key": done.key, "files": done.files, "size_bytes": done.size_bytes}
