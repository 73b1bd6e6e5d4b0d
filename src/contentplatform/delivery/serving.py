"""The local edge as an ASGI application: reads the rules, keeps what is asked for often, and sends it.

A request for a file that is kept is answered on the event loop, without a thread: two cheap questions to the database
tell whether any version of anything was changed since it was last looked at, and only then, whether this one was. So a
file that another process replaced or deleted is gone with the commit. Everything else is looked up in a thread, once
for all who ask for it at the same time.

**Damage.** Files up to ``origin.PROVED_AT_ONCE_BYTES`` are hashed before their first byte is sent by this process.
Larger ones are sent at once and hashed meanwhile; what turns out damaged is refused from then on. A refusal is a 502
without a byte of the file, and an error in the log.

**Private paths** need a signature, are never kept, and answer ``no-store``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Protocol
from urllib.parse import parse_qsl, quote

from contentplatform import log
from contentplatform.clock import Clock, IdSource
from contentplatform.delivery.access_log import HEADER_EXTRA_BYTES, AccessLog, Addresses
from contentplatform.delivery.answers import Content, Handler, Refusal, Request, Result
from contentplatform.delivery.asking import Asked, AtOnce
from contentplatform.delivery.attachments import disposition
from contentplatform.delivery.headers import ALLOWED_METHODS, policy_of
from contentplatform.delivery.hot import PACKED_TYPES, Alias, HotFile, HotFiles, kept
from contentplatform.delivery.local import LocalEdge
from contentplatform.delivery.origin import PROVED_AT_ONCE_BYTES, Found, OpenFile, Origin
from contentplatform.delivery.ranges import Slice, Unsatisfiable, asked_for
from contentplatform.delivery.recording import EdgeRecorder
from contentplatform.delivery.rules import (
    DOWNLOAD_PARAMETER,
    ERROR_CACHE_SECONDS,
    METHODS,
    PRIVATE_CACHE_CONTROL,
    VERSION_PARAMETER,
    Behaviour,
    HeaderPolicy,
    behaviour_of,
    cache_control,
    encoded,
    is_private,
    key_of,
)
from contentplatform.delivery.sending import Receive, Scope, Send, Sender, raw_path, request_of
from contentplatform.delivery.signing import COVERS, carried
from contentplatform.delivery.statistics import EdgeStatistics
from contentplatform.errors import Archived, Corrupt, InvalidRequest, NotFound, PlatformError, Unavailable
from contentplatform.media import file_name
from contentplatform.processing.playlists import with_parameters

_THREADS: Final = 8
_FETCHES: Final = 3
_LET_GO_SECONDS: Final = 60.0
_QUERY_LIMIT: Final = 4_096
_PARAMETERS_LIMIT: Final = 16
_PLAYLISTS: Final = frozenset({"application/vnd.apple.mpegurl", "text/vtt"})
_ETAG_LENGTH: Final = 32
_RETRY_SECONDS: Final = b"5"
_NONE_MATCH_BYTES: Final = len(b"if-none-match") + HEADER_EXTRA_BYTES
_RANGE_BYTES: Final = len(b"range") + HEADER_EXTRA_BYTES
_SPECIAL: Final = frozenset(
    {
        b"if-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
        b"range",
        b"if-none-match",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"upgrade",
    }
)

_logger: Final = logging.getLogger(__name__)


class TellsVersion(Protocol):
    """A database that says cheaply whether anybody committed anything."""

    def data_version(self) -> int:
        """Another number after each commit."""
        ...


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """How an edge works."""

    private_prefix: str
    secure: bool = False
    """Whether viewers come by TLS: then they are told to stay with it."""
    memory_bytes: int = 256 << 20
    """For what is kept."""
    kept_file_bytes: int = 1 << 20
    """Longest file that is kept in memory; of longer ones the descriptor is kept open."""
    open_files: int = 256
    log_addresses: Addresses = Addresses.FULL
    """How much of a viewer's address is written into the log."""


