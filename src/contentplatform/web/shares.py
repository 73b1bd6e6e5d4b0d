"""The public pages of links: ``/s/<secret>`` shows files (here), ``/u/<secret>`` takes some in (upload_links.py).

Each request stands for itself: the secret is looked up, and what is asked for must be in what the share shows at this
moment. What is not there, not in the share, or behind a link that is over is answered alike.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, quote

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from contentplatform.app import Platform
from contentplatform.catalog.port import Record
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.sharing.contents import Contents, offers_original
from contentplatform.sharing.port import Share, Shares, TargetKind
from contentplatform.storage.port import BucketRole, ObjectStore
from contentplatform.web import problems
from contentplatform.web.content import original_response, rendition_response
from contentplatform.web.link_guard import GONE, Unlisted, WrongLinks, answered, page, problem_page
from contentplatform.web.rates import Rates
from contentplatform.web.share_views import page_url, shared_file
from contentplatform.web.upload_links import UploadPages
from contentplatform.web.uploads import UploadOptions
from contentplatform.web.zips import ZipResponse, archive_name, originals

PAGE_SIZE: Final = 60
CHOSEN_LIMIT: Final = 1_000
"""Files that are chosen one by one for an archive."""
COOKIE: Final = "share"
_FORM_LIMIT_BYTES: Final = 4_096

Verify = Callable[[str, str], bool]
"""Whether a password is the one that a hash was made of."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a share that is open."""

    request: Request
    share: Share
    root: str
    """The share's own path."""


class SharePages:
    """Answers for shares. Handlers run in threads.

    Args:
        shares: the links.
        store: the bytes.
        contents: what shares show.
        wrong: counts what leads nowhere.
        verify: compares passwords.
    """

    def __init__(
        self, shares: Shares, store: ObjectStore, contents: Contents, wrong: WrongLinks, verify: Verify
    ) -> None:
        self._shares = shares
        self._store = store
        self._contents = contents
        self._wrong = wrong
        self._verify = verify

    def routes(self) -> list[Route]:
        """Every address below ``/s/``."""
        files = "/s/{secret}/files/{file_id}"
        return [
            Route("/s/{secret}", self._page(self._share), methods=["GET"]),
            Route("/s/{secret}", self._unlock, methods=["POST"]),
            Route("/s/{secret}/download.zip", self._page(self._archive), methods=["GET"]),
            Route(files, self._page(self._file), methods=["GET"]),
            Route(f"{files}/original", self._page(self._original), methods=["GET"]),
            Route(f"{files}/renditions/{{name}}", self._page(self._rendition), methods=["GET"]),
        ]

    # -- pages -----------------------------------------------------------------------------------------------

    def _share(self, visit: Visit) -> Response:
        share, root = visit.share, visit.root
        if visit.request.method == "GET":
            self._shares.note_view(share.id)
        found = self._contents.page(share, cursor=visit.request.query_params.get("cursor"), limit=PAGE_SIZE)
        if share.target.kind is TargetKind.FILE and found.records:
            return self._file_page(visit, found.records[0])
        return page(
            "share.html",
            title=share.title or "Shared files",
            share=share,
            files=[shared_file(share, root, record) for record in found.records],
            next_url=page_url(root, found.cursor),
            archive_url=f"{root}/download.zip" if share.allow_originals and found.records else "",
        )

    def _file(self, visit: Visit) -> Response:
        return self._file_page(visit, self._contents.record(visit.share, visit.request.path_params["file_id"]))

    def _file_page(self, visit: Visit, record: Record) -> Response:
        share = visit.share
        file = shared_file(share, visit.root, record)
        back = "" if share.target.kind is TargetKind.FILE else visit.root
        return page(
            "share_file.html",
            title=file.title or file.name,
            share=share,
            file=file,
            back_url=back,
            stage=file.stage,  # from here on what the console's page of a file takes, which shows it likewise
            record=record,
            name=file.name,
            progress="",
        )

    # -- bytes -----------------------------------------------------------------------------------------------

    def _rendition(self, visit: Visit) -> Response:
        asked = visit.request.path_params
        rendition = self._contents.rendition(visit.share, asked["file_id"], asked["name"])
        version = self._store.head(BucketRole.PROCESSED, rendition.stored_key)
        return rendition_response(visit.request, self._store, version, rendition.content_type)

    def _original(self, visit: Visit) -> Response:
        record = self._contents.original(visit.share, visit.request.path_params["file_id"])
        version = self._store.head(BucketRole.PRIMARY, record.file_path, version_id=record.version_id)
        return original_response(visit.request, self._store, version, record.content_type, inline=False)

    def _archive(self, visit: Visit) -> Response:
        share = visit.share
        if not share.allow_originals:
            raise NotFound("looking for an archive of this share", "there is none")
        below = share.target.name if share.target.kind is TargetKind.FOLDER else ""
        chosen = visit.request.query_params.getlist("file")
        if len(chosen) > CHOSEN_LIMIT:
            raise InvalidRequest("packing files", f"at most {CHOSEN_LIMIT} can be chosen", hint="Take all of them")
        records: Iterable[Record]
        if chosen:  # each is looked up before the answer begins: one that is not there is an answer of its own
            records = [self._contents.original(share, file_id) for file_id in dict.fromkeys(chosen)]
        else:
            records = self._offered(share)
        entries = originals(self._store, records, below=below)
        return ZipResponse(archive_name(share.title, below), entries, is_head=visit.request.method == "HEAD")

    def _offered(self, share: Share) -> Iterable[Record]:
        for record in self._contents.walk(share):
            if offers_original(share, record):
                yield record

    # -- who may -----------------------------------------------------------------------------------------------

    def _page(self, handler: Callable[[Visit], Response]) -> Callable[[Request], Awaitable[Response]]:
        """A handler as an endpoint: who comes is looked at first, and what goes wrong is said in words."""

        async def endpoint(request: Request) -> Response:
            return await to_thread.run_sync(answered, request, handler_of)

        def handler_of(request: Request) -> Response:
            visit = self._visit(request)
            if visit.share.password_hash is not None and not _is_unlocked(request, visit.share):
                return _locked(visit.share)
            return handler(visit)

        return endpoint

    def _visit(self, request: Request) -> Visit:
        secret = request.path_params["secret"]
        share = self._shares.open_share(secret)
        if share is None:
            self._wrong.note(request.scope)
            raise problems.Refusal(problems.NOT_FOUND, GONE)
        return Visit(request, share, f"/s/{quote(secret, safe='')}")

    async def _unlock(self, request: Request) -> Response:
        """Take a password; right, and this browser may come in for as long as it is open."""
        password = (await small_form(request)).get("password", "")

        def unlocked(request: Request) -> Response:
            visit = self._visit(request)
            kept = visit.share.password_hash
            if kept is not None:
                self._wrong.note(request.scope)  # before it is looked at: that takes a processor's time
                if not self._verify(password, kept):
                    return _locked(visit.share, "That is not the password.")
            response = RedirectResponse(visit.root, HTTPStatus.SEE_OTHER)
            if kept is not None:
                is_safe = request.url.scheme == "https"
                proof = _proof(visit.share, kept)
                response.set_cookie(COOKIE, proof, path=visit.root, httponly=True, samesite="lax", secure=is_safe)
            return response

        return await to_thread.run_sync(answered, request, unlocked)


