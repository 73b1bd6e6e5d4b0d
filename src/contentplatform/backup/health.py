"""Compares the second copy with the first, version by version, and judges what came out. Pure: no clock, no store.

Both listings come in the order of their keys, so they are merged, and only one key's versions are held at a time.
A version is replicated if the second copy has one of its key with the same bytes: told by equal size and etag, where
these differ by checksums. S3 keeps the version's id in its replica, but nothing depends on it: a bucket that was
restored, or an emulator, has other ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Final

from contentplatform.backup.port import (
    RPO_SECONDS,
    BackupReport,
    BackupStatus,
    Flaw,
    Tally,
    Unreplicated,
)
from contentplatform.errors import Unavailable
from contentplatform.storage.port import ObjectVersion

HEALTHY_PERCENTAGE: Final = 95.0
SHRUNK_SHARE: Final = 0.9
"""Holding less than this of what it held at the last comparison, in objects or in bytes, the primary bucket shrank."""
OVERDUE_NAMED: Final = 100

SameBytes = Callable[[ObjectVersion, ObjectVersion], bool]
"""Whether two versions have the same bytes, asked only where size and etag don't tell."""


@dataclass(slots=True)
class Comparison:
    """What a comparison found so far."""

    primary: Tally = field(default_factory=Tally)
    backup: Tally = field(default_factory=Tally)
    replicated: int = 0
    flaws: Counter[Flaw] = field(default_factory=Counter)
    overdue: list[Unreplicated] = field(default_factory=list)
    """The oldest first; never more than ``OVERDUE_NAMED``."""
    overdue_count: int = 0
    oldest_seconds: float = 0.0

    def note(self, version: ObjectVersion, flaw: Flaw, now: datetime) -> None:
        """Count a version that is not replicated."""
        age_seconds = max(0.0, (now - version.created_at).total_seconds())
        self.flaws[flaw] += 1
        self.oldest_seconds = max(self.oldest_seconds, age_seconds)
        if age_seconds > RPO_SECONDS:
            self.overdue_count += 1
            self.overdue.append(Unreplicated(version.key, version.version_id, flaw, age_seconds))
            self.overdue.sort(key=lambda late: -late.age_seconds)
            del self.overdue[OVERDUE_NAMED:]


def compare(
    primary: Iterable[ObjectVersion],
    backup: Iterable[ObjectVersion],
    now: datetime,
    *,
    same_bytes: SameBytes,
    still_current: Callable[[ObjectVersion], bool],
) -> Comparison:
    """Compare two listings of versions, each by key, the newest version of a key first.

    Args:
        primary: every version and delete marker of the first copy.
        backup: the same of the second copy.
        now: what ages are counted to.
        same_bytes: see there.
        still_current: whether a version is what readers get of the first copy at this moment; asked only of one that
            the second copy hides, because it may have been replaced or deleted between the two listings.

    Raises:
        Unavailable: a listing is not in order, so the outcome would mean nothing.
    """
    found = Comparison()
    for ours, theirs in _by_key(primary, backup):
        found.primary = _counted(found.primary, ours)
        found.backup = _counted(found.backup, theirs)
        matches, left = _matches(ours, theirs, same_bytes)
        for version, match in zip(ours, matches, strict=True):
            if match is None:
                found.note(version, _flaw_of(version, left), now)
        if not ours or ours[0].is_delete_marker or matches[0] is None:
            continue
        if matches[0] is not theirs[0] and still_current(ours[0]):
            found.note(ours[0], Flaw.HIDDEN, now)
        else:
            found.replicated += 1
    return found


def report(found: Comparison, now: datetime, last: Tally | None) -> BackupReport:
    """Judge a comparison; ``last`` is what the primary bucket held at the last one, None if there was none."""
    objects = found.primary.objects
    percentage = 100.0 if objects == 0 else 100.0 * found.replicated / objects
    shrunk = _shrinking(found, last)
    degraded = percentage < HEALTHY_PERCENTAGE or shrunk is not None
    alarms = [] if shrunk is None else [shrunk]
    if percentage < HEALTHY_PERCENTAGE:
        alarms.append(f"only {found.replicated} of {objects} files ({_floored(percentage)} %) are in the second copy")
    if found.overdue_count:
        alarms.append(
            f"{found.overdue_count} versions are older than {RPO_SECONDS // 60} minutes and not in the second copy as "
            f"they should be; the oldest is {found.overdue[0].key!r} ({found.overdue[0].flaw.value})"
        )
    return BackupReport(
        at=now,
        status=BackupStatus.DEGRADED if degraded else BackupStatus.HEALTHY,
        primary=found.primary,
        backup=found.backup,
        replicated=found.replicated,
        percentage=_floored(percentage),
        lag_seconds=found.oldest_seconds,
        flaws=dict(found.flaws),
        overdue=tuple(found.overdue),
        overdue_count=found.overdue_count,
        alarms=tuple(alarms),
    )


def unknown(reason: str, now: datetime) -> BackupReport:
    """The report of a comparison that failed."""
    return BackupReport(
        at=now,
        status=BackupStatus.UNKNOWN,
        primary=Tally(),
        backup=Tally(),
        replicated=0,
        percentage=0.0,
        lag_seconds=0.0,
        flaws={},
        overdue=(),
        overdue_count=0,
        alarms=(f"the second copy could not be compared, so nobody knows how it is: {reason}",),
    )


