"""What a month on AWS costs: from a usage profile, and from the resources of templates with nothing in them.

Both go by the price book (``cost.prices``). Which type of resource costs what while it stands idle is in standing.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Final

from contentplatform.cost.prices import PriceBook, cents, price_book

UsageProfile = Mapping[str, Decimal]
"""How many units of which price a month uses, by the ids of the price book."""

EXAMPLE_PROFILE: Final[UsageProfile] = {
    "s3-standard-storage": Decimal(10),
    "s3-standard-get": Decimal(50_000),
    "s3-standard-put": Decimal(5_000),
    "s3-glacier-ir-storage": Decimal(5),
    "lambda-requests": Decimal(100_000),
    "lambda-compute": Decimal(50_000),
    "dynamodb-storage": Decimal(1),
    "dynamodb-reads": Decimal(10_000),
    "dynamodb-writes": Decimal(5_000),
    "cloudfront-transfer": Decimal(10),
    "cloudfront-requests": Decimal(50_000),
    "step-functions-transitions": Decimal(500),
    "transfer-out": Decimal(5),
    "mediaconvert-minutes": Decimal(10),
    "cloudwatch-metrics": Decimal(20),
    "cloudwatch-logs": Decimal(2),
}
"""A small site's month, as in docs/aws.md."""

_POLLS_A_MONTH: Final = 5 * 3 * 60 * 24 * 30
"""Lambda waits at a queue with five pollers, each of which asks every 20 seconds."""
_DEFAULT_WEB_ACL_RULES: Final = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One usage of a service."""

    usage: str
    amount: Decimal
    unit: str
    cost_usd: Decimal
    """Not rounded."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one service costs a month."""

    service: str
    parts: tuple[Part, ...]

    @property
    def cost_usd(self) -> Decimal:
        """To the cent."""
        return cents(sum((part.cost_usd for part in self.parts), Decimal(0)))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a month costs, a line a service."""

    lines: tuple[Line, ...]
    unknown: tuple[str, ...] = ()
    """Types of resources whose price nobody wrote down."""

    @property
    def total_usd(self) -> Decimal:
        """The sum of the lines as they are shown."""
        return sum((line.cost_usd for line in self.lines), Decimal("0.00"))


def estimate(profile: UsageProfile, *, book: PriceBook | None = None, first_year: bool = False) -> Estimate:
    """What a month with this usage costs.

    Args:
        profile: what is used.
        book: the prices; those that ship with the platform, if not given.
        first_year: the account is in its first 12 months, in which more is free.

    Raises:
        InvalidRequest: the book has no price of that name.
    """
    prices = book or price_book()
    parts: dict[str, list[Part]] = {}
    for name, amount in profile.items():
        price = prices.price(name)
        cost = price.cost_usd(amount, first_year=first_year)
        parts.setdefault(price.service, []).append(Part(price.usage, amount, price.unit, cost))
    return Estimate(tuple(Line(service, tuple(of_service)) for service, of_service in parts.items()))


def idle_cost(template_resources: Iterable[Mapping[str, Any]], *, book: PriceBook | None = None) -> Estimate:
    """What the resources of templates cost a month while nothing happens in them.

    Free amounts are an account's, so the resources of all its stacks belong into one call.

    Args:
        template_resources: the ``Resources`` of the templates, each with its ``Type`` and ``Properties``.
        book: as in :func:`estimate`.

    Returns:
        The estimate, which also names the types whose price is unknown.
    """
    table = _standing()
    amounts: dict[str, Decimal] = {}
    unknown: set[str] = set()
    for resource in template_resources:
        kind = str(resource.get("Type", ""))
        properties = resource.get("Properties") or {}
        rows = table.rows.get(kind, ())
        if not rows and kind not in table.without_standing_cost:
            unknown.add(kind)
        for row in rows:
            if all(properties.get(name) == value for name, value in row.where.items()):
                amounts[row.price] = amounts.get(row.price, Decimal(0)) + row.amount_of(properties)
    found = estimate({name: amount for name, amount in amounts.items() if amount}, book=book)
    return Estimate(found.lines, tuple(sorted(unknown)))


@dataclass(frozen=True, slots=True)
class _StandingRow:
    price: str
    amount_of: Callable[[Mapping[str, Any]], Decimal]
    where: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Standing:
    rows: Mapping[str, tuple[_StandingRow, ...]]
    without_standing_cost: frozenset[str]


@cache
def _standing() -> _Standing:
    document = tomllib.loads(resources.files("contentplatform.cost").joinpath("standing.toml").read_text("utf-8"))
    rows: dict[str, tuple[_StandingRow, ...]] = {}
    for row in document["resource"]:
        read = _StandingRow(row["price"], _counter(row["amount"]), row.get("where", {}))
        rows[row["type"]] = (*rows.get(row["type"], ()), read)
    return _Standing(rows, frozenset(document["by_use"]) | frozenset(document["free"]))


def _counter(amount: float | str) -> Callable[[Mapping[str, Any]], Decimal]:
    if isinstance(amount, str):
        return _COUNTERS[amount]
    return lambda _properties: Decimal(amount)


def _metrics_of_the_alarm(properties: Mapping[str, Any]) -> Decimal:
    """An alarm on metric math is paid by the metrics that it reads; any other counts as one."""
    read = [metric for metric in properties.get("Metrics") or () if "MetricStat" in metric]
    return Decimal(max(1, len(read)))


def _polls_of_the_queue(properties: Mapping[str, Any]) -> Decimal:
    """Only queues are paid by the poll; reading a table's stream is free for Lambda. A stream has a place to begin."""
    return Decimal(0 if "StartingPosition" in properties else _POLLS_A_MONTH)


def _rules_of_the_web_acl(properties: Mapping[str, Any]) -> Decimal:
    rules = properties.get("Rules")
    return Decimal(len(rules) if isinstance(rules, list) else _DEFAULT_WEB_ACL_RULES)


def _provisioned_throughput(properties: Mapping[str, Any]) -> Decimal:
    return Decimal(str(properties.get("ProvisionedThroughputInMibps") or 0))


_COUNTERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Decimal]]] = {
    "metrics of the alarm": _metrics_of_the_alarm,
    "polls of the queue": _polls_of_the_queue,
    "rules of the web ACL": _rules_of_the_web_acl,
    "provisioned throughput": _provisioned_throughput,
}
