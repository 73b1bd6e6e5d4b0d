"""Writes that are sent twice, collections, and events, through the API."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest

from contentplatform.accounts.port import Role, Scope
from contentplatform.media import file_id
from contentplatform.web.api.events import follow_events
from contentplatform.web.feed import Feed
from fakes.site import PASSWORD, TESTER, ApiSite, open_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with open_site(tmp_path_factory.mktemp("writes")) as opened:
        for name in ("one", "two", "three"):
            opened.add(f"{name}.txt")
        yield opened


# -- sent twice ----------------------------------------------------------------------------------------------------


def test_a_repeated_write_is_done_once_and_answered_as_it_was(site: ApiSite) -> None:
    path, key = f"{site.path('one.txt')}/reprocess", {"Idempotency-Key": "first"}
    first = site.editor.post(path, headers=key)
    again = site.editor.post(path, headers=key)
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (202, first.json())
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert len(site.platform.audit.entries(act="file.reprocess").entries) == 1


def test_a_key_stands_for_one_request_of_one_person(site: ApiSite) -> None:
    path, key = f"{site.path('two.txt')}/tags", {"Idempotency-Key": "tags"}
    site.editor.json("POST", path, json={"add": ["a"]}, headers=key)
    told = site.editor.problem("POST", path, 422, json={"add": ["b"]}, headers=key)
    assert told["type"] == "/problems/idempotency-key-reused"
    assert site.admin.json("POST", path, json={"add": ["b"]}, headers=key)["tags"] == ["a", "b"]
    site.editor.problem("POST", path, 400, json={"add": ["c"]}, headers={"Idempotency-Key": "with space"})


def test_what_failed_is_done_again(site: ApiSite) -> None:
    path, key = f"{site.path('late.txt')}/tags", {"Idempotency-Key": "later"}
    site.editor.problem("POST", path, 404, json={"add": ["a"]}, headers=key)
    site.add("late.txt")
    assert site.editor.json("POST", path, json={"add": ["a"]}, headers=key)["tags"] == ["a"]


def test_a_secret_is_told_once_even_if_asked_for_twice(site: ApiSite) -> None:
    key = {"Idempotency-Key": "share"}
    made = site.editor.json("POST", "/api/v1/shares", status=201, json={"folder": "x"}, headers=key)
    told = site.editor.problem("POST", "/api/v1/shares", 409, json={"folder": "x"}, headers=key)
    assert made["secret"] not in str(told)
    assert len(site.editor.json("GET", "/api/v1/shares")["items"]) == 1
    database = site.platform.settings.data_folder / "contentplatform.db"
    site.home.database.write(lambda unit: unit.run("UPDATE replies SET key = key"))
    assert (
        made["secret"].encode() not in database.read_bytes() + database.with_name(f"{database.name}-wal").read_bytes()
    )


def test_a_key_lets_nobody_in(site: ApiSite) -> None:
    path, key = f"{site.path('two.txt')}/reprocess", {"Idempotency-Key": "mine"}
    site.editor.json("POST", path, status=202, headers=key)
    site.nobody.problem("POST", path, 401, headers=key)
    site.viewer.problem("POST", path, 403, headers=key)


# -- collections ---------------------------------------------------------------------------------------------------


def test_a_collection_is_made_filled_ordered_and_taken_away(site: ApiSite) -> None:
    ids = [file_id(f"{name}.txt") for name in ("one", "two", "three")]
    made = site.editor.ask("POST", "/api/v1/collections", json={"name": "Best"})
    assert made.status_code == 201
    path = made.headers["location"]
    filled = site.editor.ask("POST", f"{path}/files", json={"file_ids": ids})
    assert filled.json()["files"] == 3
    state = {"If-Match": filled.headers["etag"]}
    wish = {"file_ids": [ids[2]], "before": ids[0]}
    site.editor.problem("POST", f"{path}/files/arrange", 428, json=wish)
    arranged = site.editor.ask("POST", f"{path}/files/arrange", json=wish, headers=state)
    assert arranged.status_code == 200
    shown = [item["file_id"] for item in site.viewer.json("GET", f"{path}/files")["items"]]
    assert shown == [ids[2], ids[0], ids[1]]
    site.editor.problem("PATCH", path, 412, json={"name": "Better"}, headers=state)
    state = {"If-Match": arranged.headers["etag"]}
    assert site.editor.json("PATCH", path, json={"name": "Better"}, headers=state)["name"] == "Better"
    assert site.editor.json("POST", f"{path}/files/remove", json={"file_ids": [ids[0]]})["files"] == 2
    assert [each["name"] for each in site.viewer.json("GET", f"{site.path('two.txt')}/collections")["items"]] == [
        "Better"
    ]
    assert [each["name"] for each in site.viewer.json("GET", "/api/v1/collections")["items"]] == ["Better"]
    site.editor.problem("DELETE", path, 428)
    assert site.editor.ask("DELETE", path, headers={"If-Match": "*"}).status_code == 204
    site.viewer.problem("GET", path, 404)


def test_a_collection_shows_and_takes_only_what_exists_for_whoever_asks(site: ApiSite) -> None:
    site.add("acme/theirs.txt")
    guest = site.asker("gustav", Role.EDITOR, "acme/")
    ids = [file_id("one.txt"), file_id("acme/theirs.txt")]
    path = site.editor.ask("POST", "/api/v1/collections", json={"name": "Mixed"}).headers["location"]
    site.editor.json("POST", f"{path}/files", json={"file_ids": ids})
    assert [item["file_id"] for item in guest.json("GET", f"{path}/files")["items"]] == [ids[1]]
    guest.problem("POST", f"{path}/files", 404, json={"file_ids": [ids[0]]})


# -- events --------------------------------------------------------------------------------------------------------


def events_of(site: ApiSite, authorization: str, last_event_id: int, wanted: int) -> tuple[dict[str, str], str]:
    """The headers of the stream of events since one of them, and what it tells until ``wanted`` pieces came."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/v1/events",
        "raw_path": b"/api/v1/events",
        "query_string": b"",
        "headers": [
            (b"host", b"testserver"),
            (b"authorization", authorization.encode()),
            (b"last-event-id", str(last_event_id).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }
    headers: dict[str, str] = {}
    pieces: list[bytes] = []
    enough = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers.update({name.decode(): value.decode() for name, value in message["headers"]})
        elif message.get("body"):
            pieces.append(message["body"])
            if len(pieces) >= wanted:
                enough.set()

    async def run() -> None:
        await asyncio.wait_for(site.app(scope, receive, send), 20)

    site.loop.run_until_complete(run())
    return headers, b"".join(pieces).decode()


def test_a_stream_ends_soon_after_its_token_or_its_user(site: ApiSite) -> None:
    accounts = site.platform.accounts
    user = accounts.add_user("lena", PASSWORD, Role.VIEWER, by=TESTER)
    feed = Feed(site.home.catalog, threading.Event(), poll_seconds=0.001, heartbeat_seconds=0.002)

    async def heard(change: Callable[[str], object]) -> bytes:
        """All that a new token's stream says, while it gets ``change`` behind the first sign of life."""
        secret, token = accounts.create_token(user.id, "stream", [Scope.READ], by=TESTER)
        reader = accounts.token(secret)
        assert reader is not None
        stream = (await follow_events(feed, accounts, reader)).body_iterator
        pieces = b""
        async for piece in stream:
            assert isinstance(piece, bytes)
            pieces += piece
            if pieces.endswith(b": still here\n\n"):
                change(token.id)
        return pieces

    def disabled(_token_id: str) -> None:
        accounts.disable(user.id, by=TESTER)

    def revoked(token_id: str) -> None:
        accounts.revoke_token(token_id, by=TESTER)

    for change in (revoked, disabled):
        told = site.loop.run_until_complete(asyncio.wait_for(heard(change), 20))
        assert told.count(b": still here") == 1


def test_what_happens_is_told_as_it_happens_to_whom_it_concerns(site: ApiSite) -> None:
    site.add("heard.txt")
    newest = site.home.catalog.newest_change()
    headers, told = events_of(site, site.viewer.authorization, newest - 1, 2)
    assert headers["content-type"].startswith("text/event-stream")
    assert "no-store" in headers["cache-control"]
    assert headers["x-content-type-options"] == "nosniff"
    greeting, event, *_ = told.split("\n\n")
    assert greeting.startswith("retry: ")
    assert event.startswith(f"id: {newest}\nevent: ")
    assert '"file_path":"heard.txt"' in event
