"""Commands about files: ``add list show get remove undelete move versions search tag edit``."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from contentplatform.catalog.describing import facts_of, progress_of
from contentplatform.catalog.port import Facets, Figure, Record, RecordPage, SearchQuery
from contentplatform.cli.adding import AddRequest, add_files, plan
from contentplatform.cli.output import EXIT_NEEDS_ATTENTION, EXIT_OK, Output, shown, size
from contentplatform.cli.session import Session, pass_session
from contentplatform.clock import timestamp
from contentplatform.errors import InvalidRequest, NoSpace
from contentplatform.ingest.library import Edit
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.storage.port import ObjectReader

_STATUSES = [status.value for status in ProcessingStatus if status is not ProcessingStatus.SUPERSEDED]
_PAGE_SIZE = 500


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path, exists=True))
@click.option("--prefix", default="", metavar="P", help="Put the files under this folder of the platform.")
@click.option("--no-wait", is_flag=True, help="Return when everything is stored; say what waits, and for whom.")
@pass_session
def add(session: Session, paths: tuple[Path, ...], prefix: str, *, no_wait: bool) -> int:
    """Add files and folders.

    A file's key is its base name; a folder's files keep their paths inside it. What is there already with the same
    content is skipped, so a broken run is resumed by repeating it. Links inside folders, and the data folder, are
    left out.
    """
    planned = plan(paths, prefix, session.platform.settings.data_folder)
    outcome = add_files(session, AddRequest(planned, wait=not no_wait))
    session.output.document({"items": outcome.items, "added": outcome.added, "skipped": outcome.skipped})
    return EXIT_NEEDS_ATTENTION if outcome.troubled else EXIT_OK


@click.command("list")
@click.option("--kind", type=click.Choice([kind.value for kind in MediaKind]), help="Only this kind.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only this status.")
@click.option("--folder", metavar="F", help="Only this folder and those below it.")
@click.option("--deleted", is_flag=True, help="Removed files instead of those that are there.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many [default: all].")
@click.option("--cursor", metavar="C", help="Go on where an earlier list with --limit stopped.")
@pass_session
def list_(
    session: Session,
    kind: str | None,
    status: str | None,
    folder: str | None,
    limit: int | None,
    cursor: str | None,
    *,
    deleted: bool,
) -> int:
    """List files, the newest first."""
    query = SearchQuery(
        kind=MediaKind(kind) if kind else None,
        status=ProcessingStatus(status) if status else None,
        folder=folder and folder.strip("/"),
        deleted=deleted,
    )
    return _print_found(session, query, limit, cursor)


@click.command()
@click.argument("words", nargs=-1)
@click.option("--kind", type=click.Choice([kind.value for kind in MediaKind]), help="Only this kind.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only this status.")
@click.option("--tag", metavar="T", help="Only files with exactly this tag.")
@click.option("--folder", metavar="F", help="Only this folder and those below it.")
@click.option("--from", "uploaded_from", type=click.DateTime(), help="Uploaded at or after this moment, UTC.")
@click.option("--before", "uploaded_before", type=click.DateTime(), help="Uploaded before this moment, UTC.")
@click.option("--min-size", type=click.IntRange(min=0), metavar="BYTES", help="Of at least this size.")
@click.option("--max-size", type=click.IntRange(min=0), metavar="BYTES", help="Of at most this size.")
@click.option("--deleted", is_flag=True, help="Removed files instead of those that are there.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many [default: all].")
@click.option("--cursor", metavar="C", help="Go on where an earlier search with --limit stopped.")
@click.option("--facets", is_flag=True, help="Count what is found, by kind, status, tag and folder, instead.")
@pass_session
def search(session: Session, /, words: tuple[str, ...], limit: int | None, cursor: str | None, **given: Any) -> int:
    """Find files by words of their name, folder, tags, title, description, and a document's text.

    All words have to be there; the last one may be a beginning.
    """
    query = SearchQuery(
        text=" ".join(words),
        kind=MediaKind(given["kind"]) if given["kind"] else None,
        status=ProcessingStatus(given["status"]) if given["status"] else None,
        tag=given["tag"],
        folder=given["folder"] and given["folder"].strip("/"),
        uploaded_from=_utc(given["uploaded_from"]),
        uploaded_before=_utc(given["uploaded_before"]),
        size_from_bytes=given["min_size"],
        size_to_bytes=given["max_size"],
        deleted=given["deleted"],
    )
    session.home.index_for_search()
    if given["facets"]:
        return _print_facets(session.output, session.platform.catalog.facets(query))
    return _print_found(session, query, limit, cursor)


def _print_facets(output: Output, facets: Facets) -> int:
    """Print counts; ``+`` behind one: or more."""
    counted: dict[str, dict[str, Figure]] = {
        "kinds": {kind.value: figure for kind, figure in facets.kinds.items()},
        "statuses": {status.value: figure for status, figure in facets.statuses.items()},
        "tags": dict(facets.tags),
        "folders": dict(facets.folders),
    }
    output.document({"total": asdict(facets.total)} | _as_json(counted))
    rows = [("all", "", facets.total)]
    rows += [(sort, name, figure) for sort, figures in counted.items() for name, figure in figures.items()]
    output.table(
        ("FILES", "BY", "VALUE"),
        ((f"{figure.count}{'+' if figure.capped else ''}", sort, shown(name)) for sort, name, figure in rows),
    )
    return EXIT_OK


def _as_json(counted: dict[str, dict[str, Figure]]) -> dict[str, Any]:
    return {
        sort: [{"value": name, **asdict(figure)} for name, figure in figures.items()]
        for sort, figures in counted.items()
    }


@click.command()
@click.argument("key")
@pass_session
def show(session: Session, key: str) -> int:
    """Show everything that is known of a file."""
    record = session.platform.library.record(key)
    document = session.platform.describe(record)
    session.output.document(document)
    _print_record(session.output, record, document)
    return EXIT_OK


@click.command()
@click.argument("key")
@click.option("--version", "version_id", metavar="V", help="This version instead of the current one.")
@click.option("--rendition", metavar="NAME", help="This rendition instead of the original.")
@click.option(
    "-o", "--output", "target", metavar="FILE", type=click.Path(path_type=Path), help="Write here; - for stdout."
)
@pass_session
def get(session: Session, key: str, version_id: str | None, rendition: str | None, target: Path | None) -> int:
    """Write an original, or one of its renditions, to a file (by default its own name, in this folder)."""
    with session.platform.library.open(key, version_id=version_id, rendition=rendition) as reader:
        path = target or Path(_download_name(reader))
        if str(path) == "-":
            _copy(reader, sys.stdout.buffer)
            return EXIT_OK
        if target is None and path.exists():
            raise click.UsageError(f"{path} exists already. Try: contentplatform get {key} -o FILE")
        _write_file(reader, path)
        found = reader.version
    session.output.document({"file": str(path), "size": found.size_bytes, "sha256": found.sha256})
    session.output.line(f"{path}  {size(found.size_bytes)}")
    return EXIT_OK


@click.command()
@click.argument("key")
@click.option("--version", "version_id", metavar="V", help="Delete just this version, for good.")
@click.option("--yes", is_flag=True, help="Don't ask before deleting a version for good.")
@pass_session
def remove(session: Session, key: str, version_id: str | None, *, yes: bool) -> int:
    """Remove a file. It can be brought back with `undelete`; a single --version can't."""
    library = session.platform.library
    if version_id is None:
        library.remove(key)
        session.output.line(f"removed {shown(key)}; `contentplatform undelete` brings it back")
    else:
        library.record(key)
        if not yes:
            click.confirm(f"Delete version {version_id} of {shown(key)} for good?", abort=True, err=True)
        library.remove_version(key, version_id)
        session.output.line(f"deleted version {version_id} of {shown(key)}")
    session.home.finish()
    session.output.document({"removed": key, "version_id": version_id})
    return EXIT_OK


