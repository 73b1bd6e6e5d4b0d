"""What the deployed stacks cost a month with nothing in them: every type is priced, and together it stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from contentplatform.cost.estimate import Estimate, idle_cost

MOST_USD: Final = Decimal("3.00")
"""A month of the default stacks, with nothing in them."""
Templates = Mapping[str, dict[str, Any]]


def resources_of(templates: Templates) -> Iterator[Mapping[str, Any]]:
    for template in templates.values():
        yield from template["Resources"].values()


def told(found: Estimate) -> str:
    """The estimate as a person reads it, for when it is too much."""
    parts = [(line.service, part) for line in found.lines for part in line.parts]
    return "\n".join(f"{part.cost_usd:8.2f} {service}: {part.amount} x {part.usage}" for service, part in parts)


def test_every_type_of_resource_has_its_price(templates: Templates) -> None:
    assert idle_cost(resources_of(templates)).unknown == ()


def test_with_nothing_in_it_the_platform_costs_little(templates: Templates) -> None:
    found = idle_cost(resources_of(templates))
    print(told(found))  # noqa: T201 - the figures, for who runs the tests with -s
    assert Decimal(0) < found.total_usd <= MOST_USD, told(found)


def test_what_is_off_by_default_is_priced_too(templates_for: Callable[..., Templates]) -> None:
    everything = templates_for(
        aws={
            "web_application_firewall": True,
            "shared_files": True,
            "shared_files_throughput_mibps": 1,
            "quicksight": True,
            "object_lock": True,
            "replication_time_control": True,
        }
    )
    found = idle_cost(resources_of(everything))
    assert found.unknown == ()
    services = {line.service: line.cost_usd for line in found.lines}
    assert services["WAF"] >= Decimal("6.00")
    assert services["EFS"] == Decimal("6.00")
