"""The catalog's way of talking to DynamoDB: requests cut to what it takes, parts that it left over asked for again.

Retries of whole requests are boto's, a few with growing pauses; what is left over of a batch is retried here. Both end,
and then the caller hears ``Unavailable``. There is no scan here, and none anywhere in the catalog.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from contentplatform.catalog.items import Item
from contentplatform.catalog.tables import Index, Table
from contentplatform.clock import Clock
from contentplatform.drivers.boto import Aws, cancellation_codes, translated
from contentplatform.errors import Unavailable

READ_BATCH: Final = 100
TRANSACTION_LIMIT: Final = 100
_WRITE_BATCH: Final = 25
_ATTEMPTS: Final = 8
_FIRST_PAUSE_SECONDS: Final = 0.05
_NAME: Final = re.compile(r"#\w+")
FAILED_CONDITION: Final = "ConditionalCheckFailed"
"""The code of a part of a transaction whose condition did not hold."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition or filter with the names (``#name``) and values (``:name``) that it speaks of."""

    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Attribute values by the name after the colon."""

    def parameters(self, kind: str) -> dict[str, Any]:
        """The request's parameters: the expression as ``kind``, and what it needs; none for an empty one."""
        return {kind: self.text, **self.needs()} if self.text else {}

    def needs(self) -> dict[str, Any]:
        """The names and values that the expression speaks of."""
        names = {word: word[1:] for word in _NAME.findall(self.text)}
        values = {f":{name}": value for name, value in self.values.items()}
        return {
            **({"ExpressionAttributeNames": names} if names else {}),
            **({"ExpressionAttributeValues": values} if values else {}),
        }


@dataclass(frozen=True, slots=True)
class Refused:
    """A conditional write lost; what is stored instead, None if nothing is."""

    item: Item | None


@dataclass(frozen=True, slots=True)
class Rows:
    """What one query gave."""

    items: tuple[Item, ...]
    last_key: Item | None
    """Where the reading stopped; None: there is nothing behind."""


