"""A far store that takes parts, in memory: an address is a line that ``send`` understands."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.storage.parts import PartAddress, PartPlan
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions

ORIGIN = "https://bucket.test"


class MemoryParts:
    """See ``TakesParts``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.options: dict[str, PutOptions] = {}
        self.bytes: dict[str, dict[int, bytes]] = {}

    def begin(self, _key: str, options: PutOptions) -> str:
        transfer = f"transfer-{len(self.options) + 1}"
        self.options[transfer] = options
        self.bytes[transfer] = {}
        return transfer

    def address(self, key: str, transfer: str, number: int, size_bytes: int, seconds: int) -> PartAddress:
        url = f"{ORIGIN}/{key}?transfer={transfer}&number={number}&bytes={size_bytes}&seconds={seconds}"
        return PartAddress(url, {"x-signed": "yes"})

    def there(self, _key: str, transfer: str) -> Mapping[int, int]:
        return {number: len(data) for number, data in self._open(transfer).items()}

    def finish(self, key: str, transfer: str, plan: PartPlan, *, create_only: bool) -> str:
        data = b"".join(data for _, data in sorted(self._open(transfer).items()))
        if len(data) != plan.size_bytes:
            raise InvalidRequest("finishing", "another size")
        given = self.options[transfer]
        options = PutOptions(given.content_type, given.user_metadata, create_only=create_only)
        version = self._store.put(BucketRole.PRIMARY, key, BytesIO(data), options)
        del self.bytes[transfer]
        return version.version_id

    def abort(self, _key: str, transfer: str) -> None:
        self._open(transfer)
        del self.bytes[transfer]

    def origin(self) -> str:
        return ORIGIN

    def _open(self, transfer: str) -> dict[int, bytes]:
        if transfer not in self.bytes:
            raise NotFound("looking for a transfer", "it is over")
        return self.bytes[transfer]
