"""Somebody else's browser, session, files and headers: H48, H53 to H56 of the hostile inputs, over the whole site."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from http.cookies import SimpleCookie
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.types import ASGIApp

from contentplatform.accounts.passwords import Argon2Cost
from contentplatform.accounts.port import Role, Scope, User, machine
from contentplatform.app import LocalHome, open_local
from contentplatform.app.people import LatePeople, open_accounts
from contentplatform.config import load
from contentplatform.media import file_id
from contentplatform.storage.port import BucketRole
from contentplatform.web.claim import Part
from contentplatform.web.console.site import ROUTES
from contentplatform.web.site import open_site
from fakes.accounts import PASSWORD
from fakes.clock import FakeClock

BY: Final = machine("test")
CHEAP: Final = Argon2Cost(passes=1, memory_kib=8, lanes=1)
HERE: Final = "http://localhost:8080"
OURS: Final = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
WRITES: Final = (
    ("POST", "/api/v1/bulk"),
    ("PUT", "/api/v1/files/by-key/planted.txt"),
    ("POST", "/api/v1/uploads"),
    ("POST", "/api/v1/tokens"),
    ("POST", "/api/v1/users"),
    ("DELETE", "/api/v1/me/sessions"),
    ("POST", "/api/v1/me/password"),
    ("POST", "/library/act"),
    ("POST", "/library/upload"),
    ("POST", "/settings/users"),
    ("POST", "/settings/tokens"),
    ("POST", "/sign-out"),
)
"""Of each part of the site something that changes something."""


class House:
    """A home with a site over it, and people in it."""

    def __init__(self, home: LocalHome, clock: FakeClock, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self.home = home
        self.clock = clock
        self.platform = home.platform
        self.accounts = home.platform.accounts
        self.app = app
        self.loop = loop
        self._names = iter(range(10_000))

    def user(self, role: Role = Role.EDITOR, folder: str = "") -> User:
        """Somebody new."""
        return self.accounts.add_user(f"user{next(self._names)}", PASSWORD, role, by=BY, folder=folder)

    def ask(
        self, method: str, path: str, *, client: str = "192.0.2.1", base: str = HERE, **given: Any
    ) -> httpx.Response:
        """Send one request from an address."""
        transport = httpx.ASGITransport(self.app, client=(client, 50_000), raise_app_exceptions=False)

        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url=base) as asker:
                return await asker.request(method, path, **given)

        return self.loop.run_until_complete(send())

    def sign_in(self, user: User, password: str = PASSWORD, **given: Any) -> httpx.Response:
        """What the browser's form sends."""
        headers = {**OURS, **given.pop("headers", {})}
        return self.ask("POST", "/sign-in", data={"name": user.name, "password": password}, headers=headers, **given)

    def browser(self, user: User) -> Browser:
        """Somebody who is signed in."""
        answer = self.sign_in(user)
        assert answer.status_code == 303, answer.text
        return Browser(self, cookie_of(answer))

    def bearer(self, user: User, *scopes: Scope) -> dict[str, str]:
        """The header of a program that acts for somebody."""
        secret, _ = self.accounts.create_token(user.id, "test", scopes or user.scopes, by=BY)
        return {"Authorization": f"Bearer {secret}"}

    def state(self) -> tuple[Any, ...]:
        """All that a forged request could change."""
        users = tuple((user.id, user.role, user.password_changed_at) for user in self.accounts.users())
        files = tuple(version.key for version in self.home.store.list(BucketRole.PRIMARY).objects)
        return users, files, tuple(token.id for token in self.accounts.tokens())


