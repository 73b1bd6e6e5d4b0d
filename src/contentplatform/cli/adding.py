"""How ``add`` works: what becomes which key, streaming it in, and waiting until it is processed."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click
from click._termui_impl import ProgressBar
from click.termui import progressbar

from contentplatform.catalog.describing import progress_of
from contentplatform.catalog.port import Record
from contentplatform.cli.output import Output, shown, size
from contentplatform.cli.session import Hands, HomeName, Session, hands
from contentplatform.errors import NotFound, PlatformError
from contentplatform.media import ProcessingStatus

_UPLOADS_AT_ONCE: Final = {HomeName.LOCAL: 4, HomeName.AWS: 10}
"""At home the disk is the limit; over a network most of the time is waiting."""
_WORTH_A_LISTING: Final = 10
"""So many keys: over a network one listing is quicker than as many questions."""
_LOOKED_AT_ONCE: Final = 64
"""Of the files that wait: looking at thousands many times a second would take the processor from the work itself."""
_DONE_PERCENT: Final = 100
_SILENCE_SECONDS: Final = 10.0
"""How long nothing may end before the reason is told."""
_KEPT: Final = "the original is kept"
_ENDED: Final = frozenset({ProcessingStatus.COMPLETED, ProcessingStatus.FAILED, ProcessingStatus.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file and the key it is to have."""

    path: Path
    key: str
    size_bytes: int
    trouble: str = ""
    """Why it can't be added, where that is known already: a folder that can't be read, a file that vanished."""


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What is to be added, and how."""

    files: Sequence[PlannedFile]
    wait: bool


@dataclass(slots=True)
class AddOutcome:
    """What became of it."""

    items: list[dict[str, Any]] = field(default_factory=list)
    new_keys: set[str] = field(default_factory=set)
    skipped: int = 0
    troubled: int = 0
    """Files that could not be read or stored, or whose processing failed."""

    @property
    def added(self) -> int:
        """How many files were stored."""
        return len(self.new_keys)


def plan(paths: Sequence[Path], prefix: str, data_folder: Path) -> list[PlannedFile]:
    """Every regular file of ``paths`` with its key, ordered by key within each argument; not those of the platform.

    Raises:
        click.UsageError: two files would get one key, a path is neither file nor folder, or lies in the data folder.
    """
    folder = prefix.strip("/") + "/" if prefix.strip("/") else ""
    planned: dict[str, PlannedFile] = {}
    for argument in paths:
        if argument.resolve().is_relative_to(data_folder.resolve()):
            raise click.UsageError(f"{argument} belongs to the platform itself: it lies in the data folder.")
        for path, relative in _files_of(argument, data_folder):
            key = folder + relative
            if key in planned:
                raise click.UsageError(
                    f"Both {planned[key].path} and {path} would be {key!r}."
                    " Try: add the folder that holds them, or one at a time with --prefix"
                )
            planned[key] = _planned(path, key)
    return list(planned.values())


def add_files(session: Session, request: AddRequest) -> AddOutcome:
    """Store the files, then wait until they are processed, working here where no worker runs."""
    outcome = AddOutcome()
    with hands(session) as helping:
        if request.wait:
            helping.see_to_it()
        stored = _store(session, request, outcome)
        session.home.take_in_all()
        if request.wait:
            _wait(session, stored, helping)
            for file in request.files:
                if file.key in stored:
                    _report(session, file.key, stored[file.key], outcome)
        else:
            _tell_what_waits(session, stored, outcome)
    session.home.finish()
    return outcome


def _store(session: Session, request: AddRequest, outcome: AddOutcome) -> dict[str, str]:
    """Stream every file in; returns keys and the versions they now have."""
    stored: dict[str, str] = {}
    progress = _bar(session.output, "Storing", sum(file.size_bytes for file in request.files))
    with progress, _pool(session) as pool:
        for file in request.files:
            if file.trouble:
                _note_trouble(session.output, outcome, file, file.trouble)
        sound = [file for file in request.files if not file.trouble]
        perhaps_there = _perhaps_there(session, sound)
        futures = {pool.submit(_store_one, session, file, file.key in perhaps_there): file for file in sound}
        for future in as_completed(futures):
            file = futures[future]
            progress.update(file.size_bytes)
            try:
                version_id, is_new = future.result()
            except (PlatformError, OSError) as error:
                reason = error.public if isinstance(error, PlatformError) else (error.strerror or str(error))
                _note_trouble(session.output, outcome, file, reason)
                continue
            stored[file.key] = version_id
            if is_new:
                outcome.new_keys.add(file.key)
            else:
                outcome.skipped += 1
                session.output.talk(f"{shown(file.key)}  is there already, skipped")
    return stored


def _perhaps_there(session: Session, files: Sequence[PlannedFile]) -> Collection[str]:
    """The keys for which the store has to be asked one by one whether they are there already."""
    keys = {file.key for file in files}
    if session.aws is None or len(keys) < _WORTH_A_LISTING:
        return keys
    return session.platform.library.perhaps_there(keys)


def _store_one(session: Session, file: PlannedFile, perhaps_there: bool) -> tuple[str, bool]:  # noqa: FBT001 - for a pool
    """Store one file unless its key's current version has that content; the version id, and whether it is new."""
    library = session.platform.library
    with file.path.open("rb") as body:
        current = None
        if perhaps_there:
            with suppress(NotFound):
                current = library.current(file.key)
        if current is not None and current.size_bytes == file.size_bytes:
            if hashlib.file_digest(body, "sha256").hexdigest() == current.sha256:
                return current.version_id, False
            body.seek(0)
        return library.add(file.key, body), True


