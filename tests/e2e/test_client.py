"""Our own client against a real home, in process: what it gives back, what it raises, and how it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Final

import httpx
import pytest

from contentplatform import errors
from contentplatform.catalog.port import SearchQuery
from contentplatform.client import PIECE_BYTES, TRIES, Client, error_of
from contentplatform.errors import ErrorCode, PlatformError, ProcessingFailed, RateLimited
from contentplatform.ingest.library import Edit
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.web import problems
from contentplatform.workflow.port import ExecutionStatus
from fakes.clock import FakeClock
from fakes.site import ApiSite, Bridge, open_site

LARGE: Final = bytes(range(256)) * (2 * PIECE_BYTES // 256) + b"the end"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with open_site(tmp_path_factory.mktemp("client"), with_uploads=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(site: ApiSite) -> Iterator[Client]:
    with site.client(site.editor, FakeClock()) as opened:
        yield opened


class Weather(httpx.BaseTransport):
    """A network in which something happens to some requests, or to their answers."""

    def __init__(self, inner: httpx.BaseTransport, meets: Callable[[httpx.Request, int], str]) -> None:
        self._inner = inner
        self._meets = meets
        self.requests: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.method)
        what = self._meets(request, len(self.requests))
        if what == "lost":
            raise httpx.ConnectError("nobody is there", request=request)
        if what == "busy":
            return httpx.Response(429, headers={"Retry-After": "7"}, json={"detail": "asking: too often"})
        answer = self._inner.handle_request(request)
        if what == "unanswered":
            raise httpx.ReadError("it broke off", request=request)
        return answer


def through(site: ApiSite, meets: Callable[[httpx.Request, int], str]) -> tuple[Client, Weather, FakeClock]:
    """A client in such a network."""
    clock = FakeClock()
    weather = Weather(Bridge(site.app, site.loop), meets)
    return site.client(site.editor, clock, weather), weather, clock


# -- what it gives back --------------------------------------------------------------------------------------------


def test_what_was_stored_has_its_record_once_it_is_taken_in(site: ApiSite) -> None:
    """As the API's page promises: until then there is none, or the one of the version before."""
    path, versions = "/api/v1/files/by-key/soon.txt", [""]
    for body in (b"one", b"another"):
        stored = site.editor.ask("PUT", path, content=body)
        assert stored.status_code == 201
        where = stored.headers["location"]
        if versions[-1]:
            assert site.editor.json("GET", where)["version_id"] == versions[-1]
        else:
            site.editor.problem("GET", where, 404)
        site.home.take_in_all()
        versions.append(stored.json()["version_id"])
        assert site.editor.json("GET", where)["version_id"] == versions[-1] != versions[-2]


def test_it_knows_for_whom_it_asks_and_what_answers(client: Client) -> None:
    me = client.me()
    assert (me.name, me.role, me.scopes, me.folder) == ("emil", "editor", frozenset({"read", "write"}), "")
    assert client.server()["home"] == "local"
    assert client.base_url == "http://testserver"


def test_a_record_is_the_record(site: ApiSite, client: Client) -> None:
    stored = site.add("record/a+b c%20d?x#y&z.txt")
    found = client.record(stored.file_path)
    assert (found.file_id, found.file_hash, found.kind) == (stored.file_id, stored.file_hash, MediaKind.DOCUMENT)
    assert found.upload_time == stored.upload_time
    assert client.record_by_id(stored.file_id) == found
    assert site.platform.describe(found) == site.platform.describe(stored)


def test_what_is_searched_for_is_found_page_by_page(site: ApiSite, client: Client) -> None:
    for number in range(3):
        site.add(f"pages/{number}.txt", b"x" * (number + 1))
    first = client.search(SearchQuery(folder="pages"), limit=2)
    second = client.search(SearchQuery(folder="pages"), cursor=first.cursor, limit=2)
    assert [record.file_path for record in first.records + second.records] == [
        "pages/2.txt",
        "pages/1.txt",
        "pages/0.txt",
    ]
    assert second.cursor is None
    everything = SearchQuery(
        text="2",
        kind=MediaKind.DOCUMENT,
        status=ProcessingStatus.PENDING,
        folder="pages",
        uploaded_from=datetime(2000, 1, 1, tzinfo=UTC),
        uploaded_before=datetime(2100, 1, 1, tzinfo=UTC),
        size_from_bytes=3,
        size_to_bytes=3,
        file_hash=hashlib.sha256(b"xxx").hexdigest(),
    )
    assert [record.file_path for record in client.search(everything).records] == ["pages/2.txt"]
    assert client.search(SearchQuery(folder="pages", deleted=True)).records == ()


