"""EXIF, IPTC and XMP from untrusted blocks: what is read, what is bounded, and that nothing fails."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sample_media
from contentplatform.processing.embedded import (
    KEYWORD_LIMIT,
    TEXT_LIMIT,
    Credit,
    Embedded,
    as_ascii,
    clean_text,
    credit_xmp,
    describe,
)


def exif(entries: list[tuple[int, int, int, bytes]], order: str = "<") -> bytes:
    """A block with one directory of (tag, type, count, four bytes)."""
    table = struct.pack(order + "H", len(entries))
    table += b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + table + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_both_byte_orders_are_read(order: str, prefix: bytes) -> None:
    found = describe(Embedded(exif=prefix + exif([(0x0110, 2, 3, b"X1\0\0")], order)))
    assert found.exif == {"Model": "X1"}


def test_values_outside_the_block_or_of_no_known_type_are_left_out() -> None:
    block = exif(
        [
            (0x010F, 2, 500, struct.pack("<I", 0xFFFFFF00)),
            (0x0110, 2, 0xFFFFFFFF, bytes(4)),
            (0x0131, 99, 1, b"abcd"),
            (0x0132, 2, 3, b"ok\0\0"),
            (0x8769, 4, 1, struct.pack("<I", 0xFFFFFFF0)),
            (0x8825, 4, 1, struct.pack("<I", 8)),
        ]
    )
    assert describe(Embedded(exif=block)).exif == {"DateTime": "ok"}


def test_a_rational_without_denominator_is_no_number() -> None:
    block = exif([(0x8769, 4, 1, struct.pack("<I", 26))])
    photo = struct.pack("<H", 2)
    photo += struct.pack("<HHII", 0x829A, 5, 1, 56) + struct.pack("<HHII", 0x829D, 5, 1, 64) + bytes(4)
    content = block + photo + struct.pack("<IIII", 1, 0, 28, 10)
    assert describe(Embedded(exif=content)).exif == {"FNumber": 2.8}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("latin-1"), "Grüße"),
        (b"a\0b", "a"),
        (b"\x01\x02a\x7f\x1b[31m", "a[31m"),
        (b"  a\nb\t ", "a\nb"),
        ("a\ud800\ufffeb", "ab"),
        (b"x" * 9_000, "x" * TEXT_LIMIT),
    ],
)
def test_text_comes_out_clean(raw: bytes | str, text: str) -> None:
    assert clean_text(raw) == text


def test_xmp_wins_over_iptc_and_iptc_over_exif() -> None:
    artist = exif([(0x013B, 2, 4, b"Exi\0"), (0x8298, 2, 4, b"Exr\0")])
    iptc = sample_media.iptc_block(creator="Iptc", rights="Iptr")
    assert describe(Embedded(exif=artist)).credit == Credit(("Exi",), "Exr")
    assert describe(Embedded(exif=artist, iptc=iptc)).credit == Credit(("Iptc",), "Iptr")
    whole = describe(Embedded(exif=artist, iptc=iptc, xmp=sample_media.xmp_packet())).credit
    assert whole == Credit((sample_media.CREATOR,), sample_media.RIGHTS, sample_media.CREDIT_LINE)


def test_keywords_are_bounded_and_said_once() -> None:
    many = sample_media.iptc_block(keywords=[f"word {number % 150}" for number in range(400)])
    found = describe(Embedded(iptc=many)).descriptive["tags"]
    assert len(found) == len(set(found)) <= KEYWORD_LIMIT


@pytest.mark.parametrize(
    "packet",
    [
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + sample_media.xmp_packet(),
        b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + sample_media.xmp_packet(),
        sample_media.xmp_packet()[:-40],
        b"<a>" * 30_000,
        b"\xff\xfe\x00",
        b"",
    ],
    ids=["entities", "external", "cut", "too many elements", "no XML", "empty"],
)
def test_a_packet_that_is_not_plain_xmp_says_nothing(packet: bytes) -> None:
    assert describe(Embedded(xmp=packet)).descriptive == {}


def test_our_credit_packet_reads_back_as_it_was() -> None:
    credit = Credit(("Zoë <b>", "Ann & Co"), '"all" rights', "Nine > Eight")
    assert describe(Embedded(xmp=credit_xmp(credit))).credit == credit


@pytest.mark.parametrize(
    ("text", "ascii_text"), [("Zoë Müller", "Zoe Muller"), ("© Ann", "(c) Ann"), ("Zoë 你好", ""), ("", "")]
)
def test_exif_gets_ascii_or_nothing(text: str, ascii_text: str) -> None:
    assert as_ascii(text) == ascii_text


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_give_facts_that_can_be_stored(exif_block: bytes, iptc: bytes, xmp: bytes) -> None:
    found = describe(Embedded(b"II*\0\x08\0\0\0" + exif_block, b"\x1c\x02" + iptc, b"<x>" + xmp))
    json.dumps([found.exif, found.private, found.descriptive], allow_nan=False, ensure_ascii=False).encode()


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_block_gives_facts_that_can_be_stored(place: int, value: int) -> None:
    blocks = []
    for block in (sample_media.xmp_packet(), sample_media.iptc_block(title="a", keywords=["b", "c"])):
        damaged = bytearray(block)
        damaged[place % len(damaged)] = value
        blocks.append(bytes(damaged))
    found = describe(Embedded(xmp=blocks[0], iptc=blocks[1]))
    json.dumps(found.descriptive, allow_nan=False, ensure_ascii=False).encode()
