"""What handlers ask for by their annotations: the home, the platform, and who asks with which right."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Path, Request

from contentplatform.accounts.port import Accounts, AuditLog, Principal, Scope
from contentplatform.app import Home, Platform
from contentplatform.catalog.port import Collections
from contentplatform.hooks.port import Webhooks
from contentplatform.sharing.port import Shares
from contentplatform.web import problems
from contentplatform.web.auth import require
from contentplatform.web.feed import Feed


def _home(request: Request) -> Home:
    home: Home = request.app.state.home
    return home


def _platform(request: Request) -> Platform:
    return _home(request).platform


def _collections(request: Request) -> Collections:
    part: Collections = part_of(request, "collections")
    return part


def part_of(request: Request, name: str) -> Any:
    """A part of the platform that not every home has. Raises a refusal where it is not there."""
    part = getattr(_platform(request), name, None)
    if part is None:
        raise problems.Refusal(problems.NOT_HERE, f"This home has no {name}")
    return part


def _accounts(request: Request) -> Accounts:
    part: Accounts = part_of(request, "accounts")
    return part


def _audit(request: Request) -> AuditLog:
    part: AuditLog = part_of(request, "audit")
    return part


def _shares(request: Request) -> Shares:
    part: Shares = part_of(request, "shares")
    return part


def _webhooks(request: Request) -> Webhooks:
    part: Webhooks = part_of(request, "webhooks")
    return part


def _feed(request: Request) -> Feed:
    feed: Feed = request.app.state.feed
    return feed


AFeed = Annotated[Feed, Depends(_feed)]
AAccounts = Annotated[Accounts, Depends(_accounts)]
AAuditLog = Annotated[AuditLog, Depends(_audit)]
AShares = Annotated[Shares, Depends(_shares)]
AWebhooks = Annotated[Webhooks, Depends(_webhooks)]
ACollections = Annotated[Collections, Depends(_collections)]
AHome = Annotated[Home, Depends(_home)]
APlatform = Annotated[Platform, Depends(_platform)]
ENTRANCES: Final = {scope: require(scope) for scope in Scope}
"""What a route depends on for whoever may do what it does: by this its description tells the right that it needs."""
Reader = Annotated[Principal, Depends(ENTRANCES[Scope.READ])]
Writer = Annotated[Principal, Depends(ENTRANCES[Scope.WRITE])]
Administrator = Annotated[Principal, Depends(ENTRANCES[Scope.ADMIN])]
FileIdInPath = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="A file's identifier: the MD5 of its key.")]