def _shrinking(found: Comparison, last: Tally | None) -> str | None:
    """The sentence that says that the primary bucket lost much, or all; None if it did not."""
    now = found.primary
    if now.objects == 0 and (found.backup.objects or (last is not None and last.objects)):
        held = last.objects if last is not None and last.objects else found.backup.objects
        return f"the primary bucket is empty; it held {held} files"
    if last is None:
        return None
    if now.objects < SHRUNK_SHARE * last.objects or now.size_bytes < SHRUNK_SHARE * last.size_bytes:
        return (
            f"the primary bucket shrank from {last.objects} files with {last.size_bytes} bytes to {now.objects} with "
            f"{now.size_bytes} since the last comparison"
        )
    return None


def _floored(percentage: float) -> float:
    """Two digits, never rounded up: 99.999 % is not all."""
    return int(percentage * 100) / 100


# -- one key -----------------------------------------------------------------------------------------------------


def _matches(
    ours: Sequence[ObjectVersion], theirs: Sequence[ObjectVersion], same_bytes: SameBytes
) -> tuple[list[ObjectVersion | None], list[ObjectVersion]]:
    """For each of our versions one of theirs with the same bytes, None where there is none; and what is left of theirs.

    Each of theirs is taken once.
    """

    def told_apart(own: ObjectVersion, other: ObjectVersion) -> bool:
        return _could_be_same(own, other) and same_bytes(own, other)

    left = list(theirs)
    found: list[ObjectVersion | None] = [None] * len(ours)
    # The surest way first, for all of them, so that none takes what is another's.
    for is_replica in (_has_same_id, _looks_same, told_apart):
        for index, own in enumerate(ours):
            if found[index] is None:
                found[index] = _take(left, own, is_replica)
    return found, left


def _take(left: list[ObjectVersion], own: ObjectVersion, is_replica: SameBytes) -> ObjectVersion | None:
    """Take the first version that is a replica of ``own`` out of ``left``; None if there is none."""
    for index, other in enumerate(left):
        if is_replica(own, other):
            return left.pop(index)
    return None


def _has_same_id(own: ObjectVersion, other: ObjectVersion) -> bool:
    return own.version_id == other.version_id and _looks_same(own, other)


def _looks_same(own: ObjectVersion, other: ObjectVersion) -> bool:
    """Equal etags of one key mean equal bytes; delete markers have none to compare."""
    if own.is_delete_marker or other.is_delete_marker:
        return own.is_delete_marker and other.is_delete_marker
    return bool(own.etag) and own.etag == other.etag and own.size_bytes == other.size_bytes


def _could_be_same(own: ObjectVersion, other: ObjectVersion) -> bool:
    return not own.is_delete_marker and not other.is_delete_marker and own.size_bytes == other.size_bytes


def _flaw_of(version: ObjectVersion, left: Sequence[ObjectVersion]) -> Flaw:
    """What is wrong with a version that none of ``left``, their versions that nobody claims, is a replica of."""
    if version.is_delete_marker:
        return Flaw.NOT_DELETED
    claims = any(other.version_id == version.version_id or _could_be_same(version, other) for other in left)
    return Flaw.DIFFERENT if claims else Flaw.MISSING


def _counted(tally: Tally, versions: Sequence[ObjectVersion]) -> Tally:
    """The tally with one key's versions added."""
    if not versions:
        return tally
    newest = versions[0]
    return Tally(
        objects=tally.objects + (not newest.is_delete_marker),
        size_bytes=tally.size_bytes + newest.size_bytes,
        versions=tally.versions + sum(not version.is_delete_marker for version in versions),
    )


# -- two listings ------------------------------------------------------------------------------------------------


def _by_key(
    primary: Iterable[ObjectVersion], backup: Iterable[ObjectVersion]
) -> Iterator[tuple[list[ObjectVersion], list[ObjectVersion]]]:
    """The versions of each key that either listing has, the newest first."""
    first, second = _grouped(primary), _grouped(backup)
    ours, theirs = next(first, None), next(second, None)
    while ours is not None or theirs is not None:
        if ours is not None and (theirs is None or ours[0] < theirs[0]):
            yield ours[1], []
            ours = next(first, None)
        elif theirs is not None and (ours is None or theirs[0] < ours[0]):
            yield [], theirs[1]
            theirs = next(second, None)
        elif ours is not None and theirs is not None:
            yield ours[1], theirs[1]
            ours, theirs = next(first, None), next(second, None)


def _grouped(listing: Iterable[ObjectVersion]) -> Iterator[tuple[bytes, list[ObjectVersion]]]:
    """A listing's versions key by key, the keys as their UTF-8 bytes."""
    before: bytes | None = None
    for key, versions in groupby(listing, key=lambda version: version.key):
        place = key.encode()
        if before is not None and place <= before:
            raise Unavailable("comparing the second copy", "a bucket's listing came out of order", private=repr(key))
        before = place
        yield place, list(versions)
