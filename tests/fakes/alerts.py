"""Alerts in memory: what was sent, in order."""

from __future__ import annotations

from dataclasses import dataclass

from contentplatform.alerts.port import Alerts, Severity, check_subject, fitting_body


@dataclass(frozen=True, slots=True)
class SentAlert:
    """One alert as people would have got it."""

    subject: str
    body: str
    severity: Severity


class MemoryAlerts(Alerts):
    """Keeps what it is told to send in ``sent``."""

    def __init__(self) -> None:
        self.sent: list[SentAlert] = []

    def send(self, subject: str, body: str, severity: Severity) -> None:
        check_subject(subject)
        self.sent.append(SentAlert(subject, fitting_body(body), severity))
