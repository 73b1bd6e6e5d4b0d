"""Settings: one frozen dataclass a capability, parsed once, every problem reported together.

Order: command-line arguments, environment (``CONTENTPLATFORM_<TABLE>_<NAME>``), the TOML file, the default. Secrets are
references to where they lie, never values. Names of buckets are read from here, nothing derives them.
"""

from __future__ import annotations

import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from contentplatform.errors import ConfigurationInvalid

ENVIRONMENT_PREFIX: Final = "CONTENTPLATFORM_"
CONFIG_FILE_NAME: Final = "contentplatform.toml"
DEPLOYMENT_FILE_NAME: Final = "aws.toml"
"""What ``deploy`` writes into the data folder: where the home on AWS is, as settings."""
_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_REGION: Final = r"[a-z]{2}(-[a-z]+)+-\d"


def _setting(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str = "",
) -> Any:
    """A setting: its default, what it is for, and what may be set.

    ``choices`` and ``pattern`` (which must match the whole text) are for texts, the bounds for numbers.
    """
    return field(
        default=default,
        metadata={
            "help": description,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "pattern": pattern,
        },
    )


def _switch(description: str, *, on: bool = False) -> Any:
    """A setting that is true or false."""
    return _setting(on, description)


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """``[storage]``: where bytes are kept."""

    bucket_suffix: str = _setting("local", "Ends every bucket's name: content-platform-<role>-<suffix>")
    tiering: str = _setting("lifecycle", "What moves originals to colder classes", choices=("lifecycle", "intelligent"))
    class_folders: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"help": "Folders, on other disks perhaps, for single storage classes; a table of its own"},
    )
    gc_grace_seconds: float = _setting(
        86_400.0, "How long bytes that nothing refers to are kept before they are freed", minimum=0
    )
    gc_interval_seconds: float = _setting(3_600.0, "How often a worker looks for such bytes", minimum=1)
    manifest_interval_seconds: float = _setting(
        1.0, "How often a worker writes the sidecar manifests from which the database can be rebuilt", minimum=0.05
    )


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """``[ingest]``: how files come in."""

    private_prefix: str = _setting("private/", "Keys under it are never served without a signature")
    drop_folder: str = _setting("", "A folder whose files are taken in once they stop growing; empty: none")
    drop_prefix: str = _setting("", "Goes before the keys of files from the drop folder")
    drop_quiet_seconds: float = _setting(
        5.0, "How long a file in the drop folder must not have changed before it is taken in", minimum=0
    )
    drop_remove: bool = _switch("Remove files from the drop folder once they are taken in and durable")
    reconcile_interval_seconds: float = _setting(
        300.0, "How often a worker compares the store with the catalog for what no event told", minimum=1
    )


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """``[catalog]``: what is known about files."""

    index_interval_seconds: float = _setting(0.5, "How often a worker brings the search index up to date", minimum=0.01)
    snapshot_interval_seconds: float = _setting(
        86_400.0, "How often the whole catalog is written into the store, by whichever worker sees it due", minimum=1
    )


@dataclass(frozen=True, slots=True)
class WorkflowSettings:
    """``[workflow]``: how versions are driven through."""

    max_concurrent: int = _setting(
        0, "Executions at work at once in the data folder; 0: one a processor, two at least", minimum=0
    )
    max_execution_seconds: int = _setting(
        86_400, "How long an execution may take at home once it has begun; on AWS six hours", minimum=60
    )
    lease_seconds: float = _setting(
        15.0, "How long a worker may be silent before another takes its work over", minimum=1
    )


