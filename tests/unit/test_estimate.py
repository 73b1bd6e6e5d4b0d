"""What a month on AWS costs, to the cent."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contentplatform.cost.estimate import EXAMPLE_PROFILE, Estimate, estimate, idle_cost
from contentplatform.cost.prices import FreeTier, cents, parse_price_book, price_book
from contentplatform.errors import InvalidRequest


def line(found: Estimate, service: str) -> Decimal:
    """What one service costs."""
    [cost] = [row.cost_usd for row in found.lines if row.service == service]
    return cost


@pytest.mark.parametrize(
    ("service", "cost"),
    [
        ("S3 Standard", "0.28"),
        ("S3 Glacier Instant Retrieval", "0.02"),
        ("Lambda", "0.00"),
        ("DynamoDB", "0.00"),
        ("CloudFront", "0.00"),
        ("Step Functions", "0.00"),
        ("Data transfer", "0.00"),
        ("MediaConvert", "0.15"),
        ("CloudWatch", "3.00"),
    ],
)
def test_a_line_of_the_small_site_s_month(service: str, cost: str) -> None:
    assert line(estimate(EXAMPLE_PROFILE), service) == Decimal(cost)


def test_the_small_site_s_month_has_those_lines_alone_and_their_sum() -> None:
    found = estimate(EXAMPLE_PROFILE)
    assert len(found.lines) == 9
    assert found.total_usd == Decimal("3.45")


def test_the_parts_of_s3_are_told_each() -> None:
    parts = {part.usage: cents(part.cost_usd) for part in estimate(EXAMPLE_PROFILE).lines[0].parts}
    assert list(parts.values()) == [Decimal("0.23"), Decimal("0.02"), Decimal("0.03")]


def test_in_its_first_year_an_account_pays_less() -> None:
    assert line(estimate(EXAMPLE_PROFILE, first_year=True), "S3 Standard") == Decimal("0.14")


def test_beyond_what_is_free_each_unit_is_paid() -> None:
    profile = {"lambda-requests": Decimal(3_000_000), "step-functions-transitions": Decimal(5_000)}
    found = estimate(profile)
    assert line(found, "Lambda") == Decimal("0.40")
    assert line(found, "Step Functions") == Decimal("0.03")


def test_a_price_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="no such price"):
        estimate({"gold": Decimal(1)})


def test_every_price_says_where_it_is_from_and_when() -> None:
    for price in price_book().prices.values():
        assert price.price_usd > 0
        assert price.region == "us-east-1"
        assert price.source.endswith("/pricing")
        assert price.date.year >= 2025
        assert (price.free_kind is FreeTier.NONE) == (price.free_amount == 0), price.id
        assert re.fullmatch(r"[a-z0-9-]+", price.id)


def test_a_price_that_is_stated_twice_is_an_error() -> None:
    row = (
        '[[price]]\nid="a"\nservice="s"\nusage="u"\nunit="x"\nprice_usd="1"\n'
        'free={amount=0,kind="none"}\nregion="r"\nsource="s"\ndate=2025-01-01\n'
    )
    with pytest.raises(InvalidRequest, match="twice"):
        parse_price_book(row * 2)


# -- what stands idle ----------------------------------------------------------------------------------------------


def resource(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


def test_ten_alarms_are_free_and_metric_math_counts_by_the_metric() -> None:
    plain = [resource("AWS::CloudWatch::Alarm", MetricName="Errors") for _ in range(9)]
    rate = resource(
        "AWS::CloudWatch::Alarm",
        Metrics=[{"Id": "rate", "Expression": "100*e/i"}, {"Id": "e", "MetricStat": {}}, {"Id": "i", "MetricStat": {}}],
    )
    assert idle_cost(plain).total_usd == 0
    assert idle_cost([*plain, rate]).total_usd == Decimal("0.10")
    assert idle_cost([*plain, rate, rate]).total_usd == Decimal("0.30")


@pytest.mark.parametrize(
    ("resources", "cost"),
    [
        ([resource("AWS::KMS::Key")], "1.00"),
        ([resource("AWS::CloudWatch::Dashboard")] * 4, "3.00"),
        ([resource("AWS::CloudWatch::CompositeAlarm")], "0.50"),
        ([resource("AWS::CloudFront::MonitoringSubscription")], "0.00"),
        ([resource("AWS::CloudFront::MonitoringSubscription")] * 2, "1.80"),
        ([resource("AWS::WAFv2::WebACL", Rules=[{}, {}, {}])], "8.00"),
        ([resource("AWS::EFS::FileSystem")], "0.00"),
        ([resource("AWS::EFS::FileSystem", ProvisionedThroughputInMibps=500)], "3000.00"),
        ([resource("AWS::SecretsManager::Secret")], "0.40"),
        ([resource("AWS::Config::ConfigRule")] * 10, "0.30"),
        ([resource("AWS::Lambda::EventSourceMapping", EventSourceArn="queue")], "0.00"),
        ([resource("AWS::Lambda::EventSourceMapping", EventSourceArn="queue")] * 2, "0.12"),
        ([resource("AWS::Lambda::EventSourceMapping", StartingPosition="LATEST")] * 9, "0.00"),
        ([resource("AWS::Lambda::Function", FunctionName="cost-report-generator")], "0.13"),
        ([resource("AWS::Lambda::Function", FunctionName="update-metadata")], "0.00"),
        ([resource("AWS::IAM::Role"), resource("AWS::S3::Bucket"), resource("AWS::SSM::Parameter")], "0.00"),
    ],
)
def test_what_a_resource_costs_while_nothing_happens(resources: list[dict[str, Any]], cost: str) -> None:
    found = idle_cost(resources)
    assert found.total_usd == Decimal(cost)
    assert found.unknown == ()


def test_a_type_that_nobody_priced_is_told_not_taken_for_free() -> None:
    assert idle_cost([resource("AWS::EC2::NatGateway"), resource("AWS::IAM::Role")]).unknown == (
        "AWS::EC2::NatGateway",
    )


def test_a_resource_without_properties_is_counted() -> None:
    assert idle_cost([{"Type": "AWS::KMS::Key"}]).total_usd == Decimal("1.00")


def test_the_small_site_s_month_stands_in_the_documents_as_it_comes_out() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "aws.md").read_text("utf-8")
    table = text.partition("| service | usage | USD |")[2].partition("\n\n")[0]
    told = {
        cells[1]: cells[2:4] for line in table.splitlines() if len(cells := [c.strip() for c in line.split("|")]) > 3
    }
    found = estimate(EXAMPLE_PROFILE)
    assert [name for name in told if not name.startswith("-")] == [*(row.service for row in found.lines), "together"]
    assert told["together"][1] == str(found.total_usd)
    for row in found.lines:
        usage, cost = told[row.service]
        assert cost == str(row.cost_usd)
        assert [int(n.replace(" ", "")) for n in re.findall(r"\d[\d ]*\d|\d", usage)] == [
            int(part.amount) for part in row.parts
        ]
