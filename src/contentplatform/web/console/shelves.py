"""Collections: files that people put together, wherever they are kept; and pictures that look like one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from contentplatform.catalog.port import Collection
from contentplatform.errors import NotFound
from contentplatform.sharing.port import Target, TargetKind
from contentplatform.web.access import check_own, live_record_of, record_of
from contentplatform.web.console import words
from contentplatform.web.console.cards import Picture, cards, picture
from contentplatform.web.console.library import PAGE_SIZE, collections_of
from contentplatform.web.console.links import shares_of
from contentplatform.web.console.visit import Visit, needed

COLLECTIONS: Final = "/collections"
_PAGE_SIZE: Final = 60
_SIMILAR_LIMIT: Final = 60


@dataclass(frozen=True, slots=True)
class Shelf:
    """A collection, in a grid."""

    collection: Collection
    picture: Picture | None


def show_collections(visit: Visit) -> Response:
    """All collections, by name."""
    page = collections_of(visit).list(cursor=visit.asked("cursor") or None, limit=_PAGE_SIZE)
    shelves = [Shelf(each, _cover(visit, each)) for each in page.collections]
    next_url = f"{COLLECTIONS}?{urlencode({'cursor': page.cursor})}" if page.cursor else ""
    return visit.page("collections.html", shelves=shelves, next_url=next_url)


def _cover(visit: Visit, collection: Collection) -> Picture | None:
    """The picture of the file that stands for it, or of its first one."""
    if collection.cover is not None:
        try:
            return picture(visit.platform, live_record_of(visit.platform, visit.principal, collection.cover))
        except NotFound:
            pass  # deleted, or out of sight: the first one that is there stands for it
    first = collections_of(visit).files(collection.collection_id, limit=1).records
    seen = [record for record in first if visit.principal.sees(record.file_path)]
    return picture(visit.platform, seen[0]) if seen else None


def show_collection(visit: Visit) -> Response:
    """One collection's files, in their order."""
    collection = collections_of(visit).get(visit.path["collection_id"])
    page = collections_of(visit).files(collection.collection_id, cursor=visit.asked("cursor") or None, limit=PAGE_SIZE)
    url = collection_url(collection.collection_id)
    seen = [record for record in page.records if visit.principal.sees(record.file_path)]
    return visit.page(
        "collection.html",
        collection=collection,
        url=url,
        shares=shares_of(visit, Target(TargetKind.COLLECTION, collection.collection_id)) if visit.may_write else [],
        cards=cards(visit.platform, seen),
        next_url=f"{url}?{urlencode({'cursor': page.cursor})}" if page.cursor else "",
    )


def collection_url(collection_id: str) -> str:
    """Where a collection's page is."""
    return f"{COLLECTIONS}/{quote(collection_id, safe='')}"


def create(visit: Visit) -> Response:
    """Make an empty one."""
    name = needed(visit, "name", "the collection’s name")
    made = collections_of(visit).create(name, description=visit.given("description"), owner=visit.principal.name)
    visit.note("collection.create", made.collection_id, name=made.name)
    return visit.back(collection_url(made.collection_id), "The collection is there. Put files in from the library.")


def change(visit: Visit) -> Response:
    """Give it another name or description."""
    collection = collections_of(visit).get(visit.path["collection_id"])
    check_own(visit.principal, collection.owner)
    collections_of(visit).change(
        collection.collection_id,
        collection.revision,
        name=needed(visit, "name", "the collection’s name"),
        description=visit.given("description"),
    )
    visit.note("collection.edit", collection.collection_id)
    return visit.back(collection_url(collection.collection_id), "Saved.")


def take(visit: Visit) -> Response:
    """Take files out; they stay in the library."""
    collection = collections_of(visit).get(visit.path["collection_id"])
    picked = visit.given_all("file")
    if visit.principal.folder:
        picked = tuple(record_of(visit.platform, visit.principal, name).file_id for name in picked)
    collections_of(visit).take(collection.collection_id, picked)
    visit.note("collection.shrink", collection.collection_id, files=len(picked))
    told = f"{words.count(len(picked), 'file')} taken out; they stay in the library."
    return visit.back(collection_url(collection.collection_id), told)


def delete(visit: Visit) -> Response:
    """Take the collection away; its files stay."""
    collection = collections_of(visit).get(visit.path["collection_id"])
    check_own(visit.principal, collection.owner)
    collections_of(visit).delete(collection.collection_id, collection.revision)
    visit.note("collection.delete", collection.collection_id)
    return visit.back(COLLECTIONS, f"The collection {collection.name} is gone; its files stay in the library.")


def show_similar(visit: Visit) -> Response:
    """Pictures that look like one."""
    record = live_record_of(visit.platform, visit.principal, visit.path["file_id"])
    found = visit.platform.catalog.similar(record.file_id, limit=_SIMILAR_LIMIT)
    seen = [each.record for each in found if visit.principal.sees(each.record.file_path)]
    return visit.page("similar.html", record=record, cards=cards(visit.platform, seen))
