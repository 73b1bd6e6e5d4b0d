"""Files on their way in, over HTTP: tus 1.0, plain ``PUT``, and forms. Plain ASGI, for speed and exactness.

tus: core, creation, creation-with-upload, creation-defer-length, checksum, termination, expiration, concatenation.
``X-HTTP-Method-Override`` is honoured on this address alone, as that protocol demands it.
What a client said of its file is checked as it comes; nothing of it gets into a header but what it said itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from contentplatform.accounts.port import Principal, Via
from contentplatform.accounts.port import Scope as Right
from contentplatform.clock import timestamp
from contentplatform.errors import ChecksumMismatch, Conflict, InvalidRequest, NotFound, PlatformError
from contentplatform.ingest.uploads import (
    CHECKSUM_ALGORITHMS,
    Appending,
    Busy,
    Checksum,
    DirectUpload,
    DirectUploads,
    NewUpload,
    Receiving,
    TooLarge,
    UploadKind,
    Uploads,
    UploadSession,
)
from contentplatform.media import OCTET_STREAM, check_key
from contentplatform.web import problems
from contentplatform.web.access import check_target
from contentplatform.web.direct_bodies import EXTENSION
from contentplatform.web.forms import FORM_TYPE, FormLimits, FormReader
from contentplatform.web.intake import Came, Intake

UPLOADS_PATH: Final = "/api/v1/uploads"
BY_KEY_PREFIX: Final = "/api/v1/files/by-key/"
FORM_PATH: Final = "/api/v1/files"
TUS_VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "termination",
    "expiration",
    "concatenation",
)
PATCH_TYPE: Final = "application/offset+octet-stream"
CHECKSUM_MISMATCH_STATUS: Final = 460
"""tus's own; no status of HTTP."""
METADATA_LIMIT_BYTES: Final = 16_384
_JSON_LIMIT_BYTES: Final = 65_536
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_METADATA_NAME: Final = re.compile(r"[!-+\--~]{1,200}")  # printable ASCII but space and comma
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")
_NOT_SAID: Final = frozenset({"", "null", "undefined"})
"""How clients in JavaScript say nothing."""
_GUESSED_TYPES: Final = frozenset({OCTET_STREAM, "application/x-www-form-urlencoded", ""})
"""What clients send who know nothing of the file."""
_ACTS: Final = frozenset({"complete", "abandon"})
"""What is asked of an upload that goes straight to the store; its other methods are those of tus."""
_NOT_KEPT: Final = {"Cache-Control": "no-store"}
"""Addresses are secrets."""

PrincipalOf = Callable[[Scope], Principal]
"""Who asks; raises Unauthenticated, or Denied for a request that another site made them send."""


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """What the settings say of uploads over HTTP."""

    max_bytes: int = 5 << 40
    idle_seconds: float = 30.0
    form_files: int = 1_000


