"""What people do with files: add, read, remove, bring back, move, describe, process again.

Each act changes the store or the record first and then brings the rest to it through the upload handler, so that an
act that was cut off half-way is finished by repeating it, or by the reconciler.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from typing import Any, BinaryIO, Final, Protocol

from contentplatform import log
from contentplatform.catalog.port import Catalog, LedgerEntry, Record, Rendition
from contentplatform.clock import Clock
from contentplatform.errors import Conflict, Corrupt, ErrorCode, InvalidRequest, NotFound
from contentplatform.ingest.service import CLAIM_METADATA, IngestService
from contentplatform.media import MediaKind, ProcessingStatus, check_key, file_id
from contentplatform.storage.port import BucketRole, ObjectReader, ObjectStore, ObjectVersion, PutOptions, versions_of
from contentplatform.together import Together, in_turn, repeated
from contentplatform.workflow.port import Execution, ExecutionStatus, Lane, WorkflowEngine
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.renditions import RenditionShelf
from contentplatform.workflow.stopping import Stop

TAG_LIMIT: Final = 100
TEXT_LIMIT: Final = 10_000
_MOVED_METADATA: Final = "moved-version"
_logger: Final = logging.getLogger(__name__)
_TAG = re.compile(r"[^\x00-\x1f\x7f,]{1,100}")


@dataclass(frozen=True, slots=True)
class Edit:
    """What a person changes of a record; None leaves a field as it is, an empty value clears it."""

    title: str | None = None
    description: str | None = None
    credit: str | None = None
    rights_until: datetime | None = None
    add_tags: frozenset[str] = frozenset()
    remove_tags: frozenset[str] = frozenset()
    clears_rights: bool = False
    """Take ``rights_until`` away: a moment has no empty value."""


class Charges(Protocol):
    """What counts as somebody's, by version; see ``Accounts``."""

    def release(self, reference: str, /) -> None:
        """Count it no more."""
        ...

    def transfer(self, reference: str, to: str, /) -> None:
        """Let what was charged for one version stand for another."""
        ...


