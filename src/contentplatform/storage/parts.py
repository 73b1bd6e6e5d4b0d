"""Bytes that go to a far store past the platform: in parts, each sent to an address that is good for a while.

Who is given an address can send exactly the part that it is for, and read nothing by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from contentplatform.errors import InvalidRequest
from contentplatform.storage.port import PutOptions

PARTS_LIMIT: Final = 10_000
SMALLEST_PART_BYTES: Final = 16 << 20
LARGEST_PART_BYTES: Final = 5 << 30
OWNER_HEADER: Final = "x-amz-expected-bucket-owner"
"""Goes with every part to S3: whose bucket it must be."""
_STEP_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How a body is cut: parts of one size, numbered from 1, and a last one of what is left."""

    size_bytes: int
    part_size_bytes: int

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.size_bytes // self.part_size_bytes)

    def first_byte(self, number: int) -> int:
        """Where a part begins."""
        return (number - 1) * self.part_size_bytes

    def size_of(self, number: int) -> int:
        """How many bytes a part has."""
        return min(self.part_size_bytes, self.size_bytes - self.first_byte(number))

    def missing(self, there: Mapping[int, int]) -> list[int]:
        """The parts that are not there, or not with as many bytes as they have."""
        return [number for number in range(1, self.count + 1) if there.get(number) != self.size_of(number)]


def plan_parts(size_bytes: int, *, at_least_bytes: int = SMALLEST_PART_BYTES) -> PartPlan:
    """The plan for a body: parts as small as 10 000 of them allow, in whole MiB.

    Raises:
        InvalidRequest: no bytes, or more than fit so many parts.
    """
    doing = "cutting an upload into parts"
    if size_bytes < 1:
        raise InvalidRequest(doing, "it has no bytes", hint="Send an empty file in one request")
    needed = -(-size_bytes // PARTS_LIMIT)
    part_size_bytes = at_least_bytes if needed <= at_least_bytes else -(-needed // _STEP_BYTES) * _STEP_BYTES
    if part_size_bytes > LARGEST_PART_BYTES:
        raise InvalidRequest(doing, f"{size_bytes} bytes are more than the store takes")
    return PartPlan(size_bytes, part_size_bytes)


@dataclass(frozen=True, slots=True)
class PartAddress:
    """Where one part is sent, by ``PUT``."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the request has to say besides; part of what was signed."""


class TakesParts(Protocol):
    """The power of a store to take an object in parts that do not come through this process.

    A transfer is its own name of such an object on its way; it ends by ``finish`` or ``abort``, or by the store's rule
    for what nobody finishes.
    """

    def begin(self, key: str, options: PutOptions) -> str:
        """Begin a transfer to an original; its name."""
        ...

    def address(self, key: str, transfer: str, number: int, size_bytes: int, seconds: int) -> PartAddress:
        """Where a part of exactly so many bytes is sent, for so long. Asks nobody."""
        ...

    def there(self, key: str, transfer: str) -> Mapping[int, int]:
        """The bytes of each part that came whole. Raises NotFound: the transfer is over, or never was."""
        ...

    def finish(self, key: str, transfer: str, plan: PartPlan, *, create_only: bool) -> str:
        """Make the version of the parts, all of which are there; its id.

        Raises:
            NotFound: the transfer is over. Conflict: there is such an object, and must not be.
            InvalidRequest: what came is not as large as planned.
        """
        ...

    def abort(self, key: str, transfer: str) -> None:
        """Give a transfer up, and free its parts. Raises NotFound: it is over."""
        ...

    def origin(self) -> str:
        """Scheme, host and port to which parts are sent."""
        ...
