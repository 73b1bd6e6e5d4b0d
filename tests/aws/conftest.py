"""The platform deployed to the emulator: once a test process, by the very templates that AWS would get."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from aws.deployment import Stack, deploy, pack
from aws.mediaconvert import MediaConvert
from contentplatform.app import AwsHome, open_aws
from contentplatform.config import AwsSettings, Settings, StorageSettings, environment_name
from contentplatform.drivers.boto import Aws
from contentplatform.lambdas.functions import Layer
from emulator import HOME, REGION, Emulator, select_pause
from infra.synthesis import synthesise
from made_once import made_once

if TYPE_CHECKING:
    from _pytest.tmpdir import TempPathFactory

ACCOUNT: Final = "123456789012"
SUFFIX: Final = "emulated"
STACKS: Final = ("ContentPlatformBackup", "ContentPlatform")
"""Those that the emulator takes."""
CONSOLE: Final = "http://localhost"
"""Where a console is opened from which browsers send files straight to S3, by the templates."""
WAITS: Final = 0.01
"""Of the seconds that a state of the workflow waits: 30 become a third of one."""
LONG_SECONDS: Final = 300.0
"""Before something that has to happen is taken for hanging, on a machine that is busy with much else."""
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Deployed:
    """The platform on one emulator."""

    emulator: Emulator
    mediaconvert: MediaConvert
    settings: Settings
    stacks: Mapping[str, Stack]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program works in it, ours and AWS's own alike."""
        given = self.settings.aws
        return {
            **self.emulator.environment(ACCOUNT),
            **self.mediaconvert.environment,
            environment_name("storage", "bucket_suffix"): SUFFIX,
            environment_name("aws", "account_id"): given.account_id,
            environment_name("aws", "edge_address"): given.edge_address,
            "CONTENTPLATFORM_HOME": "aws",
        }


def settings_for(emulator: Emulator, folder: Path) -> Settings:
    """The settings of a platform on an emulator."""
    return replace(
        Settings(data_folder=folder),
        storage=StorageSettings(bucket_suffix=SUFFIX),
        aws=AwsSettings(account_id=ACCOUNT, alert_email="ops@example.org", edge_address=emulator.url),
    )


@pytest.fixture(scope="session")
def assembly_for_emulator(tmp_path_factory: TempPathFactory) -> Path:
    """The templates of the stacks that the emulator takes, with the functions' real layers.

    Made, and its files packed, by the first test process that asks.
    """
    return made_once(tmp_path_factory, "assembly-for-emulator", _synthesise_for_emulator)


def _synthesise_for_emulator(folder: Path) -> None:
    from contentplatform_infra import layers  # noqa: PLC0415 - starts Node, which most tests never need

    layers.ensure_built()
    settings = replace(
        Settings(data_folder=folder),
        storage=StorageSettings(bucket_suffix=SUFFIX),
        aws=AwsSettings(account_id=ACCOUNT, alert_email="ops@example.org", console_origins=CONSOLE),
    )
    synthesise(settings, folder, account_id=ACCOUNT, only=STACKS)
    version = emulator_python()
    if version != layers.PYTHON_VERSION:
        for layer in Layer:
            asset = folder / f"asset.{layers.hash_of(layer)}"
            shutil.rmtree(asset)
            layers.build_layer(layer, asset, python_version=version)
    pack(folder, STACKS)


def emulator_python() -> str:
    """The version of the emulator's Python, on which functions run there: Lambda's own where this machine has it."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run(
        [HOME / "bin" / "python", "-c", program], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="session")
def mediaconvert() -> Iterator[MediaConvert]:
    """MediaConvert's stand-in, which functions of the guarded emulator find."""
    service = MediaConvert()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def guarded_emulator(mediaconvert: MediaConvert) -> Iterator[Emulator]:
    """An emulator that speaks TLS only and enforces roles and policies."""
    server = Emulator(guarded=True, beside=mediaconvert.environment)
    mediaconvert.serve(server.environment(ACCOUNT))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def deployed(
    guarded_emulator: Emulator,
    mediaconvert: MediaConvert,
    assembly_for_emulator: Path,
    tmp_path_factory: TempPathFactory,
) -> Deployed:
    """The platform on the emulator of this test process. Tests share it, each below a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in guarded_emulator.environment(ACCOUNT).items():
            patch.setenv(name, value)
        stacks = deploy(Aws(region=REGION, account_id=ACCOUNT), assembly_for_emulator, STACKS, {"SignedUrls": "no"})
    guarded_emulator.configure(**{"stepfunctions._SFN_WAIT_SCALE": WAITS})
    return Deployed(
        guarded_emulator, mediaconvert, settings_for(guarded_emulator, tmp_path_factory.mktemp("data")), stacks
    )


@pytest.fixture
def home(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsHome]:
    """The deployed platform, as the command line opens it; the process's environment leads there, too."""
    for name, value in deployed.environment.items():
        monkeypatch.setenv(name, value)
    opened = open_aws(deployed.settings)
    yield opened
    opened.close()


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of keys that only this test uses."""
    return f"{request.node.name.replace('[', '-').replace(']', '')}"


def until(what: Callable[[], Any], words: str, seconds: float = LONG_SECONDS) -> Any:
    """What ``what`` returns once that is true; others work meanwhile, in other processes.

    Raises:
        AssertionError: it never was.
    """
    for _ in range(int(seconds / _PAUSE_SECONDS)):
        if found := what():
            return found
        select_pause(_PAUSE_SECONDS)
    raise AssertionError(f"not within {seconds:.0f} s: {words}")


def aws_cli(*arguments: str | Path) -> str:
    """What AWS's own command line prints, in the environment of the test."""
    done = subprocess.run(
        [HOME / "bin" / "aws", *map(str, arguments)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