class EdgeApp:
    """Answers GET, HEAD and OPTIONS for the paths of the edge. One a process and event loop.

    Args:
        origin: what there is.
        edge: signatures and invalidations.
        database: says when to look again.
        clock: how long answers took, and when.
        ids: of requests.
        access_log: where exchanges are noted; None: they are not.
        statistics: where they are counted.
        options: how it works.
    """

    def __init__(
        self,
        origin: Origin,
        edge: LocalEdge,
        database: TellsVersion,
        clock: Clock,
        ids: IdSource,
        access_log: AccessLog | None,
        statistics: EdgeStatistics,
        options: EdgeOptions,
    ) -> None:
        self.statistics = statistics
        self._origin = origin
        self._edge = edge
        self._database = database
        self._clock = clock
        self._recorder = EdgeRecorder(access_log, statistics, clock, options.log_addresses)
        self._options = options
        self._hot = HotFiles(options.memory_bytes, options.open_files)
        self._fetching: dict[Alias, asyncio.Future[HotFile]] = {}
        self._handlers: list[tuple[str, Handler]] = []
        self._listeners: list[Callable[[tuple[str, ...]], None]] = []
        self._closing: list[Callable[[], None]] = []
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="edge")
        self._sender = Sender(clock, ids, self._recorder, self._threads, secure=options.secure)
        self._asked_this_turn = False
        self._let_go_seconds = clock.monotonic_seconds()
        self._seen_version = -1
        self._seen_change = -1
        self._seen_invalidation = edge.newest_invalidation()

    # -- for whoever puts the server together ---------------------------------------------------------------------

    def mount(self, prefix: str, handler: Handler, close: Callable[[], None] | None = None) -> None:
        """Let ``handler`` say what is under the paths that begin with ``prefix``, as ``/images/``.

        ``close`` is called when the edge is closed.
        """
        self._handlers.append((prefix, handler))
        if close is not None:
            self._closing.append(close)

    def on_invalidated(self, listener: Callable[[tuple[str, ...]], None]) -> None:
        """Call ``listener`` (quick, on the event loop) with paths that are to be forgotten, percent-encoded."""
        self._listeners.append(listener)

    @property
    def kept_bytes(self) -> int:
        """The memory that kept files take."""
        return self._hot.kept_bytes

    def start(self) -> None:
        """Begin to write the access log and the figures down. Idempotent; the first request does it otherwise."""
        self._recorder.start()

    def close(self) -> None:
        """Write down what is to be remembered, and let go of threads and files. Blocks; idempotent."""
        for close in self._closing:
            close()
        self._threads.shutdown(wait=True)
        self._recorder.close()
        self._hot.drop_all(self._hot.aliases())

    # -- answering ------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive  # what comes with a GET means nothing
        started = self._clock.monotonic_seconds()
        try:
            if scope["method"] == "GET":
                alias = (raw_path(scope), scope["query_string"])
                file, result = self._true_file(alias) if alias in self._hot else (None, Result.MISS)
                if file is not None:
                    await self._send_hot(scope, send, file, result, started)
                    return
            await self._respond(scope, send, started)
        except OSError:
            self._sender.note_hang_up(scope, started)

    # -- at once, for a server that asks so (``web.quick``) -----------------------------------------------------------

    def asked(self, scope: Scope) -> Asked | None:
        """What the headers ask for, ``If-None-Match`` and ``Range`` left out; None: more than is answered at once.

        True of every request from this client's address with these headers. None, too, where nothing is kept.
        """
        if (scope["raw_path"], scope["query_string"]) not in self._hot:
            return None
        accepted = None
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                if accepted is not None:
                    return None
                accepted = value
            elif name in _SPECIAL:
                return None
        packs = accepted is not None and takes_gzip(accepted)
        return Asked(packs, self._sender.is_secure(scope), self._recorder.asker(scope))

    def quick(
        self, asked: Asked, path: bytes, query: bytes, none_match: bytes, wanted_range: bytes, port: int
    ) -> AtOnce | None:
        """The whole answer to a GET. Never waits.

        None: ask by ASGI. A server that can spares its own work for what is kept and has not changed.

        Args:
            asked: what the headers ask for.
            path: percent-encoded, as it came.
            query: the same.
            none_match: the value of ``If-None-Match``; empty: there is none.
            wanted_range: the value of ``Range``.
            port: the client's.
        """
        started = self._clock.monotonic_seconds()
        file = self._unchanged((path, query))
        if file is None:
            return None
        face = file.face(secure=asked.is_secure, packed=asked.takes_gzip and file.packed is not None)
        address_bytes = len(path) + len(query)
        if wanted_range:
            if file.opened is None or none_match or (part := _part_of(wanted_range, file.opened)) is None:
                return None
            address_bytes += len(wanted_range) + _RANGE_BYTES
            return self._sender.quick_file(asked, port, address_bytes, file, file.opened, face, part, started=started)
        if none_match:
            if none_match != face.quoted_etag:
                return None
            address_bytes += len(none_match) + _NONE_MATCH_BYTES
        elif file.opened is not None:
            return self._sender.quick_file(asked, port, address_bytes, file, file.opened, face, None, started=started)
        return self._sender.quickly(asked, port, address_bytes, file, face, started, whole=not none_match)

    def _unchanged(self, alias: Alias) -> HotFile | None:
        """What is kept and was looked at since the newest change."""
        if alias not in self._hot:
            return None
        try:
            # First: an invalidation may take the file away.
            change = self._seen_change if self._asked_this_turn else self._change()
        except PlatformError:
            return None
        file = self._hot.get(alias)
        return file if file is not None and file.seen_change == change else None

    def _true_file(self, alias: Alias) -> tuple[HotFile | None, Result]:
        """What is kept and still true, and how that is known; what is not any more, is dropped."""
        try:
            change = self._change()  # first: an invalidation may take the file away
            file = self._hot.get(alias)
            if file is None or file.seen_change == change:
                return file, Result.HIT
            if self._origin.is_still(file.found):
                file.seen_change = change
                return file, Result.REFRESH_HIT
        except PlatformError:
            return None, Result.MISS
        self._hot.drop(alias)
        return None, Result.MISS

    def _change(self) -> int:
        """The number of the newest change; invalidations that came meanwhile have taken effect.

        Asked once a turn of the event loop: whatever is answered in this turn was sent before it, so before a commit
        that the answer does not know.
        """
        if self._asked_this_turn:
            return self._seen_change
        asyncio.get_running_loop().call_soon(self._end_turn)
        self._asked_this_turn = True
        version = self._database.data_version()
        if version != self._seen_version:
            self._seen_version = -1  # until all is known of it
            self._seen_change = self._origin.newest_change()
            self._take_invalidations()
            self._seen_version = version
            self._let_go()
        return self._seen_change

    def _let_go(self) -> None:
        """Close files that were deleted or replaced, now and then: an open one keeps its room on the disk."""
        now = self._clock.monotonic_seconds()
        if now - self._let_go_seconds < _LET_GO_SECONDS:
            return
        self._let_go_seconds = now
        for file in self._hot.with_open_files():
            if file.seen_change != self._seen_change and not self._origin.is_still(file.found):
                self._hot.drop(file.alias)

    def _end_turn(self) -> None:
        self._asked_this_turn = False

    def _take_invalidations(self) -> None:
        newest = self._edge.newest_invalidation()
        if newest == self._seen_invalidation:
            return
        paths = self._edge.invalidated_since(self._seen_invalidation)
        self._seen_invalidation = newest
        for path in paths:
            bare, _, query = path.partition("?")
            self._hot.drop((bare.encode("ascii"), query.encode("ascii")))
        for listener in self._listeners:
            listener(paths)

    async def _send_hot(self, scope: Scope, send: Send, file: HotFile, result: Result, started: float) -> None:
        """The short way: a kept file or a part of it, or the news that the viewer's copy is still good."""
        none_match, asked, packs, is_plain = b"", b"", False, True
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                packs = file.packed is not None and takes_gzip(value)
            elif name == b"range":
                is_plain, asked = is_plain and not asked, value
            elif name in _SPECIAL:
                is_plain = is_plain and name == b"if-none-match" and not none_match
                none_match = value
        face = file.face(secure=self._sender.is_secure(scope), packed=packs)
        if file.opened is not None and is_plain and not none_match:
            try:
                part = asked_for(asked.decode("latin-1"), file.opened.size_bytes) if asked else None
            except Unsatisfiable:
                await self._send_kept(scope, send, file, result, started)
            else:
                await self._sender.hot_file(scope, send, file, face, part, result, started)
        elif file.opened is None and is_plain and not asked and none_match in {b"", face.quoted_etag}:
            await self._sender.face(scope, send, file, face, result, started, whole=not none_match)
        else:
            await self._send_kept(scope, send, file, result, started)

    async def _send_kept(self, scope: Scope, send: Send, file: HotFile, result: Result, started: float) -> None:
        request = request_of(scope)
        content = replace(_form(request, file), result=result)
        await self._sender.content(scope, send, request, content, file.opened, started)

    # -- the long way ---------------------------------------------------------------------------------------------

    async def _respond(self, scope: Scope, send: Send, started: float) -> None:
        request, method = request_of(scope), scope["method"]
        opened: OpenFile | None = None
        self._recorder.start()
        try:
            if method == "OPTIONS":
                await self._send_options(scope, send, request, started)
                return
            if method in METHODS:
                answer, opened = await self._answer(request)
            else:
                allowed = ((b"allow", ALLOWED_METHODS.encode("ascii")),)
                answer = Refusal(405, "Only GET, HEAD and OPTIONS are possible here.", allowed)
        except PlatformError as error:
            answer = replace(refusal_of(error), policy=self._policy(request))
        except Exception:  # the outer edge: a viewer gets an answer with our headers, whatever a handler did
            _logger.exception("the edge failed")
            answer = Refusal(500, "This failed here.")
        if isinstance(answer, Refusal):
            await self._sender.refusal(scope, send, answer, started)
        else:
            await self._sender.content(scope, send, request, answer, opened, started)

    async def _send_options(self, scope: Scope, send: Send, request: Request, started: float) -> None:
        policy = self._policy(request)
        preflight = bool(request.header(b"access-control-request-method"))
        await self._sender.options(scope, send, policy, started, preflight=preflight)

    def _policy(self, request: Request) -> HeaderPolicy:
        return policy_of(behaviour_of(request.path, self._options.private_prefix))

    async def _answer(self, request: Request) -> tuple[Content | Refusal, OpenFile | None]:
        for prefix, handler in self._handlers:
            if request.path.startswith(prefix):
                return await handler(request), None
        key = key_of(request.path)
        behaviour = behaviour_of(request.path, self._options.private_prefix)
        parameters = parameters_of(request.query)
        if behaviour.private or is_private(key, self._options.private_prefix):
            return await self._private(request, key, behaviour, parameters)
        version = parameters.get(VERSION_PARAMETER, "") if behaviour.versioned else ""
        file, result = await self._kept(key, behaviour, version)
        content = replace(_form(request, file), result=result)
        if DOWNLOAD_PARAMETER in parameters:
            # Unsigned, the name is the file's own: another one could make a program of a text.
            content = replace(content, disposition=disposition(file_name(key)))
        return content, file.opened

    async def _kept(self, key: str, behaviour: Behaviour, version: str) -> tuple[HotFile, Result]:
        """A public file, from what is kept or else fetched; fetched once for all who wait for it.

        Raises:
            Unavailable: it was replaced again and again while it was fetched.
        """
        for _ in range(_FETCHES):
            found = await self._kept_or_fetched(key, behaviour, version)
            if found is not None:
                return found
        raise Unavailable(f"serving {key[:80]}", "it changes all the time")

    async def _kept_or_fetched(self, key: str, behaviour: Behaviour, version: str) -> tuple[HotFile, Result] | None:
        """Once: None where what was fetched was deleted, or replaced, meanwhile."""
        path = f"/{encoded(key)}"
        query = f"{VERSION_PARAMETER}={quote(version)}" if version else ""
        alias = (path.encode("ascii"), query.encode("ascii"))
        kept_file, result = self._true_file(alias)
        if kept_file is not None:
            return kept_file, result
        under_way = self._fetching.get(alias)
        if under_way is None:
            loop = asyncio.get_running_loop()
            under_way = loop.run_in_executor(self._threads, self._fetch, key, behaviour, version, alias)
            self._fetching[alias] = under_way
            under_way.add_done_callback(lambda done: self._fetched(alias, done))
        file = await asyncio.shield(under_way)
        if file.seen_change != self._change() and not self._origin.is_still(file.found):
            return None
        return file, Result.MISS

    def _fetched(self, alias: Alias, done: asyncio.Future[HotFile]) -> None:
        self._fetching.pop(alias, None)
        if not done.cancelled() and done.exception() is None and done.result().found.is_settled:
            self._hot.keep(alias, done.result())

    def _fetch(self, key: str, behaviour: Behaviour, version: str, alias: Alias) -> HotFile:
        """In a thread: look a file up, and read or open it. Raises as ``Origin``."""
        change = self._origin.newest_change()
        found = self._origin.find(key, version)
        content, opened = self._loaded(found, behaviour, cache_control(behaviour, version))
        return kept(found, content, opened, change, alias)

    def _loaded(self, found: Found, behaviour: Behaviour, caching: str) -> tuple[Content, OpenFile | None]:
        """What was found, its bytes in memory or its file open, proved as the module's docstring says."""
        opened = self._origin.file_of(found)
        content = Content(
            content_type=found.content_type,
            etag=found.sha256[:_ETAG_LENGTH],
            cache_control=caching,
            modified_at=found.version.created_at,
            disposition=found.disposition,
            vary="Accept-Encoding" if found.content_type in PACKED_TYPES else "",
            policy=policy_of(behaviour),
            size_bytes=opened.size_bytes,
            original=found.original,
        )
        if opened.size_bytes <= self._options.kept_file_bytes:
            return replace(content, body=self._origin.proved_bytes(found, opened)), None
        if opened.size_bytes <= PROVED_AT_ONCE_BYTES:
            self._origin.prove(found, opened)
        elif not self._origin.is_proved(opened):
            self._threads.submit(self._prove_quietly, found, opened)
        return replace(content, file=opened.path), opened

    def _prove_quietly(self, found: Found, opened: OpenFile) -> None:
        try:
            self._origin.prove(found, opened)
        except PlatformError as error:
            log.event(_logger, logging.ERROR, "a large file was not proved", **{log.REASON: error.public})

    # -- private files --------------------------------------------------------------------------------------------

    async def _private(
        self, request: Request, key: str, behaviour: Behaviour, parameters: dict[str, str]
    ) -> tuple[Content | Refusal, OpenFile | None]:
        """A file that only a signature opens. Nothing tells whether it exists to who has none."""
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._opened, request, key, behaviour, parameters)
        except PlatformError as error:
            refusal = replace(refusal_of(error), policy=policy_of(behaviour))
            return replace(refusal, cache_control=PRIVATE_CACHE_CONTROL), None

    def _opened(
        self, request: Request, key: str, behaviour: Behaviour, parameters: dict[str, str]
    ) -> tuple[Content | Refusal, OpenFile | None]:
        try:
            self._edge.check_link(f"{request.path}?{request.query}")
        except InvalidRequest as error:
            text, policy = f"{error.public}.", policy_of(behaviour)
            return Refusal(403, text, cache_control=PRIVATE_CACHE_CONTROL, policy=policy), None
        version = parameters.get(VERSION_PARAMETER, "") if behaviour.versioned else ""
        found = self._origin.find(key, version)
        content, opened = self._loaded(found, behaviour, PRIVATE_CACHE_CONTROL)
        if DOWNLOAD_PARAMETER in parameters:
            content = replace(content, disposition=disposition(parameters[DOWNLOAD_PARAMETER] or file_name(key)))
        elif COVERS in parameters and content.content_type in _PLAYLISTS and opened is None:
            content = _with_signature(content, parameters)
        return content, opened


