"""The API from the other side: a typed client, whose answers and errors are the platform's own.

::

    with Client("http://127.0.0.1:8080", "cp_…") as client:
        client.upload("2026/whales.jpg", Path("whales.jpg"))
        for record in client.search(SearchQuery(text="whales")).records:
            print(record.file_path, record.status)

What the server refuses is raised as the error that it was there. What passes is tried again: a connection that broke,
a server that asks to wait. An upload that broke goes on where it was.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self
from urllib.parse import quote, urlsplit

import httpx

from contentplatform import errors
from contentplatform.catalog.port import Facets, Figure, Record, RecordPage, Rendition, SearchQuery
from contentplatform.clock import Clock, SystemClock, parse_timestamp, timestamp
from contentplatform.errors import ErrorCode, PlatformError
from contentplatform.ingest.library import Edit
from contentplatform.media import MediaKind, ProcessingStatus, check_key, file_id
from contentplatform.storage.port import BucketRole, ObjectVersion, StorageClass
from contentplatform.workflow.port import Execution, ExecutionPage, ExecutionStatus, HistoryEvent, Lane

API_PREFIX: Final = "/api/v1"
PIECE_BYTES: Final = 8 << 20
"""Of an upload, in one request: so much is held in memory, and sent again where a connection breaks."""
TRIES: Final = 5
"""In a row without anything having got through."""
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 300.0
"""A server that takes in many files at once may think for long."""
_OFFSET_TYPE: Final = "application/offset+octet-stream"
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_CHUNK_BYTES: Final = 1 << 20
_DETAIL_LIMIT: Final = 500
_CONFLICTS: Final = frozenset({409, 412, 423, 428})


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of an upload."""

    key: str
    version_id: str
    sha256: str
    size_bytes: int
    sent_bytes: int
    """0: the server had these bytes already."""


@dataclass(frozen=True, slots=True)
class Me:
    """Who the server takes this client for."""

    id: str
    name: str
    role: str
    scopes: frozenset[str]
    folder: str


@dataclass(frozen=True, slots=True)
class VersionState:
    """A version, and what was made of it."""

    version: ObjectVersion
    status: ProcessingStatus | None
    """None: nothing is known of it (yet)."""
    error: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes that come: read them once, to their end."""

    version: ObjectVersion
    content_type: str
    _chunks: Iterator[bytes] = field(repr=False)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, piece by piece.

        Raises:
            Unavailable: they broke off. Corrupt: they are not those that the server has.
        """
        return self._chunks

    def read(self, size: int = -1, /) -> bytes:
        """All that is left; a part can't be asked for. Raises as ``chunks``."""
        del size
        return b"".join(self._chunks)


