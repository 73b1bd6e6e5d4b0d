"""Fixtures that every test may use, and the one list of reasons for which a test may be skipped."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from contentplatform.drivers.boto import Aws
    from emulator import Emulator


SHARED_MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"

NO_REAL_MEDIA: Final = "no folder of real media beside this checkout"
NO_MOUNT: Final = "no right to mount a small file system here"
NO_CHROMIUM: Final = "no Chromium on this machine"
ALLOWED_SKIPS: Final = frozenset({NO_REAL_MEDIA, NO_MOUNT, NO_CHROMIUM})
"""Nothing else may be skipped: any other skip is reported as a failure."""

MEMORY: Final = Path("/dev/shm")
MEMORY_BYTES: Final = 12 << 30
"""So much of it is free where a run may take it: twice what the tests of two processes and their deployments hold."""
TEMPORARY_VARIABLE: Final = "PYTEST_DEBUG_TEMPROOT"
"""Where pytest makes its folders."""


def temporary_root() -> Path:
    """Where tests make folders: in memory, where there is plenty of it and nobody chose another place.

    Thousands of commits are synced in a run. A disk takes most of the time of many tests for that, and none can tell
    whether it did: where the power fails, what was synced is what the file layer noted.
    """
    ordinary = Path(tempfile.gettempdir())
    if TEMPORARY_VARIABLE in os.environ or "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return Path(os.environ.get(TEMPORARY_VARIABLE, ordinary))
    is_fit = shutil.disk_usage(MEMORY).free >= MEMORY_BYTES and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return MEMORY if is_fit else ordinary


# Before pytest makes its own; the processes of a distributed run inherit it.
os.environ[TEMPORARY_VARIABLE] = str(temporary_root())

# How fast an example is made or tried says something of the machine, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def log_as_at_import() -> None:
    """Whoever ran the command in this process before set the log up for it; each test begins as if nobody had."""
    logger = logging.getLogger("contentplatform")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """The folder of real media beside the checkout; tests that need it skip where it is missing."""
    if not SHARED_MEDIA.is_dir():
        pytest.skip(NO_REAL_MEDIA)
    return SHARED_MEDIA


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The AWS emulator, one a test process."""
    from emulator import Emulator  # noqa: PLC0415 - most tests need no cloud library

    server = Emulator()
    yield server
    server.stop()


@pytest.fixture
def aws(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """A session with an account of its own on the emulator; the process's environment leads there, too."""
    from contentplatform.drivers.boto import Aws  # noqa: PLC0415 - same
    from emulator import REGION  # noqa: PLC0415 - same

    account = emulator.account()
    for name, value in emulator.environment(account).items():
        monkeypatch.setenv(name, value)
    return Aws(region=REGION, account_id=account)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, object, object]:
    """Turn a skip whose reason is not on the list into a failure."""
    report = yield
    if isinstance(report, pytest.TestReport) and report.skipped and not hasattr(report, "wasxfail"):
        _fail_if_unlisted(report, item.nodeid, str(call.excinfo.value) if call.excinfo else "")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, object, object]:
    """The same for a module that skips all it has."""
    report = yield
    if isinstance(report, pytest.CollectReport) and report.skipped:
        _fail_if_unlisted(report, collector.nodeid, str(report.longrepr))
    return report


def _fail_if_unlisted(report: pytest.TestReport | pytest.CollectReport, name: str, reason: str) -> None:
    if reason not in ALLOWED_SKIPS:
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped for a reason that is not on the list: {reason}"
