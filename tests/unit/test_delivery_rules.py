"""What the edge serves: behaviours, private paths, and keys as paths."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.delivery.rules import (
    DEFAULT_BEHAVIOUR,
    IMAGE_FOLDERS,
    OPTIMIZED,
    OPTIMIZED_BY_VERSION,
    RAW_BEHAVIOUR,
    SERVED_PREFIXES,
    UNVERSIONED_CACHE_CONTROL,
    VERSIONED_CACHE_CONTROL,
    behaviour_of,
    behaviours,
    cache_control,
    is_private,
    is_served,
    key_of,
    path_of,
    paths_to_purge,
    raw_edge_key,
    viewer_request_code,
    viewer_response_code,
)
from contentplatform.errors import InvalidRequest
from contentplatform.processing.presets import RENDITION_FOLDERS
from contentplatform.storage.port import BucketRole

PREFIX = "private/"
SHA256 = "0123456789abcdef" * 4
KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/processed/thumbnails/a.jpg.jpg", "processed/thumbnails/*"),
        ("/processed/medium/a/b/c.jpg.jpg", "processed/medium/*"),
        ("/processed/webp/a.jpg.webp", "processed/webp/*"),
        ("/video-processed/a_720p.mp4", "video-processed/*"),
        ("/raw/a.mov", "raw/*"),
        ("/processed/thumbnails/private/a.jpg.jpg", "processed/thumbnails/private/*"),
        ("/processed/webp/private/a.jpg.webp", "processed/webp/private/*"),
        ("/video-processed/private/a.mp4", "video-processed/private/*"),
        ("/processed/webp/a/private/b.jpg.webp", "processed/webp/*"),
        ("/", ""),
        ("/versions/f/v/r/webp.webp", ""),
    ],
)
def test_a_path_has_one_behaviour(path: str, pattern: str) -> None:
    assert behaviour_of(path, PREFIX).pattern == pattern


def test_the_default_comes_last_and_only_private_paths_need_a_signature() -> None:
    found = behaviours(PREFIX)
    assert found[-1] is DEFAULT_BEHAVIOUR
    assert [behaviour.pattern for behaviour in found if behaviour.private] == [
        behaviour.pattern for behaviour in found if PREFIX in behaviour.pattern
    ]
    assert not any(behaviour.private for behaviour in behaviours(""))
    assert {behaviour.cache for behaviour in found} == {OPTIMIZED, OPTIMIZED_BY_VERSION}


def test_a_private_prefix_where_originals_are_served_is_private_there_too() -> None:
    for prefix, key, private in (
        ("public/raw/team/", "raw/team/x.mov", True),
        ("public/raw/team/", "raw/other/x.mov", False),
        ("public/", "raw/x.mov", True),
        ("private/", "raw/private/x.mov", False),
    ):
        assert is_private(key, prefix) is private
        assert behaviour_of(path_of(key), prefix).private is private


@given(
    folder=st.sampled_from([*IMAGE_FOLDERS, "video-processed"]), key=KEYS, prefix=st.sampled_from(["private/", "p*/"])
)
def test_the_edge_and_the_platform_agree_on_what_is_private(folder: str, key: str, prefix: str) -> None:
    for original in (key, prefix + key):
        public = f"{folder}/{original}.jpg"
        assert behaviour_of(path_of(public), prefix).private is is_private(public, prefix)


def test_every_rendition_is_served_and_nothing_else() -> None:
    for folder in RENDITION_FOLDERS:
        assert is_served(f"{folder}/a.jpg")
        assert f"{folder}/" in SERVED_PREFIXES[BucketRole.PROCESSED]
    for key in ("versions/f/v/r/webp.webp", "processed/a.jpg", "catalog/x", "a", "", "raw", "processed/webp"):
        assert not is_served(key)
    assert SERVED_PREFIXES[BucketRole.PRIMARY] == ("public/raw/",)
    assert raw_edge_key("public/raw/a") == "raw/a"
    assert raw_edge_key("public/a") is None
    assert raw_edge_key("private/raw/a") is None


def test_only_a_version_makes_an_answer_immutable() -> None:
    assert cache_control(DEFAULT_BEHAVIOUR, "0123456789abcdef") == VERSIONED_CACHE_CONTROL
    assert cache_control(DEFAULT_BEHAVIOUR, None) == UNVERSIONED_CACHE_CONTROL
    assert cache_control(DEFAULT_BEHAVIOUR, "") == UNVERSIONED_CACHE_CONTROL
    assert cache_control(RAW_BEHAVIOUR, "0123456789abcdef") == UNVERSIONED_CACHE_CONTROL


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a+b c%20d?x#y&z", "/a%2Bb%20c%2520d%3Fx%23y%26z"),
        ("all*of?them", "/all%2Aof%3Fthem"),
        ("ключ/写真 😀", "/%D0%BA%D0%BB%D1%8E%D1%87/%E5%86%99%E7%9C%9F%20%F0%9F%98%80"),
        ("processed/x", "/processed/x"),
        ("_admin/.well-known", "/_admin/.well-known"),
        ("a//b", "/a//b"),
        ("a\\b", "/a%5Cb"),
        ("-~._", "/-~._"),
        ('x.jpg"; filename*=UTF-8', "/x.jpg%22%3B%20filename%2A%3DUTF-8"),
    ],
)
def test_a_hostile_key_is_one_exact_path(key: str, path: str) -> None:
    assert path_of(key) == path
    assert key_of(path) == key
    assert path_of(key, SHA256) == f"{path}?v=0123456789abcdef"


@given(KEYS)
def test_every_key_comes_back_from_its_path(key: str) -> None:
    path = path_of(f"processed/webp/{key}")
    assert unquote(urlsplit(f"https://edge{path}").path) == f"/processed/webp/{key}"
    assert path.isascii()
    assert not set(path) & set("*? #")
    if is_served(f"processed/webp/{key}"):
        assert key_of(path) == f"processed/webp/{key}"


@pytest.mark.parametrize(
    "path",
    [
        "/processed/webp/private%2Fa.webp",
        "/processed/webp/private%2fa.webp",
        "/processed/webp/%70rivate/a.webp",
        "/processed/webp/%50rivate/a.webp",
        "/processed/webp/%7Aa",
        "/processed/webp/%30",
        "/processed/webp/x/../private/a.webp",
        "/processed/webp/./private/a.webp",
        "/processed/webp/%2e%2e/private/a.webp",
        "/processed/%77ebp/private/a.webp",
        "/processed/webp/..",
        "no-slash",
        "/%FF",
    ],
)
def test_a_path_in_disguise_is_refused(path: str) -> None:
    """S3 decodes a path only after the edge chose a behaviour by it: none of these may slip past a private pattern."""
    with pytest.raises(InvalidRequest):
        key_of(path)


def test_the_function_at_the_edge_refuses_the_same() -> None:
    code = viewer_request_code()
    found = re.search(r'RegExp\("(.*)"\)', code)
    assert found is not None
    pattern = re.compile(found[1].replace("\\\\", "\\"))
    assert pattern.search("/processed/webp/private%2Fa.webp")
    assert not pattern.search(path_of("processed/webp/a+b c%20d?x#y&z*"))
    assert VERSIONED_CACHE_CONTROL in viewer_response_code(versioned=True)
    assert VERSIONED_CACHE_CONTROL not in viewer_response_code(versioned=False)


def test_what_is_purged_is_exact_and_once() -> None:
    shown = [
        ("processed/webp/a*.webp", SHA256),
        ("processed/webp/a*.webp", "f" * 64),
        ("raw/x y", ""),
        ("versions/x", SHA256),
        ("processed/webp/../x", SHA256),
    ]
    assert paths_to_purge(shown) == (
        "/processed/webp/a%2A.webp",
        "/processed/webp/a%2A.webp?v=0123456789abcdef",
        "/processed/webp/a%2A.webp?v=ffffffffffffffff",
        "/raw/x%20y",
    )
    assert paths_to_purge([]) == ()


def test_a_key_that_is_no_unicode_has_no_path() -> None:
    with pytest.raises(InvalidRequest):
        path_of("\ud800")
