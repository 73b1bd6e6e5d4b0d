"""Pictures of the ready questions in QuickSight: off by default, as it needs a subscription that somebody pays.

Before it is turned on, QuickSight has to be signed up for in this region, and allowed to use Athena and to read the
analytics bucket; both are done in its own console. Everybody in QuickSight's default namespace can see the dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import aws_quicksight
from constructs import Construct

from contentplatform.analytics.questions import BY_NAME, values_of_today
from contentplatform.analytics.tables import WORKGROUP
from contentplatform_infra.names import Names

DASHBOARD: Final = "content-platform"
SOURCE: Final = "content-platform-athena"
SEE: Final = ["quicksight:DescribeDashboard", "quicksight:ListDashboardVersions", "quicksight:QueryDashboard"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a question, the columns of its answer, and what is drawn over what."""

    question: str
    columns: tuple[tuple[str, str], ...]
    """Name, and QuickSight's type."""
    along: str
    values: tuple[str, ...]
    bars: bool = False
    """Bars instead of a line."""


PICTURES: Final = (
    Picture(
        "bytes_and_hit_ratio_per_day",
        (
            ("date_of_requests", "DATETIME"),
            ("requests", "INTEGER"),
            ("bytes", "INTEGER"),
            ("hit_percent", "DECIMAL"),
        ),
        along="date_of_requests",
        values=("bytes",),
    ),
    Picture(
        "most_requested_files",
        (("path", "STRING"), ("requests", "INTEGER"), ("bytes", "INTEGER")),
        along="path",
        values=("requests",),
        bars=True,
    ),
    Picture(
        "storage_by_type_tier_age",
        (
            ("kind", "STRING"),
            ("storage_class", "STRING"),
            ("age", "STRING"),
            ("files", "INTEGER"),
            ("bytes", "INTEGER"),
        ),
        along="storage_class",
        values=("bytes",),
        bars=True,
    ),
    Picture(
        "daily_cost",
        (
            ("date_of_usage", "DATETIME"),
            ("service", "STRING"),
            ("usage_type", "STRING"),
            ("cost", "DECIMAL"),
            ("currency", "STRING"),
        ),
        along="date_of_usage",
        values=("cost",),
    ),
)


class QuickSight(Construct):
    """Data source, a data set a picture, and the dashboard."""

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        source = aws_quicksight.CfnDataSource(
            self,
            "Source",
            aws_account_id=names.account_id,
            data_source_id=SOURCE,
            name="Content Platform",
            type="ATHENA",
            data_source_parameters=aws_quicksight.CfnDataSource.DataSourceParametersProperty(
                athena_parameters=aws_quicksight.CfnDataSource.AthenaParametersProperty(work_group=WORKGROUP)
            ),
        )
        sets = {picture.question: self._data_set(picture, source.attr_arn, names) for picture in PICTURES}
        dashboard = aws_quicksight.CfnDashboard(
            self,
            "Dashboard",
            aws_account_id=names.account_id,
            dashboard_id=DASHBOARD,
            name="Content Platform",
            permissions=[
                aws_quicksight.CfnDashboard.ResourcePermissionProperty(
                    principal=names.arn("quicksight", "namespace/default"), actions=SEE
                )
            ],
        )
        dashboard.add_property_override(
            "Definition",
            {
                "DataSetIdentifierDeclarations": [
                    {"Identifier": name, "DataSetArn": made.attr_arn} for name, made in sets.items()
                ],
                "Sheets": [{"SheetId": "overview", "Name": "Overview", "Visuals": [_visual(one) for one in PICTURES]}],
            },
        )

    def _data_set(self, picture: Picture, source_arn: str, names: Names) -> aws_quicksight.CfnDataSet:
        question = BY_NAME[picture.question]
        return aws_quicksight.CfnDataSet(
            self,
            picture.question,
            aws_account_id=names.account_id,
            data_set_id=f"content-platform-{picture.question.replace('_', '-')}",
            name=question.asks,
            import_mode="DIRECT_QUERY",
            physical_table_map={
                "answer": aws_quicksight.CfnDataSet.PhysicalTableProperty(
                    custom_sql=aws_quicksight.CfnDataSet.CustomSqlProperty(
                        data_source_arn=source_arn,
                        name=picture.question,
                        sql_query=question.sql(values_of_today()),
                        columns=[
                            aws_quicksight.CfnDataSet.InputColumnProperty(name=name, type=kind)
                            for name, kind in picture.columns
                        ],
                    )
                )
            },
        )


def _visual(picture: Picture) -> dict[str, Any]:
    def column(name: str) -> dict[str, str]:
        return {"DataSetIdentifier": picture.question, "ColumnName": name}

    by_date = dict(picture.columns)[picture.along] == "DATETIME"
    field = "DateDimensionField" if by_date else "CategoricalDimensionField"
    wells = {
        "Category": [{field: {"FieldId": f"{picture.question}.{picture.along}", "Column": column(picture.along)}}],
        "Values": [
            {
                "NumericalMeasureField": {
                    "FieldId": f"{picture.question}.{name}",
                    "Column": column(name),
                    "AggregationFunction": {"SimpleNumericalAggregation": "SUM"},
                }
            }
            for name in picture.values
        ],
    }
    kind, fields = (
        ("BarChartVisual", "BarChartAggregatedFieldWells")
        if picture.bars
        else (
            "LineChartVisual",
            "LineChartAggregatedFieldWells",
        )
    )
    return {
        kind: {
            "VisualId": picture.question,
            "Title": {"Visibility": "VISIBLE", "FormatText": {"PlainText": BY_NAME[picture.question].asks}},
            "ChartConfiguration": {"FieldWells": {fields: wells}},
        }
    }
