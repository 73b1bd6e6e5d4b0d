"""Fetching what is to be processed, where the store has no files of this machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from contentplatform.errors import ErrorCode, NoSpace, ProcessingFailed
from contentplatform.storage.port import BucketRole, ByteRange, ObjectReader, ObjectVersion, PutOptions
from contentplatform.together import in_turn
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.renditions import RenditionShelf
from fakes.catalog import FakeCatalog
from fakes.clock import FakeClock, SequentialIds
from fakes.edge import MemoryEdge
from fakes.object_store import MemoryObjectStore, MemoryReader


class FillsTheDisk(MemoryReader):
    """There is no room for its first byte."""

    def chunks(self) -> Iterator[bytes]:
        raise OSError(errno.ENOSPC, "no room")


class HugeObjects(MemoryObjectStore):
    """Everything is as large as it says, and nothing fits."""

    size_bytes = 1 << 60

    def head(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> ObjectVersion:
        return replace(super().head(bucket, key, version_id=version_id), size_bytes=self.size_bytes)

    @contextmanager
    def open(
        self, bucket: BucketRole, key: str, *, version_id: str | None = None, byte_range: ByteRange | None = None
    ) -> Iterator[ObjectReader]:
        del byte_range
        yield FillsTheDisk(self.head(bucket, key, version_id=version_id), b"")


def shelf(store: MemoryObjectStore, clock: FakeClock) -> RenditionShelf:
    return RenditionShelf(store, Publication(store, FakeCatalog(), MemoryEdge(clock)), in_turn)


def test_what_never_fits_is_refused_once_and_in_words(tmp_path: Path) -> None:
    clock = FakeClock()
    store = HugeObjects(clock, SequentialIds())
    store.put(BucketRole.PRIMARY, "long.mov", BytesIO(b"a film"), PutOptions())
    with (
        pytest.raises(
            ProcessingFailed, match=r"fetching long\.mov: it has 1152921504\.6 GB, and there is room"
        ) as failed,
        shelf(store, clock).opened(BucketRole.PRIMARY, "long.mov", tmp_path),
    ):
        pass
    assert failed.value.code is ErrorCode.LIMIT


def test_what_would_fit_an_emptier_disk_is_tried_again(tmp_path: Path) -> None:
    clock = FakeClock()
    store = HugeObjects(clock, SequentialIds())
    store.size_bytes = 1
    store.put(BucketRole.PRIMARY, "short.mov", BytesIO(b"a film"), PutOptions())
    with pytest.raises(NoSpace), shelf(store, clock).opened(BucketRole.PRIMARY, "short.mov", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
