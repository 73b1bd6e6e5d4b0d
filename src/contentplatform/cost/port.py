"""What was really spent, as the home's provider tells it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

TAG_NAME: Final = "Project"
TAG_VALUE: Final = "ContentPlatform"
"""What is tagged so is the platform's; it has to be activated as a cost allocation tag before anything is found."""


@dataclass(frozen=True, slots=True)
class ServiceCost:
    """What one service cost."""

    service: str
    """As the bill names it."""
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Spending:
    """What a number of days cost."""

    services: tuple[ServiceCost, ...]
    is_estimate: bool
    """The bill of these days is not final yet."""


@dataclass(frozen=True, slots=True)
class FreeTierUse:
    """How much of one free allowance was used this month."""

    service: str
    usage: str
    used: float
    limit: float
    unit: str


class Costs(ABC):
    """Tells what was spent. Each question costs money itself: 0.01 USD on AWS."""

    @abstractmethod
    def spent(self, first: date, after_last: date) -> Spending:
        """Cost by service of what is tagged as the platform's, from ``first`` until before ``after_last``, UTC.

        Raises:
            ConfigurationInvalid: the right is missing. Unavailable: a passing fault.
        """

    @abstractmethod
    def free_tier(self) -> Sequence[FreeTierUse]:
        """Use of the free allowances this month, of the whole account: they are not told apart by tag.

        Raises as ``spent``.
        """
