"""The library: what there is, found by words and by what it has, and what can be done with many files at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import UploadFile
from starlette.responses import Response

from contentplatform.catalog.port import Collection, Collections, Facets, Figure, Record, SearchQuery
from contentplatform.errors import InvalidRequest, NotFound, PlatformError
from contentplatform.ingest.library import Edit
from contentplatform.ingest.uploads import NewUpload
from contentplatform.media import MediaKind, ProcessingStatus, file_name
from contentplatform.web.access import check_target, live_record_of, within
from contentplatform.web.console import words
from contentplatform.web.console.cards import cards
from contentplatform.web.console.visit import Notice, Visit
from contentplatform.web.uploads import owner_of

LIBRARY: Final = "/library"
PAGE_SIZE: Final = 60
FEW: Final = 8
"""So many values of a facet are seen at once; the others behind a word."""
_CARDS_LIMIT: Final = 200
_BULK_LIMIT: Final = 1_000
_PIECE_BYTES: Final = 1 << 20
_FILTERS: Final = ("q", "kind", "status", "folder", "tag")


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that the library can be narrowed to."""

    word: str
    url: str
    figure: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Choices of one sort."""

    title: str
    choices: tuple[Choice, ...]


def show_library(visit: Visit) -> Response:
    """A page of files, or the part of it that a script asked for."""
    asked = {name: visit.asked(name) for name in _FILTERS}
    query = within(visit.principal, _query(asked))
    cursor = visit.asked("cursor") or None
    found = visit.platform.catalog.search(query, cursor=cursor, limit=PAGE_SIZE)
    told: dict[str, Any] = {
        "cards": cards(visit.platform, found.records),
        "next_url": _url(asked, cursor=found.cursor) if found.cursor else "",
        "asked": asked,
    }
    if cursor and visit.wants_part:
        return visit.page("library_chunk.html", **told)
    facets = visit.platform.catalog.facets(query)
    told |= {
        "total": _figure(facets.total),
        "total_count": facets.total.count,
        "kinds": _kinds(visit, asked, facets),
        "narrowings": _narrowings(asked, facets),
        "chosen": _chosen(asked),
        "is_narrowed": any(asked.values()),
        "clear_url": LIBRARY,
        "folder": asked["folder"],
        "collections": _collections(visit),
        "sends_directly": _sends_directly(visit),
    }
    return visit.page("library_results.html" if visit.wants_part else "library.html", **told)


def _sends_directly(visit: Visit) -> bool:
    """Whether the page may send files straight to the home's store: only where that was told of the console."""
    return visit.platform.incoming_directly is not None and bool(visit.platform.settings.aws.console_origins)


def show_cards(visit: Visit) -> Response:
    """Single cards anew: of files that were waiting, or were just uploaded."""
    wanted = [name for name in visit.asked("ids").split(",") if name][:_CARDS_LIMIT]
    there = []
    for name in wanted:
        try:
            there.append(live_record_of(visit.platform, visit.principal, name))
        except NotFound:
            continue
    return visit.page("library_cards.html", cards=cards(visit.platform, there))


def take_in(visit: Visit) -> Response:
    """Files from a plain form, for browsers without scripts."""
    folder = visit.given("folder").strip("/")
    came, failed = 0, []
    for upload in visit.files("files"):
        name = (upload.filename or "").replace("\\", "/").rpartition("/")[2]
        key = f"{folder}/{name}" if folder else name
        try:
            check_target(visit.principal, key)
            _store(visit, key, upload)
            came += 1
        except PlatformError as error:
            failed.append(error.public)
    visit.catch_up()
    if not came and not failed:
        raise InvalidRequest("uploading", "no file was chosen")
    told = f"{words.count(came, 'file')} uploaded." + "".join(f" {why}." for why in failed)
    return visit.back(_url({"folder": folder}), Notice(told, "bad" if failed else ""))


def _store(visit: Visit, key: str, upload: UploadFile) -> None:
    """Take a file in as any other upload, within the quota of who sends it and the limit of all."""
    uploads = visit.platform.uploads
    if uploads is None:
        visit.platform.library.add(key, upload.file, claimed_type=upload.content_type)
        return
    receiving = uploads.receive(
        NewUpload(owner=owner_of(visit.principal), key=key, length=upload.size, claimed_type=upload.content_type)
    )
    assert not isinstance(receiving, str)  # noqa: S101 - there is no idempotency key
    try:
        while piece := upload.file.read(_PIECE_BYTES):
            receiving.write(piece)
        receiving.finish()
    finally:
        receiving.abandon()


# -- many at once --------------------------------------------------------------------------------------------------


def act(visit: Visit) -> Response:
    """Do one thing to every file that was picked; what can't be done to one is said, and the others go on."""
    picked = visit.given_all("file")[:_BULK_LIMIT]
    what = visit.given("do")
    if not picked:
        raise InvalidRequest("changing files", "no file is picked")
    if what not in _ACTS:
        raise InvalidRequest("changing files", f"there is no such thing as {what[:40]!r}")
    word, work = _ACTS[what]
    done: list[Record] = []
    failed: list[str] = []
    for name in picked:
        try:
            record = live_record_of(visit.platform, visit.principal, name)
            work(visit, record)
            visit.note(_NOTED[what], record.file_path, bulk=True)
            done.append(record)
        except PlatformError as error:
            failed.append(error.public)
    visit.catch_up()
    told = f"{words.count(len(done), 'file')} {word}." + "".join(f" {why}." for why in failed[:5])
    undelete = tuple(record.file_id for record in done) if what == "delete" else ()
    return visit.back(_return_to(visit), Notice(told, "bad" if failed else "", undelete))