class UploadsApp:
    """``/api/v1/uploads``, ``PUT /api/v1/files/by-key/…`` and ``POST /api/v1/files``.

    Args:
        uploads: what takes the files in.
        principal_of: who asks; called in a thread.
        options: what the settings say.
        direct: what lets files go to the home's store past this server; None: this server takes them itself.
    """

    def __init__(
        self,
        uploads: Uploads,
        principal_of: PrincipalOf,
        options: UploadOptions = UploadOptions(),
        *,
        direct: DirectUploads | None = None,
    ) -> None:
        self._uploads = uploads
        self._direct = direct
        self._principal_of = principal_of
        self._options = options
        self._intake = Intake(options.idle_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = _Request(scope, receive)
        try:
            response = await self._answer(request)
        except problems.Refusal as refusal:
            response = await self._refused(request, problems.of_refusal(refusal))
        except ChecksumMismatch as error:
            response = await self._refused(request, problems.of_error(error), checksum=True)
        except PlatformError as error:
            response = await self._refused(request, _problem(error))
        if response is not None:
            await response(scope, receive, send)

    async def _refused(self, request: _Request, problem: problems.Problem, *, checksum: bool = False) -> Response:
        """The answer to a request whose body may still be on its way."""
        headers = {**problem.headers, **request.answered_with}
        if request.is_tus:
            headers["Tus-Resumable"] = TUS_VERSION
        if not request.body_ended and not await self._intake.drain(request.receive, request.length_or_none()):
            headers["Connection"] = "close"
        if not (checksum and request.is_tus):
            return replace(problem, headers=headers).response(request.scope)
        document = problem.document(problems.instance_of(request.scope)) | {"status": CHECKSUM_MISMATCH_STATUS}
        headers["Cache-Control"] = "no-store"
        return JSONResponse(document, CHECKSUM_MISMATCH_STATUS, headers, problems.MEDIA_TYPE)

    async def _answer(self, request: _Request) -> Response | None:
        if request.path.startswith(BY_KEY_PREFIX):
            request.needs_method("PUT")
            return await self._put(request)
        if request.path == FORM_PATH:
            request.needs_method("POST")
            return await self._form(request)
        if request.path.rstrip("/") == UPLOADS_PATH and request.is_json:
            request.needs_method("POST")
            return await self._ask(request)
        if request.is_of_direct_upload:
            return await self._directly(request)
        return await self._tus(request)

    async def _writer(self, request: _Request) -> Principal:
        if request.header("content-encoding") not in {"", "identity"}:
            raise problems.Refusal(problems.UNSUPPORTED_TYPE, "A body is taken as it is, not compressed")
        scope = {**request.scope, "method": request.method}
        principal = await self._intake.run(lambda: self._principal_of(scope))
        principal.needs(Right.WRITE)
        return principal

    # -- tus ---------------------------------------------------------------------------------------------------

    async def _tus(self, request: _Request) -> Response | None:
        request.be_tus()
        if request.method == "OPTIONS":
            return self._discovery()
        if request.header("tus-resumable") != TUS_VERSION:
            raise problems.Refusal(
                problems.PRECONDITION_FAILED,
                f"This server speaks tus {TUS_VERSION}",
                hint=f"Send the header Tus-Resumable: {TUS_VERSION}",
                headers={"Tus-Version": TUS_VERSION},
            )
        upload_id = request.path.removeprefix(UPLOADS_PATH).strip("/")
        if not upload_id:
            request.needs_method("POST", "OPTIONS")
            return await self._create(request)
        request.needs_method("HEAD", "PATCH", "DELETE", "OPTIONS")
        principal = await self._writer(request)
        match request.method:
            case "HEAD":
                return self._head(await self._theirs(principal, upload_id))
            case "PATCH":
                return await self._patch(request, principal, upload_id)
            case _:
                await self._theirs(principal, upload_id)
                await self._intake.run(partial(self._uploads.terminate, upload_id))
                return _tus_response(HTTPStatus.NO_CONTENT)

    def _discovery(self) -> Response:
        return _tus_response(
            HTTPStatus.NO_CONTENT,
            {
                "Tus-Version": TUS_VERSION,
                "Tus-Max-Size": str(self._options.max_bytes),
                "Tus-Extension": ",".join(EXTENSIONS),
                "Tus-Checksum-Algorithm": ",".join(CHECKSUM_ALGORITHMS),
            },
        )

    async def _theirs(self, principal: Principal, upload_id: str) -> UploadSession:
        """The upload, if it is theirs: to others it does not exist."""
        if _ID.fullmatch(upload_id) is None:
            raise NotFound("looking for an upload", "there is none of that name")
        session = await self._intake.run(partial(self._uploads.get, upload_id))
        if session.owner != owner_of(principal) or session.by_link != (principal.via is Via.LINK):
            raise NotFound(
                f"looking for upload {upload_id!r}", "there is none, or its time is over", hint="Start it again"
            )
        return session

    def _head(self, session: UploadSession) -> Response:
        headers = {"Cache-Control": "no-store", **_state(session)}
        if session.length is None:
            headers["Upload-Defer-Length"] = "1"
        else:
            headers["Upload-Length"] = str(session.length)
        if session.metadata:
            headers["Upload-Metadata"] = written_metadata(session.metadata)
        if session.kind is UploadKind.PARTIAL:
            headers["Upload-Concat"] = "partial"
        elif session.kind is UploadKind.FINAL:
            headers["Upload-Concat"] = "final;" + " ".join(f"{UPLOADS_PATH}/{part_id}" for part_id in session.parts)
            if session.version_id is None:
                del headers["Upload-Offset"]  # as the protocol has it while parts are put together
        return _tus_response(HTTPStatus.OK, headers)

    async def _create(self, request: _Request) -> Response | None:
        principal = await self._writer(request)
        new = self._new_upload(request, principal)
        has_body = request.media_type == PATCH_TYPE
        checksum = request.checksum()
        if has_body and new.kind is UploadKind.FINAL:
            raise InvalidRequest("beginning an upload", "one that is put together of parts has no body")
        session = await self._intake.run(partial(self._uploads.create, new))
        location = {"Location": f"{UPLOADS_PATH}/{session.id}"}
        request.answered_with.update(location)  # whatever becomes of the body, the upload exists
        if has_body and session.version_id is None:
            appending = await self._intake.run(
                partial(self._uploads.append, session.id, session.offset, checksum=checksum)
            )
            taken = await self._take(request, appending, session.offset)
            if taken is None:
                return None
            session = taken
        return _tus_response(HTTPStatus.CREATED, {**location, **_state(session)})

    async def _patch(self, request: _Request, principal: Principal, upload_id: str) -> Response | None:
        if request.media_type != PATCH_TYPE:
            raise problems.Refusal(problems.UNSUPPORTED_TYPE, f"A PATCH has the type {PATCH_TYPE}")
        offset = request.number("upload-offset")
        if offset is None:
            raise InvalidRequest("adding to an upload", "the header Upload-Offset is missing")
        length, checksum = request.number("upload-length"), request.checksum()
        await self._theirs(principal, upload_id)
        appending = await self._intake.run(
            partial(self._uploads.append, upload_id, offset, length=length, checksum=checksum)
        )
        session = await self._take(request, appending, offset)
        return None if session is None else _tus_response(HTTPStatus.NO_CONTENT, _state(session))

    async def _take(self, request: _Request, appending: Appending, offset: int) -> UploadSession | None:
        """Take a body as an upload's next piece, at ``offset``; None where nobody is there to be answered any more."""
        run = self._intake.run
        length, room = request.length_or_none(), appending.room_bytes
        if length is not None and room is not None and length > room:
            await run(appending.discard)
            raise InvalidRequest("adding to an upload", f"the body has {length} bytes; {room} are left to be sent")
        try:
            came = await request.pour(self._intake, appending.write, offset)
        except InvalidRequest:
            await run(appending.discard)
            raise
        except BaseException:  # a full disk, or the server is stopping: what came is kept
            await run(appending.cut_off)
            raise
        if came is Came.WHOLE:
            return await run(appending.end)
        await run(appending.cut_off)
        if came is Came.TOO_SLOW:
            raise _too_slow()
        return None

    def _new_upload(self, request: _Request, principal: Principal) -> NewUpload:
        doing = "beginning an upload"
        metadata = parsed_metadata(request.header("upload-metadata"))
        kind, parts = _concatenation(request.header("upload-concat"))
        length, deferred = request.number("upload-length"), request.header("upload-defer-length")
        if kind is UploadKind.FINAL:
            if length is not None or deferred:
                raise InvalidRequest(doing, "the parts tell its length; Upload-Length must not")
        elif (length is None) == (not deferred):
            raise InvalidRequest(doing, "either Upload-Length or Upload-Defer-Length must tell its length")
        elif deferred not in {"", "1"}:
            raise InvalidRequest(doing, "Upload-Defer-Length can only be 1")
        sha256 = said(metadata, "sha256")
        return NewUpload(
            owner=owner_of(principal),
            key="" if kind is UploadKind.PARTIAL else wanted_key(principal, metadata),
            length=length,
            kind=kind,
            claimed_type=said(metadata, "filetype", "type"),
            expected_sha256=None if sha256 is None else hex_digest(sha256),
            metadata=metadata,
            parts=parts,
            by_link=principal.via is Via.LINK,
        )

    # -- asking whether it is here -----------------------------------------------------------------------------

    async def _ask(self, request: _Request) -> Response | None:
        """Make a version of what is here already, if it is; nothing is sent for it."""
        principal = await self._writer(request)
        if principal.via is Via.LINK:
            raise problems.Refusal(problems.FORBIDDEN, "A link tells nothing of what is here")
        document = await request.json(self._intake)
        if document is None:
            return None
        new, directly = _asked_for(document, principal), _direct_is_wanted(document)
        version_id = None
        if new.expected_sha256 is not None:
            version_id = await self._intake.run(partial(self._uploads.already_here, new, principal.sees))
        if version_id is None and directly and self._direct is not None:
            begun = await self._intake.run(partial(self._direct.create, new))
            location = {"Location": f"{UPLOADS_PATH}/{begun.id}"}
            return JSONResponse(_told_of(begun), HTTPStatus.CREATED, {**location, **_NOT_KEPT})
        if version_id is None:
            answer = {"already_here": False, "key": new.key}
            return JSONResponse(answer | ({"direct": False} if directly else {}))
        told = {"already_here": True, "key": new.key, "version_id": version_id}
        return JSONResponse(told, HTTPStatus.CREATED, {"Location": file_address(new.key)})

    # -- straight to the store ---------------------------------------------------------------------------------

    async def _directly(self, request: _Request) -> Response | None:
        """What an upload needs whose bytes do not come here: a look, its end by a version, its end by none."""
        upload_id, _, act = request.path.removeprefix(UPLOADS_PATH).strip("/").partition("/")
        request.needs_method("POST" if act else "GET")
        principal = await self._writer(request)
        direct = self._direct
        upload = None
        if direct is not None and principal.via is not Via.LINK and _ID.fullmatch(upload_id):
            upload = await self._intake.run(partial(direct.get, upload_id))
        if direct is None or upload is None or upload.owner != owner_of(principal) or not principal.sees(upload.key):
            raise NotFound(
                f"looking for upload {upload_id[:80]!r}", "there is none, or its time is over", hint="Start it again"
            )
        if act == "abandon":
            await self._intake.run(partial(direct.terminate, upload_id))
            return Response(None, HTTPStatus.NO_CONTENT, _NOT_KEPT)
        if act:
            upload = await self._intake.run(partial(direct.complete, upload_id))
        return JSONResponse(_told_of(upload), headers=_NOT_KEPT)

    # -- PUT ---------------------------------------------------------------------------------------------------

    async def _put(self, request: _Request) -> Response | None:
        principal = await self._writer(request)
        key = request.key_in_path()
        is_link = principal.via is Via.LINK
        if not is_link:
            check_target(principal, key)
        idempotency_key = request.header("idempotency-key") or None
        if idempotency_key is not None and _IDEMPOTENCY_KEY.fullmatch(idempotency_key) is None:
            raise InvalidRequest(f"storing {key}", "an idempotency key has 1 to 255 printable characters, no space")
        new = NewUpload(
            owner=owner_of(principal),
            key=key,
            length=request.length_or_none(),
            claimed_type=None if request.media_type in _GUESSED_TYPES else request.header("content-type"),
            expected_sha256=request.promised_sha256(),
            create_only=request.create_only(),
            by_link=is_link,
        )
        try:
            receiving = await self._intake.run(partial(self._uploads.receive, new, idempotency_key=idempotency_key))
            if isinstance(receiving, str):
                await self._intake.drain(request.receive, new.length)
                return _stored(key, receiving)
            return await self._receive(request, receiving)
        except Conflict as error:
            if not new.create_only:
                raise
            raise problems.Refusal(problems.PRECONDITION_FAILED, f"{error.doing}: {error.why}") from error

    async def _receive(self, request: _Request, receiving: Receiving) -> Response | None:
        run = self._intake.run
        try:
            came = await request.pour(self._intake, receiving.write)
            if came is Came.WHOLE:
                return _stored(receiving.key, await run(receiving.finish))
            if came is Came.TOO_SLOW:
                raise _too_slow()
            return None
        finally:
            await run(receiving.abandon)

    # -- forms -------------------------------------------------------------------------------------------------

    async def _form(self, request: _Request) -> Response | None:
        """Every file of a form, or none: it is only known to be whole at its end."""
        if request.media_type != FORM_TYPE:
            raise problems.Refusal(problems.UNSUPPORTED_TYPE, f"A form with files has the type {FORM_TYPE}")
        principal = await self._writer(request)

        def begin(name: str, content_type: str, fields: Mapping[str, str]) -> Receiving:
            said_of_it = {**fields, "filename": name}
            new = NewUpload(
                owner=owner_of(principal),
                key=wanted_key(principal, said_of_it),
                length=None,
                claimed_type=None if content_type in _GUESSED_TYPES else content_type,
                by_link=principal.via is Via.LINK,
            )
            receiving = self._uploads.receive(new)
            assert not isinstance(receiving, str)  # noqa: S101 - there is no idempotency key
            return receiving

        reader = FormReader(request.header("content-type"), FormLimits(files=self._options.form_files), begin)
        try:
            came = await request.pour(self._intake, reader.write)
            if came is Came.WHOLE:
                stored = await self._intake.run(reader.finish)
                return JSONResponse({"items": stored}, HTTPStatus.CREATED)
            if came is Came.TOO_SLOW:
                raise _too_slow()
            return None
        finally:
            await self._intake.run(reader.abandon)


class _Request:
    """One request: what its headers say, checked."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.is_tus = False
        self.body_ended = False
        self.answered_with: dict[str, str] = {}
        """Headers of a refusal."""
        self._receive = receive
        self._headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            text = value.decode("latin-1").strip()
            known = self._headers.setdefault(name.decode("latin-1").lower(), text)
            if known != text:
                self._headers[name.decode("latin-1").lower()] = f"{known}, {text}"

    def header(self, name: str) -> str:
        """A header's value; empty where it is not there."""
        return self._headers.get(name, "")

    def be_tus(self) -> None:
        """From here on the request is one of tus."""
        self.is_tus = True
        self.method = (self.header("x-http-method-override") or self.method).upper()

    @property
    def media_type(self) -> str:
        """The body's type without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """Whether somebody asks in JSON, and not by tus."""
        return self.media_type == "application/json" and not self.header("tus-resumable")

    @property
    def is_of_direct_upload(self) -> bool:
        """Whether somebody asks for an upload that goes straight to the store; HTTP as it is, no tus."""
        upload_id, _, act = self.path.removeprefix(UPLOADS_PATH).strip("/").partition("/")
        return act in _ACTS or (bool(upload_id) and self.method == "GET" and not self.header("tus-resumable"))

    def needs_method(self, *methods: str) -> None:
        """Refuse other methods."""
        if self.method not in methods:
            allow = ", ".join(methods)
            raise problems.Refusal(problems.METHOD_NOT_ALLOWED, f"Only {allow}", headers={"Allow": allow})

    def number(self, name: str) -> int | None:
        """A header that is a whole number; None where it is not there. Raises InvalidRequest for anything else."""
        text = self.header(name)
        if not text:
            return None
        if _NUMBER.fullmatch(text) is None:
            raise InvalidRequest("reading a request", f"the header {name} is no whole number from 0")
        return int(text)

    def length_or_none(self) -> int | None:
        """How many bytes the body has; None where that was not said."""
        if "content-length" not in self._headers and "transfer-encoding" not in self._headers:
            return 0
        return self.number("content-length")

    def checksum(self) -> Checksum | None:
        """What the body must hash to. Raises InvalidRequest."""
        text = self.header("upload-checksum")
        if not text:
            return None
        algorithm, _, encoded = text.partition(" ")
        checksum = Checksum(algorithm.lower(), _decoded(encoded, "Upload-Checksum"))
        if checksum.new().digest_size != len(checksum.digest):
            raise InvalidRequest("checking a piece of an upload", f"that is no {checksum.algorithm}")
        return checksum

    def promised_sha256(self) -> str | None:
        """What the whole body must hash to, as hex digits. Raises InvalidRequest."""
        if text := self.header("x-content-sha256"):
            return hex_digest(text)
        found = re.search(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):", self.header("content-digest"))
        return None if found is None else hex_digest(_decoded(found[1], "Content-Digest").hex())

    def create_only(self) -> bool:
        """Whether the file must not exist. Raises InvalidRequest for a condition that is none of ours."""
        condition = self.header("if-none-match")
        if condition not in {"", "*"} or self.header("if-match"):
            raise InvalidRequest("storing a file", "the one condition that is taken is If-None-Match: *")
        return condition == "*"

    def key_in_path(self) -> str:
        """The key after the address, exactly as it was encoded. Raises InvalidRequest."""
        raw: bytes = self.scope.get("raw_path") or quote(self.path).encode("ascii")
        encoded = raw.partition(b"?")[0][len(BY_KEY_PREFIX) :]
        try:
            return unquote_to_bytes(encoded).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest("storing a file", "its key in the address is not UTF-8") from error

    async def receive(self) -> Any:
        """The next message of the body."""
        message = await self._receive()
        self.body_ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def pour(self, intake: Intake, write: Callable[[memoryview], None], offset: int = 0) -> Came:
        """Give the body to ``write``; it goes on at ``offset`` of a file."""
        direct = self.scope.get("extensions", {}).get(EXTENSION)
        came = await intake.pour(self.receive, write, self.length_or_none(), direct, offset=offset)
        self.body_ended = True
        return came

    async def json(self, intake: Intake) -> Any:
        """The body, a small JSON document; None where nobody is there any more. Raises InvalidRequest."""
        pieces = bytearray()

        def keep(piece: memoryview) -> None:
            pieces.extend(piece)
            if len(pieces) > _JSON_LIMIT_BYTES:
                raise TooLarge("reading a request", f"its body has more than {_JSON_LIMIT_BYTES} bytes")

        if await self.pour(intake, keep) is not Came.WHOLE:
            return None
        try:
            document = json.loads(pieces)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest("reading a request", "its body is no JSON that can be read") from error
        if document is None:
            raise InvalidRequest("reading a request", "its body is `null`")
        return document


def owner_of(principal: Principal) -> str:
    """Whose the uploads of whoever asks are: the user's, however signed in, or the link's."""
    return principal.id


def wanted_key(principal: Principal, metadata: Mapping[str, str]) -> str:
    """The key of the file that somebody sends; for who holds a link, the name from which its key will be made.

    Raises:
        InvalidRequest: neither ``key`` nor a name says it. Denied, NotFound: it lies outside what exists for them.
    """
    key = said(metadata, "key")
    if key is not None and principal.via is not Via.LINK:
        check_target(principal, key)
        return key
    name = (said(metadata, "relativePath", "filename", "name") or "").lstrip("/")
    if not name:
        raise InvalidRequest("beginning an upload", "neither `key` nor `filename` says what the file is called")
    if principal.via is Via.LINK:
        return name
    return principal.folder_within(said(metadata, "folder") or "") + name


def said(metadata: Mapping[str, str], *names: str) -> str | None:
    """The first of these that the client said something under."""
    return next((value for name in names if (value := metadata.get(name, "")) not in _NOT_SAID), None)


def hex_digest(text: str) -> str:
    """A SHA-256 in lower-case hex digits. Raises InvalidRequest."""
    if _SHA256.fullmatch(text) is None:
        raise InvalidRequest("reading a request", "a SHA-256 has 64 hex digits")
    return text.lower()


def parsed_metadata(header: str) -> dict[str, str]:
    """What ``Upload-Metadata`` says, as text. Raises InvalidRequest for what can't be that."""
    doing = "reading Upload-Metadata"
    if len(header) > METADATA_LIMIT_BYTES:
        raise InvalidRequest(doing, f"it has more than {METADATA_LIMIT_BYTES} characters")
    metadata: dict[str, str] = {}
    for pair in header.split(",") if header else ():
        name, _, encoded = pair.strip().partition(" ")
        if _METADATA_NAME.fullmatch(name) is None:
            raise InvalidRequest(doing, "a name is missing, or has characters that no name has")
        if name in metadata:
            raise InvalidRequest(doing, f"{name} stands there twice")
        try:
            value = _decoded(encoded, "Upload-Metadata").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(doing, f"{name} is not UTF-8") from error
        if _CONTROL.search(value):
            raise InvalidRequest(doing, f"{name} has control characters")
        metadata[name] = value
    return metadata


def written_metadata(metadata: Mapping[str, str]) -> str:
    """``Upload-Metadata`` for what a client said, as it said it."""
    return ",".join(
        f"{name} {base64.b64encode(value.encode()).decode('ascii')}" if value else name
        for name, value in metadata.items()
    )


def file_address(key: str) -> str:
    """Where the API tells of a file."""
    return f"/api/v1/files/by-key?key={quote(key, safe='')}"


def _concatenation(header: str) -> tuple[UploadKind, tuple[str, ...]]:
    if not header:
        return UploadKind.WHOLE, ()
    if header == "partial":
        return UploadKind.PARTIAL, ()
    word, semicolon, addresses = header.partition(";")
    if word != "final" or not semicolon:
        raise InvalidRequest("beginning an upload", "Upload-Concat is neither `partial` nor `final;` with parts")
    parts = tuple(address.rpartition("/")[2] for address in addresses.split())
    if not parts or any(_ID.fullmatch(part) is None for part in parts):
        raise InvalidRequest("putting an upload together", "a part's address is none of an upload")
    return UploadKind.FINAL, parts


def _asked_for(document: Any, principal: Principal) -> NewUpload:
    doing = "asking for content"
    if not isinstance(document, dict):
        raise InvalidRequest(doing, "the document is no object")
    key, sha256, size_bytes = document.get("key"), document.get("sha256"), document.get("size_bytes")
    content_type, create_only = document.get("content_type"), document.get("create_only", False)
    if not isinstance(key, str):
        raise InvalidRequest(doing, "`key` is needed")
    if not isinstance(sha256, str) and (sha256 is not None or not _direct_is_wanted(document)):
        raise InvalidRequest(doing, "`sha256` is needed, except for what is sent straight to the store")
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or size_bytes < 0:
        raise InvalidRequest(doing, "`size_bytes` is needed, a whole number from 0")
    if content_type is not None and not isinstance(content_type, str):
        raise InvalidRequest(doing, "`content_type` is text")
    if not isinstance(create_only, bool):
        raise InvalidRequest(doing, "`create_only` is true or false")
    check_target(principal, check_key(key))
    return NewUpload(
        owner=owner_of(principal),
        key=key,
        length=size_bytes,
        claimed_type=content_type,
        expected_sha256=None if sha256 is None else hex_digest(sha256),
        create_only=create_only,
    )


def _direct_is_wanted(document: Any) -> bool:
    wanted = document.get("direct", False)
    if not isinstance(wanted, bool):
        raise InvalidRequest("asking for content", "`direct` is true or false")
    return wanted


def _told_of(upload: DirectUpload) -> dict[str, Any]:
    """An upload that goes straight to the store, as the API tells it."""
    return {
        "already_here": False,
        "direct": True,
        "id": upload.id,
        "key": upload.key,
        "size_bytes": upload.length,
        "part_size_bytes": upload.part_size_bytes,
        "expires_at": timestamp(upload.expires_at),
        "version_id": upload.version_id,
        "parts_there": list(upload.parts_there),
        "parts": [
            {
                "number": part.number,
                "first_byte": part.first_byte,
                "size_bytes": part.size_bytes,
                "url": part.url,
                "headers": dict(part.headers),
                "expires_at": timestamp(part.expires_at),
            }
            for part in upload.parts
        ],
    }


def _state(session: UploadSession) -> dict[str, str]:
    """How far an upload is, and until when it can go on."""
    headers = {"Upload-Offset": str(session.offset)}
    if session.version_id is None:
        headers["Upload-Expires"] = format_datetime(session.expires_at, usegmt=True)
    return headers


def _stored(key: str, version_id: str) -> Response:
    return JSONResponse({"key": key, "version_id": version_id}, HTTPStatus.CREATED, {"Location": file_address(key)})


def _tus_response(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    return Response(None, status, {"Tus-Resumable": TUS_VERSION, "Cache-Control": "no-store", **(headers or {})})


def _too_slow() -> problems.Refusal:
    return problems.Refusal(problems.TIMED_OUT, "What came is kept", headers={"Connection": "close"})


def _problem(error: PlatformError) -> problems.Problem:
    problem = problems.of_error(error)
    if isinstance(error, Busy):
        return replace(problem, kind=problems.LOCKED)
    if isinstance(error, TooLarge):
        return replace(problem, kind=problems.TOO_LARGE)
    return problem


def _decoded(encoded: str, name: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"reading {name}", "it is no Base64") from error
