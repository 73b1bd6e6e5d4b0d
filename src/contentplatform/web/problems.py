"""What a failure is over HTTP: the one table from errors to statuses, and the documents of RFC 9457."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Scope

from contentplatform import errors
from contentplatform.replies.port import KeyReused

MEDIA_TYPE: Final = "application/problem+json"
TYPE_FOLDER: Final = "/problems/"
"""Where a problem's type leads: the page that explains it."""
RETRY_AFTER_SECONDS: Final = 5
_TEXT_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of problem: what a program goes by."""

    name: str
    status: HTTPStatus
    title: str

    @property
    def type(self) -> str:
        """The URI reference that names it."""
        return TYPE_FOLDER + self.name


INVALID_REQUEST: Final = Kind("invalid-request", HTTPStatus.BAD_REQUEST, "The request can't be as it stands")
UNAUTHENTICATED: Final = Kind("unauthenticated", HTTPStatus.UNAUTHORIZED, "Sign in, or send a token")
FORBIDDEN: Final = Kind("forbidden", HTTPStatus.FORBIDDEN, "You may not do this")
NOT_FOUND: Final = Kind("not-found", HTTPStatus.NOT_FOUND, "There is no such thing")
METHOD_NOT_ALLOWED: Final = Kind("method-not-allowed", HTTPStatus.METHOD_NOT_ALLOWED, "Not with this method")
CONFLICT: Final = Kind("conflict", HTTPStatus.CONFLICT, "Somebody else was first")
ARCHIVED: Final = Kind("archived", HTTPStatus.CONFLICT, "The bytes must be restored first")
CANCELLED: Final = Kind("cancelled", HTTPStatus.CONFLICT, "Stopped on request")
PRECONDITION_FAILED: Final = Kind("precondition-failed", HTTPStatus.PRECONDITION_FAILED, "It was changed meanwhile")
TOO_LARGE: Final = Kind("too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large")
UNSUPPORTED_TYPE: Final = Kind("unsupported-type", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is of another type")
RANGE_NOT_SATISFIABLE: Final = Kind(
    "range-not-satisfiable", HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "There are no such bytes"
)
LOCKED: Final = Kind("locked", HTTPStatus.LOCKED, "Another request is writing to it")
CHECKSUM_MISMATCH: Final = Kind(
    "checksum-mismatch", HTTPStatus.UNPROCESSABLE_ENTITY, "The bytes are not those that were promised"
)
PROCESSING_FAILED: Final = Kind(
    "processing-failed", HTTPStatus.UNPROCESSABLE_ENTITY, "The file can't be processed, however often it is tried"
)
KEY_REUSED: Final = Kind(
    "idempotency-key-reused", HTTPStatus.UNPROCESSABLE_ENTITY, "The key stands for another request"
)
PRECONDITION_REQUIRED: Final = Kind(
    "precondition-required", HTTPStatus.PRECONDITION_REQUIRED, "Say which state you have seen"
)
HEADERS_TOO_LARGE: Final = Kind(
    "headers-too-large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large"
)
TIMED_OUT: Final = Kind("timed-out", HTTPStatus.REQUEST_TIMEOUT, "The request took too long to come")
TOO_MANY_REQUESTS: Final = Kind("too-many-requests", HTTPStatus.TOO_MANY_REQUESTS, "Too many requests")
INTERNAL: Final = Kind("internal", HTTPStatus.INTERNAL_SERVER_ERROR, "A fault of the platform")
CORRUPT: Final = Kind("corrupt", HTTPStatus.INTERNAL_SERVER_ERROR, "Stored bytes are damaged")
NOT_HERE: Final = Kind("not-in-this-home", HTTPStatus.NOT_IMPLEMENTED, "This home has no such thing")
UNAVAILABLE: Final = Kind("unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "A passing fault")
NO_SPACE: Final = Kind("no-space", HTTPStatus.INSUFFICIENT_STORAGE, "The disk is full")
QUOTA_EXCEEDED: Final = Kind("quota-exceeded", HTTPStatus.INSUFFICIENT_STORAGE, "Your quota has no room for this")

KINDS: Final = (
    INVALID_REQUEST,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    CONFLICT,
    ARCHIVED,
    CANCELLED,
    PRECONDITION_FAILED,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    RANGE_NOT_SATISFIABLE,
    LOCKED,
    CHECKSUM_MISMATCH,
    PROCESSING_FAILED,
    KEY_REUSED,
    PRECONDITION_REQUIRED,
    HEADERS_TOO_LARGE,
    TIMED_OUT,
    TOO_MANY_REQUESTS,
    INTERNAL,
    CORRUPT,
    NOT_HERE,
    UNAVAILABLE,
    NO_SPACE,
    QUOTA_EXCEEDED,
)
OF_ERROR: Final[dict[type[errors.PlatformError], Kind]] = {
    errors.InvalidRequest: INVALID_REQUEST,
    errors.NotFound: NOT_FOUND,
    errors.Conflict: CONFLICT,
    errors.ChecksumMismatch: CHECKSUM_MISMATCH,
    errors.Archived: ARCHIVED,
    errors.Corrupt: CORRUPT,
    errors.ProcessingFailed: PROCESSING_FAILED,
    errors.Unavailable: UNAVAILABLE,
    errors.NoSpace: NO_SPACE,
    errors.JobInterrupted: UNAVAILABLE,
    errors.Cancelled: CANCELLED,
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.Denied: FORBIDDEN,
    errors.RateLimited: TOO_MANY_REQUESTS,
    errors.QuotaExceeded: QUOTA_EXCEEDED,
    errors.ConfigurationInvalid: INTERNAL,
    errors.PlatformError: INTERNAL,
    KeyReused: KEY_REUSED,
}
"""Every class of the tree; mirrors the exit codes of the command line."""
_OF_STATUS: Final = {
    kind.status: kind
    for kind in reversed(KINDS)
    if kind not in {ARCHIVED, CANCELLED, PROCESSING_FAILED, KEY_REUSED, CORRUPT, QUOTA_EXCEEDED}
}


class Refusal(Exception):  # noqa: N818 - named by meaning, as the tree of errors is
    """An answer that HTTP alone knows: nothing of it crosses a room's door."""

    def __init__(self, kind: Kind, detail: str, *, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})
        super().__init__(kind.name, detail)


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure as it is answered."""

    kind: Kind
    detail: str
    hint: str = ""
    error: str = ""
    """The class of the platform's error, where it was one."""
    code: str = ""
    """Of a file that can't be processed: why, as the catalog keeps it."""
    wrong: tuple[Mapping[str, str], ...] = ()
    """Fields that are wrong, each with a sentence."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self, instance: str) -> dict[str, Any]:
        """The problem as RFC 9457 has it; ``instance`` is the path that was asked for."""
        given = {"hint": self.hint, "error": self.error, "code": self.code, "errors": list(self.wrong)}
        return {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status.value,
            "detail": self.detail[:_TEXT_LIMIT],
            "instance": instance,
            **{name: value for name, value in given.items() if value},
        }

    def response(self, scope: Scope) -> Response:
        """The problem as the answer to a request. Never cached: it may be over the next moment."""
        headers = {"Cache-Control": "no-store", **self.headers}
        if self.kind.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        body = json.dumps(self.document(instance_of(scope)), ensure_ascii=True, separators=(",", ":"))
        return Response(body, self.kind.status, headers, MEDIA_TYPE)


def of_error(error: errors.PlatformError) -> Problem:
    """A failure of the platform: that of its class, or of the nearest class above it.

    What went wrong inside is not for the other side's eyes: of an internal fault only that there was one is told.
    """
    kind = next(OF_ERROR[each] for each in type(error).__mro__ if each in OF_ERROR)
    if kind is INTERNAL:
        return internal()
    code = error.code.value if isinstance(error, errors.ProcessingFailed) else ""
    headers: dict[str, str] = {}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return Problem(kind, f"{error.doing}: {error.why}", error.hint, type(error).__name__, code, headers=headers)


def of_refusal(refusal: Refusal) -> Problem:
    """What HTTP alone knows."""
    return Problem(refusal.kind, refusal.detail, refusal.hint, headers=refusal.headers)


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """What the framework refuses by a bare status."""
    kind = _OF_STATUS.get(HTTPStatus(status), INTERNAL if status >= 500 else INVALID_REQUEST)
    return Problem(kind, detail, headers=dict(headers or {}))


def of_wrong_fields(wrong: Iterable[Mapping[str, Any]]) -> Problem:
    """Parameters or a body that are not as the API's description says; what was sent is not repeated."""
    told = tuple(
        {"where": ".".join(str(part) for part in each["loc"]), "what": str(each["msg"])[:_TEXT_LIMIT]} for each in wrong
    )[:20]
    detail = "; ".join(f"{each['where']}: {each['what']}" for each in told)
    return Problem(INVALID_REQUEST, detail, "See /api/v1/openapi.json", "InvalidRequest", wrong=told)


def internal() -> Problem:
    """A fault that nobody foresaw: the log has it, the answer doesn't."""
    return Problem(INTERNAL, "An unexpected fault of the platform. Nothing acknowledged is lost; its log tells more")


def instance_of(scope: Scope) -> str:
    """The path that was asked for, percent-encoded, without its query: that may hold a secret."""
    return quote(str(scope.get("path", ""))[:_TEXT_LIMIT], errors="replace")
