"""Who comes: a token or a session's cookie becomes a principal, and a form is one of ours or is refused.

* ``Authorization: Bearer cp_…`` is believed alone: where it is sent, cookies are not looked at.
* The cookie is ``__Host-session`` behind TLS, which no neighbouring host or plain connection can set, and ``session``
  on plain HTTP, which only loopback has. It is HttpOnly and SameSite=Lax.
* Whatever changes something and comes with a cookie must come from our own pages, by ``Origin`` and
  ``Sec-Fetch-Site``, and bring what only they know: ``X-CSRF-Token``, or the field ``csrf_token`` of a form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import HTTPConnection, Request
from starlette.types import Scope as AsgiScope

from contentplatform.accounts.credentials import csrf_token, same
from contentplatform.accounts.port import Accounts, AuditLog, Principal, Scope, User, Via
from contentplatform.errors import Denied, Unauthenticated
from contentplatform.web.rates import Rates

PLAIN_COOKIE: Final = "session"
SECURE_COOKIE: Final = "__Host-session"
CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf_token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
DOOR: Final = "contentplatform.door"
"""Where a request's scope carries the door."""
_PRINCIPAL: Final = "contentplatform.principal"
_SECRET_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody signed in just now."""

    user: User
    cookie: str
    """The value of the answer's ``Set-Cookie``."""
    csrf_token: str