def create_shares(platform: Platform, verify: Verify) -> ASGIApp:
    """The pages of links over one platform; they own ``/s/`` and ``/u/``.

    Args:
        platform: of either home.
        verify: whether a password is the one that a hash was made of.
    """
    contents = Contents(platform.catalog, platform.collections)
    settings = platform.settings
    wrong = WrongLinks(Rates(platform.clock, settings.sharing.wrong_links_per_minute))
    shown = SharePages(platform.shares, platform.store, contents, wrong, verify)
    limits = settings.uploads
    options = UploadOptions(limits.max_bytes, limits.idle_seconds, limits.form_files)
    taken = UploadPages(platform.shares, platform.uploads, wrong, options)
    return site_of([*shown.routes(), *taken.routes()])


async def _fault(request: Request, _error: Exception) -> Response:
    """What nobody foresaw, where no handler caught it: Starlette raises it again behind the answer."""
    return problem_page(request, problems.internal())


def site_of(routes: list[Route]) -> ASGIApp:
    """Pages of links as an application, with the headers that all of them have."""
    return Unlisted(Starlette(routes=routes, exception_handlers={404: _nothing, 405: _nothing, Exception: _fault}))


async def small_form(request: Request) -> dict[str, str]:
    """The fields of a small form, each once; empty where it is none, or not small."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _FORM_LIMIT_BYTES:
                return {}
    except ClientDisconnect:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    try:
        return {name: values[0] for name, values in parse_qs(body.decode("ascii"), max_num_fields=10).items()}
    except ValueError:
        return {}


async def _nothing(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", HTTPStatus.NOT_FOUND)
    kind = problems.METHOD_NOT_ALLOWED if status == HTTPStatus.METHOD_NOT_ALLOWED else problems.NOT_FOUND
    return problem_page(request, problems.Problem(kind, GONE, headers=dict(getattr(error, "headers", None) or {})))


def _locked(share: Share, problem: str = "") -> Response:
    return page("share_password.html", HTTPStatus.FORBIDDEN, title=share.title or "Shared files", problem=problem)


def _is_unlocked(request: Request, share: Share) -> bool:
    kept = share.password_hash or ""
    given = request.cookies.get(COOKIE, "")
    return hmac.compare_digest(given.encode("latin-1", "replace"), _proof(share, kept).encode("ascii"))


def _proof(share: Share, kept: str) -> str:
    """What only somebody can have who gave the password that this hash was made of: another password ends it."""
    return hmac.new(kept.encode(), f"share {share.id}".encode(), hashlib.sha256).hexdigest()
