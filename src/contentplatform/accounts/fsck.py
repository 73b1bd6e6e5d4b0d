"""I19 and I22: quotas add up, and the audit log is as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from contentplatform.accounts.port import AuditLog
from contentplatform.drivers.sqlite import Database
from contentplatform.findings import Check, CheckRun, Finding, Severity

QUOTAS: Final = "I19"
AUDIT: Final = "I22"
_WRONG_SUMS: Final = """
    SELECT users.id, users.name, users.used_bytes, coalesce(sum(charges.size_bytes), 0) AS charged
    FROM users LEFT JOIN charges ON charges.user_id = users.id
    GROUP BY users.id HAVING users.used_bytes <> charged ORDER BY users.name
"""


class AccountChecks:
    """The checks of accounts. Read-only unless a repair is asked for.

    Args:
        database: of the data folder.
        audit: in it.
    """

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    def checks(self) -> tuple[Check, ...]:
        """Every check."""
        return self.quotas_add_up, self.audit_is_whole

    def quotas_add_up(self, run: CheckRun) -> Iterator[Finding]:
        """What counts as used by a user is the sum of what was charged."""
        with self._database.read() as view:
            wrong = view.rows(_WRONG_SUMS)
        if wrong and run.repair:
            self._database.write(
                lambda unit: unit.run(
                    "UPDATE users SET used_bytes ="
                    " (SELECT coalesce(sum(size_bytes), 0) FROM charges WHERE user_id = users.id)"
                )
            )
        for _, name, used_bytes, charged_bytes in wrong:
            message = f"{used_bytes} bytes count as used, and {charged_bytes} were charged"
            yield Finding(QUOTAS, f"user {name}", Severity.DAMAGE, message, "Run fsck with --repair", run.repair)

    def audit_is_whole(self, _run: CheckRun) -> Iterator[Finding]:
        """No entry of the audit log was changed, left out, put in or cut off."""
        for flaw in self._audit.verify():
            yield Finding(
                AUDIT,
                f"audit log, entry {flaw.sequence}",
                Severity.DAMAGE,
                flaw.what,
                "Compare it with a backup of the data folder, and find out who could write there",
            )
