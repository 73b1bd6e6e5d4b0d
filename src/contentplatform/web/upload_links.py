"""``/u/<secret>``: whoever has an upload link sends files by a form, or piece by piece, and sees nothing else.

The form works without scripts. ``/u/<secret>/uploads`` is tus for who has no account: the same code as for users, under
an address that says who comes.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from contentplatform.accounts.port import Principal, Role, Via
from contentplatform.accounts.port import Scope as Right
from contentplatform.errors import InvalidRequest, NotFound, PlatformError
from contentplatform.ingest.uploads import NewUpload, Receiving, TooLarge, Uploads
from contentplatform.media import OCTET_STREAM, MediaKind, file_name
from contentplatform.sharing.port import Shares, UploadLink
from contentplatform.web import problems
from contentplatform.web.console.stationery import render
from contentplatform.web.forms import FORM_TYPE, FormLimits, FormReader
from contentplatform.web.intake import Came, Intake
from contentplatform.web.link_guard import GONE, WrongLinks, answered, problem_page
from contentplatform.web.uploads import UPLOADS_PATH, UploadOptions, UploadsApp

_LINK: Final = "contentplatform.upload_link"
"""Where a request's scope carries the link's secret."""
_ACCEPTED: Final = {
    MediaKind.IMAGE: "image/*",
    MediaKind.VIDEO: "video/*",
    MediaKind.AUDIO: "audio/*",
    MediaKind.DOCUMENT: ".pdf,.txt,.md,.csv,.doc,.docx,.xls,.xlsx,.ppt,.pptx,.odt,.ods,.odp,.rtf",
}


class UploadPages:
    """Answers for upload links.

    Args:
        shares: the links.
        uploads: what takes the files in; None: this home takes none from here.
        wrong: counts what leads nowhere.
        options: what the settings say of uploads.
    """

    def __init__(self, shares: Shares, uploads: Uploads | None, wrong: WrongLinks, options: UploadOptions) -> None:
        self._shares = shares
        self._uploads = uploads
        self._wrong = wrong
        self._options = options
        self._intake = Intake(options.idle_seconds)
        self._tus = None if uploads is None else UploadsApp(uploads, self._principal, options)

    def routes(self) -> list[Route]:
        """Every address below ``/u/``."""
        return [
            Route("/u/{secret}", self._show, methods=["GET"]),
            Route("/u/{secret}", self._take, methods=["POST"]),
            Route("/u/{secret}/uploads", _Tus(self)),
            Route("/u/{secret}/uploads/{upload_id}", _Tus(self)),
        ]

    # -- the page --------------------------------------------------------------------------------------------

    async def _show(self, request: Request) -> Response:
        return await self._intake.run(partial(answered, request, lambda asked: self._page(asked, self._link(asked))))

    def _page(
        self, request: Request, link: UploadLink, *, came: tuple[str, ...] = (), failed: tuple[str, ...] = ()
    ) -> Response:
        secret = request.path_params["secret"]
        told: dict[str, Any] = {
            "title": "Send files",
            "link": link,
            "room": link.room_bytes(),
            "is_full": _is_full(link),
            "accept": ",".join(_ACCEPTED[kind] for kind in sorted(link.kinds) if kind in _ACCEPTED),
            "uploads_url": f"/u/{quote(secret, safe='')}/uploads",
            "came": came,
            "failed": failed,
        }
        status = HTTPStatus.BAD_REQUEST if failed and not came else HTTPStatus.OK
        return HTMLResponse(render("share_upload.html", **told), status)

    # -- the form --------------------------------------------------------------------------------------------

    async def _take(self, request: Request) -> Response:
        """Take every file of a form, and show what became of each."""
        try:
            link = await self._intake.run(partial(self._link, request))
            stored = await self._stored(request, link)
        except problems.Refusal as refusal:
            return problem_page(request, problems.of_refusal(refusal))
        except PlatformError as error:
            return await self._answer(request, failed=(error.public,))
        came = tuple(_shown(link, item["key"]) for item in stored if "version_id" in item)
        failed = tuple(f"{_shown(link, item['key'])}: {item['error']}" for item in stored if "error" in item)
        return await self._answer(request, came=came, failed=failed)

    async def _answer(self, request: Request, **told: tuple[str, ...]) -> Response:
        def page(asked: Request) -> Response:
            return self._page(asked, self._link(asked), **told)

        return await self._intake.run(partial(answered, request, page))

    async def _stored(self, request: Request, link: UploadLink) -> list[dict[str, Any]]:
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != FORM_TYPE:
            raise InvalidRequest("receiving files", f"a form with files has the type {FORM_TYPE}")

        def begin(name: str, claimed_type: str, _fields: object) -> Receiving:
            return self._receive(link, name, claimed_type)

        reader = FormReader(content_type, FormLimits(files=self._options.form_files), begin)
        try:
            came = await self._intake.pour(request.receive, reader.write)
            if came is Came.WHOLE:
                return await self._intake.run(reader.finish)
            raise InvalidRequest("receiving files", "the form did not come whole", hint="Send it again")
        finally:
            await self._intake.run(reader.abandon)

    def _receive(self, link: UploadLink, name: str, claimed_type: str) -> Receiving:
        if self._uploads is None:
            raise problems.Refusal(problems.NOT_HERE, "This home takes no files from links")
        room = self._shares.upload_link(link.id).room_bytes()
        claim = None if claimed_type in {"", OCTET_STREAM} else claimed_type
        new = NewUpload(owner=link.id, key=name, length=None, claimed_type=claim, by_link=True)
        receiving = self._uploads.receive(new)
        assert not isinstance(receiving, str)  # noqa: S101 - there is no idempotency key
        return _Limited(receiving, room)

    # -- who -------------------------------------------------------------------------------------------------

    def _link(self, request: Request) -> UploadLink:
        link = self._shares.open_upload_link(request.path_params["secret"])
        if link is None:
            self._wrong.note(request.scope)
            raise problems.Refusal(problems.NOT_FOUND, GONE)
        return link

    def _principal(self, scope: Scope) -> Principal:
        """Who has the link: may send, and nothing else."""
        link = self._shares.open_upload_link(scope[_LINK])
        if link is None:
            self._wrong.note(scope)
            raise NotFound("following a link", GONE)
        return principal_of(link)

    async def tus(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request to a link's own address for uploads, as one to that of all."""
        secret, upload_id = scope["path_params"]["secret"], scope["path_params"].get("upload_id", "")
        request = Request(scope, receive)
        if self._tus is None:
            problem = problems.Problem(problems.NOT_HERE, "This home takes no files from links")
            await problem_page(request, problem)(scope, receive, send)
            return
        if "upload-defer-length" in request.headers:
            # What such a file may have at most could only be checked once it is all there.
            problem = problems.Problem(problems.INVALID_REQUEST, "By a link, a file's length is told before it is sent")
            await problem_page(request, problem)(scope, receive, send)
            return
        there, here = UPLOADS_PATH, f"/u/{quote(secret, safe='')}/uploads"
        path = f"{there}/{upload_id}" if upload_id else there

        async def relocated(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                for name in ("location", "upload-concat"):
                    if name in headers:
                        headers[name] = headers[name].replace(f"{there}/", f"{here}/")
                message = {**message, "headers": headers.raw}
            await send(message)

        await self._tus({**scope, "path": path, "raw_path": path.encode(), _LINK: secret}, receive, relocated)


class _Tus:
    """An ASGI application for a route, whatever the method."""

    def __init__(self, pages: UploadPages) -> None:
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pages.tus(scope, receive, send)


class _Limited(Receiving):
    """A file that may have so many bytes and no more; None: as many as come."""

    def __init__(self, receiving: Receiving, limit: int | None) -> None:
        self._receiving = receiving
        self._limit = limit
        self._came = 0

    @property
    def key(self) -> str:
        return self._receiving.key

    def write(self, data: bytes | memoryview) -> None:
        self._came += len(data)
        if self._limit is not None and self._came > self._limit:
            raise TooLarge("receiving a file", f"the link takes {self._limit} more bytes at most")
        self._receiving.write(data)

    def finish(self) -> str:
        return self._receiving.finish()

    def abandon(self) -> None:
        self._receiving.abandon()


def principal_of(link: UploadLink) -> Principal:
    """Whoever holds an upload link."""
    return Principal(
        id=link.id,
        name="upload link",
        role=Role.VIEWER,
        scopes=frozenset({Right.WRITE}),
        folder=f"{link.folder}/",
        via=Via.LINK,
        credential_id=link.id,
    )


def _is_full(link: UploadLink) -> bool:
    is_counted_out = link.max_files is not None and link.used_files >= link.max_files
    return is_counted_out or (link.max_bytes is not None and link.used_bytes >= link.max_bytes)


def _shown(link: UploadLink, key: str) -> str:
    """A file's name, as who sent it may see it: nothing of where it lies."""
    return key.removeprefix(f"{link.folder}/") if key.startswith(f"{link.folder}/") else file_name(key)