class Library:
    """The platform's files, as people see them: by key."""

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        engine: WorkflowEngine,
        ingest: IngestService,
        publication: Publication,
        clock: Clock,
        together: Together,
        *,
        stop: Stop | None = None,
        charges: Charges | None = None,
    ) -> None:
        self._charges = charges
        self._store = store
        self._catalog = catalog
        self._engine = engine
        self._stop = stop or engine.cancel
        self._shelf = RenditionShelf(store, publication, in_turn)
        self._ingest = ingest
        self._publication = publication
        self._clock = clock
        self._together = together

    # -- bytes -----------------------------------------------------------------------------------------------

    def add(
        self, key: str, body: BinaryIO, *, claimed_type: str | None = None, expected_sha256: str | None = None
    ) -> str:
        """Store ``body`` as the new current version of ``key``, and return its id; durable then, processed later.

        Raises:
            InvalidRequest: the key can't name a file. ChecksumMismatch, NoSpace: as ``ObjectStore.put``.
        """
        check_key(key)
        metadata = {CLAIM_METADATA: claimed_type} if claimed_type else {}
        options = PutOptions(
            content_type=claimed_type or "application/octet-stream",
            user_metadata=metadata,
            expected_sha256=expected_sha256,
        )
        return self._store.write(BucketRole.PRIMARY, key, body, options)

    def current(self, key: str) -> ObjectVersion:
        """The current version of a file, as it is stored. Raises NotFound."""
        return self._store.head(BucketRole.PRIMARY, check_key(key))

    def perhaps_there(self, keys: Collection[str]) -> Collection[str]:
        """Those of some keys that may have a current version; all of them where that can't be told by one question."""
        prefix = _common_beginning(keys)
        try:
            page = self._store.list(BucketRole.PRIMARY, prefix=check_key(prefix) if prefix else "")
        except InvalidRequest:
            return keys
        if page.continuation is not None:
            return keys
        return {version.key for version in page.objects}.intersection(keys)

    def open(
        self, key: str, *, version_id: str | None = None, rendition: str | None = None
    ) -> AbstractContextManager[ObjectReader]:
        """Open an original, or one of its renditions, of the current or the named version.

        Raises:
            NotFound: no such file, version or rendition (it says which there are); or it was removed, or moved.
        """
        if rendition is None:
            if version_id is None:
                self._check_there(key, f"reading {key}")
            return self._store.open(BucketRole.PRIMARY, key, version_id=version_id)
        return self._store.open(BucketRole.PROCESSED, self._rendition(key, version_id, rendition).stored_key)

    def versions(self, key: str) -> tuple[ObjectVersion, ...]:
        """Every version and delete marker of a file, the newest first. Raises NotFound if there never was one."""
        found = versions_of(self._store, BucketRole.PRIMARY, key)
        if not found:
            raise self._missing(key, f"listing the versions of {key}")
        return found

    # -- records ---------------------------------------------------------------------------------------------

    def record(self, key: str) -> Record:
        """The record of a file, deleted or not. Raises NotFound, which names the new key of a moved file."""
        try:
            return self._catalog.get(file_id(key))
        except NotFound as error:
            raise self._missing(key, f"looking for {key}") from error

    def entry(self, key: str, version_id: str) -> LedgerEntry:
        """What happened to one version of a file. Raises NotFound."""
        return self._catalog.get_entry(file_id(key), version_id)

    def is_gone(self, key: str, version_id: str) -> bool:
        """Whether a version was deleted for good, or its file was moved away: nothing will be known of it any more."""
        if self._catalog.redirect(file_id(key)) is not None:
            return True
        return all(version.version_id != version_id for version in versions_of(self._store, BucketRole.PRIMARY, key))

    def edit(self, key: str, edit: Edit, *, revision: int | None = None) -> Record:
        """Change what people say of a file. What was set by a person is never overwritten by what a file brings.

        Without a revision whatever is stored is changed: nothing of what others did meanwhile is lost.

        Raises:
            NotFound: no such file, or it is deleted. InvalidRequest: a text or tag is too long or malformed.
            Conflict: its record has another revision by now.
        """
        _check_edit(edit)

        def change() -> Record:
            record = self._live_record(key, f"editing {key}")
            if revision is not None and record.revision != revision:
                raise Conflict(f"editing {key}", "somebody else changed it meanwhile", hint="Look at it again")
            tags = tuple(sorted((set(record.tags) | edit.add_tags) - edit.remove_tags))
            if len(tags) > TAG_LIMIT:
                raise InvalidRequest(
                    f"tagging {key}", f"a file has at most {TAG_LIMIT} tags; this would be {len(tags)}"
                )
            given: dict[str, Any] = {
                name: value or None
                for name in ("title", "description", "credit", "rights_until")
                if (value := getattr(edit, name)) is not None
            }
            if edit.clears_rights:
                given["rights_until"] = None
            touched = set(given) | ({"tags"} if edit.add_tags or edit.remove_tags else set())
            changed = replace(record, tags=tags, edited_fields=record.edited_fields | touched, **given)
            stored = record if changed == record else self._catalog.put(changed)
            self._publication.write_manifest(stored)
            return stored

        if revision is not None:
            return self._together(change)
        return repeated(lambda: self._together(change), f"editing {key}")

    # -- removing and bringing back --------------------------------------------------------------------------

    def remove(self, key: str) -> None:
        """Hide a file: its versions stay, its renditions are taken off. Raises NotFound if it is not there."""
        self._live_record(key, f"removing {key}")
        self._store.delete(BucketRole.PRIMARY, key)
        self._ingest.handle(key)

    def remove_version(self, key: str, version_id: str) -> None:
        """Delete one version for good; the newest one left becomes current, with its renditions. Raises NotFound."""
        if all(version.version_id != version_id for version in versions_of(self._store, BucketRole.PRIMARY, key)):
            raise NotFound(
                f"removing a version of {key}", f"there is no version {version_id}", hint=_versions_hint(key)
            )

        def change() -> None:
            self._store.delete_version(BucketRole.PRIMARY, key, version_id)
            if self._charges is not None:
                self._charges.release(version_id)

        self._together(change)
        self._ingest.handle(key)

    def restore(self, key: str, version_id: str) -> Record:
        """Make an older version's bytes the current version again, as a new one; nothing where they are current.

        Raises:
            NotFound: no such file, or it is deleted; or no such version. Archived: its bytes must be restored first.
        """
        doing = f"restoring a version of {key}"
        self._live_record(key, doing)
        if self._store.head(BucketRole.PRIMARY, key).version_id != version_id:
            try:
                version = self._store.head(BucketRole.PRIMARY, key, version_id=version_id)
            except NotFound as error:
                raise NotFound(doing, f"there is no version {version_id}", hint=_versions_hint(key)) from error
            told = {name: value for name, value in version.user_metadata.items() if name != _MOVED_METADATA}
            tags = self._store.tags(BucketRole.PRIMARY, key, version_id=version_id)
            self._store.write_copy(version, BucketRole.PRIMARY, key, PutOptions(version.content_type, told, tags))
        self._ingest.handle(key)
        return self.record(key)

    def undelete(self, key: str) -> Record:
        """Bring a removed file back with its record, tags and renditions. Nothing happens to one that is there.

        Raises:
            NotFound: there never was such a file, no version of it is left, or it was moved.
        """
        doing = f"bringing {key} back"
        if self._catalog.redirect(file_id(key)) is not None:
            raise self._missing(key, doing)
        for version in self.versions(key):
            if not version.is_delete_marker:
                break
            self._store.delete_version(BucketRole.PRIMARY, key, version.version_id)
        else:
            raise NotFound(doing, "no version of it is left")
        self._ingest.handle(key)
        return self.record(key)

    def move(self, source: str, target: str) -> Record:
        """Give a file another key; record, tags, versions, renditions and history come along, a redirect stays.

        Repeating a move that was cut off finishes it.

        Raises:
            NotFound: no such file, or it is deleted. Conflict: there is a file under the target already.
        """
        check_key(target)
        if source == target:
            raise InvalidRequest(f"moving {source}", "source and target are the same key")
        doing = f"moving {source}"

        def work() -> Record:
            self._ingest.handle(source)  # the record may lag behind the store
            record = self._live_record(source, doing)
            self._refuse_foreign(record, target)
            return self._move(record, target)

        return self._together(work)

    def _refuse_foreign(self, record: Record, target: str) -> None:
        """Raise Conflict if there is a file under ``target``, unless it is what a move that was cut off left there."""
        try:
            there = self._store.head(BucketRole.PRIMARY, target)
        except NotFound:
            return
        source = record.file_path
        # A move that came to its end left a delete marker at the source, before any version of a later file there.
        newest = takewhile(
            lambda version: not version.is_delete_marker, versions_of(self._store, BucketRole.PRIMARY, source)
        )
        is_copied = there.user_metadata.get(_MOVED_METADATA) in {version.version_id for version in newest}
        if not is_copied or self._came_to_its_end(record, target):
            raise Conflict(f"moving {source} to {target}", "there is a file already", hint="Choose another name")

    def _came_to_its_end(self, record: Record, target: str) -> bool:
        """Whether an earlier file of the same name was moved there; ``record`` is a later one."""
        try:
            moved = self._catalog.get(file_id(target))
        except NotFound:
            return False
        return record.file_id in moved.moved_from and moved.indexed_at != record.indexed_at

    def _move(self, record: Record, target: str) -> Record:
        source = record.file_path
        moved = self._copy_versions(source, target)
        entries = {entry.version_id: entry for entry in self._catalog.entries(record.file_id)}
        for entry in entries.values():
            if entry.execution and entry.status in {ProcessingStatus.PENDING, ProcessingStatus.PROCESSING}:
                self._stop(entry.execution, f"the file was moved to {target}")
        current: LedgerEntry | None = None
        for old, new in moved.items():
            if old in entries:
                carried = self._carry(entries[old], target, new)
                current = carried if old == record.version_id else current
        new_id = file_id(target)
        carried_record = replace(
            record,
            file_id=new_id,
            file_path=target,
            version_id=moved[record.version_id],
            renditions=current.renditions if current is not None else (),
            moved_from=(*record.moved_from, record.file_id),
        )
        # On aws the upload handler hears of the copies, and may have written of them before.
        stored = repeated(
            lambda: self._catalog.put(replace(carried_record, revision=self._revision(new_id))),
            f"recording {source} as {target}",
        )
        self._store.delete(BucketRole.PRIMARY, source)
        self._publication.show(replace(record, deleted_at=self._clock.now()))
        self._publication.drop_manifest(record.file_id)
        repeated(lambda: self._leave_redirect(record, new_id), f"leaving word that {source} is now {target}")
        for entry in entries.values():
            self._publication.erase_renditions(entry)
        self._publication.show(stored)
        self._ingest.handle(target)
        return self._catalog.get(new_id)

    def _leave_redirect(self, record: Record, new_id: str) -> None:
        """Replace the record of a file that was moved away; whoever heard of the deletion may have hidden it before."""
        now = self._catalog.get(record.file_id)
        hidden = now.deleted_at is not None and now.version_id == record.version_id
        self._catalog.remove(record.file_id, now.revision if hidden else record.revision, moved_to=new_id)

    def _copy_versions(self, source: str, target: str) -> dict[str, str]:
        """Copy every version, the oldest first, unless an earlier try did; old version ids and what they became."""
        done: dict[str, str] = {}
        for version in versions_of(self._store, BucketRole.PRIMARY, target):
            if not version.is_delete_marker:
                head = self._store.head(BucketRole.PRIMARY, target, version_id=version.version_id)
                if _MOVED_METADATA in head.user_metadata:
                    done[head.user_metadata[_MOVED_METADATA]] = version.version_id
        for version in reversed(versions_of(self._store, BucketRole.PRIMARY, source)):
            if version.is_delete_marker or version.version_id in done:
                continue
            head = self._store.head(BucketRole.PRIMARY, source, version_id=version.version_id)
            options = PutOptions(
                content_type=head.content_type,
                user_metadata={**head.user_metadata, _MOVED_METADATA: version.version_id},
                tags=self._store.tags(BucketRole.PRIMARY, source, version_id=version.version_id),
                storage_class=head.storage_class,
            )
            done[version.version_id] = self._store.write_copy(head, BucketRole.PRIMARY, target, options)
        if self._charges is not None:
            for before, now in done.items():
                self._charges.transfer(before, now)
        return done

    def _carry(self, entry: LedgerEntry, target: str, version_id: str) -> LedgerEntry:
        """The ledger entry of a version under its new key, with its renditions; what was not done begins anew."""
        status = ProcessingStatus.PENDING if entry.status is ProcessingStatus.PROCESSING else entry.status
        carried = replace(
            entry, file_id=file_id(target), version_id=version_id, status=status, execution="", renditions=()
        )
        try:
            renditions = tuple(self._shelf.copied(entry.renditions, carried, target))
            carried = replace(carried, renditions=renditions)
        except Corrupt as error:
            log.event(_logger, logging.WARNING, "renditions not moved", **{log.KEY: target, log.REASON: str(error)})
            carried = replace(carried, status=ProcessingStatus.PENDING)
        return repeated(
            lambda: self._catalog.put_entry(replace(carried, revision=self._entry_revision(carried))),
            f"recording version {version_id} of {target}",
        )

    # -- processing ------------------------------------------------------------------------------------------

    def reprocess(self, key: str) -> str:
        """Make a file's renditions anew; returns the name of the execution."""
        record = self._live_record(key, f"processing {key} again")
        return self._ingest.restart(record.file_id, record.version_id, Lane.BACKFILL)

    def outdated(self) -> Iterator[str]:
        """Keys of files whose renditions were made by an older recipe."""
        recipes = {kind: self._ingest.recipe_of(kind) for kind in MediaKind}
        yield from self._current_keys_with(ProcessingStatus.COMPLETED, recipes)

    def failed(self) -> Iterator[str]:
        """Keys of files whose current version failed."""
        yield from self._current_keys_with(ProcessingStatus.FAILED, None)

    def cancel(self, name: str, reason: str) -> Execution:
        """Stop an execution; its version ends as failed, by a person's wish. What has ended stays as it ended."""

        def stop() -> Execution:
            execution = self._stop(name, reason)
            if execution.status is not ExecutionStatus.CANCELLED:
                return execution
            try:
                entry = self._catalog.get_entry(execution.file_id, execution.version_id)
            except NotFound:
                return execution
            if entry.execution == name:
                stopped = self._catalog.put_entry(
                    replace(
                        entry,
                        status=ProcessingStatus.FAILED,
                        error=f"cancelled: {reason}",
                        error_code=ErrorCode.CANCELLED,
                        execution="",
                        attempts=max(entry.attempts, 1),
                    )
                )
                self._publication.follow(stopped)
            return execution

        return repeated(lambda: self._together(stop), f"cancelling {name}")

    def retry(self, name: str) -> str:
        """Process the version of an execution that failed or was cancelled again; returns the new execution's name.

        Raises:
            NotFound: no such execution, or its file was moved. Conflict: it has not ended, or it succeeded.
        """
        execution = self._engine.get(name)
        if not execution.status.ended:
            raise Conflict(f"retrying {name}", "it has not ended yet", hint=f"See `executions show {name}`")
        if execution.status is ExecutionStatus.SUCCEEDED:
            raise Conflict(f"retrying {name}", "it succeeded", hint="`reprocess KEY` makes the renditions anew")
        return self._ingest.restart(execution.file_id, execution.version_id, Lane.BACKFILL)

    # -- parts -----------------------------------------------------------------------------------------------

    def _current_keys_with(self, status: ProcessingStatus, recipes: dict[MediaKind, str] | None) -> Iterable[str]:
        cursor: str | None = None
        while True:
            entries, cursor = self._catalog.entries_with(status, other_than_recipe=recipes, cursor=cursor)
            for entry in entries:
                try:
                    record = self._catalog.get(entry.file_id)
                except NotFound:
                    continue
                if record.version_id == entry.version_id and record.deleted_at is None:
                    yield record.file_path
            if cursor is None:
                return

    def _rendition(self, key: str, version_id: str | None, name: str) -> Rendition:
        doing = f"reading the {name} of {key}"
        record = self.record(key)
        renditions = (
            record.renditions if version_id is None else self._catalog.get_entry(record.file_id, version_id).renditions
        )
        for rendition in renditions:
            if rendition.name == name:
                return rendition
        there = ", ".join(rendition.name for rendition in renditions)
        raise NotFound(doing, f"there is none; there are: {there}" if there else "this version has no renditions")

    def _live_record(self, key: str, doing: str) -> Record:
        record = self.record(key)
        if record.deleted_at is not None:
            raise NotFound(doing, "it was removed", hint=f"`contentplatform undelete {key}` brings it back")
        return record

    def _check_there(self, key: str, doing: str) -> None:
        """Raise NotFound in the words of a person unless the store has a current version; it may have no record yet."""
        try:
            self._store.head(BucketRole.PRIMARY, key)
        except NotFound as error:
            self._live_record(key, doing)
            raise self._missing(key, doing) from error

    def _missing(self, key: str, doing: str) -> NotFound:
        moved_to = self._catalog.redirect(file_id(key))
        if moved_to is None:
            return NotFound(doing, "there is no such file", hint="`contentplatform list` shows what there is")
        return NotFound(doing, f"it was moved to {self._catalog.get(moved_to).file_path}")

    def _entry_revision(self, entry: LedgerEntry) -> int:
        try:
            return self._catalog.get_entry(entry.file_id, entry.version_id).revision
        except NotFound:
            return 0

    def _revision(self, identifier: str) -> int:
        try:
            return self._catalog.get(identifier).revision
        except NotFound:
            return 0


def _check_edit(edit: Edit) -> None:
    for tag in edit.add_tags:
        if not _TAG.fullmatch(tag):
            raise InvalidRequest("tagging a file", f"{tag!r} can't be a tag: 1 to 100 characters, no comma, no control")
    for name in ("title", "description", "credit"):
        value = getattr(edit, name)
        if value is not None and len(value) > TEXT_LIMIT:
            raise InvalidRequest("editing a file", f"the {name} is longer than {TEXT_LIMIT} characters")


def _versions_hint(key: str) -> str:
    return f"`contentplatform versions {key}` lists them"


def _common_beginning(keys: Collection[str]) -> str:
    """The longest text with which all of some keys begin."""
    first, last = min(keys), max(keys)
    for length, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:length]
    return first
