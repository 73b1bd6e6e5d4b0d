"""The catalog's tables, with a replica in the backup region where that is set."""

from __future__ import annotations

from aws_cdk import CfnTag, RemovalPolicy, aws_dynamodb
from constructs import Construct

from contentplatform.catalog.tables import POINT_IN_TIME_RECOVERY_DAYS, TABLES, Index, Table
from contentplatform.config import Settings
from contentplatform_infra.names import TAGS, Names


class Catalog(Construct):
    """The tables by name. A global table with one region is a plain table, so the replica can be switched later."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, names: Names) -> None:
        super().__init__(scope, construct_id)
        regions = (names.region, names.backup_region) if settings.aws.catalog_replica else (names.region,)
        self.tables: dict[str, aws_dynamodb.CfnGlobalTable] = {
            table.name: self._table(table, regions) for table in TABLES
        }

    def _table(self, table: Table, regions: tuple[str, ...]) -> aws_dynamodb.CfnGlobalTable:
        keys = [(table.partition_key, table.sort_key), *((i.partition_key, i.sort_key) for i in table.indexes)]
        attributes = sorted({name for pair in keys for name in pair if name is not None})
        resource = aws_dynamodb.CfnGlobalTable(
            self,
            "".join(part.title() for part in table.name.split("-")),
            table_name=table.name,
            billing_mode="PAY_PER_REQUEST",
            attribute_definitions=[
                aws_dynamodb.CfnGlobalTable.AttributeDefinitionProperty(attribute_name=name, attribute_type="S")
                for name in attributes
            ],
            key_schema=_key(table.partition_key, table.sort_key),
            global_secondary_indexes=[
                aws_dynamodb.CfnGlobalTable.GlobalSecondaryIndexProperty(
                    index_name=index.name,
                    key_schema=_key(index.partition_key, index.sort_key),
                    projection=_projection(index),
                )
                for index in table.indexes
            ]
            or None,
            sse_specification=aws_dynamodb.CfnGlobalTable.SSESpecificationProperty(sse_enabled=True, sse_type="KMS"),
            # Replicas follow this stream, so a table with a replica has one, whether or not anything else reads it.
            stream_specification=aws_dynamodb.CfnGlobalTable.StreamSpecificationProperty(
                stream_view_type="NEW_AND_OLD_IMAGES"
            )
            if table.streamed or len(regions) > 1
            else None,
            replicas=[_replica(region) for region in regions],
        )
        resource.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        return resource


def _key(partition: str, sort: str | None) -> list[aws_dynamodb.CfnGlobalTable.KeySchemaProperty]:
    parts = [(partition, "HASH"), *([(sort, "RANGE")] if sort else [])]
    return [aws_dynamodb.CfnGlobalTable.KeySchemaProperty(attribute_name=name, key_type=kind) for name, kind in parts]


def _projection(index: Index) -> aws_dynamodb.CfnGlobalTable.ProjectionProperty:
    """What an index holds: each attribute more is a write more whenever it changes."""
    match index.attributes:
        case None:
            return aws_dynamodb.CfnGlobalTable.ProjectionProperty(projection_type="ALL")
        case ():
            return aws_dynamodb.CfnGlobalTable.ProjectionProperty(projection_type="KEYS_ONLY")
        case named:
            return aws_dynamodb.CfnGlobalTable.ProjectionProperty(
                projection_type="INCLUDE", non_key_attributes=list(named)
            )


def _replica(region: str) -> aws_dynamodb.CfnGlobalTable.ReplicaSpecificationProperty:
    """One region's table. Tags belong to it, not to the global table, where the CDK would put them."""
    return aws_dynamodb.CfnGlobalTable.ReplicaSpecificationProperty(
        region=region,
        deletion_protection_enabled=True,
        point_in_time_recovery_specification=aws_dynamodb.CfnGlobalTable.PointInTimeRecoverySpecificationProperty(
            point_in_time_recovery_enabled=True, recovery_period_in_days=POINT_IN_TIME_RECOVERY_DAYS
        ),
        tags=[CfnTag(key=name, value=value) for name, value in sorted(TAGS.items())],
    )
