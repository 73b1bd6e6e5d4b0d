"""The weekly cost report, against a bill that refuses what AWS would refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing import Billing
from contentplatform.alerts.port import Alerts, Severity, check_subject
from contentplatform.cost.aws import AwsCosts
from contentplatform.cost.report import CostReporter
from contentplatform.drivers.boto import Aws
from contentplatform.errors import ConfigurationInvalid, InvalidRequest
from fakes.clock import FakeClock


class HeardAlerts(Alerts):
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Severity]] = []

    def send(self, subject: str, body: str, severity: Severity) -> None:
        check_subject(subject)
        self.sent.append((subject, body, severity))


def day(date: str, *, estimated: bool = False, unit: str = "USD", **costs: str) -> dict[str, Any]:
    """One day of Cost Explorer's answer."""
    groups = [
        {"Keys": [service.replace("_", " ")], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": unit}}}
        for service, amount in costs.items()
    ]
    return {"TimePeriod": {"Start": date, "End": date}, "Total": {}, "Groups": groups, "Estimated": estimated}


def use(service: str, used: float, limit: float) -> dict[str, Any]:
    return {
        "service": service,
        "usageType": "Global-Requests",
        "actualUsageAmount": used,
        "limit": limit,
        "unit": "Requests",
    }


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Billing]:
    server = Billing()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    server.answers["GetCostAndUsage"] = lambda _asked: {"ResultsByTime": []}
    server.answers["GetFreeTierUsage"] = lambda _asked: {"freeTierUsages": []}
    yield server
    server.stop()


@pytest.fixture
def alerts() -> HeardAlerts:
    return HeardAlerts()


@pytest.fixture
def reporter(billing: Billing, alerts: HeardAlerts) -> CostReporter:
    """In a region that is not the bill's, half an hour into a Monday by UTC."""
    del billing
    clock = FakeClock(datetime(2026, 11, 23, 0, 30, tzinfo=UTC))
    return CostReporter(AwsCosts(Aws(region="eu-central-1", account_id="123456789012")), alerts, clock)


def test_a_week_is_asked_as_cost_explorer_wants_it(billing: Billing, reporter: CostReporter) -> None:
    reporter.run()
    [asked] = [parameters for operation, parameters in billing.asked if operation == "GetCostAndUsage"]
    assert asked == {
        "TimePeriod": {"Start": "2026-11-16", "End": "2026-11-23"},
        "Granularity": "DAILY",
        "Metrics": ["UnblendedCost"],
        "Filter": {"Tags": {"Key": "Project", "Values": ["ContentPlatform"], "MatchOptions": ["EQUALS"]}},
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}],
    }


def test_the_report_says_cost_share_and_free_tier_and_goes_to_the_topic(
    billing: Billing, reporter: CostReporter, alerts: HeardAlerts
) -> None:
    pages: dict[str | None, Mapping[str, Any]] = {
        None: {
            "ResultsByTime": [day("2026-11-16", S3="0.7000000001", AWS_Lambda="0.0000004")],
            "NextPageToken": "second",
        },
        "second": {"ResultsByTime": [day("2026-11-17", estimated=True, S3="0.2", CloudFront="0.1")]},
    }
    billing.answers["GetCostAndUsage"] = lambda asked: pages[asked.get("NextPageToken")]
    uses: dict[str | None, Mapping[str, Any]] = {
        None: {"freeTierUsages": [use("AWS Lambda", 12_345, 1_000_000)], "nextToken": "second"},
        "second": {"freeTierUsages": [use("Amazon S3", 1_900, 2_000), use("Amazon SNS", 0, 1_000)]},
    }
    billing.answers["GetFreeTierUsage"] = lambda asked: uses[asked.get("nextToken")]
    report = reporter.run()
    assert report.total_usd == Decimal("1.0000004001")
    [(subject, body, severity)] = alerts.sent
    assert subject == "Content Platform: 1.00 USD from 2026-11-16 to 2026-11-22"
    assert severity is Severity.INFO
    assert [" ".join(line.split()) for line in body.splitlines() if line] == [
        "Cost from 2026-11-16 to 2026-11-22, UTC, of what is tagged Project=ContentPlatform",
        "S3 0.90 USD 90.0 %",
        "CloudFront 0.10 USD 10.0 %",
        "AWS Lambda under 0.01 USD 0.0 %",
        "Total 1.00 USD",
        "Not all of these days are billed yet: the figures can still grow.",
        "Free tier used this month, by the whole account",
        "Amazon S3, Global-Requests 1,900 of 2,000 Requests",
        "AWS Lambda, Global-Requests 12,345 of 1,000,000 Requests",
    ]
    assert report.as_json()["services"][0] == {"service": "S3", "cost_usd": "0.9000000001", "share_percent": "90.0"}


def test_a_bill_without_the_tag_says_what_to_do(reporter: CostReporter, alerts: HeardAlerts) -> None:
    reporter.run()
    assert "its tag is not activated for the bill yet" in alerts.sent[0][1]
    assert "0.00 USD" in alerts.sent[0][0]


def test_an_unknown_free_tier_is_said_and_the_rest_is_sent(
    billing: Billing, reporter: CostReporter, alerts: HeardAlerts
) -> None:
    billing.answers["GetCostAndUsage"] = lambda _asked: {"ResultsByTime": [day("2026-11-16", S3="1")]}
    billing.refusals["GetFreeTierUsage"] = "AccessDeniedException"
    reporter.run()
    assert "The use of the free tier is not known: " in alerts.sent[0][1]
    assert "1.00 USD" in alerts.sent[0][1]


@pytest.mark.parametrize(
    ("refusal", "error"),
    [("AccessDeniedException", ConfigurationInvalid), ("BillExpirationException", InvalidRequest)],
)
def test_a_bill_that_can_t_be_read_is_raised_and_nothing_is_sent(
    billing: Billing, reporter: CostReporter, alerts: HeardAlerts, refusal: str, error: type[Exception]
) -> None:
    billing.refusals["GetCostAndUsage"] = refusal
    with pytest.raises(error):
        reporter.run()
    assert alerts.sent == []


def test_amounts_of_another_currency_are_not_added_up(billing: Billing, reporter: CostReporter) -> None:
    billing.answers["GetCostAndUsage"] = lambda _asked: {"ResultsByTime": [day("2026-11-16", unit="CNY", S3="1")]}
    with pytest.raises(InvalidRequest, match="CNY"):
        reporter.run()


def test_credits_larger_than_the_cost_make_no_nonsense_shares(
    billing: Billing, reporter: CostReporter, alerts: HeardAlerts
) -> None:
    billing.answers["GetCostAndUsage"] = lambda _asked: {"ResultsByTime": [day("2026-11-16", S3="1", Credits="-2")]}
    report = reporter.run()
    assert report.total_usd == -1
    assert {report.share(line) for line in report.services} == {Decimal(0)}
    assert "-1.00 USD" in alerts.sent[0][1]


def test_the_stand_in_refuses_the_group_that_cost_explorer_would(billing: Billing) -> None:
    client = Aws(region="us-east-1", account_id="123456789012").client("ce")
    with pytest.raises(client.exceptions.ClientError, match="none of"):
        client.get_cost_and_usage(
            TimePeriod={"Start": "2026-11-16", "End": "2026-11-23"},
            Granularity="DAILY",
            Metrics=["UnblendedCost"],
            GroupBy=[{"Type": "SERVICE", "Key": "SERVICE"}],
        )
    assert len(billing.asked) == 1
