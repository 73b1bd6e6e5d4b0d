"""The catalog in the emulator's DynamoDB: tables made from the same data as the templates, and its stream at hand."""

from __future__ import annotations

from typing import Any

from contentplatform.catalog.aws import DynamoCatalog
from contentplatform.catalog.feed import SearchFeed
from contentplatform.catalog.tables import METADATA, TABLES, Index, Table
from contentplatform.drivers.boto import Aws
from fakes.clock import FakeClock, SequentialIds

BUCKET = "content-platform-primary-test"


class DynamoHome:
    """Tables, a catalog over them, and the function that follows their stream."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.client = aws.client("dynamodb")
        for table in TABLES:
            self.client.create_table(**definition(table))
        self.catalog = DynamoCatalog(aws, FakeClock(), bucket=BUCKET, ids=SequentialIds())
        self.feed = SearchFeed(aws, FakeClock())
        self._streams = aws.client("dynamodbstreams")
        self._stream = self.client.describe_table(TableName=METADATA.name)["Table"]["LatestStreamArn"]
        self._iterators: dict[str, str] = {}

    def changes(self) -> list[dict[str, Any]]:
        """What the stream tells since it was last asked, as Lambda gives it to a function."""
        found = []
        for shard in self._streams.describe_stream(StreamArn=self._stream)["StreamDescription"]["Shards"]:
            name = shard["ShardId"]
            iterator = self._iterators.get(name)
            if iterator is None:
                iterator = self._streams.get_shard_iterator(
                    StreamArn=self._stream, ShardId=name, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
            while True:
                answer = self._streams.get_records(ShardIterator=iterator)
                found += answer["Records"]
                iterator = answer.get("NextShardIterator")
                if iterator is None or not answer["Records"]:
                    break
            if iterator is not None:
                self._iterators[name] = iterator
        return found

    def settle(self) -> None:
        """Let the search table follow all changes."""
        assert self.feed.handle({"Records": self.changes()}) == {"batchItemFailures": []}


def definition(table: Table) -> dict[str, Any]:
    """``table`` as CreateTable takes it."""
    sources: tuple[Table | Index, ...] = (table, *table.indexes)
    keys = {key for each in sources for key in (each.partition_key, each.sort_key) if key}
    return {
        "TableName": table.name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in sorted(keys)],
        "KeySchema": _key_schema(table),
        **({"GlobalSecondaryIndexes": list(map(_index, table.indexes))} if table.indexes else {}),
        **(
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}}
            if table.streamed
            else {}
        ),
    }


def _key_schema(source: Table | Index) -> list[dict[str, str]]:
    schema = [{"AttributeName": source.partition_key, "KeyType": "HASH"}]
    return schema + ([{"AttributeName": source.sort_key, "KeyType": "RANGE"}] if source.sort_key else [])


def _index(index: Index) -> dict[str, Any]:
    projection: dict[str, Any] = {"ProjectionType": "ALL"}
    if index.attributes is not None:
        projection = {"ProjectionType": "KEYS_ONLY"}
        if index.attributes:
            projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(index.attributes)}
    return {"IndexName": index.name, "KeySchema": _key_schema(index), "Projection": projection}
