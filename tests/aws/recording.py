"""What a piece of work asks of AWS: every call with its arguments, as botocore is about to send it."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

from contentplatform.drivers.boto import Aws
from contentplatform.storage.lifecycle import REGION_OF

_COPIES: Final = frozenset({"CopyObject", "UploadPartCopy"})


class Recorded:
    """Records the calls of one service while its context is open."""

    def __init__(self, aws: Aws, service: str = "s3") -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Name of the operation and its arguments, in order."""
        self._service = service
        self._clients = {aws.client(service, region) for region in {*REGION_OF.values(), aws.region}}

    def __enter__(self) -> Self:
        for client in self._clients:
            client.meta.events.register(self._event, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.meta.events.unregister(self._event, self._note)

    @property
    def counts(self) -> Counter[str]:
        """How often each operation was called."""
        return Counter(name for name, _ in self.calls)

    def check_owner_named(self, account_id: str) -> None:
        """Fail unless each call names the account that must own its bucket, and that of a copy's source."""
        for name, arguments in self.calls:
            assert arguments.get("ExpectedBucketOwner") == account_id, name
            if name in _COPIES:
                assert arguments.get("ExpectedSourceBucketOwner") == account_id, name

    @property
    def _event(self) -> str:
        return f"provide-client-params.{self._service}"

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.calls.append((model.name, dict(params)))
