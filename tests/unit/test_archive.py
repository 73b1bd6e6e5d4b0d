"""Unpacking: what goes in comes out, wherever the pieces of it happen to end."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from contentplatform.processing.jobs.archive import Archive
from contentplatform.processing.presets import DocumentLimits

PIECE_BYTES = 1 << 16


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("pattern", [b"\0", b"<w:p/>"])
@pytest.mark.parametrize("more_bytes", [-1, 0, 1, 132, 199, 258, 300])
def test_a_part_comes_out_whole_where_its_last_piece_is_a_remainder(
    tmp_path: Path, method: int, pattern: bytes, more_bytes: int
) -> None:
    """Of what packs well, the end of one piece and the next one's beginning are packed in the same byte."""
    wanted = (pattern * 2 * PIECE_BYTES)[: PIECE_BYTES + more_bytes]
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w", method, compresslevel=9) as packed:
        packed.writestr("part", wanted)
    with path.open("rb") as stream:
        assert b"".join(Archive(stream.fileno(), DocumentLimits()).pieces("part")) == wanted
