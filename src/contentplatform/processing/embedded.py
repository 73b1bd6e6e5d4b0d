"""What an image says of itself, in EXIF, IPTC and XMP: read without trust, in plain Python, within bounds.

A block that is broken is read as far as it makes sense and never fails the image. Text comes out as clean Unicode
without control characters; numbers as JSON numbers. Places, serial numbers and owners' names come out apart.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

TEXT_LIMIT: Final = 2_000
KEYWORD_LIMIT: Final = 100
_KEYWORD_CHARACTERS: Final = 200
_CREATOR_LIMIT: Final = 20
_CREATOR_CHARACTERS: Final = 300
"""Together with rights and credit they fit into the 64 KB that a JPEG has room for, however they are escaped."""
_NUMBER_LIMIT: Final = 8
"""Of what the catalog shows no tag has more; those of a place and of its parts have three."""
_ENTRY_LIMIT: Final = 256
_VALUE_LIMIT_BYTES: Final = 8_192
_ELEMENT_LIMIT: Final = 20_000
_DEPTH_LIMIT: Final = 32
"""Each description is looked through for itself, so one within another costs its content once more."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The blocks as they lie in the file; empty where there is none."""

    exif: bytes = b""
    iptc: bytes = b""
    xmp: bytes = b""


@dataclass(frozen=True, slots=True)
class Credit:
    """Who made it and who owns it: what every rendition goes on saying."""

    creators: tuple[str, ...] = ()
    rights: str = ""
    credit: str = ""

    def __bool__(self) -> bool:
        return bool(self.creators or self.rights or self.credit)


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that was found, sorted by whom it is for."""

    exif: dict[str, Any] = field(default_factory=dict)
    """Camera and exposure, under EXIF's own names."""
    private: dict[str, Any] = field(default_factory=dict)
    """``gps``, serial numbers, owner's name: for the owner's eyes."""
    descriptive: dict[str, Any] = field(default_factory=dict)
    """``title``, ``description``, ``tags``, ``credit``, ``rights``: only what is there."""
    credit: Credit = field(default_factory=Credit)


# Tag: name. Directories of EXIF 3.0.
_MAIN_TAGS: Final = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x8298: "Copyright",
}
_PHOTO_TAGS: Final = {
    0x829A: "ExposureTime",
    0x829D: "FNumber",
    0x8822: "ExposureProgram",
    0x8827: "ISO",
    0x9003: "DateTimeOriginal",
    0x9011: "OffsetTimeOriginal",
    0x9204: "ExposureBias",
    0x9207: "MeteringMode",
    0x9209: "Flash",
    0x920A: "FocalLength",
    0xA402: "ExposureMode",
    0xA403: "WhiteBalance",
    0xA405: "FocalLengthIn35mmFilm",
    0xA433: "LensMake",
    0xA434: "LensModel",
}
_PRIVATE_TAGS: Final = {0xA430: "owner_name", 0xA431: "body_serial_number", 0xA435: "lens_serial_number"}
_PHOTO_DIRECTORY: Final = 0x8769
_GPS_DIRECTORY: Final = 0x8825
_TYPE_FORMATS: Final = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii"}
_UNSEEN: Final = (
    range(0x7F, 0xA0),
    # What makes a name look like another one: embeddings, overrides, isolates.
    range(0x202A, 0x202F),
    range(0x2066, 0x206A),
    range(0xD800, 0xE000),
    range(0xFFFE, 0x10000),
)
_RATIONALS: Final = frozenset({5, 10})
_TEXT_TYPES: Final = frozenset({2, 7})

