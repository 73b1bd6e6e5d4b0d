"""The price book: what AWS charges for a unit of everything that the platform uses. The figures are in prices.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from contentplatform.errors import InvalidRequest

_CENT: Final = Decimal("0.01")


class FreeTier(StrEnum):
    """For whom the free amount of a price is free."""

    NONE = "none"
    ALWAYS = "always"
    FIRST_YEAR = "12 months"
    """Only in the first 12 months of an account."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit of one usage costs."""

    id: str
    service: str
    usage: str
    unit: str
    price_usd: Decimal
    free_amount: Decimal
    """Units a month that cost nothing, for those to whom ``free_kind`` applies."""
    free_kind: FreeTier
    region: str
    source: str
    date: date

    def cost_usd(self, amount: Decimal, *, first_year: bool = False) -> Decimal:
        """What ``amount`` units in one month cost, not rounded.

        Args:
            amount: in the price's own unit.
            first_year: the account is in its first 12 months.
        """
        applies = self.free_kind is FreeTier.ALWAYS or (first_year and self.free_kind is FreeTier.FIRST_YEAR)
        return max(Decimal(0), amount - (self.free_amount if applies else 0)) * self.price_usd


class PriceBook:
    """Prices by their ids."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self.prices: Final = MappingProxyType(dict(prices))

    def price(self, name: str) -> Price:
        """The price with this id.

        Raises:
            InvalidRequest: there is none.
        """
        try:
            return self.prices[name]
        except KeyError:
            raise InvalidRequest(
                f"looking up the price of {name}", "the price book has no such price", hint="See cost/prices.toml"
            ) from None


@cache
def price_book() -> PriceBook:
    """The price book that ships with the platform."""
    return parse_price_book(resources.files("contentplatform.cost").joinpath("prices.toml").read_text("utf-8"))


def parse_price_book(text: str) -> PriceBook:
    """Read a price book.

    Raises:
        InvalidRequest: a price is stated twice.
    """
    prices: dict[str, Price] = {}
    for row in tomllib.loads(text)["price"]:
        price = _parse(row)
        if price.id in prices:
            raise InvalidRequest("reading the price book", f"{price.id} is stated twice")
        prices[price.id] = price
    return PriceBook(prices)


def cents(amount_usd: Decimal) -> Decimal:
    """An amount as it is shown: to the cent, half a cent upwards."""
    return amount_usd.quantize(_CENT, ROUND_HALF_UP)


def _parse(row: Mapping[str, Any]) -> Price:
    return Price(
        id=row["id"],
        service=row["service"],
        usage=row["usage"],
        unit=row["unit"],
        price_usd=Decimal(row["price_usd"]),
        free_amount=Decimal(row["free"]["amount"]),
        free_kind=FreeTier(row["free"]["kind"]),
        region=row["region"],
        source=row["source"],
        date=row["date"],
    )