class Browser:
    """A browser with a session's cookie, and what every request of a script may have."""

    def __init__(self, house: House, cookie: str) -> None:
        self.house = house
        self.cookie = cookie

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
        """Send a request with the cookie and these headers, and nothing else that a browser adds."""
        told = {"Cookie": f"session={self.cookie}", "Tus-Resumable": "1.0.0", **(headers or {})}
        return self.house.ask(method, path, headers=told, **given)

    def csrf_token(self) -> str:
        """What the pages have in their forms."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.ask("GET", "/library").text)
        assert found is not None
        return found[1]

    @property
    def is_in(self) -> bool:
        """Whether the server still knows the session."""
        return self.ask("GET", "/api/v1/me").status_code == 200


def cookie_of(answer: httpx.Response) -> str:
    """The session's secret in an answer."""
    return str(morsel_of(answer).value)


def morsel_of(answer: httpx.Response) -> Any:
    """The session's cookie in an answer."""
    jar: SimpleCookie = SimpleCookie()
    for header in answer.headers.get_list("set-cookie"):
        jar.load(header)
    found = jar.get("__Host-session") or jar.get("session")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    environment = {
        "CONTENTPLATFORM_SERVER_TRUSTED_PROXIES": "10.0.0.1",
        "CONTENTPLATFORM_SERVER_PUBLIC_URL": "https://media.example.org",
        "CONTENTPLATFORM_ACCOUNTS_ADDRESS_REQUESTS_PER_MINUTE": "100000",
        "CONTENTPLATFORM_ACCOUNTS_REQUESTS_PER_MINUTE": "100000",
    }
    settings = load(data_folder=folder, environment=environment)
    clock = FakeClock()
    home = open_local(settings, clock=clock)
    people = open_accounts(settings, clock, database=home.database, cost=CHEAP)
    home.platform = replace(home.platform, people=LatePeople(lambda: people))
    site = open_site(home, {Part.APP}, listening_host="127.0.0.1")
    loop = asyncio.new_event_loop()
    yield House(home, clock, site.app, loop)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    site.close()
    home.close()


# -- H54: forged requests ------------------------------------------------------------------------------------------

FOREIGN: Final[tuple[dict[str, str], ...]] = (
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://localhost:8081", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost:8080.evil.example"},
    {"Origin": "https://localhost:8080"},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {},
)


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_request_from_another_site_changes_nothing_even_with_the_right_token(
    house: House, method: str, path: str
) -> None:
    browser = house.browser(house.user(Role.ADMIN))
    token = browser.csrf_token()
    before = house.state()
    for foreign in FOREIGN if path == WRITES[0][1] else (FOREIGN[0], FOREIGN[-1]):
        answer = browser.ask(method, path, {**foreign, "X-CSRF-Token": token}, data={"csrf_token": token})
        assert answer.status_code == 403, (foreign, answer.status_code, answer.text[:200])
    assert house.state() == before
    assert browser.is_in


def test_a_request_without_the_session_s_own_token_changes_nothing(house: House) -> None:
    user = house.user(Role.ADMIN)
    browser, other = house.browser(user), house.browser(user)
    before = house.state()
    for token in ("", "x", other.csrf_token(), browser.csrf_token()[:-1], browser.cookie):
        for method, path in WRITES if token == "x" else WRITES[:1]:
            answer = browser.ask(method, path, {**OURS, "X-CSRF-Token": token}, data={"csrf_token": token})
            assert answer.status_code == 403, (method, path, token, answer.status_code)
    assert house.state() == before
    assert browser.is_in


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_json_that_a_foreign_form_can_send_is_refused(house: House, content_type: str) -> None:
    browser = house.browser(house.user(Role.ADMIN))
    body = b'{"name": "mallory", "role": "admin"}'
    for headers in ({"Origin": "https://evil.example"}, {}, {"Sec-Fetch-Site": "cross-site"}):
        answer = browser.ask("POST", "/api/v1/users", {**headers, "Content-Type": content_type}, content=body)
        assert answer.status_code == 403
    assert "mallory" not in [user.name for user in house.accounts.users()]