# Record 2 of IPTC-IIM.
_IPTC_TITLE, _IPTC_KEYWORD, _IPTC_CREATOR, _IPTC_HEADLINE = 5, 25, 80, 105
_IPTC_CREDIT, _IPTC_RIGHTS, _IPTC_CAPTION = 110, 116, 120
_IPTC_RESOURCE: Final = 0x0404

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC: Final = "http://purl.org/dc/elements/1.1/"
_PHOTOSHOP: Final = "http://ns.adobe.com/photoshop/1.0/"
_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def describe(embedded: Embedded) -> Description:
    """Read all three blocks; where they disagree XMP wins over IPTC, and IPTC over EXIF."""
    main, photo, gps = _read_exif(embedded.exif)
    iptc = _read_iptc(embedded.iptc)
    xmp = _read_xmp(embedded.xmp)
    named = _named(main, _MAIN_TAGS)
    artist, rights = str(named.pop("Artist", "")), str(named.pop("Copyright", ""))
    caption = str(named.pop("ImageDescription", ""))
    credit = Credit(
        creators=_short(
            xmp.creators or tuple(iptc.get(_IPTC_CREATOR, [])) or ((artist,) if artist else ()),
            _CREATOR_LIMIT,
            _CREATOR_CHARACTERS,
        ),
        rights=xmp.rights or _first(iptc, _IPTC_RIGHTS) or rights,
        credit=xmp.credit or _first(iptc, _IPTC_CREDIT),
    )
    descriptive = {
        "title": xmp.title or _first(iptc, _IPTC_TITLE) or _first(iptc, _IPTC_HEADLINE),
        "description": xmp.description or _first(iptc, _IPTC_CAPTION) or caption,
        "tags": list(
            dict.fromkeys(_short(xmp.keywords or iptc.get(_IPTC_KEYWORD, []), KEYWORD_LIMIT, _KEYWORD_CHARACTERS))
        ),
        "credit": credit.credit or ", ".join(credit.creators),
        "rights": credit.rights,
    }
    return Description(
        exif=named | _named(photo, _PHOTO_TAGS),
        private=_named(photo, _PRIVATE_TAGS) | ({"gps": place} if (place := _place(gps)) else {}),
        descriptive={name: value for name, value in descriptive.items() if value},
        credit=credit,
    )


def _short(texts: Iterable[str], most: int, characters: int) -> tuple[str, ...]:
    """The first of ``texts``, each cut: what a file brings along has to fit into a record."""
    cut = (text[:characters].strip() for text in dict.fromkeys(texts))
    return tuple(islice((text for text in cut if text), most))


def _escaped(text: str) -> str:
    """Text as XML has it. The library's own function would load all of HTTP into each process that forks jobs."""
    return text.replace("&", "&amp;").replace(">", "&gt;").replace("<", "&lt;")


def credit_xmp(credit: Credit) -> bytes:
    """An XMP packet that says ``credit`` and nothing else."""
    creators = "".join(f"<rdf:li>{_escaped(creator)}</rdf:li>" for creator in credit.creators)
    parts = [
        f"<dc:creator><rdf:Seq>{creators}</rdf:Seq></dc:creator>" if creators else "",
        f'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{_escaped(credit.rights)}</rdf:li></rdf:Alt></dc:rights>'
        if credit.rights
        else "",
        f"<photoshop:Credit>{_escaped(credit.credit)}</photoshop:Credit>" if credit.credit else "",
    ]
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about="" xmlns:dc="{_DC}" xmlns:photoshop="{_PHOTOSHOP}">{"".join(parts)}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def as_ascii(text: str) -> str:
    """``text`` in EXIF's own alphabet, without accents; empty where that would not be readable (XMP says it all)."""
    plain = unicodedata.normalize("NFKD", text.replace("©", "(c)").replace("®", "(r)"))
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return letters if letters.isascii() else ""


def clean_text(raw: bytes | str, limit: int = TEXT_LIMIT) -> str:
    """Unicode up to the first NUL, trimmed and cut; no control characters, nor those that turn the writing around."""
    text = _decoded(raw) if isinstance(raw, bytes) else raw
    text = text.split("\0", 1)[0]
    kept = (character for character in text if character in "\n\t" or _is_visible(character))
    return "".join(kept).strip()[:limit]