def _wait(session: Session, stored: dict[str, str], helping: Hands) -> None:
    """Wait until each version has ended; while nothing does for long, say why."""
    clock = session.platform.clock
    waiting = dict(stored)
    told_at = clock.monotonic_seconds()
    percents: dict[str, int] = {}
    seen = 0
    with _bar(session.output, "Processing", len(waiting) * _DONE_PERCENT) as progress:
        while waiting:
            ended = _sift(session, waiting, percents)
            done = (len(stored) - len(waiting)) * _DONE_PERCENT + sum(percents.values())
            progress.update(max(0, done - seen))
            moved, seen = done > seen, max(seen, done)
            if ended or moved:
                told_at = clock.monotonic_seconds()
            if ended:
                continue
            if clock.monotonic_seconds() - told_at >= _SILENCE_SECONDS:
                told_at = clock.monotonic_seconds()
                _tell_why(session, waiting)
            helping.pause()


def _sift(session: Session, waiting: dict[str, str], percents: dict[str, int]) -> int:
    """Look at some of those that wait, taking turns; take out what has ended. How many that were.

    Of the others, ``percents`` tells afterwards how far they are, where that is known: a video says so.
    """
    ended = 0
    for key, version_id in tuple(islice(waiting.items(), _LOOKED_AT_ONCE)):
        del waiting[key]
        if _has_ended(session, key, version_id):
            percents.pop(key, None)
            ended += 1
        else:
            waiting[key] = version_id
            if session.output.is_terminal:
                percents[key] = _percent(session, key)
    return ended


def _percent(session: Session, key: str) -> int:
    try:
        percent = session.platform.library.record(key).processing_metadata.get("progress_percent", 0)
    except NotFound:
        return 0
    # Completing what was encoded takes its time, too.
    return min(percent, _DONE_PERCENT - 5) if isinstance(percent, int) else 0


def _tell_why(session: Session, waiting: dict[str, str]) -> None:
    key, version_id = next(iter(waiting.items()))
    library = session.platform.library
    try:
        why = progress_of(library.record(key)) or _reason(session, library.entry(key, version_id).execution)
    except NotFound:
        why = "it is stored, and waits to be taken in; what fails is tried again"
    session.output.talk(f"{len(waiting)} not processed yet. {shown(key)}: {shown(why)}")


def _reason(session: Session, name: str) -> str:
    engine = session.platform.engine
    execution = engine.get(name)
    if execution.pending_reason is not None:
        return execution.pending_reason
    failures = [event.cause for event in engine.history(name) if event.cause]
    return f"{execution.state} is at work" + (f" again, after: {failures[-1]}" if failures else "")


def _bar(output: Output, label: str, length: int) -> ProgressBar[int]:
    """A progress bar on a terminal; nothing elsewhere."""
    return progressbar(length=length, label=label, file=sys.stderr, hidden=not output.is_terminal)


def _has_ended(session: Session, key: str, version_id: str) -> bool:
    try:
        entry = session.platform.library.entry(key, version_id)
    except NotFound:
        return session.platform.library.is_gone(key, version_id)
    return entry.status in _ENDED and not session.platform.ingest.is_live(entry.execution)


