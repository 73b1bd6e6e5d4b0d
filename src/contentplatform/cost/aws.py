"""Asks AWS what was spent: Cost Explorer, and the Free Tier's own service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final

from contentplatform.cost.port import TAG_NAME, TAG_VALUE, Costs, FreeTierUse, ServiceCost, Spending
from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import InvalidRequest

_REGION: Final = "us-east-1"
"""Bills are kept there only, wherever the platform is."""
_METRIC: Final = "UnblendedCost"
_CURRENCY: Final = "USD"
_DOING: Final = "asking what AWS cost"


class AwsCosts(Costs):
    """The account's own bill."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def spent(self, first: date, after_last: date) -> Spending:
        by_service: defaultdict[str, Decimal] = defaultdict(Decimal)
        is_estimate = False
        for period in self._periods(first, after_last):
            is_estimate = is_estimate or bool(period.get("Estimated"))
            for group in period.get("Groups", ()):
                by_service[str(group["Keys"][0])] += _amount(group["Metrics"][_METRIC])
        return Spending(tuple(ServiceCost(service, cost) for service, cost in by_service.items()), is_estimate)

    def free_tier(self) -> tuple[FreeTierUse, ...]:
        client = self._aws.client("freetier", _REGION)
        found: list[FreeTierUse] = []
        following: dict[str, str] = {}
        while True:
            with translated("asking how much of the free tier was used"):
                answer = client.get_free_tier_usage(**following)
            found += [_use(usage) for usage in answer["freeTierUsages"]]
            if not answer.get("nextToken"):
                return tuple(found)
            following = {"nextToken": answer["nextToken"]}

    def _periods(self, first: date, after_last: date) -> Iterator[dict[str, Any]]:
        """Each day's groups; a long answer comes in pages."""
        client = self._aws.client("ce", _REGION)
        following: dict[str, str] = {}
        while True:
            with translated(_DOING):
                answer = client.get_cost_and_usage(
                    TimePeriod={"Start": first.isoformat(), "End": after_last.isoformat()},
                    Granularity="DAILY",
                    Metrics=[_METRIC],
                    Filter={"Tags": {"Key": TAG_NAME, "Values": [TAG_VALUE], "MatchOptions": ["EQUALS"]}},
                    GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}],
                    **following,
                )
            yield from answer["ResultsByTime"]
            if not answer.get("NextPageToken"):
                return
            following = {"NextPageToken": answer["NextPageToken"]}


def _amount(cost: dict[str, str]) -> Decimal:
    if cost["Unit"] != _CURRENCY:
        raise InvalidRequest(_DOING, f"the bill is in {cost['Unit']}, and only {_CURRENCY} can be added up here")
    return Decimal(cost["Amount"])


def _use(usage: dict[str, Any]) -> FreeTierUse:
    return FreeTierUse(
        service=str(usage.get("service", "")),
        usage=str(usage.get("usageType", "")),
        used=float(usage.get("actualUsageAmount", 0.0)),
        limit=float(usage.get("limit", 0.0)),
        unit=str(usage.get("unit", "")),
    )
