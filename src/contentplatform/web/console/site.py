"""The pages' addresses, and what answers them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from contentplatform.accounts.port import Scope
from contentplatform.app import Home
from contentplatform.web.console import (
    activity,
    archive,
    delivery,
    file,
    file_acts,
    library,
    links,
    people,
    shelves,
    signing_in,
    trash,
    webhooks,
)
from contentplatform.web.console.stationery import render, static_file
from contentplatform.web.console.visit import PAGE_HEADERS, Handler, page, theme_of

_READ, _WRITE, _ADMIN = Scope.READ, Scope.WRITE, Scope.ADMIN


def _get(path: str, handler: Handler, scope: Scope = _READ) -> Route:
    return Route(path, page(handler, scope=scope), methods=["GET"])


def _post(path: str, handler: Handler, scope: Scope = _WRITE) -> Route:
    return Route(path, page(handler, scope=scope), methods=["POST"])


async def _to_library(_request: Request) -> Response:
    return RedirectResponse(library.LIBRARY, 303, {"Cache-Control": "no-store"})


ROUTES: Final = (
    Route("/", _to_library, methods=["GET"]),
    Route("/static/{name}", static_file, methods=["GET"]),
    Route("/sign-in", signing_in.show_sign_in, methods=["GET"]),
    Route("/sign-in", signing_in.sign_in, methods=["POST"]),
    Route("/sign-out", signing_in.sign_out, methods=["POST"]),
    _post("/theme", signing_in.choose_theme, _READ),
    _get("/library", library.show_library),
    _get("/library/cards", library.show_cards),
    _post("/library/upload", library.take_in),
    _post("/library/act", library.act),
    _post("/library/download", archive.download, _READ),
    _get("/files/{file_id}", file.show_file),
    _get("/files/{file_id}/similar", shelves.show_similar),
    _post("/files/{file_id}/edit", file_acts.edit),
    _post("/files/{file_id}/tags", file_acts.tag),
    _post("/files/{file_id}/move", file_acts.move),
    _post("/files/{file_id}/delete", file_acts.delete),
    _post("/files/{file_id}/reprocess", file_acts.reprocess),
    _post("/files/{file_id}/restore", file_acts.restore),
    _post("/files/{file_id}/collect", file_acts.collect),
    _get("/collections", shelves.show_collections),
    _post("/collections", shelves.create),
    _get("/collections/{collection_id}", shelves.show_collection),
    _post("/collections/{collection_id}", shelves.change),
    _post("/collections/{collection_id}/take", shelves.take),
    _post("/collections/{collection_id}/delete", shelves.delete),
    _get("/activity", activity.show_activity),
    _post("/activity/retry", activity.retry),
    _post("/activity/cancel", activity.cancel),
    _get("/activity/{name}", activity.show_execution),
    _get("/delivery", delivery.show_delivery, _ADMIN),
    _post("/delivery/invalidations", delivery.invalidate, _ADMIN),
    _get("/delivery/invalidations/{invalidation_id}", delivery.show_invalidation, _ADMIN),
    _get("/trash", trash.show_trash, _WRITE),
    _post("/trash/undelete", trash.undelete),
    _get("/settings", people.show_account),
    _post("/settings/password", people.change_password, _READ),
    _post("/settings/sessions", people.end_sessions, _READ),
    _post("/settings/tokens", people.create_token, _READ),
    _post("/settings/tokens/revoke", people.revoke_token, _READ),
    _get("/settings/users", people.show_users, _ADMIN),
    _post("/settings/users", people.add_user, _ADMIN),
    _post("/settings/users/{user_id}", people.change_user, _ADMIN),
    _get("/settings/links", links.show_links, _WRITE),
    _post("/settings/links", links.share, _WRITE),
    _post("/settings/links/revoke", links.revoke, _WRITE),
    _post("/settings/upload-links", links.create_upload_link, _WRITE),
    _post("/settings/upload-links/revoke", links.revoke_upload_link, _WRITE),
    _get("/settings/webhooks", webhooks.show_webhooks, _ADMIN),
    _post("/settings/webhooks", webhooks.add, _ADMIN),
    _post("/settings/webhooks/{webhook_id}", webhooks.change, _ADMIN),
    _get("/settings/audit", people.show_audit, _ADMIN),
)


async def _lost(request: Request, error: Exception) -> Response:
    """The answer to an address, or a method of one, that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    title = "There is no such page" if status == HTTPStatus.NOT_FOUND else "That can’t be done here"
    told = error.headers if isinstance(error, HTTPException) and error.headers else {}
    return HTMLResponse(
        render("lost.html", theme=theme_of(request), title=title, what=""), status, {**PAGE_HEADERS, **told}
    )


async def _fault(request: Request, _error: Exception) -> Response:
    """The answer to a fault that nobody foresaw: Starlette raises it again behind it, for the site's log."""
    title = "Something went wrong here"
    text = render("lost.html", theme=theme_of(request), title=title, what=_FAULT)
    return HTMLResponse(text, HTTPStatus.INTERNAL_SERVER_ERROR, PAGE_HEADERS)


_FAULT: Final = "Nothing that was acknowledged is lost, and the server’s log tells more. Try it again in a while."


def console_app(home: Home) -> Starlette:
    """The pages over one home; whoever serves them puts the door (``web.auth``) into each request's scope."""
    made = Starlette(routes=list(ROUTES), exception_handlers={HTTPException: _lost, Exception: _fault})
    made.state.home = home
    return made
