"""The command, with a database whose next commit but a few fails as a dying disk would make it fail.

``python commit_fails_child.py COUNT ARGUMENT…``: the COUNT-th commit from now on answers with an input/output error.
"""

from __future__ import annotations

import sys
from typing import Any

import apsw

from contentplatform.cli.main import main
from contentplatform.drivers import sqlite


class DyingConnection:
    """Stands before the writer's connection."""

    def __init__(self, connection: Any, left: int) -> None:
        self._connection = connection
        self._left = left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        """As SQLite answers when the disk does not."""
        if statement == "COMMIT":
            self._left -= 1
            if self._left <= 0:
                self._connection.execute("ROLLBACK")
                raise apsw.IOError("disk I/O error")
        return self._connection.execute(statement, *arguments)


class DyingDatabase(sqlite.Database):
    """A database on a disk that dies."""

    count = 0

    def _commit(self) -> None:
        writer: Any = self._writer
        if not isinstance(writer, DyingConnection):
            self._writer = DyingConnection(writer, self.count)  # type: ignore[assignment]  # it quacks alike
        super()._commit()


if __name__ == "__main__":
    DyingDatabase.count = int(sys.argv[1])
    sqlite.Database = DyingDatabase  # type: ignore[misc]  # this process has no other
    main(sys.argv[2:])
