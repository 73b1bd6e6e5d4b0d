"""``/webhooks``: other programs that are told what happens. For administrators, as they are told of every file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response

from contentplatform.catalog.port import HasChanges
from contentplatform.clock import timestamp
from contentplatform.hooks import port
from contentplatform.hooks.port import check_events
from contentplatform.web import problems
from contentplatform.web.access import note
from contentplatform.web.api.route import TOLD_ONCE, failures, new_router
from contentplatform.web.api.serving import Administrator, APlatform, AWebhooks
from contentplatform.web.api.shapes import (
    NewWebhook,
    Webhook,
    WebhookEdit,
    WebhookFailures,
    WebhookList,
    WebhookSecret,
    WebhookWish,
)

router = new_router("webhooks")

WebhookId = Annotated[str, Path(pattern="^[0-9A-Za-z_-]{1,64}$", description="A webhook's identifier.")]


@router.get("/webhooks", operation_id="list_webhooks", summary="List webhooks", responses=failures())
def list_webhooks(webhooks: AWebhooks, _administrator: Administrator) -> WebhookList:
    """Every webhook, the newest first, and how its last delivery went."""
    return WebhookList.model_validate({"items": [_shown(each) for each in webhooks.all()]})


@router.post(
    "/webhooks",
    operation_id="add_webhook",
    summary="Add a webhook",
    status_code=201,
    responses=failures(),
    openapi_extra=TOLD_ONCE,
)
def add_webhook(
    platform: APlatform, webhooks: AWebhooks, administrator: Administrator, response: Response, wish: WebhookWish
) -> NewWebhook:
    """Tell another program what happens from now on. The secret that signs its messages is told this once."""
    events = check_events(wish.events)
    secret, webhook = webhooks.add(wish.url, events, administrator.id, after=_newest(platform))
    note(platform, administrator, "webhook.add", webhook.id, url=webhook.url)
    response.headers["Location"] = f"/api/v1/webhooks/{webhook.id}"
    return NewWebhook.model_validate({**_shown(webhook), "secret": secret})


@router.get("/webhooks/{webhook_id}", operation_id="get_webhook", summary="One webhook", responses=failures(404))
def get_webhook(webhooks: AWebhooks, _administrator: Administrator, webhook_id: WebhookId) -> Webhook:
    """One webhook, and how its last delivery went."""
    return Webhook.model_validate(_shown(webhooks.get(webhook_id)))


@router.patch(
    "/webhooks/{webhook_id}", operation_id="edit_webhook", summary="Switch a webhook", responses=failures(404)
)
def edit_webhook(
    platform: APlatform,
    webhooks: AWebhooks,
    administrator: Administrator,
    webhook_id: WebhookId,
    change: WebhookEdit,
) -> Webhook:
    """Tell it no more, or tell it again what happens from now on."""
    switched = webhooks.set_active(webhook_id, active=change.active, after=_newest(platform))
    note(platform, administrator, "webhook.edit", webhook_id, active=change.active)
    return Webhook.model_validate(_shown(switched))


@router.post(
    "/webhooks/{webhook_id}/rotate",
    operation_id="rotate_webhook",
    summary="Another secret for a webhook",
    responses=failures(404),
    openapi_extra=TOLD_ONCE,
)
def rotate_webhook(
    platform: APlatform, webhooks: AWebhooks, administrator: Administrator, webhook_id: WebhookId
) -> WebhookSecret:
    """Another secret, which signs from now on."""
    secret = webhooks.rotate(webhook_id)
    note(platform, administrator, "webhook.rotate", webhook_id)
    return WebhookSecret(secret=secret)


@router.get(
    "/webhooks/{webhook_id}/failures",
    operation_id="list_webhook_failures",
    summary="What was given up",
    responses=failures(404),
)
def list_webhook_failures(webhooks: AWebhooks, _administrator: Administrator, webhook_id: WebhookId) -> WebhookFailures:
    """The oldest messages that nobody took, up to 100, and why."""
    items = [
        {"id": each.message.id, "sequence": each.message.sequence, "why": each.why, "at": timestamp(each.at)}
        for each in webhooks.dead(webhook_id)
    ]
    return WebhookFailures.model_validate({"items": items})


@router.delete(
    "/webhooks/{webhook_id}",
    operation_id="remove_webhook",
    summary="Remove a webhook",
    status_code=204,
    responses=failures(404),
)
def remove_webhook(
    platform: APlatform, webhooks: AWebhooks, administrator: Administrator, webhook_id: WebhookId
) -> None:
    """Take a webhook away, with what was given up."""
    webhooks.remove(webhook_id)
    note(platform, administrator, "webhook.remove", webhook_id)


def _newest(platform: APlatform) -> int:
    if not isinstance(platform.catalog, HasChanges):
        raise problems.Refusal(problems.NOT_HERE, "This home doesn't tell what happens")
    return platform.catalog.newest_change()


def _shown(webhook: port.Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": sorted(webhook.events),
        "created_by": webhook.created_by,
        "created_at": timestamp(webhook.created_at),
        "active": webhook.active,
        "attempts": webhook.attempts,
        "due_at": timestamp(webhook.due_at) if webhook.due_at else None,
        "last_status": webhook.last_status,
        "last_at": timestamp(webhook.last_at) if webhook.last_at else None,
        "given_up": webhook.dead,
    }
