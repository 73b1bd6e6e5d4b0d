"""The weekly report: what the last seven days cost, by service, in words for the people who pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any, Final

from contentplatform.alerts.port import Alerts, Severity
from contentplatform.clock import Clock
from contentplatform.cost.port import TAG_NAME, TAG_VALUE, Costs, FreeTierUse, ServiceCost, Spending
from contentplatform.errors import PlatformError

DAYS: Final = 7
_CENT: Final = Decimal("0.01")
_WIDTH: Final = 48


@dataclass(frozen=True, slots=True)
class CostReport:
    """What some days cost."""

    first: date
    last: date
    """Included."""
    services: tuple[ServiceCost, ...]
    """The dearest first."""
    is_estimate: bool
    free_tier: tuple[FreeTierUse, ...]
    """What was used most of its allowance first."""
    free_tier_problem: str = ""
    """Why the use of the free tier is not known; empty: it is."""

    @property
    def total_usd(self) -> Decimal:
        """The sum of all services, unrounded."""
        return sum((line.cost_usd for line in self.services), Decimal(0))

    def share(self, line: ServiceCost) -> Decimal:
        """A service's percentage of the total; 0 where nothing was spent, or credits were more than that."""
        return 100 * line.cost_usd / self.total_usd if self.total_usd > 0 else Decimal(0)

    def subject(self) -> str:
        """One line."""
        return f"Content Platform: {_usd(self.total_usd)} from {self.first} to {self.last}"

    def text(self) -> str:
        """The whole, for an e-mail."""
        return "\n".join((*self._spending(), "", *self._free_tier())) + "\n"

    def as_json(self) -> dict[str, Any]:
        """For programs; amounts as text, so that nothing is rounded."""
        return {
            "first_day": self.first.isoformat(),
            "last_day": self.last.isoformat(),
            "total_usd": str(self.total_usd),
            "services": [
                {
                    "service": line.service,
                    "cost_usd": str(line.cost_usd),
                    "share_percent": str(round(self.share(line), 1)),
                }
                for line in self.services
            ],
            "is_estimate": self.is_estimate,
            "free_tier": [
                {"service": use.service, "usage": use.usage, "used": use.used, "limit": use.limit, "unit": use.unit}
                for use in self.free_tier
            ],
        }

    def _spending(self) -> list[str]:
        lines = [f"Cost from {self.first} to {self.last}, UTC, of what is tagged {TAG_NAME}={TAG_VALUE}", ""]
        if not self.services:
            lines += [
                "Nothing was found. If the platform is in use, its tag is not activated for the bill yet: Billing,",
                f"Cost allocation tags, {TAG_NAME}. Costs carry it from a day after that on.",
                "",
            ]
        lines += [
            f"{line.service:<{_WIDTH}} {_usd(line.cost_usd):>14} {round(self.share(line), 1):>6} %"
            for line in self.services
        ]
        lines.append(f"{'Total':<{_WIDTH}} {_usd(self.total_usd):>14}")
        if self.is_estimate:
            lines += ["", "Not all of these days are billed yet: the figures can still grow."]
        return lines

    def _free_tier(self) -> list[str]:
        if self.free_tier_problem:
            return [f"The use of the free tier is not known: {self.free_tier_problem}"]
        if not self.free_tier:
            return ["Nothing of the free tier was used this month."]
        return [
            "Free tier used this month, by the whole account",
            "",
            *(
                f"{f'{use.service}, {use.usage}':<{_WIDTH}} {use.used:,.10g} of {use.limit:,.10g} {use.unit}"
                for use in self.free_tier
            ),
        ]


class CostReporter:
    """Makes the report and sends it."""

    def __init__(self, costs: Costs, alerts: Alerts, clock: Clock) -> None:
        self._costs = costs
        self._alerts = alerts
        self._clock = clock

    def run(self) -> CostReport:
        """Report on the seven days before today, by UTC; today's bill has hardly begun.

        Raises:
            ConfigurationInvalid: a right is missing.
            Unavailable: the costs could not be asked, or the report not be sent.
        """
        today = self._clock.now().astimezone(UTC).date()
        spending = self._costs.spent(today - timedelta(days=DAYS), today)
        report = _report(today, spending, *self._free_tier())
        self._alerts.send(report.subject(), report.text(), Severity.INFO)
        return report

    def _free_tier(self) -> tuple[Sequence[FreeTierUse], str]:
        """The use of the free tier, or why it is not known: the bill alone is worth a report."""
        try:
            return self._costs.free_tier(), ""
        except PlatformError as error:
            return (), error.public


def _report(today: date, spending: Spending, free_tier: Sequence[FreeTierUse], problem: str) -> CostReport:
    return CostReport(
        first=today - timedelta(days=DAYS),
        last=today - timedelta(days=1),
        services=tuple(sorted(spending.services, key=lambda line: (-line.cost_usd, line.service))),
        is_estimate=spending.is_estimate,
        free_tier=tuple(
            sorted((use for use in free_tier if use.used), key=lambda use: (-_used_up(use), use.service, use.usage))
        ),
        free_tier_problem=problem,
    )


def _used_up(use: FreeTierUse) -> float:
    return use.used / use.limit if use.limit else 0.0


def _usd(amount: Decimal) -> str:
    """Cents; what is less than one, and not nothing, says so."""
    if 0 < amount < _CENT:
        return "under 0.01 USD"
    return f"{amount.quantize(_CENT):,} USD"
