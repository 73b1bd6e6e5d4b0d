"""The workers of the local home: threads that claim executions and run them, state after state.

One *slot* is one thread that runs one execution at a time. One *watch* thread a process keeps the worker's lease
alive, abandons steps that are over their time or were cancelled, recovers what lost workers held, and wakes slots when
the doorbell rings. The watch never runs a step, so no step, however slow its disk, can hold up the heartbeat.

A step can't be killed from outside its thread. Abandoning one means: its ``cancelled`` event is set, its execution goes
on elsewhere under a higher token, whatever it still returns is refused, and a fresh thread takes over its slot.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock, IdSource
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.doorbell import Doorbell, Listener
from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.errors import ConfigurationInvalid, PlatformError
from contentplatform.workflow.definition import TIMEOUT, StateMachine, Task, is_heavy
from contentplatform.workflow.interpreter import End, TaskFailure, WaitFor, failure_of_exception
from contentplatform.workflow.ledger import Lease, LeaseLostError, Ledger, WorkerEntry, WrittenMove
from contentplatform.workflow.local import RING_CHANGED, RING_WORK
from contentplatform.workflow.port import TaskContext, TaskFunction

_LOGGER: Final = logging.getLogger(__name__)
_RING_TIMER: Final = b"t"
"""To one's own watch: look again how long it may sleep."""


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How a worker works."""

    slots: int = 2
    """Executions at once in this process."""
    folder_slots: int = 4
    """Executions at once in the whole data folder, over all its workers."""
    lease_seconds: float = 15.0
    """A worker without a heartbeat for this long is lost."""
    heartbeat_seconds: float = 3.0
    poll_seconds: float = 1.0
    """How long a lost ring of the doorbell can go unnoticed."""
    losses_allowed: int = 5
    """An execution that lost this many workers in one state is taken for the cause, and fails."""


@dataclass(slots=True)
class _Attempt:
    """One step at work in one thread of this process."""

    lease: Lease
    context: TaskContext
    thread: threading.Thread
    settled: bool = False
    """Somebody has decided how it ends: its own thread, or the watch."""


class LocalExecutor:
    """One worker of a data folder. Make one a process; start it, or let it drain what waits."""

    def __init__(
        self,
        database: Database,
        machine: StateMachine,
        tasks: Mapping[str, TaskFunction],
        clock: Clock,
        ids: IdSource,
        doorbell: Doorbell,
        settings: ExecutorSettings | None = None,
    ) -> None:
        self._settings = settings or ExecutorSettings()
        _refuse_missing(machine, tasks)
        self._database = database
        self._machine = machine
        self._tasks = dict(tasks)
        self._clock = clock
        self._ids = ids
        self._doorbell = doorbell
        self._ledger = Ledger(machine, clock, ids, losses_allowed=self._settings.losses_allowed)
        self._lock = threading.Lock()
        self._signing = threading.Lock()
        self._called = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._ends = 0
        self._attempts: dict[int, _Attempt] = {}
        self._unsettled: list[Lease] = []
        """Leases whose commit failed: to be handed back as soon as the database takes it."""
        self._calls = 0
        self._slots: set[threading.Thread] = set()
        self._stopping = False
        self._watching: threading.Thread | None = None
        self._listener: Listener | None = None
        self._last_heartbeat = 0.0
        self.name = ""
        """The worker's name while it is signed on."""

    # -- what others call ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Sign on and begin to work in the background. Call ``stop`` at the end."""
        self._sign_on()
        self._tick_safely()  # what others left behind is taken over before anything else
        self._watching = threading.Thread(target=self._watch, name="workflow-watch", daemon=True)
        self._watching.start()
        with self._lock:
            self._calls = self._settings.slots
            for _ in range(self._settings.slots):
                self._add_slot()

    def stop(self, *, finish: bool = True, timeout_seconds: float | None = None) -> None:
        """Stop working and sign off. Idempotent.

        Args:
            finish: let the steps at work come to their end and commit; else they are abandoned and handed back now.
            timeout_seconds: hand back what has not finished by then.
        """
        if not self.name:
            return
        with self._lock:
            self._stopping = True
            self._called.notify_all()
            slots = list(self._slots)
        if finish:
            until = None if timeout_seconds is None else self._clock.monotonic_seconds() + timeout_seconds
            for slot in slots:
                slot.join(None if until is None else max(0.0, until - self._clock.monotonic_seconds()))
        self._sign_off()

    def run_until_idle(self) -> int:
        """Run everything that is ready in the calling thread, alone; returns how many steps that took.

        Waits and retries that are not due yet are left. There is no watch meanwhile: a step must not outlast the lease.
        """
        steps = 0
        signed_on_here = not self.name
        if signed_on_here:
            self._sign_on()
        try:
            self.tick()
            lease = self._claim()
            while lease is not None:
                steps += 1
                lease = self._perform(lease)
        finally:
            if signed_on_here:
                self._sign_off()
        return steps

    def drain(self, names: Collection[str]) -> None:
        """Work until all of ``names`` have ended, whoever ran them, waits and retries included."""
        self.start()
        left, finish = list(names), False
        try:
            while left:
                seen = self._ends
                # One of them is asked after at a time, the last first: it came last and so it mostly ends last.
                if self._is_under_way(left[-1]):
                    self._await_an_end(seen)
                else:
                    left.pop()
            finish = True
        finally:
            self.stop(finish=finish)

    def tick(self) -> None:
        """What the watch does now and then: heartbeat, time-outs, lost leases, lost workers."""
        now = self._clock.monotonic_seconds()
        if now - self._last_heartbeat >= self._settings.heartbeat_seconds:
            self._last_heartbeat = now
            self._heartbeat()
        self._abandon_late(now)
        self._abandon_lost()
        self._hand_back_unsettled()
        self._recover()
        with self._database.read() as view:
            due, ready = self._ledger.has_due(view), self._ledger.has_ready(view)
        if due:
            self._database.write(self._ledger.promote_due)
        if due or ready:
            self._call_slot()

    # -- signing on and off ----------------------------------------------------------------------------------

    def _sign_on(self) -> None:
        if self.name:
            raise RuntimeError("this executor is at work already")
        self._stopping = False
        self._register()

    def _register(self) -> None:
        """Sign on under a new name; what was held under an earlier one is lost."""
        name = f"worker-{self._ids.new_id()}"
        # The bell is there before the row: a worker without a bell is taken for dead.
        before = self._listener
        if before is None or not before.rename(name):
            self._listener = self._doorbell.listen(name)
            if before is not None:
                before.close()
        settings = self._settings
        entry = WorkerEntry(name, os.getpid(), settings.slots, settings.folder_slots, settings.lease_seconds)
        self._database.write(lambda unit: self._ledger.sign_on(unit, entry))
        self._last_heartbeat = self._clock.monotonic_seconds()
        self.name = name

    def _sign_off(self) -> None:
        """Hand back what is still held, refuse what its steps return, and take the bell down."""
        with self._lock:
            self._stopping = True
            left = list(self._attempts.values())
            self._slots.clear()
        for attempt in left:
            self._settle_once(attempt)
            attempt.context.cancelled.set()
        try:
            with self._signing:
                name, self.name = self.name, ""
                self._database.write(lambda unit: self._ledger.sign_off(unit, name))
        finally:
            self._take_bell_down()
        self._doorbell.ring(RING_WORK)

    def _take_bell_down(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.ring(RING_CHANGED)
        if self._watching is not None:
            self._watching.join()
            self._watching = None
        listener.close()

    # -- the watch -------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        looked = self._clock.monotonic_seconds()
        while (listener := self._listener) is not None and self.name:
            rings = listener.wait(self._pause_seconds())
            if RING_WORK in rings:
                self._call_slot()
            now = self._clock.monotonic_seconds()
            if not rings or RING_CHANGED in rings or now - looked >= self._settings.poll_seconds:
                looked = now
                self._tick_safely()

    def _tick_safely(self) -> None:
        """Tick, whatever happens.

        A watch that dies would let every lease run out: whatever fails now is tried again at the next tick.
        """
        try:
            self.tick()
        except PlatformError as error:
            log.event(_LOGGER, logging.WARNING, "workflow watch failed", reason=error.public, worker=self.name)
        except Exception:
            _LOGGER.exception("workflow watch failed")

    def _pause_seconds(self) -> float:
        """Until the next thing that is sure to happen: a heartbeat, a due time, a time-out, a poll."""
        now = self._clock.monotonic_seconds()
        with self._lock:
            moments = [attempt.context.deadline_seconds for attempt in self._attempts.values() if not attempt.settled]
        try:
            with self._database.read() as view:
                due = self._ledger.next_due(view)
        except PlatformError:
            due = None
        if due is not None:
            moments.append(due)
        # What is past already was seen to, or waits for a slot; it must not make the watch spin.
        return min([self._settings.poll_seconds, *(moment - now for moment in moments if moment > now)])

    def _heartbeat(self) -> None:
        if not self.name:
            return
        name, seconds = self.name, self._settings.lease_seconds
        if not self._database.write(lambda unit: self._ledger.extend_lease(unit, name, seconds)):
            log.event(_LOGGER, logging.WARNING, "worker was taken for lost; signing on again", worker=name)
            with self._signing:
                if not self._stopping:  # else it was about to leave anyway, and would leave the new name behind
                    self._register()

    def _abandon_late(self, now: float) -> None:
        for attempt in self._at_work():
            if attempt.context.deadline_seconds <= now and self._settle_once(attempt):
                seconds = self._task(attempt.lease).timeout_seconds
                words = f"{attempt.lease.state} took longer than its {seconds} s"
                failure = TaskFailure((TIMEOUT,), words)
                self._give_up(attempt)
                self._commit_abandoned(attempt.lease, failure)

    def _commit_abandoned(self, lease: Lease, failure: TaskFailure) -> None:
        """The execution goes on in whichever slot claims it next, under a higher token."""
        try:
            self._commit_failure(lease, failure, keep=False)
        except LeaseLostError:
            return
        except PlatformError:
            with self._lock:
                self._unsettled.append(lease)
            raise
        self._call_slot()

    def _hand_back_unsettled(self) -> None:
        with self._lock:
            leases = list(self._unsettled)
        for lease in leases:
            self._database.write(partial(self._ledger.hand_back, lease=lease))
            with self._lock:
                self._unsettled.remove(lease)

    def _abandon_lost(self) -> None:
        attempts = self._at_work()
        if not attempts:
            return
        with self._database.read() as view:
            held = self._ledger.held_tokens(view, self.name)
        for attempt in attempts:
            if attempt.lease.token not in held and self._settle_once(attempt):
                self._give_up(attempt)

    def _recover(self) -> None:
        with self._database.read() as view:
            lost = self._ledger.lost_workers(view, self._is_dead)
        for name in lost:
            taken = self._database.write(partial(self._recover_one, name=name))
            if taken:
                log.event(_LOGGER, logging.WARNING, "took over from a lost worker", worker=name, count=taken)

    def _recover_one(self, unit: Transaction, name: str) -> int:
        """Look again inside the unit of work: the worker may have given a sign of life since."""
        return self._ledger.recover(unit, name) if name in self._ledger.lost_workers(unit, self._is_dead) else 0

    def _is_under_way(self, name: str) -> bool:
        with self._database.read() as view:
            return self._ledger.is_under_way(view, name)

    def _await_an_end(self, seen: int) -> None:
        """Wait until more executions have ended here than ``seen``, or one may have elsewhere."""
        with self._lock:
            self._ended.wait_for(lambda: self._ends != seen, self._settings.poll_seconds)

    def _is_dead(self, name: str) -> bool:
        return name != self.name and self._doorbell.is_dead(name)

    def _at_work(self) -> list[_Attempt]:
        with self._lock:
            return [attempt for attempt in self._attempts.values() if not attempt.settled]

    def _give_up(self, attempt: _Attempt) -> None:
        """Tell a step that nobody waits for it any more, and give its slot to another thread."""
        attempt.context.cancelled.set()
        with self._lock:
            self._attempts.pop(attempt.lease.token, None)
            if attempt.thread in self._slots:
                self._slots.discard(attempt.thread)
                if not self._stopping:
                    self._add_slot()

    # -- the slots -------------------------------------------------------------------------------------------

    def _add_slot(self) -> None:
        slot = threading.Thread(target=self._work, name="workflow-slot", daemon=True)
        self._slots.add(slot)
        slot.start()

    def _work(self) -> None:
        while self._is_called():
            try:
                lease = self._claim()
                if lease is not None:
                    self._call_slot()  # where one was ready, there may be more
                while lease is not None:
                    lease = self._perform(lease)
            except PlatformError as error:
                log.event(_LOGGER, logging.ERROR, "a slot could not work", reason=error.public, worker=self.name)
            except Exception:
                # A fault of ours: what was claimed is handed back by the watch, and the slot stays in service.
                _LOGGER.exception("a slot could not work")

    def _is_called(self) -> bool:
        """Wait until there may be work. False: this thread is not wanted any more."""
        me = threading.current_thread()
        with self._lock:
            while not self._calls and not self._stopping and me in self._slots:
                self._called.wait()
            if self._stopping or me not in self._slots:
                self._slots.discard(me)
                return False
            self._calls -= 1
            return True

    def _call_slot(self) -> None:
        """Let one idle slot look for work; a slot that is busy looks by itself when it is done."""
        with self._lock:
            self._calls = min(self._calls + 1, self._settings.slots)
            self._called.notify()

    def _claim(self) -> Lease | None:
        if self._stopping:
            return None
        lease = self._database.write(self._claim_in)
        if lease is not None:
            crashpoint("workflow.claimed")
        return lease

    def _claim_in(self, unit: Transaction) -> Lease | None:
        return self._ledger.claim(unit, self.name, self._settings.folder_slots)

    def _perform(self, lease: Lease) -> Lease | None:
        """Run the Task that ``lease`` stands in and commit what follows. The next lease to perform, if any."""
        attempt = self._begin(lease)
        try:
            outcome = self._run(attempt)
            crashpoint("workflow.step_done")
            if not self._settle_once(attempt):
                return None  # abandoned: its slot has a new thread by now
            return self._commit(attempt, outcome)
        except LeaseLostError:
            log.event(_LOGGER, logging.WARNING, "late result refused", execution=lease.name, state=lease.state)
            return self._claim()
        except Exception:
            with self._lock:
                self._unsettled.append(lease)
            raise
        finally:
            with self._lock:
                if self._attempts.get(lease.token) is attempt:
                    del self._attempts[lease.token]

    def _begin(self, lease: Lease) -> _Attempt:
        context = TaskContext(
            execution=lease.name,
            file_id=lease.file_id,
            version_id=lease.version_id,
            state=lease.state,
            attempt=lease.attempt,
            token=lease.token,
            deadline_seconds=self._ledger.attempt_deadline(lease, self._task(lease).timeout_seconds),
            cancelled=threading.Event(),
        )
        attempt = _Attempt(lease, context, threading.current_thread())
        with self._lock:
            self._attempts[lease.token] = attempt
        return attempt

    def _run(self, attempt: _Attempt) -> WrittenMove | TaskFailure:
        """Call the step. What is to be done next, or why it failed."""
        lease, context = attempt.lease, attempt.context
        if self._ledger.is_late(lease):
            return TaskFailure((TIMEOUT,), "the execution is out of time")
        try:
            # A private copy: whatever a step does to its input, the execution's data stays.
            result = self._tasks[self._task(lease).resource](json.loads(lease.data), context)
            return self._ledger.after_success(lease, result)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the outer edge of a step
            return self._failure(lease, error)

    def _failure(self, lease: Lease, error: BaseException) -> TaskFailure:
        """Log what is for the operator only, and name the failure."""
        failure = failure_of_exception(error)
        fields = {"execution": lease.name, "state": lease.state, "error_code": failure.name}
        if isinstance(error, PlatformError):
            log.event(_LOGGER, logging.INFO, "step failed", **fields, reason=f"{error.public} {error.private}".strip())
        else:
            log.event(_LOGGER, logging.ERROR, "step failed unexpectedly", **fields, reason=_traceback(error))
        return failure

    def _commit(self, attempt: _Attempt, outcome: WrittenMove | TaskFailure) -> Lease | None:
        if isinstance(outcome, WrittenMove):
            try:
                return self._commit_move(attempt.lease, outcome, attempt.context.work_at_commit())
            except _AtCommitError as error:
                outcome = self._failure(attempt.lease, error.reason)
        return self._commit_failure(attempt.lease, outcome, keep=True)

    def _commit_failure(self, lease: Lease, failure: TaskFailure, *, keep: bool) -> Lease | None:
        following = self._ledger.after_failure(lease, failure)
        if isinstance(following, WrittenMove):
            return self._commit_move(lease, following, (), keep=keep)

        def put_off(unit: Transaction) -> Lease | None:
            self._ledger.retry_later(unit, lease, following, failure)
            return self._claim_in(unit) if keep and not self._stopping else None

        held = self._write(lease, put_off)
        self._set_timer()
        return held

    def _commit_move(
        self, lease: Lease, move: WrittenMove, at_commit: Sequence[Callable[[], None]], *, keep: bool = True
    ) -> Lease | None:
        """One commit: history, state and data, what the step wants along with it, and the next claim if it ends."""

        def advance(unit: Transaction) -> Lease | None:
            stays = keep and not self._stopping
            moved = self._ledger.advance(unit, lease, move, keep=stays)
            for work in at_commit:
                _run_at_commit(work)
            return moved or (self._claim_in(unit) if stays else None)

        held = self._write(lease, advance)
        if is_heavy(self._machine, lease.state):
            self._doorbell.ring(RING_WORK)  # another that is heavy may have waited for this one
            self._call_slot()
        match move.move.then:
            case WaitFor():
                self._set_timer()
            case End():
                self._note_end()
        return held

    def _set_timer(self) -> None:
        """Something waits now: let the watch look again how long it may sleep."""
        if self._listener is not None:
            self._listener.ring(_RING_TIMER)

    def _write(self, lease: Lease, work: Callable[[Transaction], Lease | None]) -> Lease | None:
        following = self._database.write(work)
        crashpoint("workflow.advanced")
        if following is not None and following.token != lease.token:
            crashpoint("workflow.claimed")
        return following

    def _note_end(self) -> None:
        with self._lock:
            self._ends += 1
            self._ended.notify_all()

    def _settle_once(self, attempt: _Attempt) -> bool:
        """Whether the caller is the one that decides how this attempt ends."""
        with self._lock:
            first, attempt.settled = not attempt.settled, True
            return first

    def _task(self, lease: Lease) -> Task:
        state = self._machine.states[lease.state]
        if not isinstance(state, Task):
            raise TypeError(f"{lease.state} is no Task")
        return state


class _AtCommitError(Exception):
    """What a step wanted done along with its commit failed, so the commit was undone."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


def _run_at_commit(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        raise _AtCommitError(error) from error


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _refuse_missing(machine: StateMachine, tasks: Mapping[str, TaskFunction]) -> None:
    wanted = {state.resource for state in machine.states.values() if isinstance(state, Task)}
    if missing := sorted(wanted - set(tasks)):
        raise ConfigurationInvalid(f"starting {machine.name}", f"no function is given for {', '.join(missing)}")
