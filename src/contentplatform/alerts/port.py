"""What every home promises about alerts: a person is told, or the caller learns that nobody was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Final

from contentplatform.errors import InvalidRequest

TOPIC_NAME: Final = "backup-alerts"
"""Where every alert goes on AWS."""
SUBJECT_LIMIT: Final = 100
"""Characters of a subject; SNS takes no more."""
BODY_LIMIT_BYTES: Final = 250_000
"""UTF-8 bytes of a body; SNS takes 262 144 with subject and attributes."""
_CUT: Final = "\n[…] cut here: the whole text was too long for an alert"


class Severity(StrEnum):
    """How soon somebody has to look."""

    INFO = "info"
    """A report; nothing is wrong."""
    WARNING = "warning"
    """Look into it in working hours."""
    CRITICAL = "critical"
    """Files, or the second copy of them, are at risk, or nothing works: look now."""


class Alerts(ABC):
    """Tells people. Safe to use from any thread."""

    @abstractmethod
    def send(self, subject: str, body: str, severity: Severity) -> None:
        """Hand an alert over to whatever brings it to people; returns once that has taken it.

        Not idempotent: each call is an alert. A body that is too long is cut, and says so. aws: SNS Publish, with
        the severity as message attribute ``severity`` that subscribers can filter by.

        Raises:
            InvalidRequest: the subject is empty, over 100 characters, or more than one line; the body is empty.
            Unavailable: it could not be handed over; nobody was told.
        """


def check_subject(subject: str) -> None:
    """Raise InvalidRequest unless ``subject`` can be one in every home."""
    doing = f"sending the alert {subject[:40]!r}"
    if not subject.strip():
        raise InvalidRequest(doing, "its subject is empty")
    if len(subject) > SUBJECT_LIMIT:
        raise InvalidRequest(doing, f"its subject has {len(subject)} characters; at most {SUBJECT_LIMIT} are possible")
    if not subject.isprintable():
        raise InvalidRequest(doing, "its subject has more than one line, or control characters")


def fitting_body(body: str) -> str:
    """``body``, cut at a whole character if it is too long.

    Raises:
        InvalidRequest: it is empty.
    """
    if not body.strip():
        raise InvalidRequest("sending an alert", "its text is empty")
    encoded = body.encode("utf-8", "replace")
    if len(encoded) <= BODY_LIMIT_BYTES:
        return encoded.decode("utf-8")
    return encoded[: BODY_LIMIT_BYTES - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT
