"""A hash that was put down and taken up again is the hash."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.errors import InvalidRequest
from contentplatform.storage.rehash import BLOCK_SIZE_BYTES, HashState, ResumableSha256


@given(st.binary(max_size=2_000), st.lists(st.integers(0, 40), max_size=5))
def test_it_is_the_hash_wherever_it_was_put_down(data: bytes, blocks: list[int]) -> None:
    state: HashState | None = None
    at = 0
    for count in blocks:
        end = min(at + count * BLOCK_SIZE_BYTES, len(data) - len(data) % BLOCK_SIZE_BYTES)
        sitting = ResumableSha256(state)
        sitting.update(data[at:end])
        kept = json.loads(json.dumps({"text": sitting.state().as_text(), "size": sitting.size_bytes}))
        state, at = HashState.parse(kept["text"], kept["size"]), end
    last = ResumableSha256(state)
    last.update(data[at:])
    assert last.hexdigest() == hashlib.sha256(data).hexdigest()
    assert last.size_bytes == len(data)


def test_asking_for_the_hash_ends_nothing() -> None:
    digest = ResumableSha256()
    digest.update(b"ab")
    assert digest.hexdigest() == hashlib.sha256(b"ab").hexdigest()
    digest.update(b"c")
    assert digest.hexdigest() == hashlib.sha256(b"abc").hexdigest()


def test_a_count_beyond_32_bits_survives() -> None:
    """The length is part of a SHA-256: of states that differ in it alone, the hashes differ."""
    words = ResumableSha256().state().words
    seen = {ResumableSha256(HashState(size, words)).hexdigest() for size in (0, 1 << 29, 1 << 32, 5 << 40)}
    assert len(seen) == 4


def test_it_can_not_be_put_down_in_the_middle_of_a_block() -> None:
    digest = ResumableSha256()
    digest.update(b"x" * 65)
    with pytest.raises(InvalidRequest, match="middle of a block"):
        digest.state()


@pytest.mark.parametrize(("text", "size"), [("", 0), ("0" * 63, 64), ("g" * 64, 64), ("0" * 64, 63), ("0" * 64, -64)])
def test_a_state_that_it_never_gave_is_refused(text: str, size: int) -> None:
    with pytest.raises(InvalidRequest):
        HashState.parse(text, size)
