"""What is known of the second copy: how well it holds what the first one holds, in figures and in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from contentplatform.clock import timestamp
from contentplatform.storage.port import ObjectVersion

RPO_SECONDS: Final = 15 * 60
"""How much of the latest work may be lost with the primary bucket: what is older has to be in the second copy."""
REPORTS_PREFIX: Final = "backup-reports/"
"""Where reports are kept, in the analytics bucket."""


class BackupStatus(StrEnum):
    """How the second copy is."""

    HEALTHY = "HEALTHY"
    """At least 95 of 100 current versions are in it, and the primary bucket is not suddenly empty."""
    DEGRADED = "DEGRADED"
    UNKNOWN = "UNKNOWN"
    """It could not be compared: as alarming as a bad one."""


class Flaw(StrEnum):
    """What is wrong with one version in the second copy."""

    MISSING = "missing"
    DIFFERENT = "different"
    """There is a version of this key, but its bytes are others, or can't be shown to be the same."""
    HIDDEN = "hidden"
    """It is there, but is not what a reader of the second copy would get: something newer is before it."""
    NOT_DELETED = "not deleted"
    """It was deleted, and the second copy does not know."""


@dataclass(frozen=True, slots=True)
class Unreplicated:
    """A version of the primary bucket that the second copy does not hold as it should."""

    key: str
    version_id: str
    flaw: Flaw
    age_seconds: float

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "key": self.key,
            "version_id": self.version_id,
            "flaw": self.flaw.value,
            "age_hours": round(self.age_seconds / 3_600, 2),
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """What one bucket holds."""

    objects: int = 0
    """Current versions."""
    size_bytes: int = 0
    """Of the current versions."""
    versions: int = 0
    """All of them, delete markers left out."""

    def as_json(self) -> dict[str, int]:
        """For the report."""
        return {"objects": self.objects, "size_bytes": self.size_bytes, "versions": self.versions}


@dataclass(frozen=True, slots=True)
class BackupReport:
    """The outcome of one comparison."""

    at: datetime
    status: BackupStatus
    primary: Tally
    backup: Tally
    replicated: int
    """Current versions of the primary bucket that the second copy holds with the same checksum."""
    percentage: float
    """Of the current versions; 100 where there are none."""
    lag_seconds: float
    """Age of the oldest version, current or not, that is not replicated; 0 if all are."""
    flaws: Mapping[Flaw, int]
    """How many versions have which flaw, noncurrent ones too."""
    overdue: tuple[Unreplicated, ...]
    """The oldest of what is not replicated although it is older than the RPO; at most 100."""
    overdue_count: int
    alarms: tuple[str, ...]
    """What somebody has to be told, a sentence each; empty: nobody has to be."""

    def as_json(self) -> dict[str, Any]:
        """The report as it is kept and sent."""
        return {
            "timestamp": timestamp(self.at),
            "status": self.status.value,
            "primary": self.primary.as_json(),
            "backup": self.backup.as_json(),
            "replicated": self.replicated,
            "percentage": self.percentage,
            "lag_hours": round(self.lag_seconds / 3_600, 2),
            "flaws": {flaw.value: count for flaw, count in sorted(self.flaws.items())},
            "overdue_count": self.overdue_count,
            "overdue": [version.as_json() for version in self.overdue],
            "alarms": list(self.alarms),
        }


class Digests(ABC):
    """Asks for checksums of a version's bytes, one version a call: only where a listing could not tell."""

    @abstractmethod
    def of(self, version: ObjectVersion) -> Mapping[str, str]:
        """Checksums of the whole content by their algorithm; empty where none is known.

        Raises:
            NotFound: it is gone meanwhile.
        """
