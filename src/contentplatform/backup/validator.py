"""The backup validator: compares, keeps the report, and tells somebody where there is something to tell.

Not to know is as alarming as to know the worst: whatever fails here is sent as an alert and raised as well.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, Final

from contentplatform.alerts.port import SUBJECT_LIMIT, Alerts, Severity
from contentplatform.backup import health
from contentplatform.backup.port import REPORTS_PREFIX, BackupReport, Digests, Tally
from contentplatform.clock import Clock
from contentplatform.errors import Corrupt, NotFound, PlatformError
from contentplatform.storage.port import BucketRole, ObjectStore, ObjectVersion, PutOptions, walk_versions

_LAST: Final = f"{REPORTS_PREFIX}last.json"
"""The last comparison that succeeded, to compare the next one with."""
_JSON: Final = PutOptions(content_type="application/json")


class StoreDigests(Digests):
    """The checksum that every store knows; an uploader's mere claim is none."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def of(self, version: ObjectVersion) -> dict[str, str]:
        found = self._store.head(version.bucket, version.key, version_id=version.version_id)
        sha256 = found.proven_sha256
        return {} if sha256 is None else {"sha256": sha256}


class BackupValidator:
    """Compares the backup bucket with the primary one."""

    def __init__(self, store: ObjectStore, digests: Digests, alerts: Alerts, clock: Clock) -> None:
        self._store = store
        self._digests = digests
        self._alerts = alerts
        self._clock = clock

    def run(self) -> BackupReport:
        """Compare, keep the report in the analytics bucket, send it to the alerts if something is wrong.

        Raises:
            PlatformError: the copies could not be compared, or the report not be kept or sent. That the comparison
                failed was sent as an alert before, unless even that failed.
        """
        try:
            report = self._compared()
        except Exception as error:
            reason = error.public if isinstance(error, PlatformError) else "a fault of the validator itself"
            self._tell(health.unknown(reason, self._clock.now()))
            raise
        # Told first: a report that can't be kept must not keep anybody from hearing of it.
        if report.alarms:
            self._tell(report)
        self._keep(report)
        return report

    def _compared(self) -> BackupReport:
        now = self._clock.now()
        last = self._last()
        found = health.compare(
            walk_versions(self._store, BucketRole.PRIMARY),
            walk_versions(self._store, BucketRole.BACKUP),
            now,
            same_bytes=self._same_bytes,
            still_current=self._still_current,
        )
        return health.report(found, now, last)

    def _same_bytes(self, own: ObjectVersion, other: ObjectVersion) -> bool:
        """Whether some checksum says that they are the same, and none says otherwise."""
        try:
            ours, theirs = self._digests.of(own), self._digests.of(other)
        except NotFound:
            return False
        shared = ours.keys() & theirs.keys()
        return bool(shared) and all(ours[algorithm] == theirs[algorithm] for algorithm in shared)

    def _still_current(self, version: ObjectVersion) -> bool:
        try:
            return self._store.head(version.bucket, version.key).version_id == version.version_id
        except NotFound:
            return False

    # -- reports ---------------------------------------------------------------------------------------------

    def _last(self) -> Tally | None:
        """What the primary bucket held at the last comparison; None before the first."""
        try:
            with self._store.open(BucketRole.ANALYTICS, _LAST) as reader:
                document = json.loads(reader.read())
                return Tally(**document["primary"])
        except NotFound:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                "reading the last backup report",
                f"{_LAST} in the analytics bucket is none",
                hint="Delete it; the next comparison is then the first",
            ) from error

    def _keep(self, report: BackupReport) -> None:
        self._put(f"{REPORTS_PREFIX}{report.at:year=%Y/month=%m/day=%d/%H%M%S}.json", report.as_json())
        self._put(_LAST, report.as_json())

    def _put(self, key: str, document: dict[str, Any]) -> None:
        self._store.write(BucketRole.ANALYTICS, key, BytesIO(_text(document).encode()), _JSON)

    def _tell(self, report: BackupReport) -> None:
        subject = f"Backup {report.status.value}: {report.alarms[0]}"
        subject = "".join(character if character.isprintable() else "?" for character in subject)
        body = "\n".join((*(f"- {alarm}" for alarm in report.alarms), "", _text(report.as_json())))
        self._alerts.send(subject[:SUBJECT_LIMIT], body, Severity.CRITICAL)


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
