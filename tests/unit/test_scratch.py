"""A scratch folder lives as long as its process, and no longer than the next sweep after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contentplatform.drivers.scratch import scratch_folder, sweep
from contentplatform.errors import Unavailable


def test_a_folder_is_there_and_empty_and_gone_afterwards_whatever_lies_in_it(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "scratch") as folder:
        assert list(folder.iterdir()) == []
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("left")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_sweep_leaves_what_is_in_use_and_takes_what_a_dead_process_left(tmp_path: Path) -> None:
    dying = (
        "import os, pathlib, sys; from contentplatform.drivers.scratch import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'file').write_text('left'); os._exit(9)"  # as good as killed: nothing is tidied up
    )
    assert subprocess.run([sys.executable, "-c", dying, str(tmp_path)], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder(tmp_path) as in_use:
        assert sweep(tmp_path) == 1
        assert list(tmp_path.iterdir()) == [in_use]


def test_a_sweep_of_nothing_is_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path / "never made") == 0


def test_where_no_folder_can_be_made_the_words_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="scratch"), scratch_folder(tmp_path / "file"):
        pass
