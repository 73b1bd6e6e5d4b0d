"""What watches the cost: the monthly budget, Storage Lens, and the daily export of costs that questions are put to."""

from __future__ import annotations

from typing import Final

from aws_cdk import Annotations, CfnTag, Stack, aws_bcmdataexports, aws_budgets, aws_iam, aws_s3
from constructs import Construct

from contentplatform.analytics.tables import COST_AND_USAGE, COST_EXPORT
from contentplatform.config import Settings
from contentplatform.storage.lifecycle import BUCKETS
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names

BUDGET: Final = "ContentPlatformMonthlyBudget"
ALERT_PERCENT: Final = 80
LENS: Final = "content-platform-lens"
EXPORT_REGION: Final = "us-east-1"
"""Where AWS keeps its data exports, whatever the region of the bucket that they go to."""
_EXPORT_TABLE: Final = "COST_AND_USAGE_REPORT"


class Budget(Construct):
    """What a month may cost. It counts the whole account: by tag it would see nothing before tags are activated."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, topic_arn: str) -> None:
        super().__init__(scope, construct_id)
        aws_budgets.CfnBudget(
            self,
            "Budget",
            budget=aws_budgets.CfnBudget.BudgetDataProperty(
                budget_name=BUDGET,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=aws_budgets.CfnBudget.SpendProperty(amount=settings.aws.monthly_budget_usd, unit="USD"),
            ),
            notifications_with_subscribers=[
                aws_budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=aws_budgets.CfnBudget.NotificationProperty(
                        notification_type="ACTUAL",
                        comparison_operator="GREATER_THAN",
                        threshold=ALERT_PERCENT,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[aws_budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic_arn)],
                )
            ],
        )


class StorageLens(Construct):
    """Activity and advanced cost metrics of the platform's buckets alone: 0.20 USD a month and million objects."""

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        lens = aws_s3.CfnStorageLens
        activity = lens.ActivityMetricsProperty(is_enabled=True)
        advanced = lens.AdvancedCostOptimizationMetricsProperty(is_enabled=True)
        made = lens(
            self,
            "Lens",
            storage_lens_configuration=lens.StorageLensConfigurationProperty(
                id=LENS,
                is_enabled=True,
                account_level=lens.AccountLevelProperty(
                    activity_metrics=activity,
                    advanced_cost_optimization_metrics=advanced,
                    bucket_level=lens.BucketLevelProperty(
                        activity_metrics=activity, advanced_cost_optimization_metrics=advanced
                    ),
                ),
                include=lens.BucketsAndRegionsProperty(buckets=[names.bucket_arn(bucket.role) for bucket in BUCKETS]),
            ),
        )
        # The one kind of resource here that the app's tags don't reach by themselves.
        made.tags_raw = [CfnTag(key=key, value=value) for key, value in Stack.of(self).tags.tag_values().items()]


class CostExport(Construct):
    """Costs by day, service, usage type and tag, as Parquet, into the analytics bucket. Free but for its bytes."""

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        if Stack.of(self).region != EXPORT_REGION:
            Annotations.of(self).add_info(f"The export of costs is left out: AWS makes them in {EXPORT_REGION} only")
            return
        exports = aws_bcmdataexports.CfnExport
        columns = ", ".join(column.name for column in COST_AND_USAGE.columns)
        exports(
            self,
            "Export",
            export=exports.ExportProperty(
                name=COST_EXPORT,
                description="Content Platform: costs by day, service, usage type and tag",
                data_query=exports.DataQueryProperty(
                    query_statement=f"SELECT {columns} FROM {_EXPORT_TABLE}",  # noqa: S608 - our own columns
                    table_configurations={
                        _EXPORT_TABLE: {
                            "TIME_GRANULARITY": "DAILY",
                            "INCLUDE_RESOURCES": "FALSE",
                            "INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY": "FALSE",
                            "INCLUDE_SPLIT_COST_ALLOCATION_DATA": "FALSE",
                        }
                    },
                ),
                destination_configurations=exports.DestinationConfigurationsProperty(
                    s3_destination=exports.S3DestinationProperty(
                        s3_bucket=names.bucket(BucketRole.ANALYTICS),
                        s3_prefix=COST_AND_USAGE.folder.rstrip("/"),
                        s3_region=names.region_of(BucketRole.ANALYTICS),
                        s3_output_configurations=exports.S3OutputConfigurationsProperty(
                            format="PARQUET", compression="PARQUET", output_type="CUSTOM", overwrite="OVERWRITE_REPORT"
                        ),
                    )
                ),
                refresh_cadence=exports.RefreshCadenceProperty(frequency="SYNCHRONOUS"),
            ),
        )


def export_grants(names: Names) -> tuple[aws_iam.PolicyStatement, ...]:
    """What the analytics bucket's policy has to grant before an export can be made: AWS tries it at once."""
    services = [
        aws_iam.ServicePrincipal("bcm-data-exports.amazonaws.com"),
        aws_iam.ServicePrincipal("billingreports.amazonaws.com"),
    ]
    conditions = {
        "StringEquals": {"aws:SourceAccount": names.account_id},
        "ArnLike": {
            "aws:SourceArn": [
                names.arn("bcm-data-exports", "export/*", region=EXPORT_REGION),
                names.arn("cur", "definition/*", region=EXPORT_REGION),
            ]
        },
    }
    return (
        aws_iam.PolicyStatement(
            sid="CostExportWrites",
            principals=services,
            actions=["s3:PutObject"],
            resources=[names.objects_arn(BucketRole.ANALYTICS, COST_AND_USAGE.folder)],
            conditions=conditions,
        ),
        aws_iam.PolicyStatement(
            sid="CostExportLooksAtTheBucket",
            principals=services,
            actions=["s3:GetBucketPolicy"],
            resources=[names.bucket_arn(BucketRole.ANALYTICS)],
            conditions=conditions,
        ),
    )
