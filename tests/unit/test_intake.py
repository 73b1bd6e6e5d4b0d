"""Pieces of a body begin where a disk takes them without a copy, wherever in its file the body goes on."""

from __future__ import annotations

import asyncio
from itertools import accumulate

import pytest
from starlette.types import Message

from contentplatform.drivers.files import BLOCK_BYTES
from contentplatform.web.intake import PIECE_BYTES, Came, Intake

BODY = bytes(range(256)) * (PIECE_BYTES // 256 * 2 + 5)


async def poured(offset: int, length: int | None) -> list[bytes]:
    """The pieces of ``BODY`` that goes on at a file's byte."""
    left = [BODY[begin : begin + 300_000] for begin in range(0, len(BODY), 300_000)]
    pieces: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    came = await Intake(60.0).pour(receive, lambda piece: pieces.append(bytes(piece)), length, offset=offset)
    assert came is Came.WHOLE
    return pieces


@pytest.mark.parametrize("length", [None, len(BODY)])
@pytest.mark.parametrize("offset", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, PIECE_BYTES + 17])
def test_all_pieces_but_the_first_begin_at_a_whole_block(offset: int, length: int | None) -> None:
    pieces = asyncio.run(poured(offset, length))
    begins = list(accumulate(map(len, pieces), initial=offset))
    assert b"".join(pieces) == BODY
    assert [begin % BLOCK_BYTES for begin in begins[1:-1]] == [0] * (len(pieces) - 1)
    assert max(map(len, pieces)) == PIECE_BYTES


def test_many_bodies_at_once_come_in_pieces_of_whole_blocks() -> None:
    async def many() -> list[list[bytes]]:
        intake = Intake(60.0)

        async def one() -> list[bytes]:
            left = [BODY[:PIECE_BYTES], BODY[PIECE_BYTES:]]
            pieces: list[bytes] = []

            async def receive() -> Message:
                await asyncio.sleep(0)
                return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

            await intake.pour(receive, lambda piece: pieces.append(bytes(piece)), len(BODY))
            return pieces

        return await asyncio.gather(*(one() for _ in range(23)))

    for pieces in asyncio.run(many()):
        assert b"".join(pieces) == BODY
        assert {len(piece) % BLOCK_BYTES for piece in pieces[:-1]} == {0}
