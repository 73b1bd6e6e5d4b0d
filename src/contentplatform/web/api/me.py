"""``/me``, ``/tokens``: who asks, and by what programs act for them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response

from contentplatform.accounts import port
from contentplatform.accounts.port import Principal, Scope, Via
from contentplatform.clock import timestamp
from contentplatform.errors import Denied, InvalidRequest, NotFound
from contentplatform.web.api.route import TOLD_ONCE, failures, new_router
from contentplatform.web.api.serving import AAccounts, Reader
from contentplatform.web.api.shapes import Me, NewPassword, NewToken, SessionList, TokenList, TokenQuery, TokenWish

router = new_router("me")


@router.get("/me", operation_id="get_me", summary="Who asks", responses=failures())
def get_me(accounts: AAccounts, reader: Reader) -> Me:
    """Who you are to the API, and what you may do."""
    return Me(
        id=reader.id,
        name=reader.name,
        role=reader.role,
        scopes=sorted(reader.scopes),
        folder=reader.folder,
        via=reader.via.value,
        quota_bytes=_quota(accounts, reader),
        used_bytes=accounts.used_bytes(reader.id),
    )


@router.post(
    "/me/password",
    operation_id="change_password",
    summary="Change your password",
    status_code=204,
    responses=failures(),
)
def change_password(accounts: AAccounts, reader: Reader, wish: NewPassword) -> None:
    """Choose another password; every session ends."""
    _needs_more_than_a_token(reader)
    accounts.authenticate(reader.name, wish.current, f"user:{reader.id}")
    accounts.set_password(reader.id, wish.password, by=reader)


@router.get("/me/sessions", operation_id="list_sessions", summary="Where you are signed in", responses=failures())
def list_sessions(accounts: AAccounts, reader: Reader) -> SessionList:
    """Where you are signed in, the newest first."""
    items = [_shown_session(session, reader) for session in accounts.sessions(reader.id)]
    return SessionList.model_validate({"items": items})


@router.delete(
    "/me/sessions", operation_id="end_sessions", summary="Sign out everywhere", status_code=204, responses=failures()
)
def end_sessions(accounts: AAccounts, reader: Reader) -> None:
    """Sign out everywhere else; a session that asks for it stays."""
    _needs_more_than_a_token(reader)
    accounts.end_sessions(reader.id, by=reader, but=reader.credential_id if reader.via is Via.SESSION else "")


@router.get("/tokens", operation_id="list_tokens", summary="List tokens", responses=failures(404))
def list_tokens(accounts: AAccounts, reader: Reader, asked: Annotated[TokenQuery, Query()]) -> TokenList:
    """Your tokens, the newest first; an administrator sees another user's, or with `all` everybody's."""
    if asked.all or asked.user_id not in {None, reader.id}:
        reader.needs(Scope.ADMIN)
    user_id = None if asked.all else (asked.user_id or reader.id)
    return TokenList.model_validate({"items": [_shown_token(token) for token in accounts.tokens(user_id)]})


@router.post(
    "/tokens",
    operation_id="create_token",
    openapi_extra=TOLD_ONCE,
    summary="Make a token",
    status_code=201,
    responses=failures(404),
)
def create_token(accounts: AAccounts, reader: Reader, response: Response, wish: TokenWish) -> NewToken:
    """A token for a program that acts for you: its secret is told this once."""
    user_id = _owner(reader, wish)
    secret, token = accounts.create_token(
        user_id, wish.name, wish.scopes, by=reader, folder=wish.folder, lifetime_days=wish.lifetime_days
    )
    response.headers["Location"] = f"/api/v1/tokens/{token.id}"
    return NewToken.model_validate({**_shown_token(token), "secret": secret})


@router.delete(
    "/tokens/{token_id}",
    operation_id="revoke_token",
    summary="Revoke a token",
    status_code=204,
    responses=failures(404),
)
def revoke_token(
    accounts: AAccounts,
    reader: Reader,
    token_id: Annotated[str, Path(pattern="^[0-9A-Za-z_-]{1,64}$", description="A token's identifier.")],
) -> None:
    """End a token at once: one of yours, or as an administrator anybody's."""
    own = {token.id for token in accounts.tokens(reader.id)}
    if token_id not in own and not reader.may(Scope.ADMIN):
        raise NotFound(f"revoking the token {token_id}", "there is no such token")
    if token_id != reader.credential_id:  # one that leaked may end itself, and nobody else's work
        _needs_more_than_a_token(reader)
    accounts.revoke_token(token_id, by=reader)


def _owner(principal: Principal, wish: TokenWish) -> str:
    """Whose token it is to be. A token makes no other, unless it may manage: it would outlive its own end."""
    _needs_more_than_a_token(principal)
    if wish.user_id not in {None, principal.id}:
        principal.needs(Scope.ADMIN)
    elif not frozenset(wish.scopes) <= principal.scopes:
        raise InvalidRequest("making a token", "it can't have more rights than you have")
    return wish.user_id or principal.id


def _needs_more_than_a_token(principal: Principal) -> None:
    if principal.via is not Via.SESSION and not principal.may(Scope.ADMIN):
        raise Denied("doing this with a token", "it needs somebody who signed in, or the right to manage")


def _quota(accounts: port.Accounts, principal: Principal) -> int | None:
    try:
        return accounts.user(principal.id).quota_bytes
    except NotFound:
        return None


def _shown_session(session: port.Session, principal: Principal) -> dict[str, Any]:
    return {
        "id": session.id,
        "created_at": timestamp(session.created_at),
        "last_seen_at": timestamp(session.last_seen_at),
        "expires_at": timestamp(session.expires_at),
        "source": session.source,
        "agent": session.agent,
        "is_this": principal.credential_id == session.id,
    }


def _shown_token(token: port.Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "user_id": token.user_id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "folder": token.folder,
        "created_at": timestamp(token.created_at),
        "expires_at": timestamp(token.expires_at),
        "last_used_at": timestamp(token.last_used_at) if token.last_used_at else None,
    }
