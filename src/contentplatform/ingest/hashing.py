"""Which SHA-256 a version has, where the store does not vouch for one: it is read and hashed, at once or in steps.

At home the store hashes all that it keeps, and nothing here is ever needed. S3 takes in bytes past the platform. What
their uploader says of them may be a lie, by which somebody could be shown another's renditions: so it is compared.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.media import file_id
from contentplatform.storage.port import (
    CHUNK_SIZE_BYTES,
    BucketRole,
    ByteRange,
    HashSource,
    ObjectStore,
    ObjectVersion,
    PutOptions,
    erase,
)
from contentplatform.storage.rehash import BLOCK_SIZE_BYTES, HashState, ResumableSha256

HASHED_AT_ONCE_BYTES: Final = 5 << 30
STEP_SIZE_BYTES: Final = 1 << 30
"""What is hashed before the state is kept again; a multiple of SHA-256's blocks."""
STATE_FOLDER: Final = "hashing"
"""Folder in the analytics bucket: where the hash of a version that is hashed in steps stands."""
UNFINISHED_NOTE: Final = "its SHA-256 is still being computed, as it is too large to be hashed at once"
UNCHECKED_NOTE: Final = "its SHA-256 is what its uploader said, as it is too large to be checked"
_WRONG_CLAIM: Final = "its uploader said it had SHA-256"
_STATE_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class ContentHash:
    """What is known of a version's SHA-256."""

    sha256: str
    """Hex digest; empty while it is being computed."""
    verified: bool
    """Whether the store or the platform computed it."""
    note: str | None = None
    """What a person should know of it."""


class ContentHasher:
    """Finds out hashes. Reads in constant memory.

    Args:
        store: where the bytes are.
        limit_bytes: up to this size a version is hashed at once.
        step_bytes: what is hashed in one step of a larger one.
    """

    def __init__(
        self, store: ObjectStore, limit_bytes: int = HASHED_AT_ONCE_BYTES, step_bytes: int = STEP_SIZE_BYTES
    ) -> None:
        if step_bytes % BLOCK_SIZE_BYTES:
            raise InvalidRequest("hashing in steps", f"a step of {step_bytes} bytes ends in the middle of a block")
        self._store = store
        self._limit_bytes = limit_bytes
        self._step_bytes = step_bytes

    def hash_of(self, version: ObjectVersion, copy: ObjectVersion | None) -> ContentHash:
        """The hash as the store vouches for it, else computed, else as its uploader said, else none yet.

        Args:
            version: whose hash.
            copy: a copy of exactly its bytes; a store that hashes what it copies has done the work already.
        """
        proven = version.proven_sha256 or (copy.proven_sha256 if copy is not None else None)
        if proven is None and version.size_bytes <= self._limit_bytes:
            proven = self._computed(version)
        if proven is not None:
            return _compared(version, proven)
        if version.sha256 is not None and version.hash_source is HashSource.BOUND:
            return ContentHash(version.sha256, verified=False, note=UNCHECKED_NOTE)
        return ContentHash("", verified=False, note=UNFINISHED_NOTE)

    def step(self, version: ObjectVersion) -> ContentHash | None:
        """Hash the next stretch of a version; None if another one is left. A step that is cut off is only repeated.

        Raises:
            Unavailable: this machine can't take a hash up again, or the store sulks.
        """
        state = self._state(version)
        digest = ResumableSha256(state)
        first = digest.size_bytes
        last = min(first + self._step_bytes, version.size_bytes) - 1
        if last >= first:
            wanted = ByteRange(first, last)
            with self._store.open(
                version.bucket, version.key, version_id=version.version_id, byte_range=wanted
            ) as reader:
                for chunk in reader.chunks():
                    digest.update(chunk)
        if digest.size_bytes < version.size_bytes:
            self._keep(version, digest.state())
            return None
        erase(self._store, BucketRole.ANALYTICS, _state_key(version))
        return _compared(version, digest.hexdigest())

    def _computed(self, version: ObjectVersion) -> str:
        digest = hashlib.sha256()
        with self._store.open(version.bucket, version.key, version_id=version.version_id) as reader:
            while chunk := reader.read(CHUNK_SIZE_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def _state(self, version: ObjectVersion) -> HashState | None:
        """Where the hash stands; None if it was not begun, or what was kept is of no use."""
        try:
            with self._store.open(BucketRole.ANALYTICS, _state_key(version)) as reader:
                document = json.loads(reader.read())
            if document["format"] != _STATE_FORMAT or document["version_id"] != version.version_id:
                return None
            state = HashState.parse(document["state"], document["hashed_bytes"])
        except (NotFound, InvalidRequest, ValueError, KeyError, TypeError):
            return None
        return state if state.size_bytes <= version.size_bytes else None

    def _keep(self, version: ObjectVersion, state: HashState) -> None:
        document = {
            "format": _STATE_FORMAT,
            "key": version.key,
            "version_id": version.version_id,
            "size_bytes": version.size_bytes,
            "hashed_bytes": state.size_bytes,
            "state": state.as_text(),
        }
        body = BytesIO(json.dumps(document).encode())
        self._store.write(BucketRole.ANALYTICS, _state_key(version), body, PutOptions("application/json"))


def hash_note(note: str | None) -> str | None:
    """That part of a version's note which is about its hash."""
    first = (note or "").partition("; ")[0]
    ours = first in {UNFINISHED_NOTE, UNCHECKED_NOTE} or first.startswith(_WRONG_CLAIM)
    return first if ours else None


def joined_notes(*notes: str | None) -> str | None:
    """Several notes as one; None if there are none."""
    return "; ".join(note for note in notes if note) or None


def _compared(version: ObjectVersion, proven: str) -> ContentHash:
    """What was computed holds; where the uploader said otherwise, a note tells."""
    claim = version.sha256
    wrong = claim is not None and claim != proven
    return ContentHash(proven, verified=True, note=f"{_WRONG_CLAIM} {claim}, which is wrong" if wrong else None)


def _state_key(version: ObjectVersion) -> str:
    return f"{STATE_FOLDER}/{file_id(version.key)}/{version.version_id}.json"