@dataclass(frozen=True, slots=True)
class ProcessingSettings:
    """``[processing]``: limits for what is parsed, checked before decoding where the header tells, else enforced."""

    max_image_pixels: int = _setting(300_000_000, "Pixels of one frame", minimum=1)
    max_image_frames: int = _setting(1_000, "Frames of an animation that is kept animated", minimum=1)
    max_animation_pixels: int = _setting(500_000_000, "Pixels of all frames together, to be kept animated", minimum=1)
    video_encoder: str = _setting(
        "software",
        "What encodes videos; where hardware fails, software does it",
        choices=("software", "auto", "nvenc", "qsv", "vaapi", "videotoolbox"),
    )
    max_concurrent_videos: int = _setting(1, "Videos encoded at once in the data folder", minimum=1)
    normalise_loudness: bool = _switch("Bring sounds to the same loudness, -16 LUFS, in their renditions")
    max_video_pixels: int = _setting(8_192 * 4_352, "Pixels of one frame of a video", minimum=1)
    max_frame_rate: float = _setting(300.0, "Frames a second of a video", minimum=1)
    max_duration_seconds: float = _setting(86_400.0, "Length of a video or a sound", minimum=1)
    max_streams: int = _setting(64, "Tracks of a video or a sound", minimum=1)
    max_document_pages: int = _setting(10_000, "Pages of a document", minimum=1)
    max_text_pages: int = _setting(500, "Pages of a document of which the text is taken", minimum=1)
    max_text_characters: int = _setting(1_000_000, "Text of a document that is kept", minimum=1)
    max_unpacked_bytes: int = _setting(512 * _MIB, "What is unpacked of an office document", minimum=_MIB)
    job_memory_bytes: int = _setting(2 * _GIB, "Resident memory of one job", minimum=64 * _MIB)
    job_cpu_seconds: int = _setting(300, "Processor time of one job", minimum=1)
    job_wall_seconds: float = _setting(300.0, "Wall-clock time of one job", minimum=0.1)
    media_job_seconds: float = _setting(
        840.0, "Time of one job on a sound, or on a video's renditions: its processor's and the wall's", minimum=1
    )
    job_file_bytes: int = _setting(4 * _GIB, "Size of one file that a job may write", minimum=_MIB)
    scanner: str = _setting(
        "",
        "Command that looks for malware in a file before it is processed, as `clamdscan --fdpass`; at home only. "
        "Empty: none",
    )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """``[server]``: what ``serve`` listens to, and whom it believes."""

    host: str = _setting("127.0.0.1", "Address to listen on; any but loopback needs a proxy with TLS in front")
    port: int = _setting(8080, "Port to listen on; 0: any that is free", minimum=0, maximum=65_535)
    public_url: str = _setting(
        "",
        "How the server is reached from outside, as `https://media.example.org`; empty: by the address it listens on",
        pattern=r"(https?://[^/\s]+)?",
    )
    edge_url: str = _setting(
        "",
        "Where public files are served, if by an edge that is a process, or a host name, of its own; empty: here",
        pattern=r"(https?://[^/\s]+)?",
    )
    trusted_proxies: str = _setting(
        "", "Addresses or networks, comma between, of proxies whose X-Forwarded-* headers are believed"
    )
    workers: int = _setting(1, "Worker processes that `serve` starts beside itself", minimum=0, maximum=64)
    shutdown_seconds: float = _setting(
        20.0, "How long requests and work may take to end when the server is stopped", minimum=1
    )
    header_timeout_seconds: float = _setting(
        15.0, "How long a client may take to send a request's headers", minimum=0.1
    )
    keep_alive_seconds: int = _setting(20, "How long an idle connection is kept open", minimum=1)
    max_connections: int = _setting(2_000, "Connections at once; further ones are told to come later", minimum=1)


@dataclass(frozen=True, slots=True)
class UploadsSettings:
    """``[uploads]``: what is taken from browsers and HTTP clients."""

    max_bytes: int = _setting(5 << 40, "Size of one file", minimum=1)
    max_open: int = _setting(1_000, "Uploads that one user, or one link, may have begun and not finished", minimum=1)
    keep_seconds: float = _setting(604_800.0, "How long an upload lives after its last byte came", minimum=1)
    idle_seconds: float = _setting(
        30.0, "How long a client may send next to nothing in the middle of a body; what came is kept", minimum=0.1
    )
    form_files: int = _setting(1_000, "Files in one form", minimum=1)


@dataclass(frozen=True, slots=True)
class AccountsSettings:
    """``[accounts]``: who may do what, and how it is shown."""

    session_idle_seconds: int = _setting(43_200, "A session ends when it was not used for so long", minimum=60)
    session_lifetime_seconds: int = _setting(604_800, "A session ends after so long, however busy it is", minimum=60)
    token_lifetime_days: int = _setting(
        90, "How long a new API token lives, if nothing else is asked for", minimum=1, maximum=366
    )
    password_length: int = _setting(12, "Characters that a password has at least", minimum=8, maximum=128)
    tries_allowed: int = _setting(
        5, "Wrong passwords for a name before pauses begin; four times as many from one address", minimum=1, maximum=100
    )
    requests_per_minute: int = _setting(
        30_000, "Requests to the API and the console of one user in a minute", minimum=10
    )
    address_requests_per_minute: int = _setting(
        60_000, "Requests to the API and the console from one address in a minute", minimum=10
    )


