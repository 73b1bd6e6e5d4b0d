"""Every check of ``verify`` passes on a healthy home, can fail on a broken one, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from contentplatform.app import LocalHome, open_local
from contentplatform.catalog.port import SearchQuery, walk_records
from contentplatform.clock import RandomIds
from contentplatform.config import ProcessingSettings, Settings
from contentplatform.drivers.volumes import Encryption, encryption_of
from contentplatform.storage.port import BucketRole, walk_versions
from contentplatform.verify.local import LocalChecks
from contentplatform.verify.report import Report, Verdict, judged
from contentplatform.verify.verification import FOLDER, Verification
from contentplatform.worker import Worker
from sample_media import encoded, photo

Opened = Callable[..., LocalHome]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens homes on one data folder, with settings, and closes them."""
    homes: list[LocalHome] = []

    def open_home(processing: ProcessingSettings | None = None) -> LocalHome:
        settings = Settings(data_folder=tmp_path / "data")
        homes.append(open_local(replace(settings, processing=processing or settings.processing)))
        return homes[-1]

    yield open_home
    for home in homes:
        home.close()


def verified(home: LocalHome) -> Report:
    """One run, with a worker at work."""

    def wait(keys: list[str]) -> None:
        home.take_in_all()
        library = home.platform.library
        records = [library.record(key) for key in keys]
        names = [library.entry(record.file_path, record.version_id).execution for record in records]
        assert home.engine.wait(names, 60)

    with Worker(home):
        return Verification(home, LocalChecks(home), RandomIds(), wait).run()


def failed(report: Report) -> set[str]:
    """The names of the checks that failed."""
    return {row.name for row in report.rows if row.verdict is Verdict.FAILED}


def test_a_healthy_home_passes_and_what_is_not_built_says_so(opened: Opened) -> None:
    report = verified(opened())
    assert failed(report) == set()
    assert report.healthy
    not_built = {row.name for row in report.rows if row.verdict is Verdict.NOT_BUILT}
    assert "metrics" in not_built
    assert {row.name for row in report.rows if row.verdict is Verdict.PASSED} >= {
        "edge answers",
        "an image goes through",
        "a video goes through",
        "a sound goes through",
        "a document goes through",
        "what reads untrusted bytes has no known holes",
        "a broken file named .jpg fails, in words",
        "versions are kept",
    }


def test_a_run_removes_every_version_of_what_it_made(opened: Opened) -> None:
    home = opened()
    home.platform.library.add("mine.txt", BytesIO(b"stays"))
    report = verified(home)
    assert report.left_over == []
    left = [version.key for role in BucketRole for version in walk_versions(home.store, role)]
    assert not [key for key in left if FOLDER in key or report.run in key]
    assert "mine.txt" in left
    assert [record.file_path for record in walk_records(home.catalog, SearchQuery())] == ["mine.txt"]


def test_an_edge_that_serves_something_else_fails_its_check(opened: Opened) -> None:
    home = opened()
    version = home.platform.library.add("x.jpg", BytesIO(encoded(photo(64, 48), "JPEG")))
    with Worker(home):
        home.take_in_all()
        assert home.engine.wait([home.platform.library.entry("x.jpg", version).execution], 60)
    record = home.platform.library.record("x.jpg")
    other = [replace(rendition, sha256="0" * 64) for rendition in record.renditions]
    checks = LocalChecks(home)
    [edge] = [check for title, check in checks.after("run") if title == "edge answers"]
    assert "no photo went through" in judged("edge answers", edge).detail
    for shown, verdict in ((record, Verdict.PASSED), (replace(record, renditions=tuple(other)), Verdict.FAILED)):
        checks.shown(shown)
        assert judged("edge answers", edge).verdict is verdict


def test_an_image_that_is_refused_fails_the_check(opened: Opened) -> None:
    assert "an image goes through" in failed(verified(opened(ProcessingSettings(max_image_pixels=1))))


def test_lost_bytes_fail_the_check_of_the_catalog(opened: Opened) -> None:
    home = opened()
    home.platform.library.add("mine.txt", BytesIO(b"to be lost"))
    home.store.local_file(home.platform.library.current("mine.txt")).unlink()
    assert "the catalog's tables are whole" in failed(verified(home))


def test_a_folder_that_everybody_may_read_fails_the_check(opened: Opened) -> None:
    home = opened()
    home.platform.settings.data_folder.chmod(0o755)
    assert failed(verified(home)) == {"nobody else can read the files"}


def test_executions_that_the_platform_failed_show_in_the_success_rate(opened: Opened) -> None:
    home = opened()
    for number in range(3):
        data = {"bucket": "primary", "key": f"{number}.jpg", "version_id": "1", "file_id": "1", "route": "image"}
        home.engine.start(f"process-broken-{number}", file_id="1", version_id=str(number), data=data)
    assert "executions succeed" in failed(verified(home))


@pytest.mark.parametrize(
    ("uuid", "expected"), [("CRYPT-LUKS2-0123", Encryption.ENCRYPTED), ("LVM-0123", Encryption.PLAIN)]
)
def test_an_encrypted_volume_is_told_by_its_device_mapper_name(tmp_path: Path, uuid: str, expected: Encryption) -> None:
    device = tmp_path.stat().st_dev
    node = tmp_path / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    (node / "slaves" / "dm-0" / "dm").mkdir(parents=True)
    (node / "slaves" / "dm-0" / "dm" / "uuid").write_text(uuid)
    assert encryption_of(tmp_path, sysfs=tmp_path) is expected


def test_a_volume_without_a_block_device_is_unknown(tmp_path: Path) -> None:
    assert encryption_of(tmp_path, sysfs=tmp_path / "nowhere") is Encryption.UNKNOWN
