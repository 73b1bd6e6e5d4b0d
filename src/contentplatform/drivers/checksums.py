"""Checksums over a whole object that S3 can also put together from those of its parts. The only importer of awscrt.

CRC-64/NVME where Amazon's own library is installed, which is S3's choice, too; else CRC-32, which Python brings along
(a function on Lambda has no room for that library). S3 refuses an upload in parts whose bytes have another one.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass

try:
    from awscrt.checksums import crc64nvme
except ImportError:
    crc64nvme = None


@dataclass(frozen=True, slots=True)
class Checksum:
    """An algorithm by S3's name for it."""

    name: str
    size_bytes: int
    update: Callable[[bytes, int], int]
    """The checksum of what came before and these bytes, from the checksum of what came before; 0 at the beginning."""

    def text(self, value: int) -> str:
        """As S3 writes it: big-endian, base64."""
        return base64.b64encode(value.to_bytes(self.size_bytes, "big")).decode()


CRC32 = Checksum("CRC32", 4, zlib.crc32)
BEST = CRC32 if crc64nvme is None else Checksum("CRC64NVME", 8, crc64nvme)
"""The strongest that can be computed here."""
