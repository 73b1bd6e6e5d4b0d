"""A store in a child process beside a model of it: what was acknowledged must be there after every crash.

The parent never opens the database. An operation during which the child dies is in doubt: afterwards it must be either
wholly there or wholly absent.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GRACE_SECONDS = 3_600
TESTS = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("store_child.py")


class ChildDied(Exception):  # noqa: N818 - it is what the tests wait for
    """The child was killed at the armed point."""


class Child:
    """A running child."""

    def __init__(self, root: Path, elapsed_seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), str(root), str(elapsed_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            text=True,
        )
        assert self._answer() == {"result": "ready"}

    def ask(self, name: str, *arguments: Any) -> dict[str, Any]:
        """Have one command done. Raises ChildDied if the child does not survive it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self._process.wait(300)
        self.stop()
        assert status == -signal.SIGKILL, f"the child ended by itself, with status {status}"
        raise ChildDied

    def stop(self) -> None:
        """End it in the ordinary way; nothing if it is dead already."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        self._process.wait(300)


@dataclass
class Version:
    """One version of the model. The id of a put that was in doubt is learnt when it turns up."""

    version_id: str | None
    data: str | None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Model:
    """What the store should hold: the versions of each key, the oldest first, and the events of the primary bucket."""

    keys: dict[tuple[str, str], list[Version]] = field(default_factory=dict)
    events: list[list[str]] = field(default_factory=list)

    def current(self, bucket: str, key: str) -> Version | None:
        versions = self.keys.get((bucket, key), [])
        return versions[-1] if versions and versions[-1].data is not None else None

    def find(self, bucket: str, key: str, version_id: str) -> Version | None:
        for version in self.keys.get((bucket, key), []):
            if version.version_id == version_id:
                return version
        return None

    def apply(self, name: str, arguments: tuple[Any, ...], version_id: str | None) -> None:
        """Do what the command does."""
        getattr(self, f"_{name}", lambda *_: None)(version_id, *arguments)

    def _put(self, version_id: str | None, bucket: str, key: str, data: str, tags: dict[str, str]) -> None:
        self._add(bucket, key, Version(version_id, data, tags), "put")

    def _create(self, version_id: str | None, bucket: str, key: str, data: str) -> None:
        self._add(bucket, key, Version(version_id, data), "put")

    def _put_while_collecting(self, version_id: str | None, bucket: str, key: str, data: str) -> None:
        self._add(bucket, key, Version(version_id, data), "put")

    def _copy(
        self, version_id: str | None, bucket: str, key: str, source_id: str, to_bucket: str, to_key: str, _class: str
    ) -> None:
        source = self.find(bucket, key, source_id)
        assert source is not None
        self._add(to_bucket, to_key, Version(version_id, source.data), "copy")

    def _delete(self, version_id: str | None, bucket: str, key: str) -> None:
        self._add(bucket, key, Version(version_id, None), "delete")

    def _delete_version(self, _none: None, bucket: str, key: str, version_id: str) -> None:
        version = self.find(bucket, key, version_id)
        if version is not None:
            self.keys[bucket, key].remove(version)
            self._tell(bucket, key, "delete_version")

    def _set_tags(self, _none: None, bucket: str, key: str, version_id: str, tags: dict[str, str]) -> None:
        version = self.find(bucket, key, version_id)
        assert version is not None
        version.tags = tags

    def _add(self, bucket: str, key: str, version: Version, event: str) -> None:
        self.keys.setdefault((bucket, key), []).append(version)
        self._tell(bucket, key, event)

    def _tell(self, bucket: str, key: str, event: str) -> None:
        if bucket == "primary":
            self.events.append([key, event])

    def learn_ids(self, seen: dict[str, Any]) -> None:
        """Give versions in doubt the ids under which they turned up."""
        seen_ids: dict[tuple[str, str], list[str]] = {}
        for bucket, key, version_id, _data, _tags in reversed(seen["versions"]):
            seen_ids.setdefault((bucket, key), []).append(version_id)
        for place, versions in self.keys.items():
            if len(versions) == len(seen_ids.get(place, [])):
                for version, version_id in zip(versions, seen_ids.get(place, []), strict=True):
                    version.version_id = version.version_id or version_id

    def state(self) -> dict[str, Any]:
        """In the form in which the child tells it."""
        order = {"primary": 0, "backup": 1}
        places = sorted(self.keys, key=lambda place: (order[place[0]], place[1].encode()))
        versions = [
            [bucket, key, version.version_id, version.data, version.tags]
            for bucket, key in places
            for version in reversed(self.keys[bucket, key])
        ]
        current = [
            [bucket, key, version.version_id]
            for bucket, key in places
            if (version := self.current(bucket, key)) is not None
        ]
        return {"versions": versions, "current": current, "events": self.events}


class DrivenStore:
    """The child and the model, kept together."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model = Model()
        self.crashes = 0
        self._elapsed_seconds = 0.0
        self._child = Child(root, 0)

    def arm(self, point: str, count: int = 1) -> None:
        """Have the child die when it passes the point for the n-th time."""
        self._child.ask("arm", point, count)

    def do(self, name: str, *arguments: Any) -> str | None:
        """Do it in the child and in the model; returns the version id. A crash is checked, and then lived with."""
        if name == "advance":
            self._elapsed_seconds += arguments[0]
        try:
            answer = self._child.ask(name, *arguments)
        except ChildDied:
            self._recover(name, arguments)
            return None
        assert "error" not in answer, answer
        result = answer["result"]
        self.model.apply(name, arguments, result if isinstance(result, str) else None)
        return result if isinstance(result, str) else None

    def refuse(self, error: str, name: str, *arguments: Any) -> None:
        """Do what must be refused. The child may die of it, too."""
        try:
            answer = self._child.ask(name, *arguments)
        except ChildDied:
            self._recover("nothing", ())
            return
        assert answer.get("error") == error, answer

    def check(self) -> None:
        """The store shows exactly what the model has, fsck finds no damage, and after two scans nothing left over."""
        self._child.ask("arm", "", 0)
        self._check_content()
        self._child.ask("collect")
        self.do("advance", GRACE_SECONDS + 1)
        self._child.ask("collect")
        assert self._child.ask("findings", ["damage", "leak", "warning"]) == {"result": []}

    def _check_content(self) -> None:
        assert self._child.ask("state")["result"] == self.model.state()
        assert self._child.ask("findings", ["damage"]) == {"result": []}

    def stop(self) -> None:
        self._child.stop()

    def _recover(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.crashes += 1
        self._child = Child(self.root, self._elapsed_seconds)
        seen = self._child.ask("state")["result"]
        if self.model.state() != seen:
            done = copy.deepcopy(self.model)
            done.apply(name, arguments, None)
            done.learn_ids(seen)
            assert done.state() == seen, f"{name}{arguments} is neither wholly there nor wholly absent"
            self.model = done
        self._check_content()