@click.command()
@click.argument("key")
@pass_session
def undelete(session: Session, key: str) -> int:
    """Bring a removed file back, with its record, tags and renditions."""
    record = session.platform.library.undelete(key)
    session.home.finish()
    session.output.document(session.platform.describe(record))
    session.output.line(f"{shown(key)} is back ({record.status.value})")
    return EXIT_OK


@click.command()
@click.argument("source")
@click.argument("target")
@pass_session
def move(session: Session, source: str, target: str) -> int:
    """Give a file another key; tags, versions, renditions and history come along."""
    record = session.platform.library.move(source, target)
    session.home.finish()
    session.output.document(session.platform.describe(record))
    session.output.line(f"{shown(source)} is now {shown(target)}")
    return EXIT_OK


@click.command()
@click.argument("key")
@pass_session
def versions(session: Session, key: str) -> int:
    """List the versions of a file, the newest first."""
    found = session.platform.library.versions(key)
    session.output.document(
        {
            "items": [
                {
                    "version_id": version.version_id,
                    "created_at": timestamp(version.created_at),
                    "size": version.size_bytes,
                    "sha256": version.sha256,
                    "storage_class": version.storage_class.value,
                    "is_latest": version.is_latest,
                    "is_delete_marker": version.is_delete_marker,
                }
                for version in found
            ],
            "next": None,
        }
    )
    session.output.table(
        ("VERSION", "CREATED", "SIZE", "CLASS", ""),
        (
            (
                version.version_id,
                timestamp(version.created_at),
                "" if version.is_delete_marker else size(version.size_bytes),
                "" if version.is_delete_marker else version.storage_class.value,
                " ".join(
                    word
                    for word, holds in (("current", version.is_latest), ("removed here", version.is_delete_marker))
                    if holds
                ),
            )
            for version in found
        ),
    )
    return EXIT_OK


@click.command()
@click.argument("key")
@click.argument("tags", nargs=-1, metavar="TAG…")
@click.option("--remove", "removed", multiple=True, metavar="TAG", help="Take this tag away; may be repeated.")
@pass_session
def tag(session: Session, key: str, tags: tuple[str, ...], removed: tuple[str, ...]) -> int:
    """Add tags to a file, or take some away; without either, show them."""
    library = session.platform.library
    if tags or removed:
        record = library.edit(key, Edit(add_tags=frozenset(tags), remove_tags=frozenset(removed)))
        session.home.finish()
    else:
        record = library.record(key)
    session.output.document(session.platform.describe(record))
    session.output.line(f"{shown(key)}: {shown(', '.join(record.tags)) or 'no tags'}")
    return EXIT_OK


