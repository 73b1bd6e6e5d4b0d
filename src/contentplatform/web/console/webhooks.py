"""Other programs that are told what happens."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from contentplatform.catalog.port import ChangeKind, HasChanges
from contentplatform.errors import InvalidRequest
from contentplatform.hooks.port import check_events
from contentplatform.web.console.visit import Notice, Visit, needed

WEBHOOKS: Final = "/settings/webhooks"


def show_webhooks(visit: Visit) -> Response:
    """Every webhook, and how its last delivery went."""
    return _page(visit)


def _page(visit: Visit, *, secret: str = "", secret_of: str = "") -> Response:
    return visit.page(
        "webhooks.html",
        webhooks=visit.platform.webhooks.all(),
        kinds=list(ChangeKind),
        is_followed=isinstance(visit.platform.catalog, HasChanges),
        secret=secret,
        secret_of=secret_of,
    )


def _newest(visit: Visit) -> int:
    catalog = visit.platform.catalog
    return catalog.newest_change() if isinstance(catalog, HasChanges) else 0


def add(visit: Visit) -> Response:
    """Tell another program what happens from now on; the secret that signs is shown this once."""
    events = check_events(visit.given_all("event"))
    secret, webhook = visit.platform.webhooks.add(
        needed(visit, "url", "the address"), events, visit.principal.id, after=_newest(visit)
    )
    visit.note("webhook.add", webhook.id, url=webhook.url)
    return _page(visit, secret=secret, secret_of=webhook.url)


def change(visit: Visit) -> Response:
    """One change to one webhook."""
    webhooks = visit.platform.webhooks
    webhook = webhooks.get(visit.path["webhook_id"])
    match visit.given("do"):
        case "on" | "off" as state:
            webhooks.set_active(webhook.id, active=state == "on", after=_newest(visit))
            visit.note("webhook.edit", webhook.id, active=state == "on")
            told = "It is told what happens from now on." if state == "on" else "It is told nothing any more."
        case "rotate":
            secret = webhooks.rotate(webhook.id)
            visit.note("webhook.rotate", webhook.id)
            return _page(visit, secret=secret, secret_of=webhook.url)
        case "remove":
            webhooks.remove(webhook.id)
            visit.note("webhook.remove", webhook.id)
            told = "The webhook is gone."
        case _:
            raise InvalidRequest("changing a webhook", "there is no such change")
    return visit.back(WEBHOOKS, Notice(told))