class Tables:
    """The tables of the catalog. Safe from any thread."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self._aws = aws
        self._clock = clock

    @property
    def _client(self) -> Any:
        return self._aws.client("dynamodb")

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, table: Table, key: Item, doing: str) -> Item | None:
        """The item under ``key`` as it is now; None if there is none."""
        with translated(doing):
            answer = self._client.get_item(TableName=table.name, Key=key, ConsistentRead=True)
        found: Item | None = answer.get("Item")
        return found

    def get_many(self, table: Table, keys: Sequence[Item], doing: str) -> list[Item]:
        """The items under ``keys`` as they are now; those that exist, each once, in any order."""
        found: list[Item] = []
        # An index that is read while it changes can name an item twice, and DynamoDB refuses a batch that does.
        distinct = list({json.dumps(key, sort_keys=True): key for key in keys}.values())
        for start in range(0, len(distinct), READ_BATCH):
            waiting = distinct[start : start + READ_BATCH]
            for attempt in range(_ATTEMPTS):
                request = {table.name: {"Keys": waiting, "ConsistentRead": True}}
                with translated(doing):
                    answer = self._client.batch_get_item(RequestItems=request)
                found += answer["Responses"].get(table.name, ())
                left = answer.get("UnprocessedKeys", {}).get(table.name, {}).get("Keys", [])
                if not left:
                    break
                # An answer holds 16 MB: large items leave keys over without anybody being busy.
                if len(left) == len(waiting):
                    self._pause(attempt)
                waiting = left
            else:
                raise _busy(doing)
        return found

    def query(
        self,
        table: Table,
        index: Index | None,
        key: Expression,
        doing: str,
        *,
        only: Expression | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        after: Item | None = None,
    ) -> Rows:
        """One page of a listing; ``only`` filters it, and can leave it empty although more is behind.

        Of a table, it is as of now; of an index, a moment late.
        """
        parameters = key.parameters("KeyConditionExpression")
        for name, value in (only or Expression()).parameters("FilterExpression").items():
            parameters[name] = {**parameters.get(name, {}), **value} if isinstance(value, dict) else value
        if limit is not None:
            parameters["Limit"] = limit
        if after is not None:
            parameters["ExclusiveStartKey"] = after
        place = {"ConsistentRead": True} if index is None else {"IndexName": index.name}
        with translated(doing):
            answer = self._client.query(TableName=table.name, ScanIndexForward=not newest_first, **place, **parameters)
        return Rows(tuple(answer["Items"]), answer.get("LastEvaluatedKey"))

    def query_all(self, table: Table, index: Index | None, key: Expression, doing: str) -> Iterator[Item]:
        """Every item of a listing, page by page."""
        rows = self.query(table, index, key, doing)
        yield from rows.items
        while rows.last_key is not None:
            rows = self.query(table, index, key, doing, after=rows.last_key)
            yield from rows.items

    # -- writing ---------------------------------------------------------------------------------------------

    def put(
        self, table: Table, item: Item, condition: Expression, doing: str, *, tell_replaced: bool = False
    ) -> Item | Refused | None:
        """Store ``item`` if ``condition`` holds for what is there; returns what was there, if that is to be told."""
        client = self._client
        with translated(doing):
            try:
                answer = client.put_item(
                    TableName=table.name,
                    Item=item,
                    ReturnValues="ALL_OLD" if tell_replaced else "NONE",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **condition.parameters("ConditionExpression"),
                )
            except client.exceptions.ConditionalCheckFailedException as error:
                return Refused(error.response.get("Item"))
        replaced: Item | None = answer.get("Attributes")
        return replaced

    def update(self, table: Table, key: Item, change: str, condition: Expression, doing: str) -> bool:
        """Change attributes by an update expression if ``condition`` holds; returns whether it did."""
        client = self._client
        with translated(doing):
            try:
                client.update_item(
                    TableName=table.name,
                    Key=key,
                    UpdateExpression=change,
                    ConditionExpression=condition.text,
                    **Expression(f"{change} {condition.text}", condition.values).needs(),
                )
            except client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def delete(self, table: Table, key: Item, condition: Expression, doing: str) -> bool:
        """Delete an item if ``condition`` holds; returns whether it did."""
        client = self._client
        with translated(doing):
            try:
                client.delete_item(TableName=table.name, Key=key, **condition.parameters("ConditionExpression"))
            except client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def transact(self, actions: Sequence[Mapping[str, Any]], doing: str) -> tuple[str, ...]:
        """All or none of ``actions``; returns nothing if they are done, else a code for each, if a condition failed.

        boto repeats a request with the same token, so an answer that got lost can't make it run twice.
        """
        client = self._client
        with translated(doing):
            try:
                client.transact_write_items(TransactItems=list(actions))
            except client.exceptions.TransactionCanceledException as error:
                codes = cancellation_codes(error)
                if FAILED_CONDITION not in codes:
                    raise
                return codes
        return ()

    def write_many(self, table: Table, puts: Sequence[Item], deleted_keys: Sequence[Item], doing: str) -> None:
        """Put and delete items, none of them twice, without conditions, in any order."""
        requests: list[Any] = [{"PutRequest": {"Item": item}} for item in puts]
        requests += [{"DeleteRequest": {"Key": key}} for key in deleted_keys]
        for start in range(0, len(requests), _WRITE_BATCH):
            waiting = requests[start : start + _WRITE_BATCH]
            for attempt in range(_ATTEMPTS):
                with translated(doing):
                    answer = self._client.batch_write_item(RequestItems={table.name: waiting})
                waiting = answer.get("UnprocessedItems", {}).get(table.name, [])
                if not waiting:
                    break
                self._pause(attempt)
            else:
                raise _busy(doing)

    def _pause(self, attempt: int) -> None:
        self._clock.wait(threading.Event(), _FIRST_PAUSE_SECONDS * 2**attempt)


def action(kind: str, table: Table, subject: Item, condition: Expression, change: str = "") -> dict[str, Any]:
    """One part of a transaction: ``Put`` of an item, ``Delete`` or ``Update`` of what is under a key."""
    return {
        kind: {
            "TableName": table.name,
            "Item" if kind == "Put" else "Key": subject,
            **({"ConditionExpression": condition.text} if condition.text else {}),
            **({"UpdateExpression": change} if change else {}),
            **Expression(f"{change} {condition.text}", condition.values).needs(),
        }
    }


def _busy(doing: str) -> Unavailable:
    return Unavailable(doing, "DynamoDB is busy", hint="Try again")