@dataclass(frozen=True, slots=True)
class SharingSettings:
    """``[sharing]``: links for people without an account, and webhooks."""

    wrong_links_per_minute: int = _setting(
        30, "Links that lead nowhere, and wrong passwords of shares, from one address in a minute", minimum=1
    )
    hook_timeout_seconds: float = _setting(
        10.0, "How long a webhook's receiver may take to answer", minimum=0.1, maximum=60
    )
    hook_attempts: int = _setting(
        12, "How often a message is sent before it is given up; over two hours by default", minimum=1, maximum=100
    )
    hook_ports: str = _setting(
        "80,443", "Ports that webhooks may be sent to, comma between; empty: any", pattern=r"[0-9, ]*"
    )
    allow_private_hooks: bool = _switch("Let webhooks be sent to addresses inside this network, this machine included")


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """``[delivery]``: what the local edge keeps, and how much it computes for its viewers."""

    images_cache_bytes: int = _setting(
        2 * _GIB, "Pictures made on the fly that are kept in the data folder; the least used go first", minimum=0
    )
    images_jobs: int = _setting(0, "Pictures made at once by a process; 0: one a processor", minimum=0, maximum=256)
    images_cpu_seconds: float = _setting(
        60.0, "Processor time for pictures that one viewer may cause in a minute, by its address", minimum=0.1
    )
    images_open_options: bool = _switch("Let anybody choose sizes and formats without a signature: for trusted viewers")
    memory_bytes: int = _setting(
        256 * _MIB, "Memory for files that are asked for often, in each process that serves them", minimum=0
    )
    log_requests: bool = _switch("Write the access log of the edge into the analytics bucket", on=True)
    log_addresses: str = _setting(
        "full",
        "How much of a viewer's address is written there; `masked`: the first 24 bits of IPv4, 48 of IPv6",
        choices=("full", "masked", "none"),
    )
    log_roll_seconds: float = _setting(
        300.0, "How long requests wait in the data folder before they are in the analytics bucket", minimum=1
    )


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """``[aws]``: the home on AWS. What costs money beyond the default stack is off, and says what it costs."""

    region: str = _setting("us-east-1", "Where everything but the second copy is", pattern=_REGION)
    backup_region: str = _setting("us-west-2", "Where the second copy is", pattern=_REGION)
    account_id: str = _setting("", "The account's 12 digits; empty: that of the credentials", pattern=r"(\d{12})?")
    profile: str = _setting("", "Profile of the AWS configuration to take credentials from; empty: AWS's own order")
    alert_email: str = _setting("", "Who gets alerts and the weekly cost report; has to confirm by a link")
    upload_handlers: int = _setting(
        5, "Upload handlers at once: the queue mapping's maximum concurrency", minimum=2, maximum=1_000
    )
    hash_limit_bytes: int = _setting(
        5 * _GIB, "Up to this size the upload handler hashes an object itself", minimum=_MIB
    )
    mediaconvert_queue: str = _setting(
        "Default",
        "The queue of MediaConvert in which videos wait for their encoding",
        pattern=r"[A-Za-z0-9_. -]{1,100}",
    )
    log_retention_days: int = _setting(90, "How long the functions' logs are kept", minimum=1)
    edge_address: str = _setting(
        "", "Where to reach the edge instead of by its domain name, as http://host:port: for tests and private networks"
    )
    monthly_budget_usd: float = _setting(50.0, "Monthly budget; an alert is sent at 80 % of it", minimum=1)
    policy_administrators: str = _setting(
        "", "ARNs of further roles, comma between, that may change bucket policies and the public access block"
    )
    console_origins: str = _setting(
        "",
        "Where consoles are opened that send files straight to S3, as https://media.example.com, comma between; empty: "
        "no page may, and files go through the machine that serves",
        pattern=r"(https?://[A-Za-z0-9.:\[\]-]{1,255}(, ?(?!$))?)*",
    )
    catalog_replica: bool = _switch("Keep a replica of the catalog's tables in the backup region", on=True)
    replication_time_control: bool = _switch("Replicate within 15 minutes, promised by S3: 0.015 USD a GB replicated")
    object_lock: bool = _switch(
        "Lock versions of the backup bucket against deletion for 30 days; only possible when it is first made"
    )
    config_recorder: bool = _switch(
        "Record changes of buckets, tables and functions in AWS Config, about 0.10 USD a month and region; off where "
        "the account records already",
        on=True,
    )
    web_application_firewall: bool = _switch("Managed rules and a rate limit before the edge: about 8 USD a month")
    shared_files: bool = _switch("The shared file system content-platform-efs: 0.30 USD a GB and month")
    shared_files_throughput_mibps: int = _setting(
        0, "Provisioned throughput of the shared file system at 6 USD a MiB/s and month; 0: elastic", minimum=0
    )
    quicksight: bool = _switch("QuickSight data source, data sets and dashboard: needs a paid subscription")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, and the data folder."""

    data_folder: Path
    storage: StorageSettings = field(default_factory=StorageSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    catalog: CatalogSettings = field(default_factory=CatalogSettings)
    workflow: WorkflowSettings = field(default_factory=WorkflowSettings)
    processing: ProcessingSettings = field(default_factory=ProcessingSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    uploads: UploadsSettings = field(default_factory=UploadsSettings)
    accounts: AccountsSettings = field(default_factory=AccountsSettings)
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    sharing: SharingSettings = field(default_factory=SharingSettings)
    aws: AwsSettings = field(default_factory=AwsSettings)


TABLES: Final[Mapping[str, type[Any]]] = {
    "storage": StorageSettings,
    "ingest": IngestSettings,
    "catalog": CatalogSettings,
    "workflow": WorkflowSettings,
    "processing": ProcessingSettings,
    "server": ServerSettings,
    "uploads": UploadsSettings,
    "accounts": AccountsSettings,
    "delivery": DeliverySettings,
    "sharing": SharingSettings,
    "aws": AwsSettings,
}


def load(
    *,
    data_folder: Path | None = None,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    deployed: bool = False,
) -> Settings:
    """Read the settings; a missing config file is an error only if it was named.

    With ``deployed``, what ``deploy`` wrote down of the home on AWS goes before the settings file.

    Raises:
        ConfigurationInvalid: with every problem, a line each.
    """
    variables = os.environ if environment is None else environment
    problems: list[str] = []
    folder = data_folder or Path(variables.get(f"{ENVIRONMENT_PREFIX}DATA", "") or default_data_folder(variables))
    document = _read_document(
        config_file or folder / CONFIG_FILE_NAME, must_exist=config_file is not None, problems=problems
    )
    if deployed:
        for name, table in _read_document(folder / DEPLOYMENT_FILE_NAME, must_exist=False, problems=problems).items():
            document[name] = {**document.get(name, {}), **table}
    problems.extend(
        f"[{name}] is not a table of settings; there are {_listed(TABLES)}" for name in document if name not in TABLES
    )
    tables = {
        name: _read_table(name, kind, document.get(name, {}), variables, problems) for name, kind in TABLES.items()
    }
    if problems:
        raise ConfigurationInvalid(
            "reading the settings",
            "\n  ".join(["", *problems]),
            hint="All settings are listed in docs/configuration.md",
        )
    return Settings(data_folder=folder.absolute(), **tables)


def default_data_folder(variables: Mapping[str, str]) -> Path:
    """Where files are kept if nobody says otherwise, by the XDG base directory specification."""
    base = variables.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "contentplatform"


def environment_name(table: str, name: str) -> str:
    """The environment variable of one setting."""
    return f"{ENVIRONMENT_PREFIX}{table}_{name}".upper()


def _read_document(path: Path, *, must_exist: bool, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if must_exist:
            problems.append(f"{path} does not exist")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{path} can't be read: {error}")
    return {}


def _read_table(table: str, kind: type[Any], given: Any, variables: Mapping[str, str], problems: list[str]) -> Any:
    if not isinstance(given, dict):
        problems.append(f"[{table}] must be a table, is {given!r}")
        given = {}
    known = {setting.name: setting for setting in fields(kind)}
    problems.extend(
        f"{table}.{name} is not a setting; there are {_listed(known)}" for name in given if name not in known
    )
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, setting in known.items():
        variable = environment_name(table, name)
        if variable in variables:
            raw, source = variables[variable], variable
        elif name in given:
            raw, source = given[name], f"{table}.{name}"
        else:
            continue
        try:
            values[name] = _parse(raw, hints[name], setting.metadata)
        except ValueError as error:
            problems.append(f"{source} = {raw!r}: {error} ({setting.metadata['help']})")
    return kind(**values)


def _parse(raw: Any, wanted: Any, metadata: Mapping[str, Any] | types.MappingProxyType[Any, Any]) -> Any:
    if typing.get_origin(wanted) is not None:
        if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
            raise ValueError("must be a table of texts, in the settings file")
        return dict(raw)
    if wanted is str:
        return _parse_text(raw, metadata)
    if wanted is bool:
        return _parse_switch(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError("must be a number")
    try:
        number: int | float = wanted(raw)
    except ValueError:
        raise ValueError(f"must be {'a whole number' if wanted is int else 'a number'}") from None
    if wanted is int and isinstance(raw, float) and raw != number:
        raise ValueError("must be a whole number")
    if metadata["minimum"] is not None and number < metadata["minimum"]:
        raise ValueError(f"must be at least {metadata['minimum']}")
    if metadata["maximum"] is not None and number > metadata["maximum"]:
        raise ValueError(f"must be at most {metadata['maximum']}")
    return number


def _parse_text(raw: Any, metadata: Mapping[str, Any] | types.MappingProxyType[Any, Any]) -> str:
    if not isinstance(raw, str):
        raise ValueError("must be text")
    if metadata["choices"] and raw not in metadata["choices"]:
        raise ValueError(f"must be one of {', '.join(metadata['choices'])}")
    if metadata["pattern"] and re.fullmatch(metadata["pattern"], raw) is None:
        raise ValueError("is not of the form that is needed")
    return raw


def _parse_switch(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        return raw.lower() in {"true", "1", "yes", "on"}
    raise ValueError("must be true or false")


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))
