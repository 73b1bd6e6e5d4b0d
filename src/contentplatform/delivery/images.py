"""Pictures on the fly, as rules: ``/images/<options>/<key of the original>``.

Options are pairs with commas between, as Cloudinary and imgproxy write them:

======  =========================================  ==========================================================
``t_``  a preset's name                            that preset; beside it only ``dpr_``
``w_``  1 to 4096                                  width of the box
``h_``  1 to 4096                                  height of the box
``c_``  ``fit`` (usual), ``fill``                  fit into the box, or fill it and cut off what stands over
``g_``  ``smart`` (usual), ``center``              what stays when something is cut off
``f_``  ``auto`` (usual), avif, webp, jpeg, png    auto: the best that the viewer's ``Accept`` names
``q_``  10 to 95                                   quality in JPEG's scale; usual is 80
``dpr_``  1 (usual), 2, 3                          pixels of the screen to a pixel of the box
======  =========================================  ==========================================================

There is one way to write each of them: in this order, without what is usual. Presets of public files need no
signature; everything else does, so that nobody else decides how much is computed here. Nothing is ever enlarged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from contentplatform.delivery.rules import VERSION_LENGTH, VERSION_PARAMETER, encoded, key_of
from contentplatform.errors import InvalidRequest
from contentplatform.media import check_key
from contentplatform.processing.port import Transformation
from contentplatform.processing.transformations import TRANSFORMATION_FORMATS

IMAGES_FOLDER: Final = "images"
AUTO: Final = "auto"
MOST_SIDE: Final = 4_096
MOST_SIDE_ON_SCREEN: Final = 8_192
"""Of the box, times ``dpr``."""
MOST_DPR: Final = 3
QUALITIES: Final = range(10, 96)
_USUAL_QUALITY: Final = 80
_OPTIONS_LIMIT: Final = 100
_DOING: Final = "reading the options of a picture"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}")
_PATH: Final = re.compile(r"/images/([^/]*)/(.+)", re.DOTALL)
_WEIGHT: Final = re.compile(r"q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
PREFERRED: Final = (("image/avif", "avif"), ("image/webp", "webp"))
"""The best first. They have to be named: ``*/*`` is what programs say that know neither."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A picture that pages may ask for by its name."""

    width: int
    height: int
    fills: bool
    what_for: str


PRESETS: Final[Mapping[str, Preset]] = {
    "square-96": Preset(96, 96, fills=True, what_for="faces and icons in lists"),
    "square-256": Preset(256, 256, fills=True, what_for="grids"),
    "card-512": Preset(512, 512, fills=False, what_for="cards"),
    "page-1024": Preset(1_024, 1_024, fills=False, what_for="pictures in a text"),
    "hero-1600": Preset(1_600, 1_600, fills=False, what_for="pictures across a page"),
    "social-1200x630": Preset(1_200, 630, fills=True, what_for="previews of links (Open Graph)"),
}


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What is asked for; ``text`` is the one way to write it."""

    preset: str = ""
    width: int = 0
    height: int = 0
    fills: bool = False
    smart: bool = True
    format: str = AUTO
    quality: int = _USUAL_QUALITY
    dpr: int = 1

    @property
    def text(self) -> str:
        """The options as they stand in a path."""
        parts = (
            (f"t_{self.preset}", bool(self.preset)),
            (f"w_{self.width}", self.width and not self.preset),
            (f"h_{self.height}", self.height and not self.preset),
            ("c_fill", self.fills and not self.preset),
            ("g_center", self.fills and not self.smart),
            (f"f_{self.format}", self.format != AUTO),
            (f"q_{self.quality}", self.quality != _USUAL_QUALITY),
            (f"dpr_{self.dpr}", self.dpr != 1),
        )
        return ",".join(part for part, is_said in parts if is_said)

    @property
    def is_free(self) -> bool:
        """Whether it is no preset, and so needs a signature for public files, too."""
        return not self.preset

    @property
    def depends_on_accept(self) -> bool:
        """Whether viewers may get different formats."""
        return self.format == AUTO

    def order(self, accept: str, *, transparent: bool) -> Transformation:
        """What is to be made for a viewer who sends this ``Accept``."""
        name = format_for(accept, transparent=transparent) if self.format == AUTO else self.format
        return Transformation(
            width=self.width * self.dpr,
            height=self.height * self.dpr,
            fills=self.fills,
            smart=self.fills and self.smart,
            format=name,
            quality=self.quality,
        )


def parse_options(text: str) -> ImageOptions:
    """The options that ``text`` says, in whatever order.

    Raises:
        InvalidRequest: one of them is unknown, said twice, out of range, or does not go with the others.
    """
    if len(text) > _OPTIONS_LIMIT:
        raise _refused(f"they have more than {_OPTIONS_LIMIT} characters")
    values: dict[str, str] = {}
    for pair in text.split(","):
        name, _, value = pair.partition("_")
        if name not in _READERS or not value:
            raise _refused(f"{pair[:40]!r} is none", hint=f"There are {', '.join(f'{known}_' for known in _READERS)}")
        if name in values:
            raise _refused(f"{name}_ is said twice")
        values[name] = value
    return _checked(values)


def _checked(values: Mapping[str, str]) -> ImageOptions:
    read = {_FIELDS[name]: _READERS[name](value) for name, value in values.items()}
    if "t" in values:
        if not set(values) <= {"t", "dpr", "f"} or values.get("f", AUTO) != AUTO:
            raise _refused("beside a preset there is only dpr_")
        preset = PRESETS[values["t"]]
        read |= {"width": preset.width, "height": preset.height, "fills": preset.fills}
    options = ImageOptions(**read)  # type: ignore[arg-type]  # the readers return what their fields hold
    if not options.width and not options.height:
        raise _refused("a width or a height is needed", hint="As w_512")
    if options.fills and not (options.width and options.height):
        raise _refused("c_fill needs a width and a height")
    if "g" in values and not options.fills:
        raise _refused("g_ goes with c_fill only: nothing else is cut")
    if max(options.width, options.height) * options.dpr > MOST_SIDE_ON_SCREEN:
        raise _refused(f"times dpr_, a side has more than {MOST_SIDE_ON_SCREEN} pixels")
    return options


def _number(name: str, allowed: range) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not _NUMBER.fullmatch(value) or int(value) not in allowed:
            raise _refused(f"{name}_{value[:20]} is not a whole number from {allowed[0]} to {allowed[-1]}")
        return int(value)

    return read


def _word(name: str, meanings: Mapping[str, object]) -> Callable[[str], object]:
    def read(value: str) -> object:
        if value not in meanings:
            raise _refused(f"{name}_{value[:20]} is none of {', '.join(f'{name}_{word}' for word in meanings)}")
        return meanings[value]

    return read


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "t": _word("t", {name: name for name in PRESETS}),
    "w": _number("w", range(1, MOST_SIDE + 1)),
    "h": _number("h", range(1, MOST_SIDE + 1)),
    "c": _word("c", {"fit": False, "fill": True}),
    "g": _word("g", {"smart": True, "center": False}),
    "f": _word("f", {name: name for name in (AUTO, *TRANSFORMATION_FORMATS)}),
    "q": _number("q", QUALITIES),
    "dpr": _number("dpr", range(1, MOST_DPR + 1)),
}
_FIELDS: Final = {
    "t": "preset",
    "w": "width",
    "h": "height",
    "c": "fills",
    "g": "smart",
    "f": "format",
    "q": "quality",
    "dpr": "dpr",
}


def format_for(accept: str, *, transparent: bool) -> str:
    """The best format that a viewer names; what everybody knows if there is none."""
    weights = _weights(accept)
    best = max((weights.get(content_type, 0.0), -place) for place, (content_type, _) in enumerate(PREFERRED))
    if best[0] > 0:
        return PREFERRED[-int(best[1])][1]
    return "png" if transparent else "jpeg"


def _weights(accept: str) -> dict[str, float]:
    """How much a viewer likes each type that it names, 0 to 1."""
    weights = {}
    for part in accept.split(","):
        content_type, *parameters = part.split(";")
        found = [match[1] for parameter in parameters if (match := _WEIGHT.fullmatch(parameter.strip().lower()))]
        weights[content_type.strip().lower()] = float(found[0]) if found else 1.0
    return weights


def image_path(options: ImageOptions, key: str, sha256: str = "") -> str:
    """The path of a picture of the original under ``key``, with ``?v=`` where the original is told by its SHA-256."""
    version = f"?{VERSION_PARAMETER}={sha256[:VERSION_LENGTH]}" if sha256 else ""
    return f"/{IMAGES_FOLDER}/{options.text}/{encoded(key)}{version}"


def read_image_path(path: str) -> tuple[ImageOptions, str]:
    """The options and the original's key that a percent-encoded path, without its query, names.

    Raises:
        InvalidRequest: it is no such path, or written in disguise (``rules.key_of``).
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise InvalidRequest("reading a path", "it is not /images/<options>/<key>")
    return parse_options(found[1]), check_key(key_of(f"/{found[2]}"))


def _refused(why: str, *, hint: str = "") -> InvalidRequest:
    return InvalidRequest(_DOING, why, hint=hint)
