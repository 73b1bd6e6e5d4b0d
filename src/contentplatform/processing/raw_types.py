"""Which camera's raw file a head of bytes begins: most of them are TIFFs, and only their first directory tells.

A camera's name alone makes no raw file: programs keep it in the TIFFs that they export. A raw file's first directory
describes a small picture and points to the large one, or holds what the sensor saw.
"""

from __future__ import annotations

import struct
from typing import Final

_DNG_VERSION, _MAKE, _SUBFILE_TYPE, _PHOTOMETRIC, _SUB_DIRECTORIES = 0xC612, 0x010F, 0x00FE, 0x0106, 0x014A
_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_ASCII, _SHORT = 2, 3
_SENSOR: Final = 32_803
_REDUCED: Final = 1
_MOST_ENTRIES: Final = 256
_MAKE_BYTES: Final = 32
_ENTRY_BYTES: Final = 12

DNG: Final = "image/x-adobe-dng"
_MAKERS: Final = {
    b"NIKON": "image/x-nikon-nef",
    b"SONY": "image/x-sony-arw",
    b"PENTAX": "image/x-pentax-pef",
    b"RICOH": "image/x-pentax-pef",
    b"SAMSUNG": "image/x-samsung-srw",
}
_MAGICS: Final = (
    (b"II*\0\x10\0\0\0CR\x02", "image/x-canon-cr2"),
    (b"IIRO", "image/x-olympus-orf"),
    (b"IIRS", "image/x-olympus-orf"),
    (b"MMOR", "image/x-olympus-orf"),
    (b"IIU\0", "image/x-panasonic-rw2"),
    (b"FUJIFILMCCD-RAW ", "image/x-fuji-raf"),
)
RAW_EXTENSIONS: Final = {
    "cr2": "image/x-canon-cr2",
    "cr3": "image/x-canon-cr3",
    "dng": DNG,
    **dict.fromkeys(("nef", "nrw"), "image/x-nikon-nef"),
    **dict.fromkeys(("arw", "sr2"), "image/x-sony-arw"),
    "raf": "image/x-fuji-raf",
    "orf": "image/x-olympus-orf",
    "rw2": "image/x-panasonic-rw2",
    "pef": "image/x-pentax-pef",
    "srw": "image/x-samsung-srw",
}
"""What an extension claims."""
RAW_TYPES: Final = frozenset(RAW_EXTENSIONS.values())


def raw_type(head: bytes) -> str | None:
    """The type of the camera raw file that begins with ``head``; None where it is none, or another kind of TIFF."""
    for magic, content_type in _MAGICS:
        if head.startswith(magic):
            return content_type
    order = _ORDERS.get(head[:4])
    return None if order is None else _by_directory(head, order)


def _by_directory(head: bytes, order: str) -> str | None:
    found = _first_directory(head, order)
    if _DNG_VERSION in found:
        return DNG
    is_small_picture = found.get(_SUBFILE_TYPE) == _REDUCED and _SUB_DIRECTORIES in found
    if not is_small_picture and found.get(_PHOTOMETRIC) != _SENSOR:
        return None
    place = found.get(_MAKE, len(head))
    make = head[place : place + _MAKE_BYTES].upper()
    return next((content_type for name, content_type in _MAKERS.items() if make.startswith(name)), None)


def _first_directory(head: bytes, order: str) -> dict[int, int]:
    """Of each entry its first number, or where its value is."""
    found: dict[int, int] = {}
    try:
        (start,) = struct.unpack_from(f"{order}I", head, 4)
        (count,) = struct.unpack_from(f"{order}H", head, start)
        for index in range(min(count, _MOST_ENTRIES)):
            at = start + 2 + index * _ENTRY_BYTES
            tag, kind, _ = struct.unpack_from(f"{order}HHI", head, at)
            (found[tag],) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", head, at + 8)
    except struct.error:
        pass  # the directory runs past the head: what came before counts
    return found