# -- reading requests -------------------------------------------------------------------------------------------------


def parameters_of(query: str) -> dict[str, str]:
    """The parameters of a query. Raises InvalidRequest: one is there twice, or there are too many."""
    doing = "reading the query"
    if len(query) > _QUERY_LIMIT:
        raise InvalidRequest(doing, "it is too long")
    try:
        given = parse_qsl(query, keep_blank_values=True, max_num_fields=_PARAMETERS_LIMIT)
    except ValueError as error:
        raise InvalidRequest(doing, "it has too many parameters") from error
    told = dict(given)
    if len(told) != len(given):
        raise InvalidRequest(doing, "a parameter is there twice")
    return told


def takes_gzip(accepted: bytes) -> bool:
    """Whether an ``Accept-Encoding`` names gzip, and not with a weight of nothing."""
    for part in accepted.lower().split(b","):
        coding, _, weight = part.partition(b";")
        if coding.strip() in {b"gzip", b"x-gzip"}:
            return weight.replace(b" ", b"").rstrip(b"0.") != b"q="
    return False


def _form(request: Request, file: HotFile) -> Content:
    """The form of a kept file that a viewer takes. A part is always one of the plain form."""
    if file.packed is None or request.header(b"range"):
        return file.content
    return file.packed if takes_gzip(request.header(b"accept-encoding").encode("latin-1")) else file.content


