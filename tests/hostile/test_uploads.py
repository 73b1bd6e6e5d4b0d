"""Uploads by somebody who means harm, or whose program is broken: nothing half is stored, and nobody waits."""

from __future__ import annotations

import base64
import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from contentplatform.config import ServerSettings
from contentplatform.errors import NoSpace, NotFound, PlatformError
from contentplatform.ingest.uploads import NewUpload, UploadSession
from contentplatform.storage.port import BucketRole
from contentplatform.web.server import HttpServer, listening_socket
from contentplatform.web.uploads import BY_KEY_PREFIX, FORM_PATH, PATCH_TYPE, UPLOADS_PATH
from upload_client import RULES, TUS, UploadSite, body, metadata, slowly

IDLE_SECONDS = 1.0
FORM = {"Content-Type": "multipart/form-data; boundary=xx"}
NESTED = (
    b'--xx\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=y\r\n'
    b"\r\n\r\n--xx--\r\n"
)


@pytest.fixture(scope="module")
def one_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UploadSite]:
    site = UploadSite(tmp_path_factory.mktemp("site"), idle_seconds=IDLE_SECONDS)
    yield site
    site.close()


@pytest.fixture
def site(one_site: UploadSite) -> Iterator[UploadSite]:
    """The one site, without what a test left behind."""
    yield one_site
    for owner in ("ann", "bob"):
        for session in one_site.uploads.open_sessions(owner):
            one_site.uploads.terminate(session.id)
    for key in list(one_site.keys()):
        one_site.store.delete(BucketRole.PRIMARY, key)


@pytest.fixture(scope="module")
def port(one_site: UploadSite) -> Iterator[int]:
    """A port on which the site is served by the real server."""
    listener = listening_socket("127.0.0.1", 0)
    server = HttpServer(Quiet(one_site), ServerSettings(), threading.Event(), lambda: None)
    thread = threading.Thread(target=server.run, args=(listener,))
    number: int = listener.getsockname()[1]
    thread.start()
    yield number
    server.stop()
    thread.join()


class Quiet:
    """The site with the lifespan that a server asks for."""

    def __init__(self, site: UploadSite) -> None:
        self._app = site.app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)
            return
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})


