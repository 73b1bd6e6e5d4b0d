"""Does random things to a few files, as many people at once would: ``python crowd_child.py DATA SEED COUNT``.

What a person can get wrong (a file that is not there, a name that is taken) is expected; anything else ends it.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable
from pathlib import Path

from contentplatform.app import LocalHome, open_local
from contentplatform.config import load
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.ingest.library import Edit
from contentplatform.workflow.port import Execution
from sample_media import encoded, photo

KEYS = tuple(f"{number}.jpg" for number in range(4))
ADDS_BESIDE_EACH_OTHER_ACT = 5


class Person:
    """Somebody with a data folder and no plan."""

    def __init__(self, home: LocalHome, seed: int) -> None:
        self._home = home
        self._library = home.platform.library
        self._random = random.Random(seed)
        pictures = [encoded(photo(48, 36, seed=number), "JPEG") for number in range(4)]
        self._contents = [*pictures, pictures[0][:500], b"words\n"]

    def act(self) -> None:
        """Do one thing."""
        acts: list[Callable[[str], object]] = [
            *[self._add] * ADDS_BESIDE_EACH_OTHER_ACT,
            self._library.remove,
            self._library.undelete,
            self._library.reprocess,
            self._read,
            lambda key: self._library.move(key, self._random.choice(KEYS)),
            lambda key: self._library.edit(key, Edit(title=str(self._random.random()))),
            lambda key: self._library.remove_version(key, self._random.choice(self._library.versions(key)).version_id),
            lambda _key: self._library.cancel(self._some_execution().name, "no reason"),
            lambda _key: self._library.retry(self._some_execution().name),
            lambda _key: self._home.platform.ingest.reconcile(),
            lambda _key: self._home.store.collect_garbage(),
            lambda _key: self._home.finish(),
        ]
        self._random.choice(acts)(self._random.choice(KEYS))

    def _add(self, key: str) -> None:
        self._library.add(key, io.BytesIO(self._random.choice(self._contents)))

    def _read(self, key: str) -> None:
        for rendition in self._library.record(key).renditions:
            with self._library.open(key, rendition=rendition.name) as reader:
                reader.read()

    def _some_execution(self) -> Execution:
        found = self._home.engine.list(limit=20).executions
        if not found:
            raise NotFound("choosing an execution", "there is none")
        return self._random.choice(found)


def main() -> None:
    data_folder, seed, count = sys.argv[1:]
    home = open_local(load(data_folder=Path(data_folder)))
    person = Person(home, int(seed))
    for _ in range(int(count)):
        try:
            person.act()
        except (NotFound, Conflict, InvalidRequest):
            continue
    home.close()


if __name__ == "__main__":
    main()
