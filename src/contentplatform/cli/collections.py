"""``collections list | create | show | add | remove | change | delete``, and ``similar``: what belongs together."""

from __future__ import annotations

from typing import Any

import click

from contentplatform.catalog.port import (
    SIMILAR_DISTANCE,
    SIMILAR_DISTANCE_LIMIT,
    SIMILAR_LIMIT,
    Collection,
)
from contentplatform.cli.output import EXIT_OK, Output, shown, size
from contentplatform.cli.paging import everything
from contentplatform.cli.session import Session, pass_session
from contentplatform.clock import timestamp
from contentplatform.errors import InvalidRequest
from contentplatform.media import file_id

_PAGE_SIZE = 500
_LONGEST_PAGE = 1_000


@click.group()
def collections() -> None:
    """Put files together, wherever they are kept."""


@collections.command("list")
@click.option("--key", metavar="KEY", help="Only those that this file is in.")
@pass_session
def list_(session: Session, key: str | None) -> int:
    """List collections by name."""
    kept = session.platform.collections
    if key is not None:
        found = list(kept.holding(session.platform.library.record(key).file_id))
    else:
        found = everything(lambda cursor: kept.list(cursor=cursor, limit=_PAGE_SIZE), lambda page: page.collections)
    session.output.document({"items": [_told(each) for each in found], "next": None})
    session.output.table(
        ("ID", "FILES", "CHANGED", "NAME"),
        (
            (
                each.collection_id,
                str(each.files),
                timestamp(each.changed_at)[:19].replace("T", " "),
                shown(each.name),
            )
            for each in found
        ),
    )
    if not found:
        session.output.talk("No collections. Make one: contentplatform collections create NAME")
    return EXIT_OK


@collections.command()
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@pass_session
def create(session: Session, name: str, description: str) -> int:
    """Make an empty collection."""
    made = session.platform.collections.create(name, description=description)
    return _answer(session, made, f"Made collection {made.collection_id}.")


@collections.command()
@click.argument("collection_id", metavar="ID")
@pass_session
def show(session: Session, collection_id: str) -> int:
    """Show a collection and its files, in their order; files that were removed are left out."""
    kept = session.platform.collections
    found = kept.get(collection_id)
    records = everything(
        lambda cursor: kept.files(collection_id, cursor=cursor, limit=_PAGE_SIZE), lambda page: page.records
    )
    session.output.document({**_told(found), "items": [session.platform.describe(record) for record in records]})
    _print(session.output, found)
    session.output.table(
        ("KEY", "KIND", "SIZE"),
        ((shown(record.file_path), record.kind.value, size(record.size_bytes)) for record in records),
    )
    return EXIT_OK


@collections.command()
@click.argument("collection_id", metavar="ID")
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@pass_session
def add(session: Session, collection_id: str, keys: tuple[str, ...]) -> int:
    """Put files at the end of a collection, in this order; those that are in it stay where they are."""
    known = [session.platform.library.record(key).file_id for key in keys]
    changed = session.platform.collections.add(collection_id, known)
    return _answer(session, changed, f"{changed.files} files are in it.")


@collections.command()
@click.argument("collection_id", metavar="ID")
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@pass_session
def remove(session: Session, collection_id: str, keys: tuple[str, ...]) -> int:
    """Take files out of a collection; the files themselves stay."""
    changed = session.platform.collections.take(collection_id, [file_id(key) for key in keys])
    return _answer(session, changed, f"{changed.files} files are in it.")


@collections.command()
@click.argument("collection_id", metavar="ID")
@click.option("--name", help="What it is called from now on.")
@click.option("--description", help="What it is for; an empty text clears it.")
@click.option("--cover", metavar="KEY", help="The file that stands for it; an empty text: the first one.")
@pass_session
def change(session: Session, collection_id: str, name: str | None, description: str | None, cover: str | None) -> int:
    """Rename a collection, describe it, or choose its cover."""
    if name is None and description is None and cover is None:
        raise click.UsageError(f"Nothing to change. Try: contentplatform collections change {collection_id} --name N")
    known = session.platform.collections.get(collection_id)
    chosen = file_id(cover) if cover else cover
    changed = session.platform.collections.change(
        collection_id, known.revision, name=name, description=description, cover=chosen
    )
    return _answer(session, changed, f"Changed collection {collection_id}.")


@collections.command()
@click.argument("collection_id", metavar="ID")
@pass_session
def delete(session: Session, collection_id: str) -> int:
    """Delete a collection; its files stay."""
    known = session.platform.collections.get(collection_id)
    session.platform.collections.delete(collection_id, known.revision)
    session.home.finish()
    session.output.document(_told(known))
    session.output.line(f"Deleted collection {shown(known.name)}.")
    return EXIT_OK


def _answer(session: Session, collection: Collection, words: str) -> int:
    session.home.finish()
    session.output.document(_told(collection))
    session.output.line(words)
    return EXIT_OK


def _told(collection: Collection) -> dict[str, Any]:
    return {
        "collection_id": collection.collection_id,
        "name": collection.name,
        "description": collection.description,
        "cover": collection.cover,
        "owner": collection.owner,
        "created_at": timestamp(collection.created_at),
        "changed_at": timestamp(collection.changed_at),
        "files": collection.files,
        "revision": collection.revision,
    }


def _print(output: Output, collection: Collection) -> None:
    if output.as_json:
        return
    for label, value in (
        ("name", collection.name),
        ("description", collection.description),
        ("made by", collection.owner),
        ("changed", timestamp(collection.changed_at)),
        ("files", str(collection.files)),
    ):
        if value:
            output.line(f"{label:12} {shown(value)}")
    output.line("")


@click.command()
@click.argument("key")
@click.option(
    "--distance",
    type=click.IntRange(0, SIMILAR_DISTANCE_LIMIT),
    default=SIMILAR_DISTANCE,
    help=f"In how many of 64 bits the hashes may differ, 0 to {SIMILAR_DISTANCE_LIMIT} [default: {SIMILAR_DISTANCE}].",
)
@click.option(
    "--limit",
    type=click.IntRange(1, _LONGEST_PAGE),
    default=SIMILAR_LIMIT,
    help=f"At most this many [default: {SIMILAR_LIMIT}].",
)
@pass_session
def similar(session: Session, key: str, distance: int, limit: int) -> int:
    """Find pictures that look like one, the nearest first."""
    record = session.platform.library.record(key)
    if "perceptual_hash" not in record.processing_metadata:
        raise InvalidRequest(
            f"looking for files like {key}",
            "it has no perceptual hash",
            hint="Pictures have one once they are processed; other files have none",
        )
    found = session.platform.catalog.similar(record.file_id, limit=limit, max_distance=distance)
    items = [{**session.platform.describe(each.record), "distance": each.distance} for each in found]
    session.output.document({"items": items, "next": None})
    session.output.table(("DISTANCE", "KEY"), ((str(each.distance), shown(each.record.file_path)) for each in found))
    if not found:
        session.output.talk("Nothing looks like it.")
    return EXIT_OK


COMMANDS = (collections, similar)