def _report(session: Session, key: str, version_id: str, outcome: AddOutcome) -> None:
    try:
        record = session.platform.library.record(key)
    except NotFound as error:
        outcome.items.append(_without_record(key, "gone", error.public))
        session.output.line(f"{shown(key)}  stored, but gone meanwhile: {shown(error.public)}")
        return
    outcome.items.append(session.platform.describe(record))
    if record.version_id != version_id:
        session.output.line(f"{shown(key)}  was replaced or removed meanwhile")
        return
    if record.status is ProcessingStatus.FAILED:
        outcome.troubled += 1
        session.output.line(f"{shown(key)}  failed: {shown(_consoled(record.error or ''))}")
        return
    session.output.line(f"{shown(key)}  {record.status.value}  {_what_it_is(record)}")


def _consoled(why: str) -> str:
    """Why a file failed, and that nothing is lost; many reasons say so by themselves."""
    return why if _KEPT in why.lower() else f"{why} ({_KEPT})"


def _what_it_is(record: Record) -> str:
    names = ", ".join(rendition.name for rendition in record.renditions)
    parts = [record.content_type, size(record.size_bytes), names, shown(record.note or "")]
    return "  ".join(part for part in parts if part)


def _tell_what_waits(session: Session, stored: dict[str, str], outcome: AddOutcome) -> None:
    waiting = 0
    with _pool(session) as pool:
        items = list(pool.map(lambda key: _as_it_stands(session, key, outcome), stored))
    for key, item in zip(stored, items, strict=True):
        outcome.items.append(item)
        status = item["processing_status"]
        waiting += status not in _ENDED
        session.output.line(f"{shown(key)}  stored  {status}")
    if waiting:
        workers = session.home.workers()
        who = f"{workers} running worker(s)" if workers else "a worker; none runs: start `contentplatform worker`"
        who = "the functions on AWS" if session.aws is not None else who
        session.output.talk(f"{waiting} wait to be processed by {who}.")


def _pool(session: Session) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_UPLOADS_AT_ONCE[session.home_name], thread_name_prefix="add")


def _as_it_stands(session: Session, key: str, outcome: AddOutcome) -> dict[str, Any]:
    # On AWS nobody here took it in: there is no record of it yet, or still that of the version before.
    is_known = session.aws is None or key not in outcome.new_keys
    with suppress(NotFound):
        if is_known:
            return session.platform.describe(session.platform.library.record(key))
    return _without_record(key, "pending", "it is stored, and waits to be taken in")


def _note_trouble(output: Output, outcome: AddOutcome, file: PlannedFile, reason: str) -> None:
    outcome.troubled += 1
    outcome.items.append(_without_record(file.key, "not stored", reason))
    output.line(f"{shown(file.key)}  not stored: {shown(reason)}")


def _without_record(key: str, status: str, reason: str) -> dict[str, Any]:
    """What stands in the answer for a file of which the catalog knows nothing (yet, or any more)."""
    return {"file_path": key, "processing_status": status, "processing_error": reason}


def _files_of(argument: Path, data_folder: Path) -> Iterator[tuple[Path, str]]:
    """The regular files of one argument with their relative keys; links inside folders are not followed."""
    left_out = data_folder.resolve()
    if argument.is_file():
        yield argument, argument.resolve().name if argument.name in {"", ".", ".."} else argument.name
        return
    if not argument.is_dir():
        raise click.UsageError(f"{argument} is neither a file nor a folder.")
    unreadable: list[OSError] = []
    for folder, subfolders, names in os.walk(argument, onerror=unreadable.append):
        subfolders[:] = sorted(name for name in subfolders if Path(folder, name).resolve() != left_out)
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(folder, name)
            if _is_offered(path):
                yield path, path.relative_to(argument).as_posix()
            else:
                click.echo(f"{shown(str(path))}  left out: it is a link or no plain file", err=True)
    for error in unreadable:
        path = Path(error.filename)
        yield path, path.relative_to(argument).as_posix()


def _is_offered(path: Path) -> bool:
    """Whether this entry of a folder is to be added; one that can't be looked at is, so that it is told of."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return True


def _planned(path: Path, key: str) -> PlannedFile:
    try:
        if path.is_dir():
            return PlannedFile(path, key, 0, trouble="the folder can't be read")
        return PlannedFile(path, key, path.stat().st_size)
    except OSError as error:
        return PlannedFile(path, key, 0, trouble=error.strerror or str(error))
