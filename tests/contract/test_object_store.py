"""Every home of the store keeps the same contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import Database
from contentplatform.storage.local import SCHEMA, LocalObjectStore
from contentplatform.storage.port import ObjectStore
from contract.object_store_contract import CHECKS, Check
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore


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
