"""``/users``, ``/audit``: who may come in, and what was done. For administrators."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final

from fastapi import Path, Query, Response

from contentplatform.accounts import port
from contentplatform.accounts.port import Principal
from contentplatform.clock import timestamp
from contentplatform.web.api.route import TOLD_ONCE, failures, new_router
from contentplatform.web.api.serving import AAccounts, AAuditLog, Administrator
from contentplatform.web.api.shapes import AuditPage, AuditQuery, NewUser, User, UserEdit, UserList, UserWish

router = new_router("users")

UserId = Annotated[str, Path(pattern="^[0-9A-Za-z_-]{1,64}$", description="A user's identifier.")]
_PASSWORD_BYTES: Final = 15


@router.get("/users", operation_id="list_users", summary="List users", responses=failures())
def list_users(accounts: AAccounts, _administrator: Administrator) -> UserList:
    """All users, by name."""
    return UserList.model_validate({"items": [shown_user(user) for user in accounts.users()]})


@router.post(
    "/users",
    operation_id="add_user",
    openapi_extra=TOLD_ONCE,
    summary="Add a user",
    status_code=201,
    responses=failures(409),
)
def add_user(accounts: AAccounts, administrator: Administrator, response: Response, wish: UserWish) -> NewUser:
    """A new user. Without a password one is made up, and told this once."""
    password = wish.password or secrets.token_urlsafe(_PASSWORD_BYTES)
    user = accounts.add_user(
        wish.name,
        password,
        wish.role,
        by=administrator,
        folder=wish.folder,
        quota_bytes=wish.quota_bytes,
        generated=wish.password is None,
    )
    response.headers["Location"] = f"/api/v1/users/{user.id}"
    return NewUser.model_validate({**shown_user(user), "password": None if wish.password else password})


@router.get("/users/{user_id}", operation_id="get_user", summary="One user", responses=failures(404))
def get_user(accounts: AAccounts, _administrator: Administrator, user_id: UserId) -> User:
    """One user, with the quota and what is used of it."""
    return User.model_validate(shown_user(accounts.user(user_id)))


@router.patch("/users/{user_id}", operation_id="edit_user", summary="Change a user", responses=failures(404, 409))
def edit_user(accounts: AAccounts, administrator: Administrator, user_id: UserId, change: UserEdit) -> User:
    """Another role, folder, quota or password; let in or keep out. Holds from the next request on."""
    accounts.user(user_id)
    for name in sorted(change.model_fields_set):
        _change(accounts, administrator, user_id, name, getattr(change, name))
    return User.model_validate(shown_user(accounts.user(user_id)))


@router.delete(
    "/users/{user_id}",
    operation_id="remove_user",
    summary="Remove a user",
    status_code=204,
    responses=failures(404, 409),
)
def remove_user(accounts: AAccounts, administrator: Administrator, user_id: UserId) -> None:
    """Remove a user with sessions and tokens; files and the audit log stay."""
    accounts.remove_user(user_id, by=administrator)


@router.get("/audit", operation_id="list_audit", summary="What was done", responses=failures())
def list_audit(audit: AAuditLog, _administrator: Administrator, asked: Annotated[AuditQuery, Query()]) -> AuditPage:
    """A page of the audit log, the newest first."""
    page = audit.entries(cursor=asked.cursor, limit=asked.limit, who_id=asked.who_id, act=asked.act)
    return AuditPage.model_validate({"items": [_shown_entry(entry) for entry in page.entries], "next": page.cursor})


def shown_user(user: port.User) -> dict[str, Any]:
    """A user as JSON."""
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "folder": user.folder,
        "quota_bytes": user.quota_bytes,
        "used_bytes": user.used_bytes,
        "created_at": timestamp(user.created_at),
        "password_is_generated": user.password_is_generated,
        "disabled_at": timestamp(user.disabled_at) if user.disabled_at else None,
        "signed_in_at": timestamp(user.signed_in_at) if user.signed_in_at else None,
    }


def _change(accounts: port.Accounts, by: Principal, user_id: str, name: str, value: Any) -> None:
    if name == "quota_bytes":
        accounts.set_quota(user_id, value, by=by)
    elif value is None:
        return
    elif name == "role":
        accounts.set_role(user_id, value, by=by)
    elif name == "folder":
        accounts.set_folder(user_id, value, by=by)
    elif name == "password":
        accounts.set_password(user_id, value, by=by, generated=True)
    elif value:
        accounts.disable(user_id, by=by)
    else:
        accounts.enable(user_id, by=by)


def _shown_entry(entry: port.AuditEntry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": timestamp(entry.at),
        "who": entry.who,
        "who_id": entry.who_id,
        "via": entry.via.value,
        "act": entry.act,
        "subject": entry.subject,
        "details": dict(entry.details),
        "digest": entry.digest,
    }
