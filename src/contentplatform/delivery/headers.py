"""The headers of the edge's answers, made from the rules' data as ASGI wants them."""

from __future__ import annotations

from functools import cache
from typing import Final

from contentplatform.delivery.answers import Content, Headers, Refusal, Result
from contentplatform.delivery.conditions import http_date
from contentplatform.delivery.ranges import Slice
from contentplatform.delivery.rules import CORS_HEADERS, METHODS, Behaviour, CrossOrigin, HeaderPolicy

ALLOWED_METHODS: Final = ", ".join(METHODS)
_CACHES: Final = "content-platform"
_KEPT_FOR_304: Final = frozenset(
    {b"etag", b"last-modified", b"cache-control", b"vary", b"expires", b"access-control-allow-origin"}
)
"""What a 304 repeats, by the standard, and what a page of another origin needs to be let in; and all of the policy."""


def policy_of(behaviour: Behaviour) -> HeaderPolicy:
    """The header policy of a behaviour; where the origin itself lets other origins in, ours does it for it."""
    return CORS_HEADERS if behaviour.origin_request is not None else behaviour.headers


def x_cache(result: Result) -> bytes:
    """The value of ``X-Cache``, in CloudFront's form."""
    return f"{result} from {_CACHES}".encode("ascii")


@cache
def of_policy(policy: HeaderPolicy, *, secure: bool) -> Headers:
    """What every answer has. ``Strict-Transport-Security`` only where there is TLS in front."""
    shared = policy.cross_origin is not None
    told = [
        ("x-content-type-options", policy.content_type_options),
        ("content-security-policy", policy.content_security_policy),
        ("referrer-policy", policy.referrer_policy),
        ("cross-origin-resource-policy", "cross-origin" if shared else "same-site"),
    ]
    if secure:
        told.append(("strict-transport-security", f"max-age={policy.strict_transport_seconds}"))
    if policy.cross_origin is not None:
        told += [
            ("access-control-allow-origin", ", ".join(policy.cross_origin.origins)),
            ("access-control-expose-headers", ", ".join(policy.cross_origin.exposed)),
        ]
    return encoded(told)


def encoded(told: list[tuple[str, str]]) -> Headers:
    """Headers as bytes."""
    return tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in told)


def of_content(content: Content, *, secure: bool, part: Slice | None = None) -> Headers:
    """Of an answer that has the content, or a part of it."""
    size_bytes = content.size_bytes if content.file is not None else len(content.body)
    told = [
        ("content-type", content.content_type),
        ("content-length", str(size_bytes if part is None else part.length)),
        ("etag", f'"{content.etag}"'),
        ("cache-control", content.cache_control),
        ("accept-ranges", "bytes"),
    ]
    if content.modified_at is not None:
        told.append(("last-modified", http_date(content.modified_at)))
    if content.disposition:
        told.append(("content-disposition", content.disposition))
    if content.vary:
        told.append(("vary", content.vary))
    if part is not None:
        told.append(("content-range", part.content_range))
    return (
        *encoded(told),
        *content.headers,
        *of_policy(content.policy, secure=secure),
        (b"x-cache", x_cache(content.result)),
    )


def of_not_modified(content: Content, *, secure: bool) -> Headers:
    """Of a 304: what could have changed beside the content, and the policy."""
    kept = tuple(header for header in of_content(content, secure=secure) if header[0] in _KEPT_FOR_304)
    policy = tuple(header for header in of_policy(content.policy, secure=secure) if header[0] not in _KEPT_FOR_304)
    return (*kept, *policy, (b"x-cache", x_cache(content.result)))


def of_refusal(refusal: Refusal, *, secure: bool) -> Headers:
    """Of an answer that says in a short sentence why there is nothing."""
    told = [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", str(len(refusal.text.encode("utf-8")))),
        ("cache-control", refusal.cache_control),
    ]
    return (
        *encoded(told),
        *refusal.headers,
        *of_policy(refusal.policy, secure=secure),
        (b"x-cache", x_cache(Result.ERROR)),
    )


def of_options(policy: HeaderPolicy, *, secure: bool, preflight: bool) -> Headers:
    """Of the answer to OPTIONS; ``preflight``: a browser asks whether a page of another origin may."""
    told = [("allow", ALLOWED_METHODS), ("cache-control", "no-store")]
    if preflight and policy.cross_origin is not None:
        told += _preflight(policy.cross_origin)
    return (*encoded(told), *of_policy(policy, secure=secure))


def _preflight(given: CrossOrigin) -> list[tuple[str, str]]:
    return [
        ("access-control-allow-methods", ", ".join(given.methods)),
        ("access-control-allow-headers", ", ".join(given.headers)),
        ("access-control-max-age", str(given.max_age_seconds)),
    ]
