"""What the edge promises: links that anybody, or a signature's bearer, can follow; and forgetting what was replaced.

A key of the edge is a rendition's public key, or ``raw/…`` for an original that is served as it is
(``rules.raw_edge_key``).

aws: a CloudFront distribution. Local: the platform's own server, which reads the same rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from contentplatform.delivery.images import image_path, parse_options
from contentplatform.delivery.rules import VERSION_LENGTH, is_private, is_served, key_of, path_of
from contentplatform.errors import InvalidRequest

INVALIDATION_PAGE_SIZE: Final = 100
PATHS_LIMIT: Final = 3_000
"""Most paths of one invalidation; CloudFront's limit for all that are under way."""
PATH_LIMIT: Final = 4_000
"""Longest path, in characters."""
REFERENCE_LIMIT: Final = 128


class InvalidationStatus(StrEnum):
    """Where an invalidation stands."""

    IN_PROGRESS = "in progress"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Invalidation:
    """One request to forget paths."""

    id: str
    reference: str
    """Whose it is: the same reference is the same invalidation."""
    paths: tuple[str, ...]
    """As they were asked for, percent-encoded, sorted."""
    status: InvalidationStatus
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InvalidationSummary:
    """An invalidation in a list."""

    id: str
    status: InvalidationStatus
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InvalidationPage:
    """One page of invalidations, the newest first."""

    invalidations: tuple[InvalidationSummary, ...]
    cursor: str | None
    """Opaque; None: this was the last page."""


class Edge(ABC):
    """Gives out links and forgets paths. Safe from any thread and from several processes.

    Args:
        private_prefix: keys of originals under it are private; empty: none is.
    """

    def __init__(self, private_prefix: str) -> None:
        self._private_prefix = private_prefix

    def url(self, key: str, sha256: str) -> str:
        """The public link to a key of the edge, which names the bytes it means.

        Args:
            key: of the edge.
            sha256: of the bytes that are meant, in hex.

        Raises:
            InvalidRequest: the key is private, or the edge does not reach it.
        """
        path = self._path(key, sha256)
        if is_private(key, self._private_prefix):
            raise InvalidRequest(f"linking to {key}", "it is private", hint="Ask for a signed link")
        return self._base_url() + path

    def image_url(self, options: str, key: str, sha256: str, expires_at: datetime | None = None) -> str:
        """The link to a picture of the original under ``key``, made when it is asked for.

        Args:
            options: as ``images`` reads them: ``t_card-512``, or free ones such as ``w_300,f_webp``.
            key: of the original.
            sha256: of the original's bytes, in hex.
            expires_at: until when a signed link works; None for a preset of a public file, which needs no signature.

        Raises:
            InvalidRequest: no such options, a signature is needed and no time was given, or it is over already.
            ConfigurationInvalid: there is no key to sign with.
        """
        wanted = parse_options(options)
        if any(segment in {".", ".."} for segment in key.split("/")):
            raise InvalidRequest(f"linking to a picture of {key[:80]!r}", "the edge does not reach it")
        path = image_path(wanted, key, _checked_hash(key, sha256))
        if expires_at is not None:
            return self._signed(path, expires_at)
        if wanted.is_free or (self._private_prefix and key.startswith(self._private_prefix)):
            raise InvalidRequest(
                f"linking to a picture of {key}",
                "free options, and private files, need a signed link",
                hint="Say until when it is to work",
            )
        return self._base_url() + path

    @abstractmethod
    def _signed(self, path: str, expires_at: datetime) -> str:
        """``signed_url`` of a path with its ``?v=``."""

    def keep_images(self, file_id: str, sha256: str) -> None:  # noqa: B027 - most edges keep none
        """Forget the pictures that were made of a file, but those of the original whose bytes these are.

        Of all where ``sha256`` is empty. aws: nothing; the distribution asks every five minutes whether they still are.
        """

    @abstractmethod
    def signed_url(self, key: str, expires_at: datetime, sha256: str) -> str:
        """A link that works until ``expires_at``, for whoever holds it; for a public key, too.

        aws: a canned policy, signed with the key pair that the distribution trusts.

        Raises:
            InvalidRequest: the edge does not reach the key, or the time is over already.
            ConfigurationInvalid: there is no key to sign with.
        """

    @abstractmethod
    def invalidate(self, paths: Iterable[str], reference: str) -> Invalidation | None:
        """Let the edge forget these very paths; None where there are none, which costs nothing.

        Idempotent by ``reference``. aws: CreateInvalidation; each path beyond 1 000 a month costs money.

        Raises:
            InvalidRequest: not paths as ``rules.path_of`` writes them, more than 3 000, or no reference.
            Conflict: the reference was used for other paths.
            Unavailable: too many are under way.
        """

    @abstractmethod
    def invalidation(self, invalidation_id: str) -> Invalidation:
        """One invalidation. Raises NotFound."""

    @abstractmethod
    def invalidations(self, *, cursor: str | None = None, limit: int = INVALIDATION_PAGE_SIZE) -> InvalidationPage:
        """Invalidations, the newest first. Raises InvalidRequest for a foreign cursor, or a limit not from 1 to 100."""

    @abstractmethod
    def _base_url(self) -> str:
        """What stands before every path, without a slash at its end."""

    def _path(self, key: str, sha256: str) -> str:
        if not is_served(key):
            raise InvalidRequest(f"linking to {key[:80]!r}", "the edge does not reach it")
        return path_of(key, _checked_hash(key, sha256))


def _checked_hash(key: str, sha256: str) -> str:
    if len(sha256) < VERSION_LENGTH or not set(sha256) <= set("0123456789abcdef"):
        raise InvalidRequest(f"linking to {key}", "the SHA-256 of its bytes is needed, in hex")
    return sha256


def check_invalidation(paths: Iterable[str], reference: str) -> tuple[str, ...]:
    """The paths, each once and sorted, so that the same request is the same text.

    Raises:
        InvalidRequest: as ``Edge.invalidate``.
    """
    wanted = tuple(sorted(set(paths)))
    doing = f"invalidating {len(wanted)} paths for {reference[:80]}"
    if not reference or len(reference) > REFERENCE_LIMIT:
        raise InvalidRequest(doing, f"a reference has 1 to {REFERENCE_LIMIT} characters")
    if len(wanted) > PATHS_LIMIT:
        raise InvalidRequest(doing, f"at most {PATHS_LIMIT} are possible at once")
    for path in wanted:
        bare, _, query = path.partition("?")
        is_exact = path_of(key_of(bare)) == bare and set(query) <= _QUERY_CHARACTERS
        if not is_exact or len(path) > PATH_LIMIT:
            raise InvalidRequest(doing, f"{path[:80]!r} is not an exact, percent-encoded path")
    return wanted


_QUERY_CHARACTERS: Final = frozenset("v=0123456789abcdef")


def check_page(limit: int) -> None:
    """Raise InvalidRequest for a page that nobody can want."""
    if not 1 <= limit <= INVALIDATION_PAGE_SIZE:
        raise InvalidRequest("listing invalidations", f"a page has 1 to {INVALIDATION_PAGE_SIZE} of them")