def _decoded(raw: bytes) -> str:
    text = raw.split(b"\0", 1)[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        # Old cameras and editors write Latin-1; every byte means something in it.
        return text.decode("latin-1")


def _is_visible(character: str) -> bool:
    code = ord(character)
    return code >= 0x20 and not any(code in unseen for unseen in _UNSEEN)


# -- EXIF ------------------------------------------------------------------------------------------------------------

_Directory = dict[int, Any]


def _read_exif(block: bytes) -> tuple[_Directory, _Directory, _Directory]:
    """The main, photo and GPS directories; empty where something does not hold together."""
    tiff = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return {}, {}, {}
    main = _read_directory(tiff, order, struct.unpack_from(order + "I", tiff, 4)[0])
    found = [main]
    for pointer in (_PHOTO_DIRECTORY, _GPS_DIRECTORY):
        offset = main.get(pointer)
        found.append(_read_directory(tiff, order, offset) if isinstance(offset, int) else {})
    return found[0], found[1], found[2]


def _read_directory(tiff: bytes, order: str, offset: int) -> _Directory:
    directory: _Directory = {}
    try:
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for index in range(min(count, _ENTRY_LIMIT)):
            tag, kind, length = struct.unpack_from(order + "HHI", tiff, offset + 2 + 12 * index)
            value = _read_value(tiff, order, kind, length, offset + 10 + 12 * index)
            if value is not None:
                directory.setdefault(tag, value)
    except struct.error:
        pass  # the directory runs past the end: what came before it counts
    return directory


def _read_value(tiff: bytes, order: str, kind: int, length: int, place: int) -> Any:
    unit = "B" if kind in _TEXT_TYPES else _TYPE_FORMATS.get(kind)
    if unit is None:
        return None
    size = struct.calcsize("=" + unit) * length
    if not 0 < size <= _VALUE_LIMIT_BYTES:
        return None
    start = place if size <= 4 else struct.unpack_from(order + "I", tiff, place)[0]
    raw = tiff[start : start + size]
    if len(raw) < size:
        return None
    if kind in _TEXT_TYPES:
        return clean_text(raw)
    numbers = struct.unpack(order + unit * length, raw)
    values = list(_quotients(numbers)) if kind in _RATIONALS else list(numbers)
    return values[0] if len(values) == 1 else values


def _quotients(numbers: tuple[int, ...]) -> Iterator[float | None]:
    for numerator, denominator in zip(numbers[::2], numbers[1::2], strict=True):
        yield round(numerator / denominator, 6) if denominator else None


def _named(directory: _Directory, names: dict[int, str]) -> dict[str, Any]:
    found = {name: directory[tag] for tag, name in names.items() if directory.get(tag) not in (None, "", [])}
    return {name: value[:_NUMBER_LIMIT] if isinstance(value, list) else value for name, value in found.items()}


def _place(gps: _Directory) -> dict[str, Any]:
    """Signed decimal degrees, metres above the sea, and the date; only what is whole."""
    place: dict[str, Any] = {}
    for name, tag, limit in (("latitude", 2, 90), ("longitude", 4, 180)):
        degrees = _degrees(gps.get(tag))
        if degrees is not None and degrees <= limit:
            place[name] = -degrees if gps.get(tag - 1) in {"S", "W"} else degrees
    altitude = gps.get(6)
    if isinstance(altitude, float):
        place["altitude_metres"] = -altitude if gps.get(5) == 1 else altitude
    if isinstance(gps.get(29), str) and gps[29]:
        place["date"] = gps[29]
    return place


def _degrees(parts: Any) -> float | None:
    if not isinstance(parts, list) or len(parts) != 3 or not all(isinstance(part, float) for part in parts):
        return None
    return float(round(parts[0] + parts[1] / 60 + parts[2] / 3600, 7))


# -- IPTC ------------------------------------------------------------------------------------------------------------


def _read_iptc(block: bytes) -> dict[int, list[str]]:
    """The datasets of record 2: number to texts, in their order."""
    data = block if block[:1] == b"\x1c" else _iptc_resource(block)
    found: dict[int, list[str]] = {}
    position = 0
    while position + 5 <= len(data) and data[position] == 0x1C:
        record, number, size = struct.unpack_from(">BBH", data, position + 1)
        position += 5
        if size & 0x8000:  # an extended dataset: pictures, nothing of ours
            break
        text = clean_text(data[position : position + size])
        position += size
        if record == 2 and text and len(found.setdefault(number, [])) < KEYWORD_LIMIT:
            found[number].append(text)
    return found


def _iptc_resource(block: bytes) -> bytes:
    """The IPTC block among Photoshop's image resources, as a JPEG carries them."""
    data = block.removeprefix(b"Photoshop 3.0\0")
    position = 0
    while data[position : position + 4] == b"8BIM" and position + 12 <= len(data):
        (identifier,) = struct.unpack_from(">H", data, position + 4)
        name_size = data[position + 6] + 1
        start = position + 6 + name_size + name_size % 2
        if start + 4 > len(data):
            break
        (size,) = struct.unpack_from(">I", data, start)
        if identifier == _IPTC_RESOURCE:
            return data[start + 4 : start + 4 + size]
        position = start + 4 + size + size % 2
    return b""


def _first(iptc: dict[int, list[str]], number: int) -> str:
    return iptc.get(number, [""])[0]


# -- XMP -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Xmp:
    title: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()
    rights: str = ""
    credit: str = ""


class _Refused(Exception):  # noqa: N818 - private; named for what happened
    """The packet has what no honest packet has: a document type, or elements without end."""


def _read_xmp(block: bytes) -> _Xmp:
    if not block:
        return _Xmp()
    try:
        descriptions = list(_parse(block).iter(f"{{{_RDF}}}Description"))
    except (_Refused, expat.ExpatError, AssertionError, ValueError):
        return _Xmp()
    return _Xmp(
        title=_one(descriptions, _DC, "title"),
        description=_one(descriptions, _DC, "description"),
        keywords=_many(descriptions, _DC, "subject"),
        creators=_many(descriptions, _DC, "creator"),
        rights=_one(descriptions, _DC, "rights"),
        credit=_one(descriptions, _PHOTOSHOP, "Credit"),
    )


def _parse(block: bytes) -> Element:
    """The tree of an XML text. Document types are refused, so there are no entities to expand or to fetch."""
    builder = TreeBuilder()
    # XMP in a picture is UTF-8, whatever its declaration says; no other codec could be loaded in the sandbox.
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator="}")
    elements = depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal elements, depth
        elements += 1
        depth += 1
        if elements > _ELEMENT_LIMIT or depth > _DEPTH_LIMIT:
            raise _Refused
        builder.start(_qualified(name), {_qualified(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_qualified(name))

    def refuse(*_: object) -> None:
        raise _Refused

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(block.rstrip(b"\0"), True)  # noqa: FBT003 - expat's own signature: this is the last piece
    return builder.close()


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


def _many(descriptions: list[Element], namespace: str, name: str) -> tuple[str, ...]:
    """The texts of a property, whether it is an attribute, plain text, or a list."""
    wanted = f"{{{namespace}}}{name}"
    for description in descriptions:
        if wanted in description.attrib:
            return _texts([description.attrib[wanted]])
        for element in description.iter(wanted):
            items = sorted(element.iter(f"{{{_RDF}}}li"), key=lambda item: item.get(_LANGUAGE) != "x-default")
            texts = _texts([item.text for item in items] or [element.text])
            if texts:
                return texts
    return ()


def _texts(raw: list[str | None]) -> tuple[str, ...]:
    cleaned = (clean_text(text or "") for text in raw[:KEYWORD_LIMIT])
    return tuple(text for text in cleaned if text)


def _one(descriptions: list[Element], namespace: str, name: str) -> str:
    return next(iter(_many(descriptions, namespace, name)), "")