def spoken(port: int, request: bytes) -> bytes:
    """Everything that is answered to some bytes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        connection.sendall(request)
        answer = bytearray()
        try:
            while piece := connection.recv(65_536):
                answer += piece
        except ConnectionResetError:
            pass
        return bytes(answer)


def one_file(name: str = "f.bin", content: bytes = b"abc", end: bytes = b"--xx--\r\n") -> bytes:
    """A form with one file."""
    head = f'--xx\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n" + end


# -- H26: odd sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x"])
def test_h26_a_file_of_no_byte_and_of_one(site: UploadSite, content: bytes) -> None:
    assert site.ask("PUT", f"{BY_KEY_PREFIX}tiny.bin", content=content).status_code == 201
    assert site.read("tiny.bin") == content


def test_h26_a_large_announcement_with_a_small_body_is_no_version_and_its_upload_stays(site: UploadSite) -> None:
    address = site.begin(RULES.max_bytes)
    assert site.patch(address, 0, b"tiny").status_code == 204
    assert site.offset(address) == 4
    assert site.keys() == []


# -- H36, H37: keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a%00b", "a%0Ab", "a%1Bb", "a%C2%85b", "x" * 901, "%FF%FE"])
def test_h36_a_key_that_can_t_be_is_400(site: UploadSite, name: str) -> None:
    assert site.ask("PUT", BY_KEY_PREFIX + name, content=b"x").status_code == 400
    assert site.keys() == []


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a+b%20c%2520d%3Fx%23y%26z", "a+b c%20d?x#y&z"),
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("%2Fetc%2Fpasswd", "/etc/passwd"),
        ("C:%5Cx", "C:\\x"),
        ("%F0%9F%98%80", "😀"),
        ("-rf", "-rf"),
    ],
)
def test_h36_a_key_is_data_and_comes_through_exactly(site: UploadSite, written: str, key: str) -> None:
    assert site.ask("PUT", BY_KEY_PREFIX + written, content=key.encode()).status_code == 201
    assert site.keys() == [key]
    assert site.read(key) == key.encode()


# -- H45: requests that two parties read differently ---------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length : 5\r\n",
    ],
)
def test_h45_a_body_of_two_lengths_is_refused_and_the_connection_closed(
    site: UploadSite, port: int, headers: bytes
) -> None:
    request = b"PUT /api/v1/files/by-key/smuggled HTTP/1.1\r\nHost: site\r\n" + headers + b"\r\n"
    answer = spoken(port, request + b"0\r\n\r\nGET /second HTTP/1.1\r\nHost: site\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert site.keys() == []


def test_h45_what_follows_a_body_that_nobody_read_is_no_request_of_its_own(site: UploadSite, port: int) -> None:
    inner = b"PUT /api/v1/files/by-key/inner HTTP/1.1\r\nHost: site\r\nContent-Length: 1\r\n\r\nx"
    refused = (
        b"PUT /api/v1/files/by-key/%00 HTTP/1.1\r\nHost: site\r\nConnection: close\r\nContent-Length: "
        + str(len(inner)).encode()
    )
    answer = spoken(port, refused + b"\r\n\r\n" + inner)
    assert answer.startswith(b"HTTP/1.1 400")
    assert site.keys() == []


# -- H46: lengths and time -----------------------------------------------------------------------------------------


def test_h46_more_than_is_taken_is_413_before_the_body(site: UploadSite) -> None:
    headers = {"Content-Length": str(RULES.max_bytes + 1)}
    answer = site.call("PUT", f"{BY_KEY_PREFIX}large.bin", headers, [])
    assert answer is not None
    status, told = answer
    assert (status, told["connection"]) == (413, "close")


def test_h46_more_than_is_taken_without_an_announcement_is_413(site: UploadSite) -> None:
    pieces = [b"x" * 60_000] * 2
    answer = site.call("PUT", f"{BY_KEY_PREFIX}large.bin", {"Transfer-Encoding": "chunked"}, body(*pieces))
    assert answer is not None
    assert answer[0] == 413
    assert site.keys() == []


def test_h46_a_body_that_is_cut_off_is_no_file(site: UploadSite) -> None:
    answer = site.call("PUT", f"{BY_KEY_PREFIX}cut.bin", {"Content-Length": "10"}, body(b"hello", cut=True))
    assert answer is None
    assert site.keys() == []


def test_h46_a_piece_that_is_cut_off_is_kept_and_told(site: UploadSite) -> None:
    address = site.begin(10)
    headers = {**TUS, "Content-Type": PATCH_TYPE, "Upload-Offset": "0", "Content-Length": "10"}
    assert site.call("PATCH", address, headers, body(b"hel", b"lo", cut=True)) is None
    assert site.offset(address) == 5
    assert site.patch(address, 5, b"world").status_code == 204
    assert site.read() == b"helloworld"


def test_h46_a_piece_longer_than_what_is_left_is_400_before_and_while_it_comes(site: UploadSite) -> None:
    address = site.begin(5)
    assert site.patch(address, 0, b"too long").status_code == 400
    headers = {**TUS, "Content-Type": PATCH_TYPE, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    answer = site.call("PATCH", address, headers, body(b"too ", b"long"))
    assert answer is not None
    assert answer[0] == 400
    assert site.offset(address) == 0
    assert site.keys() == []


def test_h46_who_sends_next_to_nothing_is_408_and_what_came_is_kept(site: UploadSite) -> None:
    address = site.begin(10)
    headers = {**TUS, "Content-Type": PATCH_TYPE, "Upload-Offset": "0", "Content-Length": "10"}
    answer = site.call("PATCH", address, headers, body(b"hello")[:1])
    assert answer is not None
    status, told = answer
    assert (status, told["connection"]) == (408, "close")
    assert site.offset(address) == 5
    answer = site.call("PUT", f"{BY_KEY_PREFIX}slow.bin", {"Content-Length": "10"}, body(b"hello")[:1])
    assert answer is not None
    assert answer[0] == 408
    assert site.keys() == []


# -- H48: compressed bodies ----------------------------------------------------------------------------------------


def test_h48_a_compressed_body_is_415(site: UploadSite) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    response = site.ask("PUT", f"{BY_KEY_PREFIX}bomb", {"Content-Encoding": "gzip"}, content=bomb)
    assert response.status_code == 415
    response = site.tus("POST", UPLOADS_PATH, {"Upload-Length": "5", "Content-Encoding": "gzip"})
    assert response.status_code == 415
    assert site.keys() == []


# -- H49: forms ----------------------------------------------------------------------------------------------------


def test_h49_files_of_a_form_are_stored_each_under_its_name(site: UploadSite) -> None:
    files = [("f", ("ä b.txt", b"one", "text/plain")), ("f", ("two.bin", b"two"))]
    response = site.ask("POST", FORM_PATH, files=files, data={"folder": "in/here"})
    assert response.status_code == 201
    assert [item["key"] for item in response.json()["items"]] == ["in/here/ä b.txt", "in/here/two.bin"]
    assert site.read("in/here/ä b.txt") == b"one"
    assert site.store.head(BucketRole.PRIMARY, "in/here/ä b.txt").content_type == "text/plain"


@pytest.mark.parametrize(
    "form",
    [
        b"no form at all",
        one_file(end=b"--yy--\r\n"),
        b"--xx\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xx--\r\n",
        b'--xx\r\nContent-Disposition: form-data; name="f"\r\nX: ' + b"x" * 1_000_000 + b"\r\n\r\n\r\n--xx--\r\n",
        b'--xx\r\nContent-Disposition: form-data; name="f"\r\n' + b"X: x\r\n" * 1_000 + b"\r\n\r\n--xx--\r\n",
        b'--xx\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 1_000 + b"--xx--\r\n",
        NESTED,
        b'--xx\r\nContent-Disposition: form-data; name="only a field"\r\n\r\nx\r\n--xx--\r\n',
        b'--xx\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--xx--\r\n',
        b"--xx--\r\n",
        b"",
    ],
)
def test_h49_a_form_that_can_t_be_is_400_and_stores_nothing(site: UploadSite, form: bytes) -> None:
    assert site.ask("POST", FORM_PATH, FORM, content=form).status_code == 400
    assert site.keys() == []


def test_h49_a_field_of_a_form_has_its_limit(site: UploadSite) -> None:
    form = b'--xx\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 70_000 + b"\r\n--xx--\r\n"
    assert site.ask("POST", FORM_PATH, FORM, content=form).status_code == 413


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300]
)
def test_h49_a_form_without_a_boundary_is_400(site: UploadSite, kind: str) -> None:
    assert site.ask("POST", FORM_PATH, {"Content-Type": kind}, content=one_file()).status_code == 400


def test_h49_a_form_with_too_many_files_is_400_and_says_what_was_stored(site: UploadSite) -> None:
    form = b"".join(one_file(f"{number}.bin", end=b"") for number in range(6)) + b"--xx--\r\n"
    response = site.ask("POST", FORM_PATH, FORM, content=form)
    assert response.status_code == 400
    assert response.json()["hint"] == "Files before that were stored: 5"
    assert len(site.keys()) == 5


def test_h49_the_file_in_which_a_form_is_cut_off_is_not_stored(site: UploadSite) -> None:
    form = one_file("whole.bin", b"whole", end=b"") + one_file("half.bin", b"half")[:-15]
    assert site.call("POST", FORM_PATH, FORM, body(form, cut=True)) is None
    assert site.keys() == ["whole.bin"]
    assert site.ask("POST", FORM_PATH, {"Content-Type": "text/plain"}, content=form).status_code == 415


def test_h49_a_file_s_name_in_a_form_injects_nothing(site: UploadSite) -> None:
    response = site.ask("POST", FORM_PATH, FORM, content=one_file("x.jpg%22; filename*=UTF-8''evil.html"))
    assert response.status_code == 201
    assert site.keys() == ["x.jpg%22; filename*=UTF-8''evil.html"]


# -- H50: tus ------------------------------------------------------------------------------------------------------


def test_h50_an_offset_behind_the_end_is_400(site: UploadSite) -> None:
    address = site.begin(5)
    assert site.patch(address, 6, b"x").status_code == 400


def test_h50_patch_of_what_is_complete_is_403_or_409(site: UploadSite) -> None:
    address = site.begin(5)
    site.patch(address, 0, b"hello")
    assert site.patch(address, 5, b"x").status_code == 403
    assert site.patch(address, 5, b"").status_code == 403
    assert site.patch(address, 0, b"jello").status_code == 409
    assert site.read() == b"hello"


def test_h50_of_two_pieces_at_once_one_wins_and_the_other_is_told_at_once(site: UploadSite) -> None:
    address = site.begin(10)
    with site.uploads.append(address.rpartition("/")[2], 0) as winner:
        winner.write(b"hello")
        assert site.patch(address, 0, b"jello").status_code == 423
        assert site.tus("DELETE", address).status_code == 423
        assert site.offset(address) == 0
    assert site.patch(address, 5, b"world").status_code == 204
    assert site.read() == b"helloworld"


@pytest.mark.parametrize("address", ["/../x", "/..%2f..%2fetc", "/" + "0" * 31, "/" + "G" * 32, "/a/b"])
def test_h50_what_can_be_no_upload_is_404(site: UploadSite, address: str) -> None:
    assert site.tus("HEAD", UPLOADS_PATH + address).status_code == 404


# -- H51: metadata -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "filename YS5iaW4=,filename Yi5iaW4=",
        "filename " + base64.b64encode(b"a\r\nSet-Cookie: x=1").decode(),
        "filename " + base64.b64encode(b"a\0b").decode(),
        "filename " + base64.b64encode(b"\xff\xfe").decode(),
        "filename YS5iaW4",
        "filename a.bin!",
        "file name YS5iaW4=",
        "filename " + "A" * 20_000,
        "fil\x7fename YS5iaW4=",
        "sha256 " + base64.b64encode(b"nonsense").decode() + ",filename YS5iaW4=",
    ],
)
def test_h51_metadata_that_can_t_be_is_400_and_never_a_header(site: UploadSite, said: str) -> None:
    response = site.tus("POST", UPLOADS_PATH, {"Upload-Length": "5", "Upload-Metadata": said})
    assert response.status_code == 400
    assert "set-cookie" not in response.headers
    assert site.uploads.open_sessions("ann") == []


def test_h51_a_type_that_is_none_is_400(site: UploadSite) -> None:
    said = metadata(filename="a.bin", filetype="ünprintable")
    assert site.tus("POST", UPLOADS_PATH, {"Upload-Length": "5", "Upload-Metadata": said}).status_code == 400


# -- H53: who ------------------------------------------------------------------------------------------------------


def test_h53_an_upload_of_somebody_else_does_not_exist(site: UploadSite) -> None:
    address = site.begin(10)
    for who in ("bob", "link"):
        assert site.tus("HEAD", address, {"who": who}).status_code == 404
        assert site.tus("DELETE", address, {"who": who}).status_code == 404
        assert site.patch(address, 0, b"hello", who=who).status_code == 404
    headers = {"Upload-Concat": f"final;{site.part(b'abc')}", "Upload-Metadata": metadata(filename="stolen")}
    assert site.tus("POST", UPLOADS_PATH, {**headers, "who": "bob"}).status_code == 400
    assert site.offset(address) == 0


@pytest.mark.parametrize(("who", "status"), [("eve", 403), ("nobody", 401)])
def test_h53_who_may_not_write_sends_nothing(site: UploadSite, who: str, status: int) -> None:
    said = {"Upload-Length": "5", "Upload-Metadata": metadata(filename="a"), "who": who}
    assert site.tus("POST", UPLOADS_PATH, said).status_code == status
    assert site.ask("PUT", f"{BY_KEY_PREFIX}a", {"who": who}, content=b"x").status_code == status
    assert site.ask("POST", FORM_PATH, {"who": who}, files={"f": b"x"}).status_code == status
    assert site.ask("POST", UPLOADS_PATH, {"who": who}, json={}).status_code == status
    assert site.keys() == []


def test_h53_who_is_held_in_a_folder_writes_there_alone(site: UploadSite) -> None:
    bob = {"who": "bob"}
    assert site.ask("PUT", f"{BY_KEY_PREFIX}else/a", bob, content=b"x").status_code == 403
    said = {**bob, "Upload-Length": "0", "Upload-Metadata": metadata(key="else/a")}
    assert site.tus("POST", UPLOADS_PATH, said).status_code == 403
    said["Upload-Metadata"] = metadata(folder="else", filename="a")
    assert site.tus("POST", UPLOADS_PATH, said).status_code == 404
    said["Upload-Metadata"] = metadata(filename="a.bin", relativePath="holiday/a.bin")
    assert site.tus("POST", UPLOADS_PATH, said).status_code == 201
    assert site.ask("POST", FORM_PATH, bob, files={"f": ("b.bin", b"x")}).status_code == 201
    assert site.keys() == ["bobs/b.bin", "bobs/holiday/a.bin"]


def test_h53_nobody_learns_by_a_hash_what_lies_outside_their_folder(site: UploadSite) -> None:
    site.ask("PUT", f"{BY_KEY_PREFIX}secret.bin", content=b"secret")
    asked = {"key": "bobs/mine.bin", "sha256": hashlib.sha256(b"secret").hexdigest(), "size_bytes": 6}
    hit = site.ask("POST", UPLOADS_PATH, {"who": "bob"}, json=asked)
    miss = site.ask("POST", UPLOADS_PATH, {"who": "bob"}, json={**asked, "sha256": "0" * 64})
    assert (hit.status_code, hit.json()) == (miss.status_code, miss.json())
    assert hit.json() == {"already_here": False, "key": "bobs/mine.bin"}
    mine = site.ask("POST", UPLOADS_PATH, json={**asked, "key": "copy.bin"})
    assert (mine.status_code, mine.json()["already_here"]) == (201, True)
    assert site.read("copy.bin") == b"secret"
    assert site.ask("POST", UPLOADS_PATH, {"who": "link"}, json=asked).status_code == 403


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"key": 1}',
        b'{"key": "a", "sha256": "x", "size_bytes": 1}',
        b'{"key": "", "size_bytes": 1, "direct": true}',
        b'{"key": "a\\u0000b", "size_bytes": 1, "direct": true}',
        b'{"key": "' + b"a" * 901 + b'", "size_bytes": 1, "direct": true}',
        b"[" * 60_000,
        b"x" * 70_000,
    ],
)
def test_h53_a_question_that_can_t_be_is_refused(site: UploadSite, document: bytes) -> None:
    response = site.ask("POST", UPLOADS_PATH, {"Content-Type": "application/json"}, content=document)
    assert response.status_code in {400, 413}
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code


# -- PUT -----------------------------------------------------------------------------------------------------------


def test_a_put_is_checked_against_what_it_promises(site: UploadSite) -> None:
    right = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    for headers, status in (
        ({"Content-Digest": f"sha-256=:{right}:"}, 201),
        ({"X-Content-SHA256": hashlib.sha256(b"hello").hexdigest().upper()}, 201),
        ({"X-Content-SHA256": hashlib.sha256(b"jello").hexdigest()}, 422),
        ({"X-Content-SHA256": "nonsense"}, 400),
        ({"Content-Digest": "sha-256=:AAAA:"}, 400),
        ({"If-None-Match": '"etag"'}, 400),
        ({"Idempotency-Key": "with space"}, 400),
    ):
        site.store.delete(BucketRole.PRIMARY, "put.bin")
        assert site.ask("PUT", f"{BY_KEY_PREFIX}put.bin", headers, content=b"hello").status_code == status, headers
        assert site.keys() == (["put.bin"] if status == 201 else [])


def test_a_put_that_must_not_replace_is_412_where_it_would(site: UploadSite) -> None:
    path = f"{BY_KEY_PREFIX}once.bin"
    assert site.ask("PUT", path, {"If-None-Match": "*"}, content=b"1st").status_code == 201
    assert site.ask("PUT", path, {"If-None-Match": "*"}, content=b"2nd").status_code == 412
    assert site.read("once.bin") == b"1st"


def test_a_put_that_is_repeated_under_its_key_is_one_version(site: UploadSite) -> None:
    headers = {"Idempotency-Key": "one-upload"}
    first = site.ask("PUT", f"{BY_KEY_PREFIX}again.bin", headers, content=b"abc")
    again = site.ask("PUT", f"{BY_KEY_PREFIX}again.bin", headers, content=slowly(b"abc"))
    assert first.json() == again.json()
    assert site.ask("PUT", f"{BY_KEY_PREFIX}other.bin", headers, content=b"abc").status_code == 400


# -- a disk that fails ---------------------------------------------------------------------------------------------


class FullDisk:
    """Keeps no room for anybody."""

    def begin(self, new: NewUpload, _upload_id: str, _until: object, /) -> str:
        raise NoSpace(f"taking in {new.key}", "the disk is full")

    def resize(self, _session: UploadSession, _size_bytes: int, /) -> None: ...

    def settle(self, _session: UploadSession, _version_id: str, /) -> None: ...

    def release(self, _session: UploadSession, /) -> None: ...


def test_a_full_disk_is_507(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = UploadSite(tmp_path_factory.mktemp("full"), FullDisk())
    try:
        said = {"Upload-Length": "5", "Upload-Metadata": metadata(filename="a")}
        assert site.tus("POST", UPLOADS_PATH, said).status_code == 507
        assert site.ask("PUT", f"{BY_KEY_PREFIX}a", content=b"x").status_code == 507
        assert site.keys() == []
    finally:
        site.close()


def test_an_error_names_no_path_of_the_machine(site: UploadSite) -> None:
    response = site.tus("HEAD", f"{UPLOADS_PATH}/{'f' * 32}")
    assert "/" not in response.text.replace(UPLOADS_PATH, "").replace("/problems/", "")
    with pytest.raises(NotFound) as caught:
        site.uploads.get("f" * 32)
    assert isinstance(caught.value, PlatformError)