def test_our_own_pages_get_through(house: House) -> None:
    browser = house.browser(house.user(Role.ADMIN))
    ours = {**OURS, "X-CSRF-Token": browser.csrf_token()}
    wish = {"name": "a token", "scopes": ["read"]}
    for headers in (ours, {"Origin": HERE, "X-CSRF-Token": ours["X-CSRF-Token"]}):
        assert browser.ask("POST", "/api/v1/tokens", headers, json=wish).status_code == 201
    form = {"csrf_token": browser.csrf_token(), "theme": "dark"}
    assert browser.ask("POST", "/theme", OURS, data=form).status_code == 303


def test_nothing_is_changed_by_a_get_or_head_whatever_it_says(house: House) -> None:
    browser = house.browser(house.user(Role.ADMIN))
    token = browser.csrf_token()
    before = house.state()
    for overridden, path in WRITES:
        for method in ("GET", "HEAD"):
            told = {**OURS, "X-CSRF-Token": token, "X-HTTP-Method-Override": overridden}
            query = {"csrf_token": token, "_method": overridden, "act": "delete"}
            assert browser.ask(method, path, told, params=query).status_code < 500
    assert house.state() == before
    assert browser.is_in


def test_a_sign_in_from_another_site_is_refused(house: House) -> None:
    user = house.user()  # otherwise somebody could be made to work in the attacker's account
    for foreign in FOREIGN:
        answer = house.ask("POST", "/sign-in", data={"name": user.name, "password": PASSWORD}, headers=foreign)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_a_program_with_a_token_is_no_browser_and_its_cookies_are_not_looked_at(house: House) -> None:
    user, admin = house.user(Role.VIEWER), house.user(Role.ADMIN)
    browser = house.browser(admin)
    bearer = house.bearer(user)
    assert browser.ask("GET", "/api/v1/users", bearer).status_code == 403
    assert browser.ask("GET", "/api/v1/me", bearer).json()["name"] == user.name
    for wrong in ("Bearer x", "Bearer ", "Basic x", "bearer", "cp_x", f"Bearer {'x' * 5_000}"):
        assert browser.ask("GET", "/api/v1/me", {"Authorization": wrong}).status_code == 401


def test_a_refused_form_is_written_down(house: House) -> None:
    user = house.user(Role.ADMIN)
    browser = house.browser(user)
    browser.ask("POST", "/api/v1/tokens", {"Origin": "https://evil.example"}, json={})
    [entry] = house.platform.audit.entries(who_id=user.id, act="form.refused").entries
    assert entry.subject == "/api/v1/tokens"


# -- H55: sessions -------------------------------------------------------------------------------------------------


def test_a_sign_in_makes_a_new_session_and_ends_the_one_that_was_planted(house: House) -> None:
    victim, mallory = house.user(), house.user()
    planted = house.browser(mallory)
    answer = house.sign_in(victim, headers={"Cookie": f"session={planted.cookie}"})
    assert cookie_of(answer) != planted.cookie
    assert not planted.is_in
    assert Browser(house, cookie_of(answer)).ask("GET", "/api/v1/me").json()["name"] == victim.name
    for invented in ("x", "a" * 43, "'; DROP TABLE sessions; --"):
        assert cookie_of(house.sign_in(victim, headers={"Cookie": f"session={invented}"})) != invented


def test_a_cookie_that_was_planted_beside_ours_is_not_chosen(house: House) -> None:
    browser, mallory = house.browser(house.user()), house.browser(house.user())
    for cookies in (
        f"session={mallory.cookie}; session={browser.cookie}",
        f"session={browser.cookie}; session={mallory.cookie}",
    ):
        assert house.ask("GET", "/api/v1/me", headers={"Cookie": cookies}).status_code == 401


def test_a_session_is_over_after_signing_out_however_long_its_cookie_lives(house: House) -> None:
    browser = house.browser(house.user())
    answer = browser.ask("POST", "/sign-out", OURS, data={"csrf_token": browser.csrf_token()})
    assert answer.status_code == 303
    gone = morsel_of(answer)
    assert (gone.value, gone["max-age"], gone["path"]) == ("", "0", "/")
    assert not browser.is_in
    assert browser.ask("GET", "/library").status_code == 303
    assert browser.ask("GET", "/library").headers["location"].startswith("/sign-in")


