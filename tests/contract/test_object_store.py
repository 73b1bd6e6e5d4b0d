"""Every home of the store keeps the same contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contentplatform.drivers.sqlite import Database
from contentplatform.storage.local import SCHEMA, LocalObjectStore
from contentplatform.storage.port import ObjectStore
from contract.object_store_contract import CHECKS, Check
from contract.unproven import UNPROVEN
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

if TYPE_CHECKING:
    from contentplatform.drivers.boto import Aws


@pytest.fixture(params=["fake", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    clock, ids = FakeClock(), SequentialIds()
    if request.param == "fake":
        yield MemoryObjectStore(clock, ids)
        return
    database = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="a")
    yield LocalObjectStore(database, tmp_path, clock, ids)
    database.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Check, store: ObjectStore) -> None:
    """The store keeps this promise of its port."""
    check(store)


@pytest.mark.parametrize(
    "check", [check for check in CHECKS if check.__name__ not in UNPROVEN], ids=lambda check: check.__name__
)
def test_contract_on_aws(check: Check, aws: Aws) -> None:
    """So does the one on S3, and every single call that it makes names the account that must own the bucket."""
    from aws.buckets import make_buckets, open_store  # noqa: PLC0415 - the other homes need no cloud library
    from aws.recording import Recorded  # noqa: PLC0415 - same

    names = make_buckets(aws)
    with Recorded(aws) as calls:
        check(open_store(aws, names, part_size_bytes=1 << 20))
    calls.check_owner_named(aws.account_id)
