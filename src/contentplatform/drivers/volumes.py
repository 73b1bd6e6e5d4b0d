"""What can be told about the disk below a folder."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Final

_ENCRYPTED_UUIDS: Final = ("CRYPT-",)
"""How device mapper names a dm-crypt or LUKS volume (``/sys/block/dm-*/dm/uuid``)."""


class Encryption(StrEnum):
    """Whether a volume is encrypted below the file system."""

    ENCRYPTED = "encrypted"
    PLAIN = "plain"
    UNKNOWN = "unknown"


def encryption_of(folder: Path, sysfs: Path = Path("/sys")) -> Encryption:
    """Whether the block device that holds ``folder``, or any device below it, is encrypted.

    Unknown where there is no such device (network, overlay, tmpfs) or no Linux to ask. A disk that encrypts by itself,
    or a cloud's volume, looks plain from here.
    """
    device = folder.stat().st_dev
    node = sysfs / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    if not node.is_dir():
        return Encryption.UNKNOWN
    return Encryption.ENCRYPTED if _any_encrypted(node) else Encryption.PLAIN


def _any_encrypted(node: Path) -> bool:
    try:
        if (node / "dm" / "uuid").read_text("ascii").startswith(_ENCRYPTED_UUIDS):
            return True
    except OSError:
        pass  # no device mapper volume
    below = node / "slaves"
    return below.is_dir() and any(_any_encrypted(child) for child in below.iterdir())