def test_what_people_do_with_a_file_is_done(site: ApiSite, client: Client) -> None:
    site.add("life/a.txt", b"one")
    until = datetime(2031, 1, 1, tzinfo=UTC)
    edited = client.edit("life/a.txt", Edit(title="T", rights_until=until, add_tags=frozenset({"x"})))
    assert (edited.title, edited.rights_until, edited.tags) == ("T", until, ("x",))
    assert client.edit("life/a.txt", Edit(title="", clears_rights=True)).rights_until is None
    assert client.move("life/a.txt", "life/b.txt").file_path == "life/b.txt"
    client.remove("life/b.txt")
    assert client.record("life/b.txt").deleted_at is not None
    assert client.undelete("life/b.txt").deleted_at is None
    first = client.versions("life/b.txt")[0].version.version_id
    client.upload("life/b.txt", BytesIO(b"two"))
    site.home.take_in_all()
    newest, oldest = client.versions("life/b.txt")
    assert (newest.version.is_latest, oldest.version.version_id) == (True, first)
    assert client.restore("life/b.txt", first).version_id not in {first, newest.version.version_id}
    with site.client(site.admin) as administrator:
        administrator.remove_version("life/b.txt", first)
    assert first not in {state.version.version_id for state in client.versions("life/b.txt")}


def test_bytes_come_whole_and_are_checked(site: ApiSite, client: Client) -> None:
    site.add("bytes/a.txt", b"all of them")
    with client.open("bytes/a.txt") as download:
        assert b"".join(download.chunks()) == b"all of them"
    assert (download.version.size_bytes, download.version.key) == (11, "bytes/a.txt")
    with client.open("bytes/a.txt", version_id=client.record("bytes/a.txt").version_id) as download:
        assert download.read() == b"all of them"
    with pytest.raises(errors.NotFound, match="no renditions"), client.open("bytes/a.txt", rendition="thumbnail"):
        pass