def _tag(visit: Visit, record: Record) -> None:
    visit.platform.library.edit(record.file_path, Edit(add_tags=tags_in(visit.given("tags"))))


def _untag(visit: Visit, record: Record) -> None:
    visit.platform.library.edit(record.file_path, Edit(remove_tags=tags_in(visit.given("tags"))))


def _move(visit: Visit, record: Record) -> None:
    folder = visit.given("folder").strip("/")
    name = file_name(record.file_path)
    target = f"{folder}/{name}" if folder else name
    check_target(visit.principal, target)
    if target != record.file_path:
        visit.platform.library.move(record.file_path, target)


def _delete(visit: Visit, record: Record) -> None:
    visit.platform.library.remove(record.file_path)


def _reprocess(visit: Visit, record: Record) -> None:
    visit.platform.library.reprocess(record.file_path)


def _collect(visit: Visit, record: Record) -> None:
    collections_of(visit).add(visit.given("collection"), [record.file_id])


_ACTS: Final = {
    "tag": ("tagged", _tag),
    "untag": ("without these tags", _untag),
    "move": ("moved", _move),
    "delete": ("moved to the trash", _delete),
    "reprocess": ("will be processed again", _reprocess),
    "collect": ("put into the collection", _collect),
}


_NOTED: Final = {
    "tag": "file.tag",
    "untag": "file.tag",
    "move": "file.move",
    "delete": "file.delete",
    "reprocess": "file.reprocess",
    "collect": "collection.extend",
}
"""What the audit log calls these acts."""


def tags_in(text: str) -> frozenset[str]:
    """The tags of a text, divided by commas. Raises InvalidRequest where there is none."""
    found = frozenset(tag.strip() for tag in text.split(",") if tag.strip())
    if not found:
        raise InvalidRequest("tagging", "no tag was given")
    return found


def _return_to(visit: Visit) -> str:
    """Where the form was, with what was looked for."""
    asked = {name: visit.given(f"asked_{name}") for name in _FILTERS}
    return _url(asked)


# -- narrowing ------------------------------------------------------------------------------------------------------


def _query(asked: dict[str, str]) -> SearchQuery:
    return SearchQuery(
        text=asked["q"],
        kind=_member(MediaKind, asked["kind"]),
        status=_member(ProcessingStatus, asked["status"]),
        folder=asked["folder"].strip("/") or None,
        tag=asked["tag"] or None,
    )


def _member(kind: Any, value: str) -> Any:
    """A member of an enumeration by its value; an unknown one asks for nothing."""
    try:
        return kind(value) if value else None
    except ValueError:
        raise InvalidRequest("looking for files", f"there is no {value[:40]!r}") from None


def _url(asked: dict[str, str], **more: str | None) -> str:
    given = {name: value for name, value in {**asked, **more}.items() if value}
    return f"{LIBRARY}?{urlencode(given)}" if given else LIBRARY


def _figure(figure: Figure) -> str:
    return words.grouped(figure.count) + ("+" if figure.capped else "")


def _kinds(visit: Visit, asked: dict[str, str], facets: Facets) -> tuple[Choice, ...]:
    """All kinds; those of the same question without a kind, so that one can go from one to the other."""
    if asked["kind"]:
        query = within(visit.principal, _query(asked | {"kind": ""}))
        facets = visit.platform.catalog.facets(query)
    everything = Choice("All", _url(asked | {"kind": ""}), _figure(facets.total), not asked["kind"])
    kinds = [
        Choice(word, _url(asked | {"kind": kind.value}), _figure(facets.kinds[kind]), asked["kind"] == kind.value)
        for kind, (_, word) in words.KIND_WORDS.items()
        if kind in facets.kinds or asked["kind"] == kind.value
        if kind in facets.kinds
    ]
    return (everything, *kinds)


def _narrowings(asked: dict[str, str], facets: Facets) -> tuple[Narrowing, ...]:
    statuses = tuple(
        Choice(
            words.STATUS_WORDS[status][0],
            _url(asked | {"status": status.value}),
            _figure(figure),
            asked["status"] == status.value,
        )
        for status, figure in facets.statuses.items()
    )
    folders = tuple(
        Choice(folder.rpartition("/")[2], _url(asked | {"folder": folder}), _figure(figure), is_chosen=False)
        for folder, figure in facets.folders.items()
    )
    tags = tuple(
        Choice(tag, _url(asked | {"tag": tag}), _figure(figure), asked["tag"] == tag)
        for tag, figure in facets.tags.items()
    )
    found = (
        Narrowing("Folders", folders),
        Narrowing("Tags", tags),
        Narrowing("State", statuses if len(statuses) > 1 or asked["status"] else ()),
    )
    return tuple(narrowing for narrowing in found if narrowing.choices)


def _chosen(asked: dict[str, str]) -> tuple[Choice, ...]:
    """What is narrowed to, each with the way back."""
    said: dict[str, Callable[[str], str]] = {
        "status": lambda value: words.STATUS_WORDS[ProcessingStatus(value)][0],
        "folder": lambda value: f"in {value}",
        "tag": lambda value: f"tagged {value}",
    }
    return tuple(
        Choice(say(asked[name]), _url(asked | {name: ""}), "", is_chosen=True)
        for name, say in said.items()
        if asked[name]
    )


def collections_of(visit: Visit) -> Collections:
    """The collections of this home."""
    found: Collections = visit.platform.collections
    return found


def _collections(visit: Visit) -> tuple[Collection, ...]:
    """Collections that files can be put into."""
    return collections_of(visit).list(limit=100).collections if visit.may_write else ()