def test_a_changed_password_and_a_disabled_user_end_every_session(house: House) -> None:
    house.user(Role.ADMIN)
    user = house.user()
    changes: tuple[Callable[[], User], ...] = (
        lambda: house.accounts.set_password(user.id, PASSWORD, by=BY),
        lambda: house.accounts.disable(user.id, by=BY),
    )
    for change in changes:
        browsers = [house.browser(user) for _ in range(2)]
        bearer = house.bearer(user)
        assert house.ask("GET", "/api/v1/me", headers=bearer).status_code == 200
        change()
        assert not any(browser.is_in for browser in browsers)
    assert house.ask("GET", "/api/v1/me", headers=bearer).status_code == 401


def test_the_cookie_is_for_us_alone(house: House) -> None:
    plain = morsel_of(house.sign_in(house.user()))
    assert (plain.key, plain["path"], plain["samesite"], plain["httponly"]) == ("session", "/", "Lax", True)
    assert (plain["secure"], plain["domain"]) == ("", "")
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "media.example.org"}
    there = {"Origin": "https://media.example.org", "Sec-Fetch-Site": "same-origin"}
    secure = morsel_of(house.sign_in(house.user(), headers={**proxied, **there}, client="10.0.0.1"))
    assert (secure.key, secure["path"], secure["samesite"], secure["httponly"], secure["secure"], secure["domain"]) == (
        "__Host-session",
        "/",
        "Lax",
        True,
        True,
        "",
    )


def test_a_cookie_without_its_prefix_is_no_session_behind_tls(house: House) -> None:
    browser = house.browser(house.user())
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "media.example.org"}
    for cookie, status in ((f"session={browser.cookie}", 401), (f"__Host-session={browser.cookie}", 200)):
        told = {**proxied, "Cookie": cookie}
        assert house.ask("GET", "/api/v1/me", headers=told, client="10.0.0.1").status_code == status
    assert house.ask("GET", "/api/v1/me", headers={"Cookie": f"__Host-session={browser.cookie}"}).status_code == 401


def test_guessing_passwords_is_slowed_down_and_tells_when_to_come_back(house: House) -> None:
    user = house.user()
    told = [house.sign_in(user, "wrong password", client=f"198.51.100.{number}").status_code for number in range(8)]
    assert told == [401] * 5 + [429] * 3
    refused = house.sign_in(user, client="198.51.100.99")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "set-cookie" not in refused.headers
    nobody = replace(user, name="nobody-at-all")
    assert [
        house.sign_in(nobody, "wrong password", client=f"198.51.101.{number}").status_code for number in range(8)
    ] == told


def test_the_page_says_the_same_whatever_was_wrong(house: House) -> None:
    user = house.user()
    texts: set[str] = set()
    for name, password in ((user.name, "wrong"), ("nobody-here", "wrong"), ("'\"<script>", "wrong"), (user.name, "")):
        answer = house.sign_in(replace(user, name=name), password, client=f"203.0.113.{len(texts) + 1}")
        assert answer.status_code == 401
        texts.add(re.sub(r'value="[^"]*"', "", answer.text))
        assert "<script>" not in answer.text
    assert len(texts) == 1


# -- H56: whom the server believes ---------------------------------------------------------------------------------


def test_a_host_that_is_not_ours_reaches_nothing(house: House) -> None:
    browser = house.browser(house.user())
    for host in ("evil.example", "localhost.evil.example", "169.254.169.254"):
        for path in ("/", "/library", "/api/v1/me", "/sign-in"):
            assert browser.ask("GET", path, base=f"http://{host}:8080").status_code == 400


