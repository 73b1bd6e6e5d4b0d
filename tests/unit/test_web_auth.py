"""The door: who a request comes from, and whether a form is one of ours, over accounts in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest
from starlette.requests import HTTPConnection

from contentplatform.accounts.port import Principal, Role, Scope, Via, machine
from contentplatform.errors import Denied, RateLimited, Unauthenticated
from contentplatform.web.auth import Door, session_secret
from contentplatform.web.rates import Rates
from fakes.accounts import PASSWORD, MemoryAccounts, MemoryAuditLog
from fakes.asgi import scope_of
from fakes.clock import FakeClock, SequentialIds

OURS: Final = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
BY: Final = machine("test")


class CountingAccounts(MemoryAccounts):
    """Counts how often somebody is looked up."""

    asked = 0

    def token(self, secret: str) -> Principal | None:
        self.asked += 1
        return super().token(secret)

    def session(self, secret: str) -> Principal | None:
        self.asked += 1
        return super().session(secret)


@dataclass
class House:
    """Accounts, and the door to them."""

    accounts: CountingAccounts
    audit: MemoryAuditLog
    door: Door
    session: str
    token: str

    def request(self, method: str = "GET", **headers: str) -> HTTPConnection:
        """A request with these headers."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return HTTPConnection(scope_of(method, "/x", told))

    def browser(self, method: str = "GET", **headers: str) -> HTTPConnection:
        """A request with the session's cookie."""
        return self.request(method, cookie=f"session={self.session}", **headers)

    def bearer(self, method: str = "GET", **headers: str) -> HTTPConnection:
        """A request with the token."""
        return self.request(method, authorization=f"Bearer {self.token}", **headers)


def opened(*, role: Role = Role.EDITOR, public_url: str = "", per_minute: int = 1_000) -> House:
    clock = FakeClock()
    audit = MemoryAuditLog(clock)
    accounts = CountingAccounts(audit, clock, SequentialIds())
    user = accounts.add_user("anna", PASSWORD, role, by=BY)
    token, _ = accounts.create_token(user.id, "t", user.scopes, by=BY)
    session = accounts.start_session(user.id, source="192.0.2.1")
    rates = Rates(clock, per_minute)
    door = Door(accounts, audit, lifetime_seconds=60, public_url=public_url, rates=rates)
    return House(accounts, audit, door, session, token)


def test_somebody_is_looked_up_once_a_request() -> None:
    house = opened()
    request = house.bearer()
    for _ in range(3):
        who = house.door.enter(request, Scope.READ)
    assert (who.name, who.via) == ("anna", Via.TOKEN)
    assert house.accounts.asked == 1
    nobody = house.request()
    assert house.door.principal(nobody) is None
    assert house.door.principal(nobody) is None
    assert house.accounts.asked == 1  # without any credential nobody is asked for


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_whatever_its_case(scheme: str) -> None:
    house = opened()
    assert house.door.principal(house.request(authorization=f"{scheme} {house.token}")) is not None


def test_two_authorizations_are_none() -> None:
    house = opened()
    twice = [("authorization", f"Bearer {house.token}")] * 2
    assert house.door.principal(HTTPConnection(scope_of(headers=twice))) is None


def test_a_wrong_token_is_not_made_up_for_by_a_cookie() -> None:
    house = opened()
    assert house.door.principal(house.browser()) is not None
    assert house.door.principal(house.browser(authorization="Bearer wrong")) is None


def test_without_a_right_the_door_stays_shut_and_that_is_written_down() -> None:
    house = opened(role=Role.VIEWER)
    with pytest.raises(Unauthenticated):
        house.door.enter(house.request(), Scope.READ)
    with pytest.raises(Denied):
        house.door.enter(house.bearer("POST"), Scope.WRITE)
    [entry] = house.audit.entries(act="request.refused").entries
    assert (entry.who, entry.subject, entry.details) == ("anna", "/x", {"method": "POST"})


def test_one_user_s_many_programs_share_one_limit() -> None:
    house = opened(per_minute=3)
    for request in (house.bearer(), house.browser(), house.bearer()):
        house.door.enter(request, Scope.READ)
    with pytest.raises(RateLimited):
        house.door.enter(house.browser(), Scope.READ)


def test_a_token_s_bearer_sends_no_form() -> None:
    house = opened()
    assert house.door.enter(house.bearer("POST", Origin="https://elsewhere.example"), Scope.WRITE).name == "anna"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_needs_no_form_s_token(method: str) -> None:
    house = opened()
    assert house.door.enter(house.browser(method), Scope.READ).via is Via.SESSION


def test_a_form_brings_its_token_in_a_header_or_a_field() -> None:
    house = opened()
    token = house.door.csrf_token(house.browser())
    house.door.enter(house.browser("POST", **OURS), Scope.WRITE, form_token=token)
    house.door.enter(house.browser("POST", X_CSRF_Token=token, **OURS), Scope.WRITE)
    with pytest.raises(Denied):
        house.door.enter(house.browser("POST", **OURS), Scope.WRITE)
    assert house.door.csrf_token(house.request()) == ""


def test_pages_may_be_known_by_their_public_address_where_a_proxy_says_nothing() -> None:
    there = {"Origin": "https://media.example.org"}
    for public_url, is_ours in (("https://media.example.org/", True), ("", False)):
        house = opened(public_url=public_url)
        request = house.browser("POST", **there)
        token = house.door.csrf_token(request)
        if is_ours:
            house.door.check_form(request, token)
        else:
            with pytest.raises(Denied, match="trusted_proxies"):
                house.door.check_form(request, token)


def test_signing_in_gives_a_cookie_whose_forms_have_their_own_token() -> None:
    house = opened()
    signed_in = house.door.sign_in(house.browser("POST", **OURS), "anna", PASSWORD)
    secret = signed_in.cookie.partition(";")[0].removeprefix("session=")
    assert house.accounts.session(house.session) is None  # the one before is over
    house.session = secret
    assert house.door.csrf_token(house.browser()) == signed_in.csrf_token
    ended = house.door.sign_out(house.browser("POST", **OURS), signed_in.csrf_token)
    assert ended.startswith("session=; ")
    assert "Max-Age=0" in ended
    assert house.accounts.session(secret) is None


@pytest.mark.parametrize(
    ("cookies", "secret"),
    [
        (["session=a"], "a"),
        (["theme=dark; session=a; x=y"], "a"),
        (["theme=dark", "session=a"], "a"),
        (["xsession=a", "session2=b"], ""),
        (["session=a; session=b"], ""),
        (["session=a", "session=a"], ""),
        (["__Host-session=a"], ""),
        (["Session=a"], ""),
        (["session"], ""),
        (["session=" + "x" * 201], ""),
        ([], ""),
    ],
)
def test_the_cookie_of_the_session_is_read_exactly(cookies: list[str], secret: str) -> None:
    request = HTTPConnection(scope_of(headers=[("cookie", cookie) for cookie in cookies]))
    assert session_secret(request) == secret
