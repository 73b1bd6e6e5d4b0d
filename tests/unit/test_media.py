"""Keys and the names that are made of them."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contentplatform.errors import InvalidRequest
from contentplatform.media import (
    KEY_LIMIT_BYTES,
    PROCESSING_TYPES,
    MediaKind,
    check_key,
    file_extension,
    file_id,
    file_name,
    folder_path,
    rendition_key,
)
from contentplatform.processing.presets import IMAGE_PRESETS, ImagePreset
from contentplatform.storage.port import OBJECT_KEY_LIMIT_BYTES, check_object_key

KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60)
CONTROL_CHARACTERS = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cc"]
RENDITION_PLACES = st.sampled_from([(preset.folder, preset.extension) for preset in IMAGE_PRESETS])


@pytest.mark.parametrize(
    "key",
    [
        "x",
        "a/b/c.jpg",
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "C:\\x",
        "a//b",
        ".",
        "CON",
        "-rf",
        "$(id)`;'\"",
        "a+b c%20d?x#y&z",
        "photo\u202egpj.exe",
        "\N{GRINNING FACE}" * 225,
        "ü" * 450,
        "x" * KEY_LIMIT_BYTES,
    ],
)
def test_a_key_is_data_and_never_a_path(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty"),
        ("x" * (KEY_LIMIT_BYTES + 1), "901 bytes"),
        ("ü" * 451, "902 bytes"),
        ("\N{GRINNING FACE}" * 226, "904 bytes"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\tb", "control"),
        ("a\x1b[2Jb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("\ud800", "Unicode"),
    ],
)
def test_what_can_t_name_a_file_is_refused_in_words(key: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        check_key(key)


@given(KEYS)
def test_every_key_without_control_characters_that_fits_is_taken(key: str) -> None:
    assume(len(key.encode()) <= KEY_LIMIT_BYTES)
    assert check_key(key) == key


@pytest.mark.parametrize("character", CONTROL_CHARACTERS, ids=ascii)
def test_no_control_character_gets_through(character: str) -> None:
    with pytest.raises(InvalidRequest):
        check_key(f"a{character}b")


@given(KEYS)
def test_a_file_id_is_the_md5_of_the_whole_key(key: str) -> None:
    assert file_id(key) == hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("key", "folder", "name", "extension"),
    [
        ("a/b/photo.JPG", "a/b", "photo.JPG", "jpg"),
        ("photo", "", "photo", ""),
        ("v1.2/photo", "v1.2", "photo", ""),
        ("archive.tar.gz", "", "archive.tar.gz", "gz"),
        (".hidden", "", ".hidden", ""),
        ("a/.hidden.png", "a", ".hidden.png", "png"),
        ("a/", "a", "", ""),
        ("a.", "", "a.", ""),
    ],
)
def test_folder_name_and_extension_come_from_the_last_segment(key: str, folder: str, name: str, extension: str) -> None:
    assert (folder_path(key), file_name(key), file_extension(key)) == (folder, name, extension)


def test_a_rendition_s_key_is_its_folder_the_whole_key_and_its_own_extension() -> None:
    assert rendition_key("processed/thumbnails", "a/x.jpg", "jpg") == "processed/thumbnails/a/x.jpg.jpg"


@given(one=KEYS, other=KEYS, place=RENDITION_PLACES, other_place=RENDITION_PLACES)
def test_two_originals_never_share_a_rendition_s_key(
    one: str, other: str, place: tuple[str, str], other_place: tuple[str, str]
) -> None:
    same = (one, place) == (other, other_place)
    assert (rendition_key(place[0], one, place[1]) == rendition_key(other_place[0], other, other_place[1])) == same


@pytest.mark.parametrize("preset", IMAGE_PRESETS, ids=lambda preset: preset.name)
def test_the_longest_key_s_renditions_still_fit_an_object_s_key(preset: ImagePreset) -> None:
    key = rendition_key(preset.folder, "x" * KEY_LIMIT_BYTES, preset.extension)
    check_object_key(key)
    assert len(key) <= OBJECT_KEY_LIMIT_BYTES


def test_every_kind_says_what_processing_it_needs_and_generic_needs_none() -> None:
    assert set(PROCESSING_TYPES) == set(MediaKind)
    assert [kind for kind, types in PROCESSING_TYPES.items() if not types] == [MediaKind.GENERIC]