def test_what_a_stranger_says_of_itself_is_not_believed(house: House) -> None:
    user = house.user()
    lies = {
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=10.0.0.1;proto=https;host=evil.example",
        "X-Real-IP": "10.0.0.1",
        "X-Original-URL": "/api/v1/users",
        "X-Rewrite-URL": "/api/v1/users",
    }
    answer = house.sign_in(user, headers=lies, client="192.0.2.77")
    assert morsel_of(answer).key == "session"
    assert "strict-transport-security" not in answer.headers
    assert "evil.example" not in str(answer.headers) + answer.text
    [session] = house.accounts.sessions(user.id)
    assert session.source == "192.0.2.77"
    told = {**lies, **house.bearer(user)}
    assert house.ask("GET", "/api/v1/me", headers=told).json()["name"] == user.name


def test_a_lying_address_buys_no_further_guesses(house: House) -> None:
    user = house.user()
    told = [
        house.sign_in(
            replace(user, name=f"victim{number}"), "wrong", headers={"X-Forwarded-For": f"198.51.100.{number}"}
        ).status_code
        for number in range(21)
    ]
    assert told[-1] == 429
    house.clock.advance(100_000)  # the address is free again


def test_an_answer_for_somebody_is_kept_by_no_cache_whatever_its_name(house: House) -> None:
    house.platform.library.add("press/a.txt", BytesIO(b"words"))
    house.home.take_in_all()
    browser = house.browser(house.user(Role.ADMIN))
    for path in (
        "/library",
        "/library/x.css",
        "/library.css",
        "/settings",
        "/settings/x.css",
        "/settings/users;x.css",
        "/api/v1/me",
        "/api/v1/me/x.js",
        "/api/v1/me.css",
        "/api/v1/files",
        f"/api/v1/files/{file_id('press/a.txt')}/original",
        "/account/x.css",
        "/sign-in",
    ):
        answer = browser.ask("GET", path)
        assert "no-store" in answer.headers["cache-control"], path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy if path.endswith("/original") else "unsafe" not in policy


# -- H53: what is somebody else's ----------------------------------------------------------------------------------


def test_what_lies_outside_somebody_s_folder_is_not_there_and_the_look_is_written_down(house: House) -> None:
    for key in ("mine/a.txt", "theirs/b.txt"):
        house.platform.library.add(key, BytesIO(key.encode()))
    house.home.take_in_all()
    house.home.index_for_search()
    user = house.user(Role.EDITOR, "mine")
    mine, theirs, nothing = (file_id(key) for key in ("mine/a.txt", "theirs/b.txt", "theirs/nothing.txt"))
    for headers in (house.bearer(user), {"Cookie": f"session={house.browser(user).cookie}"}):
        assert house.ask("GET", f"/api/v1/files/{mine}", headers=headers).status_code == 200
        for tail in ("", "/versions", "/original", "/renditions/thumbnail"):
            there = house.ask("GET", f"/api/v1/files/{theirs}{tail}", headers=headers)
            absent = house.ask("GET", f"/api/v1/files/{nothing}{tail}", headers=headers)
            assert there.status_code == absent.status_code == 404, tail
            same = [{**each.json(), "instance": "", "detail": ""} for each in (there, absent)]
            assert same[0] == same[1]
            assert there.json()["detail"].replace(theirs, nothing) == absent.json()["detail"]
        listed = house.ask("GET", "/api/v1/files", headers=headers).json()["items"]
        assert {item["file_path"] for item in listed} == {"mine/a.txt"}
        assert house.ask("GET", "/api/v1/files", params={"folder": "theirs"}, headers=headers).status_code == 404
    refused = house.platform.audit.entries(who_id=user.id, act="file.refused").entries
    assert {entry.subject for entry in refused} == {"theirs/b.txt"}


