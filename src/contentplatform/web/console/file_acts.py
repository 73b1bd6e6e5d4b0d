"""What can be done with one file; every act leads back to its page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from contentplatform.catalog.port import Record
from contentplatform.errors import InvalidRequest
from contentplatform.ingest.library import Edit
from contentplatform.web.access import check_target, live_record_of
from contentplatform.web.console.file import file_url
from contentplatform.web.console.library import LIBRARY, collections_of, tags_in
from contentplatform.web.console.visit import Notice, Visit, needed

_DIGITS_LIMIT: Final = 16


def _record(visit: Visit) -> Record:
    return live_record_of(visit.platform, visit.principal, visit.path["file_id"])


def edit(visit: Visit) -> Response:
    """Change what people say of it, unless somebody else did since the page was made."""
    record = _record(visit)
    until = visit.given("rights_until")
    change = Edit(
        title=visit.given("title"),
        description=visit.given("description"),
        credit=visit.given("credit"),
        rights_until=_day(until) if until else None,
        clears_rights=not until,
    )
    visit.platform.library.edit(record.file_path, change, revision=_revision(visit.given("revision")))
    visit.note("file.edit", record.file_path)
    return _done(visit, record, "Saved.")


def _revision(text: str) -> int | None:
    """The state from which the page was made; None where the form says nothing that could be one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS_LIMIT else None


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidRequest("editing a file", f"{text[:40]!r} is no day like 2027-01-31") from None


def tag(visit: Visit) -> Response:
    """Add tags, or take one away."""
    record = _record(visit)
    taken = visit.given("remove")
    change = Edit(remove_tags=frozenset({taken})) if taken else Edit(add_tags=tags_in(visit.given("tags")))
    visit.platform.library.edit(record.file_path, change)
    visit.note("file.tag", record.file_path)
    return _done(visit, record)


def move(visit: Visit) -> Response:
    """Give it another key."""
    record = _record(visit)
    target = needed(visit, "key", "the new name")
    check_target(visit.principal, target)
    moved = visit.platform.library.move(record.file_path, target)
    visit.note("file.move", record.file_path, to=target)
    return _done(visit, moved, f"It is now {target}.")


def delete(visit: Visit) -> Response:
    """Put it into the trash."""
    record = _record(visit)
    visit.platform.library.remove(record.file_path)
    visit.note("file.delete", record.file_path)
    visit.catch_up()
    return visit.back(LIBRARY, Notice("1 file moved to the trash.", undelete=(record.file_id,)))


def reprocess(visit: Visit) -> Response:
    """Make its renditions anew."""
    record = _record(visit)
    started = visit.platform.library.reprocess(record.file_path)
    visit.note("file.reprocess", record.file_path, execution=started)
    return _done(visit, record, "It will be processed again.")


def restore(visit: Visit) -> Response:
    """Make an older version current again."""
    record = _record(visit)
    version = needed(visit, "version", "the version")
    restored = visit.platform.library.restore(record.file_path, version)
    visit.note("version.restore", record.file_path, version=version)
    return _done(visit, restored, "That version is current again, as a new one.")


def collect(visit: Visit) -> Response:
    """Put it into a collection, or take it out of one."""
    record = _record(visit)
    if held := visit.given("take_from"):
        collections_of(visit).take(held, [record.file_id])
        visit.note("collection.shrink", held, files=1)
        return _done(visit, record)
    collection = needed(visit, "collection", "the collection")
    collections_of(visit).add(collection, [record.file_id])
    visit.note("collection.extend", collection, files=1)
    return _done(visit, record, "It is in the collection.")


def _done(visit: Visit, record: Record, told: str = "") -> Response:
    visit.catch_up()
    return visit.back(file_url(record), told or None)
