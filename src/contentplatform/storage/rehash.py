"""SHA-256 that can be put down and taken up again, by another process or another day.

Python's own hashes can't be saved. OpenSSL's can: its state is eight words and a count, and at the end of a block there
is nothing else. It is asked through ctypes, from the very library that Python's ``hashlib`` is built on.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from typing import Final

from contentplatform.errors import InvalidRequest, Unavailable

BLOCK_SIZE_BYTES: Final = 64
_WORDS: Final = 8
_SYSTEM_LIBRARIES: Final = ("libcrypto.so.3", "libcrypto.3.dylib", "libcrypto.so.1.1")
_DOING: Final = "hashing in steps"
_KNOWN_BYTES: Final = b"contentplatform" * 64
"""What is hashed in two steps before the library is trusted."""


class _Context(ctypes.Structure):
    """OpenSSL's ``SHA256_CTX``, whose layout has not changed since 2004."""

    _fields_ = (
        ("words", ctypes.c_uint32 * _WORDS),
        ("bits_low", ctypes.c_uint32),
        ("bits_high", ctypes.c_uint32),
        ("block", ctypes.c_uint32 * 16),
        ("filled", ctypes.c_uint),
        ("digest_length", ctypes.c_uint),
    )


@dataclass(frozen=True, slots=True)
class HashState:
    """Where a hash stands after so many bytes, a multiple of 64."""

    size_bytes: int
    words: tuple[int, ...]
    """The eight words of the state."""

    def as_text(self) -> str:
        """For keeping: the words in hex."""
        return "".join(f"{word:08x}" for word in self.words)

    @classmethod
    def parse(cls, text: str, size_bytes: int) -> HashState:
        """From what ``as_text`` said. Raises InvalidRequest if it never did."""
        try:
            words = tuple(int(text[start : start + 8], 16) for start in range(0, len(text), 8))
        except ValueError as error:
            raise InvalidRequest(_DOING, "the kept state is not hex") from error
        if len(text) != 8 * _WORDS or size_bytes < 0 or size_bytes % BLOCK_SIZE_BYTES:
            raise InvalidRequest(_DOING, "the kept state is not one of SHA-256 at the end of a block")
        return cls(size_bytes, words)


class ResumableSha256:
    """A SHA-256 over bytes that come in several sittings. Not safe from several threads.

    Raises:
        Unavailable: no OpenSSL on this machine can be asked for this.
    """

    def __init__(self, state: HashState | None = None) -> None:
        self._library = _library()
        self._context = _new_context(self._library, state)
        self.size_bytes = 0 if state is None else state.size_bytes

    def update(self, data: bytes) -> None:
        """Add bytes."""
        _check(self._library.SHA256_Update(ctypes.byref(self._context), data, ctypes.c_size_t(len(data))))
        self.size_bytes += len(data)

    def state(self) -> HashState:
        """Where it stands. Raises InvalidRequest in the middle of a block of 64 bytes."""
        if self.size_bytes % BLOCK_SIZE_BYTES:
            raise InvalidRequest(_DOING, f"{self.size_bytes} bytes end in the middle of a block")
        return HashState(self.size_bytes, tuple(self._context.words))

    def hexdigest(self) -> str:
        """The hash of all bytes so far; more may be added afterwards."""
        copy = _Context.from_buffer_copy(self._context)
        digest = ctypes.create_string_buffer(32)
        _check(self._library.SHA256_Final(digest, ctypes.byref(copy)))
        return digest.raw.hex()


def _new_context(library: ctypes.CDLL, state: HashState | None) -> _Context:
    context = _Context()
    _check(library.SHA256_Init(ctypes.byref(context)))
    if state is not None:
        context.words[:] = state.words
        context.bits_low = state.size_bytes * 8 & 0xFFFFFFFF
        context.bits_high = state.size_bytes * 8 >> 32
    return context


def _check(answer: int) -> None:
    if answer != 1:
        raise Unavailable(_DOING, "OpenSSL refused")


@functools.cache
def _library() -> ctypes.CDLL:
    """OpenSSL's library, once it has shown that a hash taken up again is right."""
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
            if _is_right(library):
                return library
        except (OSError, AttributeError):
            continue
    raise Unavailable(_DOING, "there is no OpenSSL that can be asked for the state of a hash")


def _candidates() -> list[str]:
    """Where the functions may be: what ``hashlib`` itself is linked with, then the system's own."""
    module = importlib.util.find_spec("_hashlib")
    linked = [module.origin] if module is not None and module.origin is not None else []
    return [*linked, *_SYSTEM_LIBRARIES]


def _is_right(library: ctypes.CDLL) -> bool:
    half = 8 * BLOCK_SIZE_BYTES
    first = _new_context(library, None)
    library.SHA256_Update(ctypes.byref(first), _KNOWN_BYTES[:half], ctypes.c_size_t(half))
    second = _new_context(library, HashState(half, tuple(first.words)))
    library.SHA256_Update(ctypes.byref(second), _KNOWN_BYTES[half:], ctypes.c_size_t(len(_KNOWN_BYTES) - half))
    digest = ctypes.create_string_buffer(32)
    library.SHA256_Final(digest, ctypes.byref(second))
    return digest.raw == hashlib.sha256(_KNOWN_BYTES).digest()
