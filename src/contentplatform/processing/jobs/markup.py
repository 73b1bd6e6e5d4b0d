"""XML out of a document, read as a stream by a parser that refuses what no honest document needs.

Document types are refused, and with them every entity, inside or outside; depth is bounded; nothing is ever fetched,
because nobody here could.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from contentplatform.errors import ProcessingFailed
from contentplatform.processing.jobs.reading import Collected, broken, over_limit

for _codec in ("utf-8", "utf-16", "ascii", "latin-1"):  # loaded while the process may still open files
    codecs.lookup(_codec)

Attributes = Mapping[str, str]
_NAMESPACE_END: Final = "}"
_LONGEST_TAG_BYTES: Final = 4 << 20
"""Of one tag with its attributes, or one comment. The parser begins it anew with every piece that does not end it."""


class Enough(Exception):  # noqa: N818 - no error: the reader has what it wanted
    """Raised by a handler that needs no more of the text."""


def walk(
    pieces: Iterable[bytes],
    depth_limit: int,
    *,
    start: Callable[[str, Attributes], None] | None = None,
    end: Callable[[str], None] | None = None,
    text: Callable[[str], None] | None = None,
) -> None:
    """Read an XML text. Handlers get names, and those of attributes, without their namespaces.

    Raises:
        ProcessingFailed: it is no XML, has a document type, or is too deep.
    """
    parser = _parser(depth_limit, start or _nothing, end or _nothing)
    if text is not None:
        parser.CharacterDataHandler = text
    try:
        given_bytes = 0
        for piece in pieces:
            parser.Parse(piece, False)  # noqa: FBT003 - expat's own signature
            given_bytes += len(piece)
            if given_bytes - max(0, parser.CurrentByteIndex) > _LONGEST_TAG_BYTES:
                raise over_limit("one of its tags is too long")
        parser.Parse(b"", True)  # noqa: FBT003 - same
    except Enough:
        return
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise broken(str(error)) from error


def _parser(
    depth_limit: int, start: Callable[[str, Attributes], None], end: Callable[[str], None]
) -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=_NAMESPACE_END)
    parser.buffer_text = True
    depth = 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > depth_limit:
            raise over_limit("its elements are nested too deeply")
        start(_local(name), {_local(key): value for key, value in attributes.items()})

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1
        end(_local(name))

    def refuse(*_: object) -> None:
        raise broken("it has a document type")

    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.StartDoctypeDeclHandler = refuse
    return parser


def _nothing(*_: object) -> None:
    """For who does not listen."""


def _local(name: str) -> str:
    return name.rpartition(_NAMESPACE_END)[2]


@dataclass(frozen=True, slots=True)
class Flow:
    """Where the words are in a kind of text document."""

    letters: frozenset[str]
    """Elements whose characters are for reading."""
    before: Mapping[str, str] = field(default_factory=dict)
    """What an element stands for by itself: a tab, a line's end."""
    after: Mapping[str, str] = field(default_factory=dict)
    """What follows an element: a paragraph's end."""
    unseen: frozenset[str] = frozenset()
    """Left out with all that is inside."""


def flow_text(pieces: Iterable[bytes], depth_limit: int, flow: Flow, text: Collected) -> None:
    """Add the words of an XML text to ``text``, as ``flow`` says. Raises ProcessingFailed as ``walk``."""
    inside = unseen = 0

    def start(name: str, attributes: Attributes) -> None:
        nonlocal inside, unseen
        if unseen or name in flow.unseen:
            unseen += 1
            return
        inside += name in flow.letters
        if name == "s" and name in flow.before:
            text.add(flow.before[name] * number(attributes.get("c", "1"), most=100))
        elif name in flow.before:
            text.add(flow.before[name])

    def end(name: str) -> None:
        nonlocal inside, unseen
        if unseen:
            unseen -= 1
            return
        inside -= name in flow.letters
        text.add(flow.after.get(name, ""))

    def characters(content: str) -> None:
        if inside and not unseen:
            text.add(content)
        if text.is_full:
            raise Enough

    walk(pieces, depth_limit, start=start, end=end, text=characters)


def number(told: str | None, *, most: int, least: int = 1) -> int:
    """A count that an attribute tells, held within bounds; ``least`` where it tells none."""
    digits = (told or "").strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        return least
    return max(least, min(int(digits), most))


def properties(pieces: Iterable[bytes], depth_limit: int, limit_characters: int = 2_000) -> dict[str, str]:
    """The texts of the elements that hold nothing but text, by name; of several of one name all, a line each."""
    found: dict[str, str] = {}
    collected = Collected(0)

    def start(_name: str, _attributes: Attributes) -> None:
        nonlocal collected
        collected = Collected(limit_characters)

    def end(name: str) -> None:
        nonlocal collected
        content = str(collected).strip()
        if content:
            found[name] = f"{found[name]}\n{content}"[:limit_characters] if name in found else content
        collected = Collected(0)

    def characters(content: str) -> None:
        collected.add(content)

    try:
        walk(pieces, depth_limit, start=start, end=end, text=characters)
    except ProcessingFailed:
        return found  # what a document says about itself never fails the document
    return found
