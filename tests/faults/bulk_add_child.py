"""Adds files one after the other and writes down, durably, what was acknowledged: the client of a kill test.

``python bulk_add_child.py DATA JOURNAL SEED COUNT`` adds COUNT files; the journal gets a line after each came back,
and standard output an empty one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
from pathlib import Path

from contentplatform.app import open_local
from contentplatform.config import load
from sample_media import encoded, photo

KEYS = 6
"""Few keys, so that versions replace one another."""
BROKEN_EVERY = 5
WORDS_EVERY = 3


def content(seed: int, number: int) -> tuple[str, bytes]:
    """The key and the bytes of one upload; some are broken, some are no pictures, some are twins of others."""
    random_numbers = random.Random(f"{seed} {number}")
    key = f"bulk/{random_numbers.randrange(KEYS)}.jpg"
    if number % WORDS_EVERY == 2:
        return key.replace(".jpg", ".txt"), f"words {seed} {number}\n".encode()
    data = encoded(photo(48, 36, seed=random_numbers.randrange(1_000)), "JPEG", quality=80)
    return key, data[: len(data) // 2] if number % BROKEN_EVERY == 4 else data


def main() -> None:
    data_folder, journal, seed, count = sys.argv[1:]
    home = open_local(load(data_folder=Path(data_folder)))
    with Path(journal).open("a", encoding="utf-8") as told:
        for number in range(int(count)):
            key, data = content(int(seed), number)
            version_id = home.platform.library.add(key, io.BytesIO(data))
            line = {"key": key, "version_id": version_id, "sha256": hashlib.sha256(data).hexdigest()}
            told.write(json.dumps(line) + "\n")
            told.flush()
            os.fsync(told.fileno())
            os.write(sys.stdout.fileno(), b"\n")
            home.take_in_all()
    home.close()


if __name__ == "__main__":
    main()
