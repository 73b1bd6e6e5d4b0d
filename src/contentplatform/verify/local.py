"""What ``verify`` looks at in the home on this machine only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from contentplatform.app import LocalHome
from contentplatform.catalog.port import Record
from contentplatform.drivers.volumes import Encryption, encryption_of
from contentplatform.findings import CheckRun, Severity, run_checks
from contentplatform.processing.gates import look_at_versions
from contentplatform.storage.port import BucketRole
from contentplatform.verify.report import FailedCheck, UnsureCheck
from contentplatform.verify.verification import HomeChecks


class LocalChecks(HomeChecks):
    """The catalog's tables, the fence around jobs, the data folder."""

    def __init__(self, home: LocalHome) -> None:
        self._home = home
        self._platform = home.platform

    def before(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        del run
        yield "the catalog's tables are whole", self._catalog
        yield "jobs on untrusted bytes are fenced in", self._sandbox
        yield "what reads untrusted bytes has no known holes", self._versions

    def after(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        del run
        yield "nobody else can read the files", self._permissions
        yield "files are encrypted at rest", self._encryption

    def shown(self, record: Record) -> None:
        """Nothing more is looked at."""

    def takes_films(self) -> bool:
        return True

    def settle(self) -> None:
        self._home.take_in_all()

    def guarded(self, role: BucketRole) -> bool:
        del role
        return False

    def not_built(self) -> tuple[tuple[str, str], ...]:
        return (
            ("edge answers", "server"),
            ("replication configured and at least 90 % complete", "second copy"),
            ("lifecycle rules are applied", "moving between tiers"),
            ("metrics", "monitoring"),
        )

    def _catalog(self) -> str:
        findings = [
            finding for finding in run_checks(self._home.checks(), CheckRun()) if finding.severity is Severity.DAMAGE
        ]
        if findings:
            raise FailedCheck(f"{len(findings)} findings, the first: {findings[0].message}; run `fsck`")
        return "no damage found by fsck"

    def _sandbox(self) -> str:
        gaps = self._home.gaps()
        if gaps:
            raise UnsureCheck("; ".join(gaps))
        return "no network, own files only, limits on memory, time and size"

    def _versions(self) -> str:
        gates = look_at_versions()
        closed = [f"{gate.name}: {gate.problem}" for gate in gates if not gate.is_open]
        if closed:
            raise FailedCheck("; ".join(closed))
        return ", ".join(f"{gate.name} {gate.version}" for gate in gates)

    def _permissions(self) -> str:
        folder = self._platform.settings.data_folder
        mode = folder.stat().st_mode & 0o777
        if mode & 0o007:
            raise FailedCheck(f"{folder} is open to every user of this machine (mode {mode:o}); chmod o= it")
        return f"{folder} has mode {mode:o}"

    def _encryption(self) -> str:
        match encryption_of(self._platform.settings.data_folder):
            case Encryption.ENCRYPTED:
                return "the volume is encrypted"
            case Encryption.PLAIN:
                raise UnsureCheck("off, and the volume below is not encrypted")
            case Encryption.UNKNOWN:
                raise UnsureCheck("off, and it can't be told whether the volume below is encrypted")
