"""Who may send how much: users by their quota, strangers by the limits of the link that they hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from contentplatform.ingest.uploads import NewUpload, UploadKind, UploadSession
from contentplatform.sharing.port import Shares


class Quotas(Protocol):
    """What an upload asks of accounts; see ``Accounts``."""

    def charge(self, user_id: str, size_bytes: int, reference: str) -> None:
        """Count bytes as a user's. Raises QuotaExceeded."""
        ...

    def release(self, reference: str) -> None:
        """Count them no more."""
        ...

    def transfer(self, reference: str, to: str) -> None:
        """Let what was charged for one thing stand for another."""
        ...


class Allowances:
    """An ``Allowance`` over users' quotas and upload links' limits.

    Args:
        quotas: opens what is counted to users.
        shares: opens what upload links take. What comes by one is counted to who made it, once it is there.
        is_taken: whether a file has, or had, a key.
    """

    def __init__(
        self, quotas: Callable[[], Quotas], shares: Callable[[], Shares], is_taken: Callable[[str], bool]
    ) -> None:
        self._quotas = quotas
        self._shares = shares
        self._is_taken = is_taken

    def begin(self, new: NewUpload, upload_id: str, until: datetime, /) -> str:
        """See Allowance."""
        if not new.by_link:
            if new.kind is not UploadKind.FINAL:  # what it is put together of is counted already
                self._quotas().charge(new.owner, new.length or 0, upload_id)
            return new.key
        reservation = self._shares().reserve(
            new.owner, upload_id, new.key, new.length, held_until=until, is_taken=self._is_taken
        )
        return reservation.key

    def resize(self, session: UploadSession, size_bytes: int, /) -> None:
        """See Allowance. A link keeps all that it has room for where nothing was said."""
        if not session.by_link:
            self._quotas().charge(session.owner, size_bytes, session.id)

    def settle(self, session: UploadSession, version_id: str, /) -> None:
        """See Allowance."""
        owner = session.owner
        if session.by_link:
            self._shares().settle(session.owner, session.id, session.offset)
            owner = self._shares().upload_link(session.owner).created_by
        for part_id in session.parts:
            self._quotas().release(part_id)
        if session.by_link or session.parts:
            self._quotas().charge(owner, session.offset, session.id)
        self._quotas().transfer(session.id, version_id)

    def release(self, session: UploadSession, /) -> None:
        """See Allowance."""
        if session.by_link:
            self._shares().release(session.owner, session.id)
        else:
            self._quotas().release(session.id)
