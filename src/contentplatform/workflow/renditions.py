"""Puts what was made of a version under its own keys: new files, a transcoder's rungs, copies of another's renditions.

Playlists and a storyboard's index name other renditions by the base names of their public keys, and by their hashes.
Where renditions go to another file's keys, those few texts are written anew; everything else is copied without bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from contentplatform.catalog.port import LedgerEntry, Rendition
from contentplatform.catalog.search import TEXT_KEY, words
from contentplatform.drivers.files import translated_os_errors
from contentplatform.errors import Corrupt, ErrorCode, NoSpace, ProcessingFailed
from contentplatform.processing.playlists import children_first, film_names, refers, renamed
from contentplatform.processing.port import MediaFacts, Rendered, RenderedFile, Rung
from contentplatform.processing.presets import VideoLimits, public_key
from contentplatform.storage.port import BucketRole, HasLocalFiles, ObjectStore, ObjectVersion, PutOptions
from contentplatform.together import Beside
from contentplatform.workflow.publication import Publication

RUNG_EXTENSION: Final = "mp4"
_RUNG_TYPE: Final = "video/mp4"
_TRANSCODED: Final = {"processed": "true", "processor": "content-video-processor", "format": "h264"}
"""A rung's user metadata."""
_INLINE_METADATA_LIMIT_BYTES: Final = 48_000
"""Facts longer than this go into an object beside the record: Step Functions carries at most 256 KB between states."""
_INLINE_TEXT_LIMIT_BYTES: Final = 32_000
"""Of a document's words, by which it is found; what is longer is cut."""