def test_bytes_that_are_others_are_not_taken(site: ApiSite) -> None:
    site.add("bytes/changed.txt", b"all of them")

    class Liar(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = Bridge(site.app, site.loop).handle_request(request)
            return httpx.Response(200, headers=answer.headers, content=b"none of the")

    with (
        site.client(site.editor, transport=Liar()) as client,
        client.open("bytes/changed.txt") as download,
        pytest.raises(errors.Corrupt, match="not those"),
    ):
        download.read()


def test_an_execution_is_told_stopped_and_tried_again(site: ApiSite, client: Client) -> None:
    record = site.add("work/a.txt")
    [execution] = client.executions(file_id=record.file_id).executions
    assert client.execution(execution.name) == execution
    assert client.cancel(execution.name, "enough").status is ExecutionStatus.CANCELLED
    assert client.history(execution.name)[-1].event == "cancelled"
    again = client.retry(execution.name)
    assert client.execution(again).file_id == record.file_id
    assert client.reprocess("work/a.txt") == again, "what has not ended goes on"
    pending = client.executions(status=ExecutionStatus.PENDING, limit=1)
    assert pending.cursor is not None


# -- uploads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"some bytes", LARGE], ids=["empty", "small", "large"])
def test_an_upload_arrives_to_the_byte(site: ApiSite, client: Client, tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    key = f"sent/{len(data)}.bin"
    done = client.upload(key, source, claimed_type="application/x-test")
    assert (done.sha256, done.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    with site.platform.library.open(key, version_id=done.version_id) as reader:
        assert b"".join(reader.chunks()) == data


def test_what_is_there_already_is_not_sent(site: ApiSite, client: Client) -> None:
    first = client.upload("twice/a.bin", BytesIO(b"the same bytes"))
    again = client.upload("twice/a.bin", BytesIO(b"the same bytes"))
    other = client.upload("twice/b.bin", BytesIO(b"the same bytes"))
    assert (again.version_id, again.sent_bytes, other.sent_bytes) == (first.version_id, 0, 0)
    assert site.platform.library.current("twice/b.bin").version_id == other.version_id


def test_an_upload_goes_on_where_it_was_whatever_got_lost(site: ApiSite) -> None:
    fates = cycle(("lost", "", "unanswered", "", "unanswered"))

    def meets(request: httpx.Request, _number: int) -> str:
        return next(fates) if request.method == "PATCH" else ""

    client, weather, clock = through(site, meets)
    begun = clock.monotonic_seconds()
    with client:
        done = client.upload("stormy.bin", BytesIO(LARGE[::-1]))
    assert weather.requests.count("HEAD") >= 2
    assert clock.monotonic_seconds() > begun, "it pauses before it tries again"
    with site.platform.library.open("stormy.bin", version_id=done.version_id) as reader:
        assert b"".join(reader.chunks()) == LARGE[::-1]


def test_an_upload_that_nothing_gets_through_of_ends(site: ApiSite) -> None:
    client, weather, _ = through(site, lambda request, _: "lost" if request.method == "PATCH" else "")
    with client, pytest.raises(errors.Unavailable, match="can't be reached"):
        client.upload("never.bin", BytesIO(b"nothing of this arrives"))
    assert weather.requests.count("PATCH") == TRIES


def test_a_file_that_changes_while_it_is_sent_is_not_kept(client: Client) -> None:
    with pytest.raises(errors.ChecksumMismatch):
        client.upload("changed.bin", BytesIO(b"these bytes"), sha256="0" * 64)
    with pytest.raises(errors.NotFound):
        client.record("changed.bin")


def test_a_key_that_no_file_can_have_is_refused_before_anything_is_read(client: Client) -> None:
    with pytest.raises(errors.InvalidRequest, match="control characters"):
        client.upload("a\nb", BytesIO(b""))


# -- what it raises, and what it waits for -------------------------------------------------------------------------


def test_what_the_server_refuses_is_the_error_that_it_was(site: ApiSite, client: Client) -> None:
    with pytest.raises(errors.NotFound, match="there is no such file") as raised:
        client.record("nowhere")
    assert raised.value.doing.startswith("looking for the file")
    with pytest.raises(errors.InvalidRequest, match="cursor"):
        client.search(SearchQuery(), cursor="forged")
    with site.client(site.viewer) as viewer, pytest.raises(errors.Denied):
        viewer.remove("nowhere")
    with site.client(site.nobody) as nobody, pytest.raises(errors.Unauthenticated):
        nobody.me()
    site.add("state.txt")
    with pytest.raises(errors.Conflict, match="changed meanwhile"):
        client.edit("state.txt", Edit(title="x"), state='"999"')


def test_every_class_of_error_comes_back_as_itself() -> None:
    """But for a fault inside, of which the other side learns nothing."""
    for kind, what in problems.OF_ERROR.items():
        made: PlatformError
        if kind is ProcessingFailed:
            made = ProcessingFailed("doing", "why", code=ErrorCode.DECODE, hint="hint")
        elif kind is RateLimited:
            made = RateLimited("doing", "why", retry_after_seconds=9, hint="hint")
        else:
            made = kind("doing", "why", hint="hint")
        answer = problems.of_error(made).response({"type": "http", "path": "/x"})
        told = error_of(
            httpx.Response(
                answer.status_code,
                headers=dict(answer.headers),
                content=bytes(answer.body),
                request=httpx.Request("GET", "http://server/x"),
            )
        )
        if what is problems.INTERNAL:
            assert type(told) is errors.Unavailable
        elif what is problems.KEY_REUSED:
            assert isinstance(told, errors.InvalidRequest | errors.Conflict)
        else:
            assert (type(told), told.doing, told.why, told.hint) == (kind, "doing", "why", "hint")


@pytest.mark.parametrize(
    ("status", "kind"), [(502, errors.Unavailable), (404, errors.NotFound), (418, errors.InvalidRequest)]
)
def test_an_answer_that_is_no_problem_document_is_told_by_its_status(status: int, kind: type[PlatformError]) -> None:
    request = httpx.Request("GET", "http://server/x")
    error = error_of(httpx.Response(status, content=b"<html>", request=request))
    assert type(error) is kind
    assert "html" not in error.public


def test_a_question_is_asked_again_and_a_write_is_not(site: ApiSite) -> None:
    client, weather, clock = through(site, lambda _, number: "lost" if number < TRIES else "")
    begun = clock.monotonic_seconds()
    with client:
        assert client.me().name == "emil"
    assert len(weather.requests) == TRIES
    assert clock.monotonic_seconds() - begun == 0.5 + 1 + 2 + 4
    client, weather, _ = through(site, lambda *_: "unanswered")
    with client, pytest.raises(errors.Unavailable):
        client.move("state.txt", "moved.txt")
    assert weather.requests == ["POST"], "nobody knows whether it was done"


def test_a_busy_server_is_waited_for_as_long_as_it_says(site: ApiSite) -> None:
    client, _, clock = through(site, lambda _, number: "busy" if number == 1 else "")
    begun = clock.monotonic_seconds()
    with client:
        client.me()
    assert clock.monotonic_seconds() - begun == 7


@pytest.mark.parametrize("address", ["", "example.org", "ftp://x", "http://", "http://x?y", "file:///etc/passwd"])
def test_what_is_no_server_s_address_is_refused(address: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="no address"):
        Client(address, "cp_x")
