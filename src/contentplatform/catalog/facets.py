"""What files are counted by, in both homes alike: kind, status, tags, and the folders above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from contentplatform.catalog.port import FACET_NAME_LIMIT_BYTES, FACET_VALUES, Facets, Figure, Record, SearchQuery
from contentplatform.catalog.search import folders_above
from contentplatform.media import MediaKind, ProcessingStatus

T = TypeVar("T", bound=str)

NOTHING: Final = Facets(Figure(0), {}, {}, {}, {})


@dataclass(frozen=True, slots=True)
class Traits:
    """Of one file, what it is counted by."""

    file_path: str
    kind: MediaKind
    status: ProcessingStatus
    tags: tuple[str, ...]


def traits_of(record: Record) -> Traits:
    """What ``record`` is counted by."""
    return Traits(record.file_path, record.kind, record.status, record.tags)


def countable_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Those of some tags that are counted, each once."""
    return tuple(tag for tag in dict.fromkeys(tags) if is_countable(tag))


def countable_folders(file_path: str) -> tuple[str, ...]:
    """Those of the folders above a file that are counted."""
    return tuple(folder for folder in folders_above(file_path) if is_countable(name_of(folder)))


def is_countable(name: str) -> bool:
    """Whether every home can count under this name."""
    try:
        return len(name.encode("utf-8")) <= FACET_NAME_LIMIT_BYTES
    except UnicodeEncodeError:
        return False


def parent_of(folder: str) -> str:
    """The folder right above; "": the top."""
    return folder.rpartition("/")[0]


def name_of(folder: str) -> str:
    """What a folder is called within the one above."""
    return folder.rpartition("/")[2]


def facets_of(found: Sequence[Traits], folder: str, *, capped: bool) -> Facets:
    """What ``found`` has, counted; ``capped``: there are more of them."""
    # What many have in common is looked at once.
    tags: Counter[str] = Counter()
    for alike, files in Counter(each.tags for each in found).items():
        tags.update(dict.fromkeys(countable_tags(alike), files))
    folders: Counter[str] = Counter()
    for above, files in Counter(each.file_path.rpartition("/")[0] for each in found).items():
        below = (each for each in countable_folders(f"{above}/") if parent_of(each) == folder)
        folders.update(dict.fromkeys(below, files))
    return Facets(
        Figure(len(found), capped),
        most_frequent(Counter(each.kind for each in found), capped=capped),
        most_frequent(Counter(each.status for each in found), capped=capped),
        most_frequent(tags, capped=capped),
        most_frequent(folders, capped=capped),
    )


def most_frequent(counts: Mapping[T, int], *, capped: bool = False) -> dict[T, Figure]:
    """The values that something has, the most frequent first, then by name; as many as are shown."""
    ranked = sorted(((-count, value) for value, count in counts.items() if count > 0))
    return {value: Figure(-count, capped) for count, value in ranked[:FACET_VALUES]}


def is_whole_folder(query: SearchQuery) -> bool:
    """Whether ``query`` asks for all that is in a folder, or in the library."""
    return query == SearchQuery(folder=query.folder)
