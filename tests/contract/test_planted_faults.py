"""The contract has teeth: adapters with the faults that such adapters really have are caught by it."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

import pytest

from contentplatform.storage.port import LIST_PAGE_SIZE, BucketRole, Listing, ObjectVersion, PutOptions
from contract.object_store_contract import CHECKS
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore


class RollsUpEachPageAlone(MemoryObjectStore):
    """Pages through the keys first and rolls up prefixes afterwards, so one prefix can be on two pages."""

    def list(
        self,
        bucket: BucketRole,
        *,
        prefix: str = "",
        delimiter: str = "",
        continuation: str | None = None,
        limit: int = LIST_PAGE_SIZE,
    ) -> Listing:
        plain = super().list(bucket, prefix=prefix, continuation=continuation, limit=limit)
        if not delimiter:
            return plain
        below = [version for version in plain.objects if delimiter in version.key[len(prefix) :]]
        rolled = dict.fromkeys(prefix + version.key[len(prefix) :].split(delimiter)[0] + delimiter for version in below)
        direct = tuple(version for version in plain.objects if version not in below)
        return Listing(direct, tuple(rolled), plain.continuation)


class OrdersByUtf16(MemoryObjectStore):
    """Sorts keys as Java and JavaScript compare strings."""

    def list(
        self,
        bucket: BucketRole,
        *,
        prefix: str = "",
        delimiter: str = "",
        continuation: str | None = None,
        limit: int = LIST_PAGE_SIZE,
    ) -> Listing:
        page = super().list(bucket, prefix=prefix, delimiter=delimiter, continuation=continuation, limit=limit)
        return replace(page, objects=tuple(sorted(page.objects, key=lambda version: version.key.encode("utf-16-be"))))


class IgnoresConditions(MemoryObjectStore):
    """Takes ``create_only`` for a hint."""

    def put(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> ObjectVersion:
        return super().put(bucket, key, body, replace(options, create_only=False))


class TrustsTheSender(MemoryObjectStore):
    """Never compares the promised hash with the bytes."""

    def put(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> ObjectVersion:
        return super().put(bucket, key, body, replace(options, expected_sha256=None))


class ForgetsThePrevious(MemoryObjectStore):
    """Deleting the newest version hides the object instead of showing the version before."""

    def delete_version(self, bucket: BucketRole, key: str, version_id: str) -> None:
        versions = self._versions(bucket, key)
        newest = bool(versions) and versions[-1].version.version_id == version_id
        super().delete_version(bucket, key, version_id)
        if newest:
            self.delete(bucket, key)


class OverwritesInPlace(MemoryObjectStore):
    """Keeps one version a key."""

    def put(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> ObjectVersion:
        version = super().put(bucket, key, body, options)
        self._kept[bucket, key] = self._kept[bucket, key][-1:]
        return version


FAULTS = {
    RollsUpEachPageAlone: "pages_with_a_delimiter_join_without_gap_or_repeat",
    OrdersByUtf16: "listing_is_in_utf8_order",
    IgnoresConditions: "create_only_refuses_an_existing_key",
    TrustsTheSender: "expected_hash_is_checked",
    ForgetsThePrevious: "deleting_the_newest_version_restores_the_one_before",
    OverwritesInPlace: "every_put_is_a_version",
}


def failing_checks(adapter: type[MemoryObjectStore]) -> set[str]:
    """The names of the checks that the adapter does not pass."""
    failed = set()
    for check in CHECKS:
        try:
            check(adapter(FakeClock(), SequentialIds()))
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - any way of failing a check counts
            failed.add(check.__name__)
    return failed


@pytest.mark.parametrize(("adapter", "check"), FAULTS.items(), ids=lambda item: getattr(item, "__name__", item))
def test_fault_is_caught(adapter: type[MemoryObjectStore], check: str) -> None:
    """Among the checks that fail is the one that is about this fault."""
    assert check in failing_checks(adapter)


def test_sound_adapter_fails_nothing() -> None:
    """What the faulty ones are made from passes, so each is caught for its fault alone."""
    assert failing_checks(MemoryObjectStore) == set()
