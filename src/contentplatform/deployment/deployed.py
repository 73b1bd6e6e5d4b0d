"""Where the home on AWS is, as ``deploy`` writes it down and every command with ``--home aws`` reads it."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Final

from contentplatform.config import DEPLOYMENT_FILE_NAME, AwsSettings, Settings, StorageSettings
from contentplatform.errors import ConfigurationInvalid

_UNSET_SUFFIX: Final = StorageSettings().bucket_suffix


def settled(settings: Settings, *, account_id: str, region: str = "", profile: str = "") -> Settings:
    """The settings of a deployment: what the command line says, else the settings, else what was deployed before.

    The suffix that ends every bucket's name is the account's id unless it was set: global names need something of
    one's own, and a deployment that is repeated from another machine finds the same buckets.

    Args:
        settings: as they were read.
        account_id: the account's 12 digits; empty where it is not known, as in a dry run without credentials.
        region: of the command line; empty if not given.
        profile: same.

    Raises:
        ConfigurationInvalid: what was deployed before can't be read.
    """
    before = _read(settings.data_folder)
    default = AwsSettings()
    aws = settings.aws
    if region == "" and aws.region == default.region:
        region = before.get("region", aws.region)
    suffix = settings.storage.bucket_suffix
    if suffix == _UNSET_SUFFIX:
        suffix = before.get("bucket_suffix", "") or account_id or _UNSET_SUFFIX
    return replace(
        settings,
        storage=replace(settings.storage, bucket_suffix=suffix),
        aws=replace(
            aws,
            region=region or aws.region,
            backup_region=before.get("backup_region", aws.backup_region)
            if aws.backup_region == default.backup_region
            else aws.backup_region,
            account_id=account_id or aws.account_id or before.get("account_id", ""),
            profile=profile or aws.profile or before.get("profile", ""),
        ),
    )


def write_deployment(settings: Settings) -> Path:
    """Write down where the home is, whole or not at all; returns the file.

    Raises:
        OSError: the data folder can't be written.
    """
    aws = settings.aws
    lines = [
        "# Written by `contentplatform deploy`: where the home on AWS is. `contentplatform --home aws` reads it.",
        "[storage]",
        _line("bucket_suffix", settings.storage.bucket_suffix),
        _line("tiering", settings.storage.tiering),
        "",
        "[aws]",
        _line("account_id", aws.account_id),
        _line("region", aws.region),
        _line("backup_region", aws.backup_region),
        *([_line("profile", aws.profile)] if aws.profile else []),
    ]
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    path = settings.data_folder / DEPLOYMENT_FILE_NAME
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text("\n".join(lines) + "\n", "utf-8")
    scratch.replace(path)
    return path


def forget_deployment(settings: Settings) -> None:
    """Take away what was written down; nothing if there is nothing."""
    (settings.data_folder / DEPLOYMENT_FILE_NAME).unlink(missing_ok=True)


def was_deployed(settings: Settings) -> bool:
    """Whether this data folder knows of a home on AWS."""
    return (settings.data_folder / DEPLOYMENT_FILE_NAME).exists()


def expected_account(settings: Settings) -> str:
    """The account that the settings, or an earlier deployment, name; empty if none."""
    return settings.aws.account_id or _read(settings.data_folder).get("account_id", "")


def _line(name: str, value: str) -> str:
    # A JSON string is a TOML string as long as it has no control character, which no setting of these has.
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def _read(folder: Path) -> dict[str, str]:
    path = folder / DEPLOYMENT_FILE_NAME
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationInvalid(
            f"reading {path}", str(error), hint="Move it away; `contentplatform deploy` writes it anew"
        ) from error
    return {
        name: str(value)
        for table in ("storage", "aws")
        for name, value in document.get(table, {}).items()
        if isinstance(value, str)
    }