def test_a_token_can_t_do_more_than_its_scopes_and_its_owner(house: House) -> None:
    admin, editor = house.user(Role.ADMIN), house.user(Role.EDITOR)
    reading = house.bearer(admin, Scope.READ)
    assert house.ask("GET", "/api/v1/users", headers=reading).status_code == 403
    assert house.ask("POST", "/api/v1/bulk", headers=reading, json={}).status_code == 403
    assert house.ask("PUT", "/api/v1/files/by-key/x.txt", headers=reading, content=b"x").status_code == 403
    writing = house.bearer(editor)
    assert house.ask("GET", "/api/v1/users", headers=writing).status_code == 403
    other = house.bearer(admin)
    token = house.accounts.tokens(admin.id)[0]
    answer = house.ask("DELETE", f"/api/v1/tokens/{token.id}", headers=writing)
    assert answer.status_code == 404
    assert house.ask("GET", "/api/v1/me", headers=other).status_code == 200
    refused = house.platform.audit.entries(who_id=editor.id, act="request.refused").entries
    assert [entry.subject for entry in refused] == ["/api/v1/users"]


# -- H48: bodies that unfold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/tokens", "/api/v1/uploads", "/sign-in", "/library/upload"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_compressed_body_is_refused_before_it_is_read(house: House, path: str, encoding: str) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    headers = {**house.bearer(house.user()), **OURS, "Content-Encoding": encoding}
    answer = house.ask("POST", path, headers=headers, content=bomb)
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_that_is_too_large_is_no_fault_of_ours(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"name=" + b"x" * 65_536

    form, document = "application/x-www-form-urlencoded", "application/json"
    browser = house.browser(house.user())
    headers = {**OURS, "X-CSRF-Token": browser.csrf_token()}
    for path, kind in (("/sign-in", form), ("/api/v1/tokens", document), ("/settings/tokens", form)):
        answer = browser.ask("POST", path, {**headers, "Content-Type": kind}, content=endless())
        assert answer.status_code == 413, path
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# -- every route ---------------------------------------------------------------------------------------------------


def reading_routes(house: House) -> list[str]:
    """Every address of the site that can be read, with something in the place of what it names."""
    described = house.ask("GET", "/api/v1/openapi.json").json()["paths"]
    paths = [path for path, operations in described.items() if "get" in operations and "events" not in path]
    paths += [route.path for route in ROUTES if "GET" in (route.methods or ())]
    others = ("/health/live", "/health/ready", "/problems/not-found", "/nothing", "/api/v1/nothing", "/s/x", "/u/x")
    return [re.sub(r"\{[^}]+\}", "0" * 32, path) for path in (*paths, *others)]


def test_every_route_says_what_browsers_have_to_know_whoever_asks(house: House) -> None:
    browser = house.browser(house.user(Role.ADMIN))
    routes = reading_routes(house)
    assert len(routes) > 50
    for path in routes:
        for answer in (browser.ask("GET", path), house.ask("HEAD", path)):
            told = answer.headers
            assert answer.status_code < 500, (path, answer.text)
            assert told["x-content-type-options"] == "nosniff", path
            assert told["x-frame-options"] == "DENY", path
            assert "default-src 'none'" in told["content-security-policy"], path
            assert "unsafe-inline" not in told["content-security-policy"], path
            assert told["referrer-policy"] in {"same-origin", "no-referrer"}, path
            assert told["cross-origin-resource-policy"] == "same-origin", path
            assert told["cross-origin-opener-policy"] == "same-origin", path
            assert told["cache-control"], path
            assert "server" not in told
            assert "x-powered-by" not in told
            assert "access-control-allow-origin" not in told, path
            if "no-store" not in told["cache-control"]:
                assert path.startswith(("/static/", "/problems/", "/api/v1/openapi.json", "/favicon")), path


def test_nothing_but_the_door_is_open_to_strangers(house: House) -> None:
    open_to_all = {"/", "/sign-in", "/health/live", "/health/ready", "/problems/not-found", "/api/v1/openapi.json"}
    for path in reading_routes(house):
        if path in open_to_all or path.startswith(("/static/", "/s/", "/u/")):
            continue
        answer = house.ask("GET", path)
        to_the_door = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
        assert to_the_door or answer.status_code in {401, 404}, (path, answer.status_code)
        assert answer.status_code != 404 or "nothing" in path, path
