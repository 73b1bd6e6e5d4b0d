"""tus 1.0.0: every MUST that its document asks of a server, and the SHOULDs that clients rely on, a test each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from contentplatform.web.uploads import PATCH_TYPE, UPLOADS_PATH
from upload_client import RULES, UploadSite, metadata

NOWHERE = f"{UPLOADS_PATH}/{'0' * 32}"


@pytest.fixture(scope="module")
def one_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UploadSite]:
    site = UploadSite(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


@pytest.fixture
def site(one_site: UploadSite) -> Iterator[UploadSite]:
    """The one site, without what a test left unfinished."""
    yield one_site
    for session in one_site.uploads.open_sessions("ann"):
        one_site.uploads.terminate(session.id)


def sha1(data: bytes) -> str:
    """As ``Upload-Checksum`` has it."""
    return "sha1 " + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


# -- core: HEAD ----------------------------------------------------------------------------------------------------


def test_head_tells_the_offset_even_of_nothing(site: UploadSite) -> None:
    response = site.tus("HEAD", site.begin())
    assert (response.status_code, response.headers["Upload-Offset"]) == (200, "0")


def test_head_tells_the_offset_of_what_is_complete(site: UploadSite) -> None:
    address = site.begin(3)
    site.patch(address, 0, b"abc")
    assert site.tus("HEAD", address).headers["Upload-Offset"] == "3"


def test_head_tells_a_known_length(site: UploadSite) -> None:
    assert site.tus("HEAD", site.begin(10)).headers["Upload-Length"] == "10"


def test_head_is_never_cached(site: UploadSite) -> None:
    assert site.tus("HEAD", site.begin()).headers["Cache-Control"] == "no-store"


def test_head_of_nothing_is_404_without_an_offset(site: UploadSite) -> None:
    response = site.tus("HEAD", NOWHERE)
    assert response.status_code == 404
    assert "Upload-Offset" not in response.headers


# -- core: PATCH ---------------------------------------------------------------------------------------------------


def test_patch_is_answered_by_204_and_the_new_offset(site: UploadSite) -> None:
    address = site.begin()
    response = site.patch(address, 0, b"hello")
    assert (response.status_code, response.headers["Upload-Offset"], response.content) == (204, "5", b"")
    assert site.patch(address, 5, b"world").headers["Upload-Offset"] == "10"
    assert site.read() == b"helloworld"


def test_patch_of_another_type_is_415(site: UploadSite) -> None:
    address = site.begin()
    response = site.tus("PATCH", address, {"Upload-Offset": "0", "Content-Type": "text/plain"}, b"hello")
    assert response.status_code == 415
    assert site.offset(address) == 0


@pytest.mark.parametrize("offset", [0, 3, 7])
def test_patch_at_another_offset_is_409_and_changes_nothing(site: UploadSite, offset: int) -> None:
    address = site.begin()
    site.patch(address, 0, b"hello")
    assert site.patch(address, offset, b"world").status_code == 409
    assert site.offset(address) == 5


@pytest.mark.parametrize("offset", ["-1", "one", "1.5", "", "0x1", "99999999999999999999"])
def test_an_offset_that_is_no_number_from_zero_is_400(site: UploadSite, offset: str) -> None:
    address = site.begin()
    assert site.patch(address, offset, b"hello").status_code == 400
    assert site.offset(address) == 0


def test_patch_of_nothing_is_404(site: UploadSite) -> None:
    assert site.patch(NOWHERE, 0, b"hello").status_code == 404


# -- core: OPTIONS and versions ------------------------------------------------------------------------------------


def test_options_tells_versions_extensions_and_limits_and_asks_for_no_version(site: UploadSite) -> None:
    response = site.ask("OPTIONS", UPLOADS_PATH)
    assert response.status_code == 204
    assert response.headers["Tus-Version"] == "1.0.0"
    assert response.headers["Tus-Max-Size"] == str(RULES.max_bytes)
    assert set(response.headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "termination",
        "expiration",
        "concatenation",
    }
    assert "sha1" in response.headers["Tus-Checksum-Algorithm"].split(",")


@pytest.mark.parametrize("version", ["0.2.2", "2.0.0", "", None])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE", "POST"])
def test_another_version_is_412_names_ours_and_is_not_processed(
    site: UploadSite, method: str, version: str | None
) -> None:
    address = site.begin()
    headers = {} if version is None else {"Tus-Resumable": version}
    path = UPLOADS_PATH if method == "POST" else address
    more = {"Upload-Length": "3", "Upload-Offset": "0", "Content-Type": PATCH_TYPE}
    response = site.ask(method, path, {**headers, **more}, content=b"abc")
    assert (response.status_code, response.headers["Tus-Version"]) == (412, "1.0.0")
    assert site.offset(address) == 0


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("HEAD", NOWHERE, {}),
        ("PATCH", NOWHERE, {"Content-Type": PATCH_TYPE, "Upload-Offset": "0"}),
        ("POST", UPLOADS_PATH, {"Upload-Length": "nonsense"}),
        ("GET", UPLOADS_PATH, {}),
        ("DELETE", NOWHERE, {}),
        ("OPTIONS", NOWHERE, {}),
        ("POST", UPLOADS_PATH, {"Upload-Length": "3", "Upload-Metadata": "filename YQ=="}),
    ],
)
def test_every_answer_says_the_version(site: UploadSite, method: str, path: str, headers: dict[str, str]) -> None:
    assert site.tus(method, path, headers).headers["Tus-Resumable"] == "1.0.0"


def test_the_method_may_be_overridden_and_then_the_real_one_is_ignored(site: UploadSite) -> None:
    address = site.begin(5)
    headers = {"Content-Type": PATCH_TYPE, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert site.tus("POST", address, headers, b"hello").status_code == 204
    assert site.tus("GET", address, {"X-HTTP-Method-Override": "HEAD"}).headers["Upload-Offset"] == "5"
    assert site.tus("POST", address, {"X-HTTP-Method-Override": "DELETE"}).status_code == 204


def test_another_method_is_405_and_names_those_there_are(site: UploadSite) -> None:
    assert site.tus("PUT", UPLOADS_PATH).headers["Allow"] == "POST, OPTIONS"
    assert site.tus("GET", site.begin()).status_code == 405


# -- creation ------------------------------------------------------------------------------------------------------


def test_creation_is_201_with_a_location(site: UploadSite) -> None:
    response = site.tus("POST", UPLOADS_PATH, {"Upload-Length": "3", "Upload-Metadata": metadata(filename="a.bin")})
    assert response.status_code == 201
    assert site.offset(response.headers["Location"]) == 0


def test_a_file_of_no_bytes_is_complete_at_once(site: UploadSite) -> None:
    site.begin(0, "empty.bin")
    assert site.read("empty.bin") == b""


@pytest.mark.parametrize("length", ["-1", "ten", "1e3", ""])
def test_a_length_that_is_no_number_from_zero_is_400(site: UploadSite, length: str) -> None:
    response = site.tus("POST", UPLOADS_PATH, {"Upload-Length": length, "Upload-Metadata": metadata(filename="a")})
    assert response.status_code == 400


def test_without_any_length_or_with_both_it_is_400(site: UploadSite) -> None:
    said = {"Upload-Metadata": metadata(filename="a")}
    assert site.tus("POST", UPLOADS_PATH, said).status_code == 400
    both = {"Upload-Length": "3", "Upload-Defer-Length": "1"}
    assert site.tus("POST", UPLOADS_PATH, {**said, **both}).status_code == 400
    assert site.tus("POST", UPLOADS_PATH, {**said, "Upload-Defer-Length": "2"}).status_code == 400


def test_more_than_the_largest_size_is_413(site: UploadSite) -> None:
    too_many = {"Upload-Length": str(RULES.max_bytes + 1), "Upload-Metadata": metadata(filename="a")}
    assert site.tus("POST", UPLOADS_PATH, too_many).status_code == 413


def test_metadata_is_told_back_as_it_was_said(site: UploadSite) -> None:
    said = metadata(filename="schöne Füße.jpg", filetype="image/jpeg", whatever="x,y z") + ",flag"
    address = site.begin(5, Upload_Metadata=said)
    assert site.tus("HEAD", address).headers["Upload-Metadata"] == said


@pytest.mark.parametrize("said", ["filename", "filename YQ==,,x YQ==", " YQ==", "filename YQ==,filename Yg=="])
def test_metadata_that_can_t_be_is_400(site: UploadSite, said: str) -> None:
    response = site.tus("POST", UPLOADS_PATH, {"Upload-Length": "3", "Upload-Metadata": said})
    assert response.status_code == 400


def test_a_deferred_length_is_told_as_such_until_it_is_known(site: UploadSite) -> None:
    address = site.begin(None)
    head = site.tus("HEAD", address).headers
    assert head["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in head
    site.patch(address, 0, b"abc")
    assert site.patch(address, 3, b"d", Upload_Length="5").status_code == 204
    head = site.tus("HEAD", address).headers
    assert head["Upload-Length"] == "5"
    assert "Upload-Defer-Length" not in head


def test_a_length_that_is_set_can_t_be_changed(site: UploadSite) -> None:
    address = site.begin(5)
    assert site.patch(address, 0, b"abc", Upload_Length="6").status_code == 400
    assert site.patch(address, 0, b"abc", Upload_Length="5").status_code == 204


# -- creation with upload ------------------------------------------------------------------------------------------


def test_bytes_may_come_with_the_creation(site: UploadSite) -> None:
    headers = {"Upload-Length": "10", "Content-Type": PATCH_TYPE, "Upload-Metadata": metadata(filename="with.bin")}
    response = site.tus("POST", UPLOADS_PATH, headers, b"hello")
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "5")
    assert site.patch(response.headers["Location"], 5, b"world").status_code == 204
    assert site.read("with.bin") == b"helloworld"


def test_all_bytes_may_come_with_the_creation(site: UploadSite) -> None:
    headers = {"Upload-Length": "5", "Content-Type": PATCH_TYPE, "Upload-Metadata": metadata(filename="all.bin")}
    assert site.tus("POST", UPLOADS_PATH, headers, b"hello").headers["Upload-Offset"] == "5"
    assert site.read("all.bin") == b"hello"


def test_a_body_of_another_type_is_not_taken_for_the_file(site: UploadSite) -> None:
    headers = {"Upload-Length": "5", "Content-Type": "text/plain", "Upload-Metadata": metadata(filename="a")}
    response = site.tus("POST", UPLOADS_PATH, headers, b"hello")
    assert response.headers["Upload-Offset"] == "0"


def test_where_the_body_is_refused_the_place_of_the_upload_is_told(site: UploadSite) -> None:
    headers = {"Upload-Length": "5", "Content-Type": PATCH_TYPE, "Upload-Metadata": metadata(filename="a")}
    response = site.tus("POST", UPLOADS_PATH, {**headers, "Upload-Checksum": sha1(b"jello")}, b"hello")
    assert response.status_code == 460
    assert site.offset(response.headers["Location"]) == 0


# -- expiration ----------------------------------------------------------------------------------------------------


def test_creation_and_every_patch_tell_when_the_upload_ends(site: UploadSite) -> None:
    created = site.tus("POST", UPLOADS_PATH, {"Upload-Length": "9", "Upload-Metadata": metadata(filename="a")})
    site.clock.advance(10)
    patched = site.patch(created.headers["Location"], 0, b"hello")
    ends = [parsedate_to_datetime(response.headers["Upload-Expires"]) for response in (created, patched)]
    assert (ends[1] - ends[0]).total_seconds() == pytest.approx(10, abs=1)
    assert patched.headers["Upload-Expires"].endswith(" GMT")


def test_what_has_expired_is_404(site: UploadSite) -> None:
    address = site.begin()
    site.clock.advance(RULES.keep_seconds)
    assert site.tus("HEAD", address).status_code == 404
    assert site.patch(address, 0, b"hello").status_code == 404
    assert site.uploads.expire() >= 1


# -- checksum ------------------------------------------------------------------------------------------------------


def test_a_piece_that_hashes_to_its_checksum_is_kept(site: UploadSite) -> None:
    address = site.begin()
    assert site.patch(address, 0, b"hello", Upload_Checksum=sha1(b"hello")).status_code == 204


def test_a_piece_that_hashes_to_something_else_is_460_and_forgotten(site: UploadSite) -> None:
    address = site.begin()
    assert site.patch(address, 0, b"hello", Upload_Checksum=sha1(b"jello")).status_code == 460
    assert site.offset(address) == 0
    assert site.patch(address, 0, b"helloworld").status_code == 204


@pytest.mark.parametrize("checksum", ["crc32 AAAAAA==", "sha1", "sha1 ???", "sha1 AAAA", "AAAA"])
def test_a_checksum_that_is_none_is_400(site: UploadSite, checksum: str) -> None:
    address = site.begin()
    assert site.patch(address, 0, b"hello", Upload_Checksum=checksum).status_code == 400
    assert site.offset(address) == 0


# -- termination ---------------------------------------------------------------------------------------------------


def test_a_terminated_upload_is_204_and_then_404(site: UploadSite) -> None:
    address = site.begin()
    site.patch(address, 0, b"hello")
    assert site.tus("DELETE", address).status_code == 204
    assert site.tus("HEAD", address).status_code == 404
    assert site.patch(address, 5, b"world").status_code == 404
    assert site.tus("DELETE", address).status_code == 404


# -- concatenation -------------------------------------------------------------------------------------------------


def test_parts_are_put_together_in_the_order_in_which_they_are_named(site: UploadSite) -> None:
    one, other = site.part(b"hello "), site.part(b"world")
    final = f"final;http://site{one} {other}"
    response = site.tus("POST", UPLOADS_PATH, {"Upload-Concat": final, "Upload-Metadata": metadata(filename="f.txt")})
    assert response.status_code == 201
    assert site.read("f.txt") == b"hello world"
    head = site.tus("HEAD", response.headers["Location"]).headers
    assert (head["Upload-Length"], head["Upload-Offset"]) == ("11", "11")
    assert head["Upload-Concat"] == f"final;{one} {other}"


def test_head_of_a_part_says_that_it_is_one(site: UploadSite) -> None:
    assert site.tus("HEAD", site.part(b"abc")).headers["Upload-Concat"] == "partial"


def test_patch_of_a_final_upload_is_403(site: UploadSite) -> None:
    headers = {"Upload-Concat": f"final;{site.part(b'abc')}", "Upload-Metadata": metadata(filename="g.txt")}
    address = site.tus("POST", UPLOADS_PATH, headers).headers["Location"]
    assert site.patch(address, 3, b"d").status_code == 403
    assert site.read("g.txt") == b"abc"


def test_a_final_upload_with_a_length_of_its_own_is_400(site: UploadSite) -> None:
    headers = {"Upload-Concat": f"final;{site.part(b'abc')}", "Upload-Metadata": metadata(filename="h")}
    assert site.tus("POST", UPLOADS_PATH, {**headers, "Upload-Length": "3"}).status_code == 400


def test_metadata_of_a_part_is_not_that_of_the_final_upload(site: UploadSite) -> None:
    address = site.begin(3, Upload_Concat="partial", Upload_Metadata=metadata(filename="part", secret="x"))
    site.patch(address, 0, b"abc")
    headers = {"Upload-Concat": f"final;{address}", "Upload-Metadata": metadata(filename="i.txt")}
    final = site.tus("POST", UPLOADS_PATH, headers).headers["Location"]
    assert site.tus("HEAD", final).headers["Upload-Metadata"] == metadata(filename="i.txt")


@pytest.mark.parametrize("concat", ["parts", "final", "final;", "final;/nowhere", f"final;{NOWHERE}", "partial;x"])
def test_what_names_no_parts_is_400(site: UploadSite, concat: str) -> None:
    headers = {"Upload-Concat": concat, "Upload-Metadata": metadata(filename="j")}
    assert site.tus("POST", UPLOADS_PATH, headers).status_code == 400


def test_parts_that_are_not_complete_are_refused(site: UploadSite) -> None:
    unfinished = site.begin(5, Upload_Concat="partial")
    headers = {"Upload-Concat": f"final;{unfinished}", "Upload-Metadata": metadata(filename="k")}
    assert site.tus("POST", UPLOADS_PATH, headers).status_code == 400
    assert site.offset(unfinished) == 0
