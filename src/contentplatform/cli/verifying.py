"""How ``verify`` works: the checks of the home that was asked for, and waiting for what they set off."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from contentplatform.cli.session import Hands, Session, hands
from contentplatform.clock import RandomIds
from contentplatform.errors import NotFound, Unavailable
from contentplatform.media import ProcessingStatus

if TYPE_CHECKING:
    from contentplatform.verify.report import Report
    from contentplatform.verify.verification import HomeChecks

_LONGEST_SECONDS: Final = 300.0
"""So long a file of the run may take; on AWS the first one waits for cold starts, too."""
_ENDED: Final = frozenset({ProcessingStatus.COMPLETED, ProcessingStatus.FAILED})


def run_verification(session: Session) -> Report:
    """One run of every check of the session's home."""
    from contentplatform.verify.verification import Verification  # noqa: PLC0415 - `--help` must stay light

    with hands(session) as helping:
        helping.see_to_it()
        checks = _checks(session)
        return Verification(session.home, checks, RandomIds(), lambda keys: _wait(session, helping, keys)).run()


def _checks(session: Session) -> HomeChecks:
    aws = session.aws
    if aws is not None:
        from contentplatform.verify.aws import AwsChecks  # noqa: PLC0415 - as above

        return AwsChecks(aws, threading.Event())
    from contentplatform.verify.local import LocalChecks  # noqa: PLC0415 - as above

    return LocalChecks(session.local)


def _wait(session: Session, helping: Hands, keys: list[str]) -> None:
    """Wait until the current version of each key has ended.

    Raises:
        Unavailable: it takes too long; nobody seems to work.
    """
    clock = session.platform.clock
    session.home.take_in_all()
    deadline = clock.monotonic_seconds() + _LONGEST_SECONDS
    while not all(_has_ended(session, key) for key in keys):
        if clock.monotonic_seconds() > deadline:
            raise Unavailable(
                f"waiting for {', '.join(keys)}",
                f"it has not been processed within {_LONGEST_SECONDS:.0f} s",
                hint="`contentplatform executions list` tells what works and why it waits",
            )
        helping.pause()


def _has_ended(session: Session, key: str) -> bool:
    library = session.platform.library
    try:
        record = library.record(key)
        entry = library.entry(key, record.version_id)
    except NotFound:
        return False
    if entry.status not in _ENDED or session.platform.ingest.is_live(entry.execution):
        return False
    return record.status is entry.status and record.version_id == library.current(key).version_id
