"""The tours of README and docs/start.md, pasted into a shell line by line, on a stranger's pictures."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from contentplatform.processing.samples import make_samples

ROOT: Final = Path(__file__).resolve().parents[2]
BIN: Final = Path(sys.executable).parent
TIMEOUT_SECONDS: Final = 900
_SET_UP_ELSEWHERE: Final = ("make ", "export PATH=", "export URL=")
"""Lines that the environment of the test stands for."""


def tour(page: str) -> str:
    """The page's shell examples as one script that stops at the first failure, and ends what it left running."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith(_SET_UP_ELSEWHERE)]
    for stop in ("contentplatform add ", "contentplatform serve &", "curl -sf ", "contentplatform fsck --deep"):
        assert any(line.startswith(stop) for line in lines), f"the page has lost its tour: no line begins with {stop}"
    return "\n".join(["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT", *lines, ""])


@pytest.fixture
def stranger(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with a few pictures and an empty library."""
    older, newer = tmp_path / "Pictures" / "2024", tmp_path / "Pictures" / "new"
    older.mkdir(parents=True)
    newer.mkdir()
    photo, logo, *others = make_samples(older)
    for slow in others:  # films and sounds go through in `verify`
        slow.unlink()
    photo.rename(older / "beach.jpg")
    logo.rename(newer / "logo.png")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("CONTENTPLATFORM_")},
        "HOME": str(tmp_path),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "CONTENTPLATFORM_DATA": str(tmp_path / "my-library"),
        "CONTENTPLATFORM_SERVER_PORT": str(port),
        "URL": f"http://127.0.0.1:{port}",
    }


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_every_line_of_the_tour_works_in_its_order(page: str, stranger: dict[str, str], tmp_path: Path) -> None:
    walked = subprocess.run(
        ["bash", "-x", "-c", tour(page)],
        env=stranger,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert walked.returncode == 0, walked.stderr
    assert "Traceback" not in walked.stderr
    assert "pictures/2024/beach.jpg  completed" in walked.stdout