def _part_of(wanted: bytes, opened: OpenFile) -> Slice | None:
    """The part of a file that a range names; None: it names none."""
    try:
        return asked_for(wanted.decode("latin-1"), opened.size_bytes)
    except Unsatisfiable:
        return None


def _with_signature(content: Content, parameters: dict[str, str]) -> Content:
    """A playlist whose references carry the signature that opened it: it covers its neighbours, too."""
    try:
        text = with_parameters(content.body.decode("utf-8"), carried(parameters))
    except ValueError:
        return content  # captions: they refer to nothing
    return replace(content, body=text.encode("utf-8"), etag=f"{content.etag}-signed")


# -- refusals ---------------------------------------------------------------------------------------------------------

_STATUS: Final[tuple[tuple[type[PlatformError], int], ...]] = (
    (NotFound, 404),
    (InvalidRequest, 400),
    (Archived, 403),
    (Corrupt, 502),
    (Unavailable, 503),
)


def refusal_of(error: PlatformError) -> Refusal:
    """How a failure is told to a viewer: without a key, a path, or a reason of ours."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status in _TEXTS:
        text, caching = _TEXTS[status]
        headers = ((b"retry-after", _RETRY_SECONDS),) if status == 503 else ()
        if status >= 500:
            told = {log.REASON: error.public, "private": error.private}
            log.event(_logger, logging.ERROR, "the edge could not serve a file", **told)
        return Refusal(status, text, headers, caching)
    return Refusal(500, "This failed here.")


_TEXTS: Final = {
    400: ("That is no address of this site.", "no-store"),
    403: ("This file is archived and has to be restored first.", "no-store"),
    404: ("There is no such file.", f"max-age={ERROR_CACHE_SECONDS}"),
    502: ("This file is damaged here and is not sent.", "no-store"),
    503: ("This is not possible at the moment. Try again.", "no-store"),
}