class Door:
    """Lets people in. Its methods ask the database: call them in a thread.

    Args:
        accounts: whom there is.
        audit: learns of what was refused to somebody known.
        lifetime_seconds: of a session, for its cookie.
        public_url: how the server is reached from outside, if it can't tell by the request.
        rates: of requests, by user; None: without a limit.
    """

    def __init__(
        self,
        accounts: Accounts,
        audit: AuditLog,
        *,
        lifetime_seconds: int,
        public_url: str = "",
        rates: Rates | None = None,
    ) -> None:
        self._accounts = accounts
        self._audit = audit
        self._lifetime_seconds = lifetime_seconds
        self._public_url = public_url.rstrip("/").lower()
        self._rates = rates

    # -- who -------------------------------------------------------------------------------------------------

    def principal(self, request: HTTPConnection) -> Principal | None:
        """Who sent this request; None: nobody that is known. Asked for once a request.

        Raises:
            RateLimited: this user sends too many.
        """
        if _PRINCIPAL not in request.scope:
            found = self._found(request)
            if found is not None and self._rates is not None:
                self._rates.take(found.id)
            request.scope[_PRINCIPAL] = found
        known: Principal | None = request.scope[_PRINCIPAL]
        return known

    def _found(self, request: HTTPConnection) -> Principal | None:
        given = request.headers.getlist("authorization")
        if given:
            kind, _, secret = given[0].partition(" ")
            is_one = len(given) == 1 and kind.lower() == "bearer" and len(secret) <= _SECRET_LIMIT
            return self._accounts.token(secret.strip()) if is_one else None
        secret = session_secret(request)
        return self._accounts.session(secret) if secret else None

    def enter(self, request: HTTPConnection, scope: Scope, *, form_token: str = "") -> Principal:
        """Who sent this request, if that one may do what it asks for.

        Args:
            request: any request.
            scope: the right that it needs.
            form_token: the field ``csrf_token``, where the request is a form.

        Raises:
            Unauthenticated: nobody that is known.
            Denied: without the right to it; or from another site.
            RateLimited: after too many.
        """
        principal = self.principal(request)
        if principal is None:
            raise Unauthenticated("asking the server", "nobody is signed in", hint="Sign in, or send a token")
        if request.scope["method"] not in SAFE_METHODS:
            self.check_form(request, form_token or request.headers.get(CSRF_HEADER, ""))
        self.check_right(request, principal, scope)
        return principal

    def check_right(self, request: HTTPConnection, principal: Principal, scope: Scope) -> None:
        """Raise Denied, and write it down, unless they may do this; for what is to be known before a body is read."""
        try:
            principal.needs(scope)
        except Denied:
            self._audit.record(principal, "request.refused", request.url.path, method=request.scope["method"])
            raise

    # -- forms -----------------------------------------------------------------------------------------------

    def csrf_token(self, request: HTTPConnection) -> str:
        """What forms and scripts of this session bring along; empty without a session."""
        secret = session_secret(request)
        return csrf_token(secret) if secret else ""

    def check_form(self, request: HTTPConnection, token: str) -> None:
        """Raise Denied unless a request that changes something is sent by our own pages.

        A token's bearer is no browser, and may send from anywhere.
        """
        principal = self.principal(request)
        if principal is None or principal.via is not Via.SESSION:
            return
        try:
            self.check_origin(request)
            if not token or not same(token, self.csrf_token(request)):
                raise Denied("sending a form", "it is not one of this session's", hint="Load the page again")
        except Denied as error:
            self._audit.record(principal, "form.refused", request.url.path, why=error.why)
            raise

    def check_origin(self, request: HTTPConnection) -> None:
        """Raise Denied unless a browser says that one of our pages sent this. A browser always says something."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        is_ours = site in {None, "same-origin"} and origin in {None, *self._origins(request)}
        if not is_ours or (site is None and origin is None):
            raise Denied(
                "sending a form",
                "it comes from another site",
                hint="Open the console by its own address. Behind a proxy, see server.trusted_proxies",
            )

    def _origins(self, request: HTTPConnection) -> set[str]:
        own = f"{request.scope['scheme']}://{request.headers.get('host', '')}".lower()
        return {own, self._public_url} if self._public_url else {own}

    # -- signing in and out ----------------------------------------------------------------------------------

    def sign_in(self, request: HTTPConnection, name: str, password: str) -> SignedIn:
        """Begin a session, always a new one; the one that the browser had ends.

        Raises:
            Denied: from another site. Unauthenticated, RateLimited: as ``Accounts.authenticate``.
        """
        self.check_origin(request)
        source = source_of(request.scope)
        user = self._accounts.authenticate(name, password, source)
        before = session_secret(request)
        if before:
            self._accounts.end_session(before)
        secret = self._accounts.start_session(user.id, source=source, agent=request.headers.get("user-agent", ""))
        request.scope.pop(_PRINCIPAL, None)
        return SignedIn(user, self._cookie(request, secret, self._lifetime_seconds), csrf_token(secret))

    def sign_out(self, request: HTTPConnection, token: str) -> str:
        """End the session on the server; the ``Set-Cookie`` with which the browser forgets it. Raises as a form."""
        self.check_form(request, token)
        secret = session_secret(request)
        if secret:
            self._accounts.end_session(secret)
        request.scope.pop(_PRINCIPAL, None)
        return self._cookie(request, "", 0)

    def _cookie(self, request: HTTPConnection, secret: str, max_age_seconds: int) -> str:
        secure = "; Secure" if is_secure(request.scope) else ""
        return (
            f"{cookie_name(request.scope)}={secret}; Path=/; Max-Age={max_age_seconds}; HttpOnly; SameSite=Lax{secure}"
        )


def door_of(request: HTTPConnection) -> Door:
    """The door through which a request came."""
    door: Door = request.scope[DOOR]
    return door


def require(scope: Scope) -> Callable[[Request], Principal]:
    """A dependency for FastAPI: who sent the request, with this right. Raises as ``Door.enter``; runs in a thread."""

    def entered(request: Request) -> Principal:
        return door_of(request).enter(request, scope)

    return entered


def is_secure(scope: AsgiScope) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy that we trust."""
    return bool(scope["scheme"] == "https")


def cookie_name(scope: AsgiScope) -> str:
    """The one cookie that is believed."""
    return SECURE_COOKIE if is_secure(scope) else PLAIN_COOKIE


def session_secret(request: HTTPConnection) -> str:
    """The secret in the session's cookie; empty where there is none, or more than one: somebody planted the other."""
    name = f"{cookie_name(request.scope)}="
    found = [
        part.strip()[len(name) :]
        for header in request.headers.getlist("cookie")
        for part in header.split(";")
        if part.strip().startswith(name)
    ]
    return found[0] if len(found) == 1 and len(found[0]) <= _SECRET_LIMIT else ""


def source_of(scope: AsgiScope) -> str:
    """The address that a request came from, as the guard found it."""
    client: Any = scope.get("client")
    return str(client[0]) if client else ""
