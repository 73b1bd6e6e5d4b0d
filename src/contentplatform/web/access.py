"""What exists for whoever asks: the one place where files are looked up for the API and the pages.

What lies outside somebody's folder does not exist for them; the answer is the same as for what is not there at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from contentplatform.accounts.port import Principal, Role
from contentplatform.app import Platform
from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.errors import Denied, NotFound
from contentplatform.media import file_id

PRIVATE: Final = "private"
"""Where records, and the data of executions, keep what only a file's keepers may see: places, serial numbers."""
_KEEPERS: Final = frozenset({Role.ADMIN, Role.EDITOR})


def record_of(platform: Platform, principal: Principal, identifier: str) -> Record:
    """The record of a file, removed or not; a moved file's former identifier leads to it.

    Raises:
        NotFound: there is no such file for whoever asks.
    """
    missing = NotFound(f"looking for the file {identifier}", "there is no such file")
    try:
        found = platform.catalog.get(identifier)
    except NotFound:
        moved_to = platform.catalog.redirect(identifier)
        if moved_to is None:
            raise missing from None
        found = platform.catalog.get(moved_to)
    if not principal.sees(found.file_path):
        note(platform, principal, "file.refused", found.file_path)
        raise missing
    return found


def record_by_key(platform: Platform, principal: Principal, key: str) -> Record:
    """The record of the file under a key; raises as :func:`record_of`."""
    return record_of(platform, principal, file_id(key))


def check_quarantine(record: Record) -> None:
    """Raise Denied for the bytes of a file in which malware was found."""
    if record.is_quarantined:
        raise Denied(
            f"downloading {record.file_path}",
            "malware was found in it",
            hint="It is kept; whoever runs the platform gets it by `contentplatform get`",
        )


def live_record_of(platform: Platform, principal: Principal, identifier: str) -> Record:
    """The record of a file that is there. Raises NotFound, which tells of a removed one how to bring it back."""
    found = record_of(platform, principal, identifier)
    if found.deleted_at is not None:
        raise NotFound(f"looking for {found.file_path}", "it was removed", hint="Undelete brings it back")
    return found


def note(platform: Platform, who: Principal, act: str, subject: str, **details: Any) -> None:
    """Write down what somebody did to files, or let others do."""
    platform.audit.record(who, act, subject, **details)


def check_target(principal: Principal, key: str) -> None:
    """Raise Denied unless whoever asks may put a file under ``key``."""
    if not principal.sees(key):
        raise Denied(f"writing {key[:80]}", "it lies outside your folder")


def check_own(principal: Principal, owner: str) -> None:
    """Raise Denied where somebody held in a folder would change a collection of files that they can't all see."""
    if principal.folder and principal.name != owner:
        raise Denied("changing the collection", "somebody else made it, and you are held in a folder")


def within(principal: Principal, query: SearchQuery) -> SearchQuery:
    """The query, narrowed to what exists for whoever asks. Raises NotFound for a folder that doesn't."""
    return replace(query, folder=principal.folder_within(query.folder or "").rstrip("/"))


def shown(platform: Platform, record: Record, *, private: bool = False) -> dict[str, Any]:
    """A record as people and programs get it, with links; without what is private, unless it is asked for."""
    document = platform.describe(record)
    if not private:
        document["processing_metadata"] = without_private(document["processing_metadata"])
    for rendition in document["renditions"]:
        rendition["url"] = public_url(platform, record, rendition["key"], rendition["sha256"])
    return document


def check_private(principal: Principal, *, private: bool) -> bool:
    """Whether private facts are to be shown. Raises Denied if they are asked for by somebody who may not see them."""
    if private and principal.role not in _KEEPERS:
        raise Denied("reading private facts", "only editors and administrators see them")
    return private


def public_url(platform: Platform, record: Record, key: str, sha256: str) -> str | None:
    """The public link to a rendition; None where the file is private, or removed."""
    if record.deleted_at is not None or record.file_path.startswith(platform.settings.ingest.private_prefix or "\0"):
        return None
    return platform.edge.url(key, sha256)


def without_private(value: Any) -> Any:
    """JSON without what is private in it, at any depth."""
    if isinstance(value, Mapping):
        return {name: without_private(each) for name, each in value.items() if name != PRIVATE}
    if isinstance(value, list | tuple):
        return [without_private(each) for each in value]
    return value
