"""The list of hostile files, names and requests, H1 to H60, and which tests show what each of them comes to."""

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
    "H26": (
        "next to nothing, and terabytes only said",
        ("test_images::test_h26_", "test_media_probe::test_h26_", "test_uploads::test_h26_"),
    ),
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
    "H35": (
        "names that lead out of a folder",
        (
            "test_edge_requests::test_h35_",
            "test_api_requests::test_every_key_comes_back",
            "unit/test_media::test_a_key_is_data_and_never_a_path",
            "unit/test_upload_links::test_no_name_leads_out",
            "unit/test_storage_local::test_blob_is_a_read_only_file_named_by_its_hash",
        ),
    ),
    "H36": (
        "control characters in names",
        (
            "test_uploads::test_h36_",
            "test_api_requests::test_a_key_that_no_file_can_have",
            "unit/test_media::test_no_control_character_gets_through",
        ),
    ),
    "H37": (
        "names as long as can be, and longer",
        (
            "test_api_requests::test_every_key_comes_back",
            "test_api_requests::test_a_key_that_no_file_can_have",
            "unit/test_media::test_the_longest_key_s_renditions_still_fit",
            "unit/test_zips::test_a_long_name_is_cut_before_its_ending",
        ),
    ),
    "H38": (
        "names that some systems hold for the same, or for others",
        (
            "test_api_requests::test_every_key_comes_back",
            "unit/test_library_files::test_a_key_with_dots_slashes_and_case",
            "unit/test_zips::test_names_that_some_systems_hold_for_the_same",
        ),
    ),
    "H39": (
        "names that look like others",
        (
            "test_api_requests::test_every_key_comes_back",
            "unit/test_console::test_hostile_names_and_titles_are_text",
            "unit/test_log::test_a_file_s_name_can_forge_no_line",
        ),
    ),
    "H40": (
        "names that mean something in an address",
        (
            "test_edge_requests::test_h40_",
            "test_api_requests::test_every_key_comes_back",
            "unit/test_s3_events::test_a_key_is_decoded_as_s3_encodes_it",
            "unit/test_delivery_rules::test_a_hostile_key_is_one_exact_path",
        ),
    ),
    "H41": (
        "names that mean something to a shell or a program",
        ("test_api_requests::test_every_key_comes_back", "unit/test_process::test_nothing_is_ever_read_by_a_shell"),
    ),
    "H42": (
        "names that break out of a header",
        (
            "test_edge_requests::test_h42_",
            "test_api_requests::test_every_key_comes_back",
            "unit/test_share_pages::test_an_original_comes_under_its_own_name",
        ),
    ),
    "H43": (
        "names whose renditions could meet",
        (
            "unit/test_media::test_two_originals_never_share_a_rendition_s_key",
            "unit/test_media::test_folder_name_and_extension_come_from_the_last_segment",
        ),
    ),
    "H44": ("names like places of the platform's own", ("test_names::test_h44_",)),
    "H45": (
        "bodies whose length is not clear",
        (
            "test_uploads::test_h45_",
            "unit/test_server::test_what_two_parsers_could_read_differently",
            "unit/test_web_guard::test_a_body_whose_length_is_not_clear",
        ),
    ),
    "H46": (
        "bodies that are too large, too short, too slow",
        (
            "test_uploads::test_h46_",
            "unit/test_server::test_headers_that_never_end",
            "unit/test_web_guard::test_a_byte_now",
        ),
    ),
    "H47": (
        "ranges without end",
        ("test_edge_requests::test_h47_", "unit/test_ranges_and_conditions::test_a_hundred_thousand_ranges"),
    ),
    "H48": (
        "bodies that inflate",
        ("test_uploads::test_h48_", "test_sessions_and_csrf::test_a_compressed_body_is_refused_before_it_is_read"),
    ),
    "H49": ("forms without end, or that are none", ("test_uploads::test_h49_", "test_console_forms::test_h49_")),
    "H50": (
        "uploads out of order",
        (
            "test_uploads::test_h50_",
            "unit/test_tus_conformance::test_patch_at_another_offset_is_409",
            "unit/test_tus_conformance::test_an_offset_that_is_no_number",
            "unit/test_tus_conformance::test_a_length_that_is_set_can_t_be_changed",
            "unit/test_tus_conformance::test_another_version_is_412",
            "unit/test_tus_conformance::test_the_method_may_be_overridden",
            "unit/test_tus_conformance::test_a_piece_that_hashes_to_something_else_is_460",
        ),
    ),
    "H51": ("metadata of uploads that becomes a header", ("test_uploads::test_h51_",)),
    "H52": (
        "links that were altered, or are over",
        ("test_edge_requests::test_h52_", "contract/test_edge::test_a_local_link"),
    ),
    "H53": (
        "what belongs to others",
        (
            "test_uploads::test_h53_",
            "test_console_forms::test_h53_",
            "test_console_forms::test_who_is_held_in_a_folder_changes_no_collection",
            "test_sessions_and_csrf::test_what_lies_outside_somebody_s_folder",
            "test_edge_requests::test_h56_a_private_answer",
            "unit/test_share_pages::test_no_file_outside_the_share_is_reached",
            "unit/test_upload_links::test_an_upload_is_its_link_s",
            "e2e/test_api_people::test_what_lies_outside_a_folder_does_not_exist_by_any_route",
        ),
    ),
    "H54": (
        "forms that another site sends",
        (
            "test_sessions_and_csrf::test_a_request_from_another_site_changes_nothing",
            "test_sessions_and_csrf::test_json_that_a_foreign_form_can_send",
            "test_sessions_and_csrf::test_nothing_is_changed_by_a_get_or_head",
            "test_api_requests::test_a_get_changes_nothing",
            "unit/test_console::test_a_form_without_its_token_or_from_elsewhere",
        ),
    ),
    "H55": (
        "sessions that were planted, kept or guessed",
        (
            "test_sessions_and_csrf::test_a_sign_in_makes_a_new_session",
            "test_sessions_and_csrf::test_a_session_is_over_after_signing_out",
            "test_sessions_and_csrf::test_a_cookie_without_its_prefix",
            "test_sessions_and_csrf::test_guessing_passwords_is_slowed_down",
        ),
    ),
    "H56": (
        "who lies about where a request comes from, or goes to",
        (
            "test_edge_requests::test_h56_",
            "test_sessions_and_csrf::test_a_host_that_is_not_ours",
            "test_sessions_and_csrf::test_what_a_stranger_says_of_itself",
            "test_sessions_and_csrf::test_an_answer_for_somebody_is_kept_by_no_cache",
        ),
    ),
    "H57": (
        "webhooks that lead inside",
        (
            "unit/test_web_calls::test_an_address_inside",
            "unit/test_web_calls::test_no_way_to_write_an_address_inside",
            "unit/test_web_calls::test_a_name_that_leads_inside_by_any_of_its_addresses",
            "unit/test_web_calls::test_a_name_is_asked_for_once",
            "unit/test_web_calls::test_a_redirect_is_an_answer",
            "unit/test_postman::test_no_webhook_reaches_this_machine",
        ),
    ),
    "H58": (
        "questions that mean something to a database",
        (
            "test_api_requests::test_words_are_only_words",
            "test_api_requests::test_a_filter_that_is_none",
            "test_api_requests::test_a_cursor_of_another_query",
            "unit/test_catalog_search::test_a_word_has_nothing_that_an_index",
        ),
    ),
    "H59": (
        "events of S3 that are forged or broken",
        (
            "unit/test_s3_events::test_the_test_message_of_s3",
            "unit/test_s3_events::test_a_foreign_bucket_is_named",
            "unit/test_s3_events::test_a_record_without_version_is_enough",
            "unit/test_s3_events::test_a_key_is_decoded",
            "unit/test_s3_events::test_of_a_thousand_records_one_bad_one",
            "unit/test_s3_events::test_what_is_no_message_of_s3",
        ),
    ),
    "H60": (
        "requests that forge a line of a log",
        (
            "test_edge_requests::test_h60_",
            "unit/test_access_log::test_whatever_a_viewer_sends_is_one_line",
            "unit/test_log::test_a_file_s_name_can_forge_no_line",
        ),
    ),
}
"""A row: what it is about, and what the tests' names begin with, each behind its module's: of this folder, if it names
no other."""


@cache
def named_in(module: str) -> tuple[str, ...]:
    """The names of a module's test functions."""
    path = (FOLDER.parent if "/" in module else FOLDER) / f"{module}.py"
    tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])
    return tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


@pytest.mark.parametrize("row", [f"H{number}" for number in range(1, 61)])
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