class Client:
    """One server's API, for one token. Safe from several threads.

    Args:
        base_url: of the server, without the API's path.
        token: of a user.
        clock: how long to wait before something is tried again.
        transport: reaches the server; tests bring their own.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._http = httpx.Client(
            base_url=_checked(base_url),
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection. Idempotent."""
        self._http.close()

    @property
    def base_url(self) -> str:
        """The server's."""
        return str(self._http.base_url).rstrip("/")

    def me(self) -> Me:
        """Who the server takes this client for."""
        told = self._json("GET", "/me")
        return Me(told["id"], told["name"], told["role"], frozenset(told["scopes"]), told["folder"])

    def server(self) -> Mapping[str, Any]:
        """What the server is: version, home, workers."""
        found: Mapping[str, Any] = self._json("GET", "/server")
        return found

    # -- files -------------------------------------------------------------------------------------------------

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = 100) -> RecordPage:
        """A page of files that match, the newest upload first."""
        page = self._json("GET", "/files", params={**_asked(query), "limit": limit, **_given(cursor=cursor)})
        return RecordPage(tuple(map(record_of, page["items"])), page["next"])

    def facets(self, query: SearchQuery) -> Facets:
        """How many files a search finds, by what it can be narrowed to."""
        told = self._json("GET", "/facets", params=_asked(query))
        by: dict[str, dict[str, Figure]] = {
            sort: {each["value"]: Figure(each["count"], each["capped"]) for each in told[sort]}
            for sort in ("kinds", "statuses", "tags", "folders")
        }
        return Facets(
            total=Figure(**told["total"]),
            kinds={MediaKind(name): figure for name, figure in by["kinds"].items()},
            statuses={ProcessingStatus(name): figure for name, figure in by["statuses"].items()},
            tags=by["tags"],
            folders=by["folders"],
        )

    def record(self, key: str) -> Record:
        """The record of the file under a key, removed or not. Raises NotFound."""
        return record_of(self._json("GET", "/files/by-key", params={"key": key}))

    def record_by_id(self, identifier: str) -> Record:
        """The record of a file; a moved file's former identifier leads to it. Raises NotFound."""
        return record_of(self._json("GET", f"/files/{quote(identifier, safe='')}"))

    def document(self, key: str) -> Mapping[str, Any]:
        """All that the server shows of a file, as JSON. Raises NotFound."""
        found: Mapping[str, Any] = self._json("GET", "/files/by-key", params={"key": key})
        return found

    def edit(self, key: str, edit: Edit, *, state: str = "*") -> Record:
        """Change what people say of a file; with the ETag of a state only if it is that still.

        Raises:
            NotFound, InvalidRequest. Conflict: somebody else was first.
        """
        body: dict[str, Any] = {
            name: value for name in ("title", "description", "credit") if (value := getattr(edit, name)) is not None
        }
        if edit.rights_until is not None or edit.clears_rights:
            body["rights_until"] = None if edit.rights_until is None else timestamp(edit.rights_until)
        body |= {"add_tags": sorted(edit.add_tags), "remove_tags": sorted(edit.remove_tags)}
        return record_of(self._json("PATCH", _path(key), json=body, headers={"If-Match": state}))

    def move(self, source: str, target: str) -> Record:
        """Give a file another key. Raises NotFound, Conflict, InvalidRequest."""
        return record_of(self._json("POST", f"{_path(source)}/move", json={"key": target}))

    def remove(self, key: str) -> None:
        """Hide a file. Raises NotFound."""
        self._send("DELETE", _path(key))

    def undelete(self, key: str) -> Record:
        """Bring a removed file back. Raises NotFound."""
        return record_of(self._json("POST", f"{_path(key)}/undelete"))

    def reprocess(self, key: str) -> str:
        """Make a file's renditions anew; the name of the execution. Raises NotFound."""
        return str(self._json("POST", f"{_path(key)}/reprocess")["execution"])

    # -- versions ----------------------------------------------------------------------------------------------

    def versions(self, key: str) -> tuple[VersionState, ...]:
        """Every version and delete marker of a file, the newest first. Raises NotFound."""
        return tuple(_version_of(key, each) for each in self._json("GET", f"{_path(key)}/versions")["items"])

    def restore(self, key: str, version_id: str) -> Record:
        """Make an older version's bytes current again. Raises NotFound, Archived."""
        return record_of(self._json("POST", f"{_path(key)}/versions/{quote(version_id, safe='')}/restore"))

    def remove_version(self, key: str, version_id: str) -> None:
        """Delete one version for good. Raises NotFound."""
        self._send("DELETE", f"{_path(key)}/versions/{quote(version_id, safe='')}")

    # -- bytes -------------------------------------------------------------------------------------------------

    @contextmanager
    def open(self, key: str, *, version_id: str | None = None, rendition: str | None = None) -> Iterator[Download]:
        """An original, or one of its renditions, as it comes. Raises NotFound."""
        rest = "/original" if rendition is None else f"/renditions/{quote(rendition, safe='')}"
        url = API_PREFIX + _path(key) + rest
        try:
            with self._http.stream("GET", url, params=_given(version=version_id)) as answer:
                if answer.is_error:
                    answer.read()
                    raise error_of(answer)
                yield _download(key, answer)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def upload(
        self, key: str, source: Path | BinaryIO, *, claimed_type: str | None = None, sha256: str | None = None
    ) -> Uploaded:
        """Store bytes as the new current version of ``key``, in constant memory; what the server has is not sent.

        It goes on where it was if a connection breaks.

        Args:
            key: of the file.
            source: a file, or a stream that can be read twice.
            claimed_type: what it is said to be.
            sha256: of the bytes, where it is known; else it is computed first.

        Raises:
            InvalidRequest: the key can't name a file. ChecksumMismatch: the file changed while it was read.
            QuotaExceeded, NoSpace, Denied. Unavailable: nothing got through, several times in a row.
        """
        check_key(key)
        if isinstance(source, Path):
            with source.open("rb") as opened:
                return self.upload(key, opened, claimed_type=claimed_type, sha256=sha256)
        begin = source.tell()
        digest = sha256 or _sha256_of(source)
        size_bytes = source.seek(0, 2) - begin
        wish = _Wish(key, size_bytes, digest, claimed_type)
        there = self._already_here(wish)
        if there is not None:
            return Uploaded(key, there, digest, size_bytes, 0)
        self._send_pieces(wish, source, begin)
        version_id = self._already_here(wish)
        if version_id is None:
            raise errors.Conflict(f"storing {key}", "somebody else stored another version meanwhile")
        return Uploaded(key, version_id, digest, size_bytes, size_bytes)

    def _already_here(self, wish: _Wish) -> str | None:
        told = self._json("POST", "/uploads", json=wish.document())
        return str(told["version_id"]) if told["already_here"] else None

    def _send_pieces(self, wish: _Wish, source: BinaryIO, begin: int) -> None:
        made = self._send("POST", "/uploads", headers={**_TUS, **wish.headers()})
        place = urlsplit(made.headers["location"]).path.removeprefix(API_PREFIX)
        offset, tries = 0, 0
        while offset < wish.size_bytes:
            source.seek(begin + offset)
            piece = source.read(min(PIECE_BYTES, wish.size_bytes - offset))
            headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": _OFFSET_TYPE}
            try:
                answer = self._once("PATCH", API_PREFIX + place, headers=headers, content=piece)
                offset, tries = int(answer.headers["upload-offset"]), 0
            except errors.Unavailable:
                tries += 1
                if tries >= TRIES:
                    raise
                self._pause(tries)
                offset = int(self._send("HEAD", place, headers=_TUS).headers["upload-offset"])

    # -- the workflow ------------------------------------------------------------------------------------------

    def executions(
        self,
        *,
        status: ExecutionStatus | None = None,
        file_id: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> ExecutionPage:
        """A page of executions, the newest first."""
        given = _given(status=status and status.value, file_id=file_id, cursor=cursor)
        page = self._json("GET", "/executions", params={**given, "limit": limit})
        return ExecutionPage(tuple(map(_execution_of, page["items"])), page["next"])

    def execution(self, name: str) -> Execution:
        """One execution. Raises NotFound."""
        return _execution_of(self._json("GET", f"/executions/{quote(name, safe='')}"))

    def history(self, name: str) -> tuple[HistoryEvent, ...]:
        """Everything that happened in an execution, in order. Raises NotFound."""
        items = self._json("GET", f"/executions/{quote(name, safe='')}/history")["items"]
        return tuple(HistoryEvent(**{**each, "at": parse_timestamp(each["at"])}) for each in items)

    def retry(self, name: str) -> str:
        """Try an execution again; the name of the new one. Raises NotFound, Conflict."""
        return str(self._json("POST", f"/executions/{quote(name, safe='')}/retry")["execution"])

    def cancel(self, name: str, reason: str) -> Execution:
        """Stop an execution; what has ended stays as it ended. Raises NotFound."""
        return _execution_of(self._json("POST", f"/executions/{quote(name, safe='')}/cancel", json={"reason": reason}))

    # -- asking ------------------------------------------------------------------------------------------------

    def _json(self, method: str, path: str, **given: Any) -> Any:
        return self._send(method, path, **given).json()

    def _send(self, method: str, path: str, **given: Any) -> httpx.Response:
        """The answer to a request; what can pass is waited for where the request can be sent again."""
        is_repeatable = method in {"GET", "HEAD"}
        for tries in range(1, TRIES + 1):
            try:
                return self._once(method, API_PREFIX + path, **given)
            except errors.RateLimited as error:
                if tries == TRIES:
                    raise
                self._clock.wait(threading.Event(), min(error.retry_after_seconds, _LONGEST_PAUSE_SECONDS))
            except errors.Unavailable:
                if tries == TRIES or not is_repeatable:
                    raise
                self._pause(tries)
        raise AssertionError("the last try returns or raises")

    def _once(self, method: str, url: str, **given: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, url, **given)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if answer.is_success:
            return answer
        raise error_of(answer)

    def _unreachable(self, error: httpx.TransportError) -> errors.Unavailable:
        return errors.Unavailable(
            f"asking {self.base_url}",
            "there was no answer" if isinstance(error, httpx.TimeoutException) else "the server can't be reached",
            hint="See whether it runs: contentplatform serve",
            private=str(error),
        )

    def _pause(self, tries: int) -> None:
        seconds = min(_FIRST_PAUSE_SECONDS * 2 ** (tries - 1), _LONGEST_PAUSE_SECONDS)
        self._clock.wait(threading.Event(), seconds)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be uploaded."""

    key: str
    size_bytes: int
    sha256: str
    claimed_type: str | None

    def document(self) -> dict[str, Any]:
        """As the server is asked whether it has it."""
        told = {"key": self.key, "sha256": self.sha256, "size_bytes": self.size_bytes}
        return {**told, **_given(content_type=self.claimed_type)}

    def headers(self) -> dict[str, str]:
        """As the protocol begins an upload."""
        said = {"key": self.key, "sha256": self.sha256, **_given(filetype=self.claimed_type)}
        metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())
        return {"Upload-Length": str(self.size_bytes), "Upload-Metadata": metadata}


# -- what comes back ---------------------------------------------------------------------------------------------------


def error_of(answer: httpx.Response) -> PlatformError:
    """The error that an answer tells of, as it was on the other side."""
    try:
        told = answer.json()
        detail, name = str(told["detail"])[:_DETAIL_LIMIT], str(told.get("error", ""))
        hint = str(told.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        told, detail, name, hint = {}, f"it answered {answer.status_code}", "", ""
    doing, colon, why = detail.partition(": ")
    if not colon:
        doing, why = f"asking {answer.request.url.host}", detail
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, PlatformError)):
        kind = _kind_of_status(answer.status_code)
    if kind is errors.ProcessingFailed:
        code = str(told.get("code", ""))
        known = ErrorCode(code) if code in set(ErrorCode) else ErrorCode.INTERNAL
        return errors.ProcessingFailed(doing, why, code=known, hint=hint)
    if kind is errors.RateLimited:
        after = answer.headers.get("retry-after", "")
        return errors.RateLimited(doing, why, retry_after_seconds=int(after) if after.isdigit() else 1, hint=hint)
    return kind(doing, why, hint=hint)


def _kind_of_status(status: int) -> type[PlatformError]:
    if status in _CONFLICTS:
        return errors.Conflict
    known: dict[int, type[PlatformError]] = {
        401: errors.Unauthenticated,
        403: errors.Denied,
        404: errors.NotFound,
        429: errors.RateLimited,
        460: errors.ChecksumMismatch,
        507: errors.NoSpace,
    }
    if status in known:
        return known[status]
    return errors.Unavailable if status >= 500 or status == 408 else errors.InvalidRequest


def record_of(told: Mapping[str, Any]) -> Record:
    """A file as the API shows it, as a record: without what only the server needs to know of it."""
    return Record(
        file_id=told["file_id"],
        file_path=told["file_path"],
        version_id=told["version_id"],
        size_bytes=told["size"],
        content_type=told["content_type"],
        claimed_type=told["claimed_type"],
        file_hash=told["file_hash"],
        hash_verified=told["hash_verified"],
        kind=MediaKind(told["metadata"]["type"]),
        status=ProcessingStatus(told["processing_status"]),
        upload_time=parse_timestamp(told["upload_time"]),
        indexed_at=parse_timestamp(told["indexed_at"]),
        processed_at=_moment(told["processed_at"]),
        error=told["processing_error"],
        error_code=None if told["processing_error_code"] is None else ErrorCode(told["processing_error_code"]),
        note=told["note"],
        processing_metadata=told["processing_metadata"],
        renditions=_renditions(told["renditions"]),
        tags=tuple(told["tags"]),
        title=told["title"],
        description=told["description"],
        credit=told["credit"],
        rights_until=_moment(told["rights_until"]),
        deleted_at=_moment(told["deleted_at"]),
    )


def _renditions(told: Sequence[Mapping[str, Any]]) -> tuple[Rendition, ...]:
    return tuple(
        Rendition(
            name=each["name"],
            key=each["key"],
            stored_key="",
            content_type=each["content_type"],
            size_bytes=each["size"],
            sha256=each["sha256"],
            width=each.get("width"),
            height=each.get("height"),
        )
        for each in told
    )


def _version_of(key: str, told: Mapping[str, Any]) -> VersionState:
    version = ObjectVersion(
        bucket=BucketRole.PRIMARY,
        key=key,
        version_id=told["version_id"],
        size_bytes=told["size"],
        sha256=told["sha256"],
        etag=told["sha256"] or "",
        content_type="",
        storage_class=StorageClass(told["storage_class"]),
        created_at=parse_timestamp(told["created_at"]),
        is_latest=told["is_latest"],
        is_delete_marker=told["is_delete_marker"],
    )
    status = told["processing_status"]
    known = None if status is None else ProcessingStatus(status)
    return VersionState(version, known, told["processing_error"], told["note"])


def _execution_of(told: Mapping[str, Any]) -> Execution:
    return Execution(
        name=told["name"],
        file_id=told["file_id"],
        version_id=told["version_id"],
        lane=Lane[told["lane"].upper()],
        status=ExecutionStatus(told["status"]),
        state=told["state"],
        input=told["input"],
        output=told["output"],
        created_at=parse_timestamp(told["created_at"]),
        started_at=_moment(told["started_at"]),
        ended_at=_moment(told["ended_at"]),
        error=told["error"],
        cause=told["cause"],
        pending_reason=told["pending_reason"],
    )


def _download(key: str, answer: httpx.Response) -> Download:
    sha256 = answer.headers["etag"].strip('"')
    version = ObjectVersion(
        bucket=BucketRole.PRIMARY,
        key=key,
        version_id="",
        size_bytes=int(answer.headers["content-length"]),
        sha256=sha256,
        etag=sha256,
        content_type=answer.headers["content-type"],
        storage_class=StorageClass.STANDARD,
        created_at=parsedate_to_datetime(answer.headers["last-modified"]),
        is_latest=True,
    )
    return Download(version, version.content_type, _checked_chunks(key, answer, version))


def _checked_chunks(key: str, answer: httpx.Response, version: ObjectVersion) -> Iterator[bytes]:
    """The bytes; a fault instead of the end if they are not those that were promised."""
    digest, length = hashlib.sha256(), 0
    try:
        for chunk in answer.iter_bytes(_CHUNK_BYTES):
            digest.update(chunk)
            length += len(chunk)
            yield chunk
    except httpx.TransportError as error:
        raise errors.Unavailable(
            f"reading {key}", f"it broke off after {length} bytes", hint="Try again", private=str(error)
        ) from error
    if len(version.etag) == hashlib.sha256().digest_size * 2 and digest.hexdigest() != version.etag:
        raise errors.Corrupt(f"reading {key}", "the bytes that came are not those that the server has")


def _sha256_of(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _asked(query: SearchQuery) -> dict[str, Any]:
    return _given(
        q=query.text or None,
        kind=query.kind and query.kind.value,
        status=query.status and query.status.value,
        tag=query.tag,
        folder=query.folder or None,
        uploaded_from=query.uploaded_from and timestamp(query.uploaded_from),
        uploaded_before=query.uploaded_before and timestamp(query.uploaded_before),
        size_from=query.size_from_bytes,
        size_to=query.size_to_bytes,
        file_hash=query.file_hash,
        deleted=True if query.deleted else None,
    )


def _given(**values: Any) -> dict[str, Any]:
    """Those of the values that are something."""
    return {name: value for name, value in values.items() if value is not None}


def _path(key: str) -> str:
    return f"/files/{file_id(key)}"


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_timestamp(text)


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise errors.InvalidRequest(
            f"asking {base_url[:100]!r}", "it is no address of a server", hint="It looks like http://127.0.0.1:8080"
        )
    return base_url.rstrip("/")
