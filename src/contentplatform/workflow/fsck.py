"""I8: one live execution a version and recipe, held under a live lease, with a deadline, its history whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from contentplatform.clock import Clock
from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database, Row
from contentplatform.findings import Check, CheckRun, Finding, Severity
from contentplatform.workflow.definition import StateMachine
from contentplatform.workflow.ledger import Ledger

INVARIANT: Final = "I8"
OVERDUE_SECONDS: Final = 3_600.0
"""How far past its deadline an execution may be while it records that it failed."""
_WAIT_FOR_WORKERS: Final = "Start a worker, or run fsck with --repair"


class LedgerChecks:
    """The checks of the workflow room. Read-only unless a repair is asked for."""

    def __init__(
        self, database: Database, ledger: Ledger, machine: StateMachine, clock: Clock, doorbell: Doorbell
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._machine = machine
        self._clock = clock
        self._doorbell = doorbell

    def checks(self) -> tuple[Check, ...]:
        """Every check, the order does not matter."""
        return (
            self.one_live_execution,
            self.live_leases,
            self.known_states,
            self.deadlines,
            self.tokens,
            self.histories,
        )

    def one_live_execution(self, _run: CheckRun) -> Iterator[Finding]:
        """No two executions of one version and recipe are under way."""
        for base_name, count in self._rows(
            "SELECT base_name, count(*) FROM executions WHERE ended_at IS NULL GROUP BY base_name HAVING count(*) > 1"
        ):
            yield _damage(base_name, f"{count} executions of it are under way at once", "Cancel all but one of them")

    def live_leases(self, run: CheckRun) -> Iterator[Finding]:
        """Whatever runs is held by a worker that shows signs of life."""
        with self._database.read() as view:
            lost = self._ledger.lost_workers(view, self._doorbell.is_dead)
        for worker in lost:
            names = [str(name) for (name,) in self._rows("SELECT name FROM executions WHERE worker = ?", (worker,))]
            repaired = run.repair and self._recover(worker)
            message = f"is lost, and holds {', '.join(names) or 'nothing'}"
            yield Finding(INVARIANT, worker, Severity.LEAK, message, _WAIT_FOR_WORKERS, repaired)

    def known_states(self, _run: CheckRun) -> Iterator[Finding]:
        """Whatever is under way stands in a state that the machine has."""
        for name, state in self._rows("SELECT name, state FROM executions WHERE ended_at IS NULL"):
            if state not in self._machine.states:
                message = f"it stands in {state}, which this version of the platform does not have"
                yield _damage(name, message, "Cancel it, then retry it")

    def deadlines(self, _run: CheckRun) -> Iterator[Finding]:
        """Whatever has begun has a deadline, and is not far beyond it."""
        for name in self._names("started_at IS NOT NULL AND ended_at IS NULL AND deadline IS NULL"):
            yield _damage(name, "it has begun, but has no deadline", "Cancel it, then retry it")
        limit = self._clock.monotonic_seconds() - OVERDUE_SECONDS
        overdue = "ended_at IS NULL AND deadline <= ? AND boot = ?"
        for name in self._names(overdue, (limit, self._clock.boot_id())):
            message = "it is long past its deadline"
            yield Finding(INVARIANT, name, Severity.WARNING, message, "Start a worker: it will record the failure")

    def tokens(self, _run: CheckRun) -> Iterator[Finding]:
        """No token is higher than the last one given out, and none was given out twice."""
        for name in self._names("token > (SELECT last_token FROM fencing)"):
            yield _damage(name, "its fencing token was never given out", "Restore the database from a copy")
        for token, count in self._rows(
            "SELECT token, count(*) FROM executions WHERE token > 0 GROUP BY token HAVING count(*) > 1"
        ):
            yield _damage(f"token {token}", f"{count} executions were claimed under it", "Cancel those that still run")

    def histories(self, _run: CheckRun) -> Iterator[Finding]:
        """Each history goes 1, 2, … up to the number that its execution knows."""
        for name in self._names(
            "events <> (SELECT count(*) FROM execution_history AS h WHERE h.execution = executions.sequence)"
            " OR events <> (SELECT coalesce(max(h.sequence), 0) FROM execution_history AS h"
            " WHERE h.execution = executions.sequence)"
        ):
            yield _damage(name, "its history has a gap", "Nothing can bring it back; the execution itself is unharmed")

    def _recover(self, worker: str) -> bool:
        self._database.write(lambda unit: self._ledger.recover(unit, worker))
        return True

    def _names(self, condition: str, parameters: Sequence[object] = ()) -> list[str]:
        rows = self._rows(f"SELECT name FROM executions WHERE {condition} ORDER BY sequence", parameters)  # noqa: S608 - the conditions are constants of this module
        return [str(name) for (name,) in rows]

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        with self._database.read() as view:
            return view.rows(sql, parameters)


def _damage(subject: str, message: str, repair: str) -> Finding:
    return Finding(INVARIANT, str(subject), Severity.DAMAGE, message, repair)