@click.command()
@click.argument("key")
@click.option("--title", help="One line that names it.")
@click.option("--description", help="What is to be seen.")
@click.option("--credit", help="Whose work it is.")
@click.option("--rights-until", type=click.DateTime(), help="Until when the file may be used, UTC.")
@pass_session
def edit(
    session: Session,
    key: str,
    title: str | None,
    description: str | None,
    credit: str | None,
    rights_until: datetime | None,
) -> int:
    """Describe a file. An empty text clears a field."""
    change = Edit(title=title, description=description, credit=credit, rights_until=_utc(rights_until))
    if change == Edit():
        raise click.UsageError(f"Nothing to change. Try: contentplatform edit {key} --title TEXT")
    record = session.platform.library.edit(key, change)
    session.home.finish()
    session.output.document(session.platform.describe(record))
    session.output.line(f"{shown(key)}: {shown(record.title or 'no title')}")
    return EXIT_OK


def _print_found(session: Session, query: SearchQuery, limit: int | None, cursor: str | None) -> int:
    """Print what a query finds: everything, or one page where a limit is given."""
    records: list[Record] = []
    while True:
        wanted = _PAGE_SIZE if limit is None else min(_PAGE_SIZE, limit - len(records))
        page: RecordPage = session.platform.catalog.search(query, cursor=cursor, limit=wanted)
        records.extend(page.records)
        cursor = page.cursor
        if cursor is None or (limit is not None and len(records) >= limit):
            break
    session.output.document({"items": [session.platform.describe(record) for record in records], "next": cursor})
    session.output.table(
        ("KEY", "KIND", "STATUS", "SIZE", "UPLOADED"),
        (
            (
                shown(record.file_path),
                record.kind.value,
                progress_of(record) or record.status.value,
                size(record.size_bytes),
                timestamp(record.upload_time)[:19].replace("T", " "),
            )
            for record in records
        ),
    )
    if cursor is not None:
        session.output.talk(f"There is more: --cursor {cursor}")
    elif not records:
        session.output.talk("Nothing found.")
    return EXIT_OK


def _print_record(output: Output, record: Record, document: dict[str, Any]) -> None:
    """A record for people."""
    if output.as_json:
        return
    lines: dict[str, Any] = {
        "key": record.file_path,
        "status": record.status.value,
        "why": record.error,
        "note": record.note,
        "removed": timestamp(record.deleted_at) if record.deleted_at else None,
        "type": record.content_type,
        "size": size(record.size_bytes),
        **facts_of(record),
        "title": record.title,
        "description": record.description,
        "credit": record.credit,
        "tags": ", ".join(record.tags),
        "uploaded": timestamp(record.upload_time),
        "version": record.version_id,
        "sha256": record.file_hash,
        "file id": document["file_id"],
    }
    for label, value in lines.items():
        if value:
            output.line(f"{label:12} {shown(str(value))}")
    if record.renditions:
        output.line("")
        output.table(
            ("RENDITION", "SIZE", "PIXELS", "KEY"),
            (
                (
                    rendition.name,
                    size(rendition.size_bytes),
                    f"{rendition.width}×{rendition.height}" if rendition.width else "",
                    shown(rendition.key),
                )
                for rendition in record.renditions
            ),
        )


def _download_name(reader: ObjectReader) -> str:
    """The base name that an object is written to: its key's last segment, which may not leave this folder."""
    name = reader.version.key.replace("\\", "/").rpartition("/")[2]
    return name if name not in {"", ".", ".."} else "download"


def _write_file(reader: ObjectReader, path: Path) -> None:
    """Write a file, a pipe or a device.

    Raises:
        InvalidRequest: nothing can be written there. NoSpace: the disk is full.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as target:  # renaming would put a file in the place of a pipe or a device
                _copy(reader, target)
        else:
            _write_beside(reader, path)
    except OSError as error:
        doing, hint = f"writing {path}", "Choose another -o FILE"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace(doing, "the disk is full", hint=f"Free some space. {hint}") from error
        raise InvalidRequest(doing, error.strerror or str(error), hint=hint) from error


def _write_beside(reader: ObjectReader, path: Path) -> None:
    """Write beside the target and rename: a half-written file never carries the name that was asked for."""
    partial = path.parent / f".{path.name[:50]}.part-{os.getpid()}"
    try:
        with partial.open("xb") as target:
            _copy(reader, target)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _copy(reader: ObjectReader, target: BinaryIO) -> None:
    for chunk in reader.chunks():
        rest = memoryview(chunk)
        while rest:  # an unbuffered stdout (PYTHONUNBUFFERED) may take a part only, and say so by nothing but the count
            rest = rest[target.write(rest) :]
    target.flush()


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None else None


COMMANDS = (add, list_, show, get, remove, undelete, move, versions, search, tag, edit)
