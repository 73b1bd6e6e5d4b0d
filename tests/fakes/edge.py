"""An edge in memory: remembers what it was told to forget."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from contentplatform.clock import Clock
from contentplatform.delivery.port import (
    INVALIDATION_PAGE_SIZE,
    Edge,
    Invalidation,
    InvalidationPage,
    InvalidationStatus,
    InvalidationSummary,
    check_invalidation,
    check_page,
)
from contentplatform.delivery.signing import Grant, check_signed_path, new_key, signed_path
from contentplatform.errors import Conflict, InvalidRequest, NotFound


class MemoryEdge(Edge):
    """Nothing is cached; ``asked`` tells every invalidation in its order."""

    def __init__(self, clock: Clock, private_prefix: str = "private/") -> None:
        super().__init__(private_prefix)
        self._clock = clock
        self._key = new_key(b"k" * 32)
        self.asked: list[Invalidation] = []
        self.fails_with: Exception | None = None
        self.images_kept: dict[str, str] = {}
        """By file_id, the original whose pictures may stay; empty: none."""

    def invalidate(self, paths: Iterable[str], reference: str) -> Invalidation | None:
        wanted = check_invalidation(paths, reference)
        if not wanted:
            return None
        if self.fails_with is not None:
            raise self.fails_with
        for there in self.asked:
            if there.reference == reference:
                if there.paths != wanted:
                    raise Conflict(f"invalidating for {reference}", "it stands for other paths")
                return there
        made = Invalidation(
            f"I{len(self.asked) + 1}", reference, wanted, InvalidationStatus.COMPLETED, self._clock.now()
        )
        self.asked.append(made)
        return made

    def invalidation(self, invalidation_id: str) -> Invalidation:
        for there in self.asked:
            if there.id == invalidation_id:
                return there
        raise NotFound(f"reading invalidation {invalidation_id}", "there is none")

    def invalidations(self, *, cursor: str | None = None, limit: int = INVALIDATION_PAGE_SIZE) -> InvalidationPage:
        check_page(limit)
        if cursor is not None and not cursor.isdecimal():
            raise InvalidRequest("listing invalidations", "no such page")
        end = len(self.asked) if cursor is None else int(cursor)
        page = self.asked[max(0, end - limit) : end][::-1]
        summaries = tuple(InvalidationSummary(there.id, there.status, there.created_at) for there in page)
        return InvalidationPage(summaries, str(end - limit) if end > limit else None)

    def signed_url(self, key: str, expires_at: datetime, sha256: str) -> str:
        return self._signed(self._path(key, sha256), expires_at)

    def _signed(self, path: str, expires_at: datetime) -> str:
        if expires_at <= self._clock.now():
            raise InvalidRequest(f"linking to {path}", "it would be over already")
        return self._base_url() + signed_path(Grant(path, int(expires_at.timestamp())), self._key)

    def keep_images(self, file_id: str, sha256: str) -> None:
        self.images_kept[file_id] = sha256

    def check_link(self, target: str) -> str:
        """The path of a request's target with a valid signature."""
        return check_signed_path(target, (self._key,), self._clock.now()).path

    def _base_url(self) -> str:
        return "https://edge.example"
