"""Tells which releases of the parsers are really loaded: asked of the libraries themselves, not of package metadata.

Runs in a sandboxed child as the parsers do, and reads no file. A home may lack a family of parsers; what is not there
is not told.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

FFMPEG_LIBRARY: Final = "FFmpeg in PyAV"
LIBVIPS: Final = "libvips"
LIBHEIF: Final = "libheif"
LIBDE265: Final = "libde265"
LIBRAW: Final = "LibRaw"
PDFIUM: Final = "PDFium"
SQLITE: Final = "SQLite"


def _of_libvips(module: Any) -> str:
    return ".".join(str(module.version(part)) for part in range(3))


def _of_libde265(module: Any) -> str:
    """The last word of "libde265 HEVC decoder, version 1.1.0"."""
    return str(module.libheif_info()["decoders"]["libde265"]).rpartition(" ")[2]


def _of_libraw(module: Any) -> str:
    return ".".join(str(part) for part in module.libraw_version)


_TELLERS: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    (FFMPEG_LIBRARY, "av", lambda module: str(module.ffmpeg_version_info)),
    (LIBVIPS, "pyvips", _of_libvips),
    (LIBHEIF, "pi_heif", lambda module: str(module.libheif_version())),
    (LIBDE265, "pi_heif", _of_libde265),
    (LIBRAW, "rawpy", _of_libraw),
    (PDFIUM, "pypdfium2", lambda module: str(module.PDFIUM_INFO.build)),
    (SQLITE, "contentplatform.drivers.sqlite", lambda module: str(module.release())),
)

_loaded: Final[dict[str, Any]] = {}
for _teller in _TELLERS:
    with suppress(ImportError):
        _loaded[_teller[1]] = importlib.import_module(_teller[1])


def tell(_request: Mapping[str, Any], _source: int) -> Mapping[str, Any]:
    """The version of each library that is here."""
    return {shown: version_of(_loaded[module]) for shown, module, version_of in _TELLERS if module in _loaded}