class RenditionShelf:
    """Renditions of versions, in the processed bucket."""

    def __init__(self, store: ObjectStore, publication: Publication, beside: Beside) -> None:
        self._store = store
        self._publication = publication
        self._beside = beside

    # -- what was made ---------------------------------------------------------------------------------------

    def keep(self, entry: LedgerEntry, key: str, files: Iterable[RenderedFile], *, anew: bool) -> list[Rendition]:
        """Store files under the version's own keys; unless all is made ``anew``, not those that are there already."""
        return self._beside([partial(self._keep, entry, key, file, anew=anew) for file in files])

    def _keep(self, entry: LedgerEntry, key: str, file: RenderedFile, *, anew: bool) -> Rendition:
        stored_key = self._publication.stored_key(entry, file.name, file.extension)
        with file.path.open("rb") as body:
            sha256 = hashlib.file_digest(body, "sha256").hexdigest()
            if anew or not self._publication.is_stored(stored_key, sha256):
                body.seek(0)
                options = PutOptions(
                    content_type=file.content_type, user_metadata=file.user_metadata, expected_sha256=sha256
                )
                self._store.write(BucketRole.PROCESSED, stored_key, body, options)
        return Rendition(
            name=file.name,
            key=public_key(file.name, key, file.extension),
            stored_key=stored_key,
            content_type=file.content_type,
            size_bytes=file.path.stat().st_size,
            sha256=sha256,
            width=file.width,
            height=file.height,
        )

    def keep_rungs(self, key: str, rungs: Sequence[Rung], files: Mapping[str, Path]) -> list[Rendition]:
        """The renditions that a transcoder left under their stored keys, and that ``files`` are copies of."""
        return self._beside([partial(self._keep_rung, key, rung, files[rung.name]) for rung in rungs])

    def _keep_rung(self, key: str, rung: Rung, file: Path) -> Rendition:
        stored = self._store.head(BucketRole.PROCESSED, rung.stored_key)
        if stored.sha256 is None or stored.user_metadata.get("processed") != "true":
            stored = self._sealed(stored, file)
        return Rendition(
            name=rung.name,
            key=public_key(rung.name, key, RUNG_EXTENSION),
            stored_key=rung.stored_key,
            content_type=_RUNG_TYPE,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256 or "",
            width=rung.width,
            height=rung.height,
        )

    def _sealed(self, stored: ObjectVersion, file: Path) -> ObjectVersion:
        """A rung with its hash and its metadata, in the place of the version that a service wrote without them."""
        if stored.sha256 is None:
            with file.open("rb") as body:
                stored = replace(stored, sha256=hashlib.file_digest(body, "sha256").hexdigest())
        options = PutOptions(content_type=_RUNG_TYPE, user_metadata=_TRANSCODED, expected_sha256=stored.sha256)
        copy = self._store.copy(stored, BucketRole.PROCESSED, stored.key, options)
        self._store.delete_version(BucketRole.PROCESSED, stored.key, stored.version_id)
        return replace(copy, sha256=copy.sha256 or stored.sha256)

    def bounded(self, entry: LedgerEntry, rendered: Rendered) -> dict[str, Any]:
        """The facts that fit a record; where they are too long, all of them go into an object beside it."""
        facts = dict(rendered.metadata)
        if _size_bytes(facts) <= _INLINE_METADATA_LIMIT_BYTES:
            return facts
        path = self._publication.stored_key(entry, "metadata", "json")
        body = json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()
        self._store.write(BucketRole.PROCESSED, path, BytesIO(body), PutOptions(content_type="application/json"))
        text = facts.get(TEXT_KEY)
        if isinstance(text, str):
            facts[TEXT_KEY] = _gist(text)
            if _size_bytes(facts) <= _INLINE_METADATA_LIMIT_BYTES:
                return {**facts, "complete_metadata": path}
        short = {name: value for name, value in facts.items() if not isinstance(value, dict | list)}
        return {**short, "complete_metadata": path}

    # -- files to work on ------------------------------------------------------------------------------------

    @contextmanager
    def opened(
        self, bucket: BucketRole, key: str, scratch: Path, *, version_id: str | None = None, name: str = "source"
    ) -> Iterator[Path]:
        """An object's bytes as a file: where the store keeps files, the very file; else a download.

        Raises:
            NotFound: there is none. NoSpace: it does not fit the scratch folder now.
            ProcessingFailed: it never would: a function has so much room and no more.
        """
        if isinstance(self._store, HasLocalFiles):
            yield self._store.local_file(self._store.head(bucket, key, version_id=version_id))
            return
        path = scratch / name
        try:
            with (
                translated_os_errors(f"fetching {key}"),
                self._store.open(bucket, key, version_id=version_id) as reader,
                path.open("wb") as target,
            ):
                for chunk in reader.chunks():
                    target.write(chunk)
        except NoSpace:
            path.unlink(missing_ok=True)
            _check_could_fit(self._store.head(bucket, key, version_id=version_id), scratch)
            raise
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    # -- what another version has ----------------------------------------------------------------------------

    def copied(self, renditions: Sequence[Rendition], entry: LedgerEntry, key: str) -> list[Rendition]:
        """Another version's renditions as those of ``entry``, whose original is under ``key``.

        Raises:
            Corrupt: one that names others is not of this platform's making, or names what is not there.
        """
        plain = [rendition for rendition in renditions if not refers(rendition.name)]
        copies = self._beside([partial(self._copy, rendition, entry, key) for rendition in plain])
        made = {copy.name: copy for copy in copies}
        before = {rendition.name: rendition for rendition in renditions}
        for name in children_first(before):
            if refers(name):
                made[name] = self._renamed(before, made, entry, key, name)
        return [made[rendition.name] for rendition in renditions]

    def _copy(self, rendition: Rendition, entry: LedgerEntry, key: str) -> Rendition:
        copy = self._placed(rendition, entry, key)
        if copy.stored_key != rendition.stored_key:
            stored = self._store.head(BucketRole.PROCESSED, rendition.stored_key)
            self._store.write_copy(stored, BucketRole.PROCESSED, copy.stored_key)
        return copy

    def _renamed(
        self, before: Mapping[str, Rendition], made: Mapping[str, Rendition], entry: LedgerEntry, key: str, name: str
    ) -> Rendition:
        """A text that names other renditions, with the names and hashes that those have now."""
        rendition = before[name]
        with self._store.open(BucketRole.PROCESSED, rendition.stored_key) as reader:
            text = reader.read().decode("utf-8", "replace")
            metadata = reader.version.user_metadata
        old_names = {other: _base_name(one.key) for other, one in before.items()}
        new_names = {other: _base_name(one.key) for other, one in made.items()}
        try:
            body = renamed(text, old_names, new_names, {other: one.sha256 for other, one in made.items()}).encode()
        except ValueError as error:
            raise Corrupt(f"copying the {name} of {key}", str(error)) from error
        sha256 = hashlib.sha256(body).hexdigest()
        if sha256 == rendition.sha256:
            return self._copy(rendition, entry, key)
        copy = replace(self._placed(rendition, entry, key), size_bytes=len(body), sha256=sha256)
        options = PutOptions(content_type=rendition.content_type, user_metadata=metadata, expected_sha256=sha256)
        self._store.write(BucketRole.PROCESSED, copy.stored_key, BytesIO(body), options)
        return copy

    def _placed(self, rendition: Rendition, entry: LedgerEntry, key: str) -> Rendition:
        extension = rendition.stored_key.rpartition(".")[2]
        return replace(
            rendition,
            key=public_key(rendition.name, key, extension),
            stored_key=self._publication.stored_key(entry, rendition.name, extension),
        )


def public_names(key: str, facts: MediaFacts, rungs: Sequence[Rung]) -> dict[str, str]:
    """The base name of every public file of a video, by its rendition's name, for playlists to refer to."""
    names = film_names((rung.name for rung in rungs), facts.subtitles, VideoLimits().subtitle_tracks)
    return {name: _base_name(public_key(name, key, extension)) for name, extension in names.items()}


def _check_could_fit(version: ObjectVersion, scratch: Path) -> None:
    """Raise ProcessingFailed where no emptier scratch folder would do."""
    room_bytes = shutil.disk_usage(scratch).total
    if version.size_bytes > room_bytes:
        raise ProcessingFailed(
            f"fetching {version.key}",
            f"it has {version.size_bytes / 1e9:.1f} GB, and there is room for {room_bytes / 1e9:.1f} GB only where it "
            "would be looked at",
            code=ErrorCode.LIMIT,
        )


def _base_name(key: str) -> str:
    return key.rpartition("/")[2]


def _gist(text: str) -> str:
    """A document's distinct words, in the order of their first appearance, as far as there is room for them."""
    room = _INLINE_TEXT_LIMIT_BYTES
    kept = []
    for word in dict.fromkeys(words(text)):
        room -= len(word.encode()) + 1
        if room < 0:
            break
        kept.append(word)
    return " ".join(kept)


def _size_bytes(facts: Mapping[str, Any]) -> int:
    return len(json.dumps(facts, ensure_ascii=False, sort_keys=True).encode())
