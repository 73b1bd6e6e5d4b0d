"""The list of hostile files, H1 to H34, and which tests show what each of them comes to."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parent
ROWS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "H1": ("canvases of gigapixels in GIF and ICO", ("test_images::test_h1_", "test_pictures::test_h1_")),
    "H2": ("PNGs whose texts or profiles inflate", ("test_images::test_h2_",)),
    "H3": ("a PNG of 65535 x 65535 pixels", ("test_images::test_h3_",)),
    "H4": ("animations without end, in GIF, APNG and WebP", ("test_images::test_h4_", "test_pictures::test_h4_")),
    "H5": ("PNGs that break the format in one place", ("test_images::test_h5_", "test_pictures::test_h5_")),
    "H6": ("broken BMPs", ("test_pictures::test_h6_",)),
    "H7": ("files that crash old loaders", ("test_images::test_h7_", "test_pictures::test_h7_")),
    "H8": ("pictures cut short", ("test_images::test_h8_",)),
    "H9": ("a JPEG of ten thousand scans", ("test_images::test_h9_",)),
    "H10": ("boxes of HEIC and AVIF that lie", ("test_images::test_h10_", "test_pictures::test_h10_")),
    "H11": ("WebP with crafted tables", ("test_images::test_h7_h11_", "test_pictures::test_h11_")),
    "H12": ("TIFFs with loops, strips and tiles without end", ("test_images::test_h12_",)),
    "H13": ("SVG with scripts", ("test_pictures::test_h13_",)),
    "H14": ("SVG that reads files and addresses", ("test_pictures::test_h14_",)),
    "H15": ("XML bombs", ("test_documents::test_h15_", "test_documents::test_h29_document_types")),
    "H16": ("scripts of image tools named as pictures", ("test_images::test_h16_", "test_pictures::test_h16_")),
    "H17": ("files of two kinds", ("test_images::test_h17_", "test_pictures::test_h17_")),
    "H18": ("pages labelled as pictures, and pictures as pages", ("test_pictures::test_h18_",)),
    "H19": ("a playlist in an AVI's subtitles", ("test_media_probe::test_h19_",)),
    "H20": ("playlists named as films", ("test_media_probe::test_h20_", "test_fence::test_h20_")),
    "H21": ("indexes that promise too much", ("test_media_probe::test_h21_",)),
    "H22": ("pictures, rates and lengths over all limits", ("test_media_probe::test_h22_",)),
    "H23": ("streams, fonts and covers without end", ("test_media_probe::test_h23_",)),
    "H24": ("rare codecs", ("test_media_probe::test_h24_",)),
    "H25": (
        "subtitles with fonts, paths and scripts",
        ("test_captions::test_fonts_are_names", "test_captions::test_webvtt_is_written_anew"),
    ),
    "H26": ("next to nothing, and terabytes only said", ("test_images::test_h26_", "test_media_probe::test_h26_")),
    "H27": (
        "sounds whose metadata lies",
        (
            "test_media_probe::test_h27_",
            "test_audio::test_a_cover_of_256_mib",
            "test_audio::test_metadata_of_a_flac",
            "test_audio::test_a_wav_of_unknown_size",
        ),
    ),
    "H28": ("PDFs with actions, loops and bombs", ("test_documents::test_h28_",)),
    "H29": ("office documents that fetch, unpack and run", ("test_documents::test_h29_",)),
    "H30": ("archives that lie", ("test_documents::test_h30_",)),
    "H31": ("formulas in texts and names", ("test_documents::test_h31_", "test_private_words::test_h31_")),
    "H32": (
        "places, bombs, scripts and broken letters in tags",
        ("test_images::test_h32_", "test_answers::test_h32_", "test_private_words::test_h32_"),
    ),
    "H33": ("malware", ("test_malware::test_h33_",)),
    "H34": ("the same bytes ten thousand times", ("test_same_bytes::test_h34_",)),
}
"""A row: what it is about, and what the tests' names begin with, each behind its module's."""


@cache
def named_in(module: str) -> tuple[str, ...]:
    """The names of a module's test functions."""
    path = FOLDER / f"{module}.py"
    tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])
    return tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


@pytest.mark.parametrize("row", [f"H{number}" for number in range(1, 35)])
def test_every_row_has_its_tests(row: str) -> None:
    _, shown_by = ROWS[row]
    for wanted in shown_by:
        module, _, start = wanted.partition("::")
        assert any(name.startswith(start) for name in named_in(module)), f"{row}: no test begins with {wanted}"


def test_every_test_of_a_row_is_in_the_list() -> None:
    listed = {tuple(wanted.split("::")) for _, shown_by in ROWS.values() for wanted in shown_by}
    for path in sorted(FOLDER.glob("test_*.py")):
        for name in named_in(path.stem):
            if name.startswith("test_h") and name[6].isdigit():
                assert any(module == path.stem and name.startswith(start) for module, start in listed), name
