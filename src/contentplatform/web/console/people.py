"""Settings of one's own account, and for administrators those of everybody."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from contentplatform.accounts.port import Role, Scope, Token
from contentplatform.errors import InvalidRequest, NotFound, Unauthenticated
from contentplatform.web.auth import source_of
from contentplatform.web.console.visit import Notice, Visit, needed

ACCOUNT: Final = "/settings"
USERS: Final = "/settings/users"
_AUDIT_PAGE_SIZE: Final = 50
_PASSWORD_BYTES: Final = 15
_GIGABYTE: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token, in a list."""

    token: Token
    owner: str
    rights: str
    is_over: bool


def show_account(visit: Visit) -> Response:
    """One's own password, sessions and tokens."""
    return _account_page(visit)


def _account_page(visit: Visit, *, secret: str = "", secret_of: str = "") -> Response:
    accounts = visit.platform.accounts
    return visit.page(
        "account.html",
        user=accounts.user(visit.principal.id),
        sessions=accounts.sessions(visit.principal.id),
        tokens=[_shown(each, visit.principal.name, visit.now) for each in accounts.tokens(visit.principal.id)],
        scopes=[scope for scope in Scope if visit.principal.may(scope)],
        secret=secret,
        secret_of=secret_of,
    )


def _shown(token: Token, owner: str, now: datetime) -> ShownToken:
    return ShownToken(token, owner, ", ".join(sorted(scope.value for scope in token.scopes)), token.expires_at <= now)


def change_password(visit: Visit) -> Response:
    """Another password for oneself; every session but a new one ends."""
    accounts = visit.platform.accounts
    if visit.given("password") != visit.given("again"):
        raise InvalidRequest("changing the password", "the two are not the same")
    try:
        accounts.authenticate(visit.principal.name, visit.given("old"), source_of(visit.request.scope))
    except Unauthenticated:
        raise InvalidRequest("changing the password", "the old one is wrong") from None
    accounts.set_password(visit.principal.id, needed(visit, "password", "the new password"), by=visit.principal)
    return visit.back("/sign-in", None)


def end_sessions(visit: Visit) -> Response:
    """Sign out everywhere else."""
    accounts = visit.platform.accounts
    ended = accounts.end_sessions(visit.principal.id, by=visit.principal, but=visit.principal.credential_id)
    return visit.back(ACCOUNT, "Signed out of one other browser." if ended == 1 else f"Signed out of {ended} others.")


def create_token(visit: Visit) -> Response:
    """A token for a program; its secret is shown this once."""
    days = visit.given("days")
    if days and not (days.isascii() and days.isdigit()):
        raise InvalidRequest("making a token", f"{days[:20]!r} is no number of days")
    try:
        scopes = [Scope(value) for value in visit.given_all("scope")]
    except ValueError:
        raise InvalidRequest("making a token", "there is no such right") from None
    secret, token = visit.platform.accounts.create_token(
        visit.principal.id,
        needed(visit, "name", "what it is for"),
        scopes,
        by=visit.principal,
        folder=visit.given("folder"),
        lifetime_days=int(days) if days else None,
    )
    return _account_page(visit, secret=secret, secret_of=token.name)


def revoke_token(visit: Visit) -> Response:
    """End a token: one's own, or for an administrator anybody's."""
    wanted = visit.given("id")
    whose = None if visit.principal.may(Scope.ADMIN) else visit.principal.id
    if all(token.id != wanted for token in visit.platform.accounts.tokens(whose)):
        raise NotFound("revoking a token", "there is no such token")
    visit.platform.accounts.revoke_token(wanted, by=visit.principal)
    return visit.back(USERS if visit.given("back") == "users" else ACCOUNT, "The token works no more.")


# -- everybody ------------------------------------------------------------------------------------------------------


def show_users(visit: Visit) -> Response:
    """Everybody who can sign in."""
    return _users_page(visit)


def _users_page(visit: Visit, *, secret: str = "", secret_of: str = "") -> Response:
    accounts = visit.platform.accounts
    users = accounts.users()
    names = {user.id: user.name for user in users}
    tokens = [_shown(each, names.get(each.user_id, "–"), visit.now) for each in accounts.tokens()]
    return visit.page("users.html", users=users, tokens=tokens, roles=list(Role), secret=secret, secret_of=secret_of)


def add_user(visit: Visit) -> Response:
    """A new user with a password that is shown this once, to be handed over."""
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    user = visit.platform.accounts.add_user(
        needed(visit, "name", "the name"),
        password,
        _role(visit),
        by=visit.principal,
        folder=visit.given("folder"),
        quota_bytes=_quota(visit),
        generated=True,
    )
    return _users_page(visit, secret=password, secret_of=user.name)


def _role(visit: Visit) -> Role:
    try:
        return Role(visit.given("role"))
    except ValueError:
        raise InvalidRequest("changing a user", "there is no such role") from None


def _quota(visit: Visit) -> int | None:
    text = visit.given("quota")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest("changing a user", f"{text[:20]!r} is no whole number of gigabytes")
    return int(text) * _GIGABYTE


def change_user(visit: Visit) -> Response:
    """One change to one user."""
    accounts, by = visit.platform.accounts, visit.principal
    user = accounts.user(visit.path["user_id"])
    match visit.given("do"):
        case "role":
            accounts.set_role(user.id, _role(visit), by=by)
            told = f"{user.name} is {_role(visit)} now."
        case "limits":
            accounts.set_folder(user.id, visit.given("folder"), by=by)
            accounts.set_quota(user.id, _quota(visit), by=by)
            told = f"The limits of {user.name} are changed."
        case "password":
            password = secrets.token_urlsafe(_PASSWORD_BYTES)
            accounts.set_password(user.id, password, by=by, generated=True)
            return _users_page(visit, secret=password, secret_of=user.name)
        case "disable":
            accounts.disable(user.id, by=by)
            told = f"{user.name} can’t sign in any more."
        case "enable":
            accounts.enable(user.id, by=by)
            told = f"{user.name} can sign in again."
        case "remove":
            accounts.remove_user(user.id, by=by)
            told = f"{user.name} is removed; the files stay."
        case _:
            raise InvalidRequest("changing a user", "there is no such change")
    return visit.back(USERS, Notice(told))


def show_audit(visit: Visit) -> Response:
    """What was done, and refused."""
    page = visit.platform.audit.entries(
        cursor=visit.asked("cursor") or None, limit=_AUDIT_PAGE_SIZE, act=visit.asked("act")
    )
    return visit.page(
        "audit.html",
        entries=page.entries,
        act=visit.asked("act"),
        next_url=f"/settings/audit?{urlencode({'act': visit.asked('act'), 'cursor': page.cursor})}"
        if page.cursor
        else "",
    )
