"""What comes off the edge, and when: exactly what was shown and is replaced or removed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from contentplatform.errors import Unavailable
from contentplatform.workflow.port import ExecutionStatus
from fakes.platform import BROKEN, MemoryPlatform, jpeg

KEY = "a+b c%20d?x#y&z*.jpg"
ENCODED = "a%2Bb%20c%2520d%3Fx%23y%26z%2A.jpg"
PATHS = (
    f"/processed/medium/{ENCODED}.jpg",
    f"/processed/thumbnails/{ENCODED}.jpg",
    f"/processed/webp/{ENCODED}.webp",
)


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    return MemoryPlatform(tmp_path)


def bare(paths: tuple[str, ...]) -> set[str]:
    """Paths without their query."""
    return {path.partition("?")[0] for path in paths}


def versions(platform: MemoryPlatform, key: str = KEY) -> set[str]:
    """The ``v`` of every rendition that a record shows."""
    return {rendition.sha256[:16] for rendition in platform.library.record(key).renditions}


def asked_versions(paths: tuple[str, ...]) -> set[str]:
    return {path.partition("?v=")[2] for path in paths if "?v=" in path}


def test_a_first_version_costs_nothing_and_says_why(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    assert platform.edge.asked == []
    (execution,) = platform.engine.list().executions
    assert execution.output is not None
    assert execution.output["invalidation"] == {
        "status": "not needed",
        "reason": "no earlier version was public",
        "paths": 0,
    }


def test_a_second_version_purges_the_exact_paths_of_both(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    old = versions(platform)
    platform.add(KEY, jpeg("two"))
    platform.settle()
    (asked,) = platform.edge.asked
    assert bare(asked.paths) == set(PATHS)
    assert asked_versions(asked.paths) == old | versions(platform)
    execution = platform.engine.list().executions[0]
    assert asked.reference == execution.name
    assert execution.output is not None
    assert (execution.output["invalidation"]["id"], execution.output["invalidation"]["paths"]) == (asked.id, 9)


def test_the_same_renditions_again_purge_nothing(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    platform.library.reprocess(KEY)
    platform.work()
    assert platform.edge.asked == []


def test_the_same_renditions_again_purge_nothing_although_an_older_version_differs(platform: MemoryPlatform) -> None:
    for text in ("one", "two"):
        platform.add(KEY, jpeg(text))
        platform.settle()
    platform.edge.asked.clear()
    platform.library.reprocess(KEY)
    platform.work()
    assert platform.edge.asked == []


def test_an_update_that_was_cut_off_still_purges(platform: MemoryPlatform) -> None:
    """The public keys show the new bytes already, and the state is entered once more."""
    platform.add(KEY, jpeg("one"))
    platform.settle()
    platform.add(KEY, jpeg("two"))
    platform.settle()
    execution = platform.engine.list().executions[0]
    first = platform.edge.asked.pop()
    data = dict(execution.output or {})
    data["update"] = platform.steps.update_metadata(data)
    told = platform.steps.invalidate(data)
    assert platform.edge.asked[0].paths == first.paths
    assert told["paths"] == len(first.paths)


def test_a_failed_invalidation_fails_no_execution(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    platform.edge.fails_with = Unavailable("invalidating", "too many are under way")
    platform.add(KEY, jpeg("two"))
    for _ in range(10):
        platform.settle()
        platform.clock.advance(130)
    execution = platform.engine.list().executions[0]
    assert execution.status is ExecutionStatus.SUCCEEDED
    assert execution.output is not None
    assert execution.output["invalidation_error"]["Error"] == "Unavailable"


def test_what_is_removed_comes_off_the_edge(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    shown = versions(platform)
    platform.library.remove(KEY)
    (asked,) = platform.edge.asked
    assert bare(asked.paths) == set(PATHS)
    assert asked_versions(asked.paths) == shown
    platform.ingest.handle(KEY)
    assert len(platform.edge.asked) == 1
    platform.library.undelete(KEY)
    platform.settle()
    platform.clock.advance(1)
    platform.library.remove(KEY)
    assert len(platform.edge.asked) == 2


def test_a_removal_that_could_not_be_told_is_told_when_it_is_looked_at_again(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    platform.edge.fails_with = Unavailable("invalidating", "too many are under way")
    with pytest.raises(Unavailable):
        platform.library.remove(KEY)
    assert platform.public(KEY) == {}
    platform.edge.fails_with = None
    platform.ingest.handle(KEY)
    assert bare(platform.edge.asked[0].paths) == set(PATHS)


def test_a_moved_file_comes_off_the_edge_under_its_old_name_only(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    platform.library.move(KEY, "private/b.jpg")
    asked = [path for there in platform.edge.asked for path in there.paths]
    assert bare(tuple(asked)) == set(PATHS)


def test_a_version_that_is_deleted_for_good_comes_off_the_edge(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    only = platform.library.current(KEY)
    platform.library.remove_version(KEY, only.version_id)
    assert bare(tuple(path for there in platform.edge.asked for path in there.paths)) == set(PATHS)


def test_a_version_that_fails_takes_the_one_before_off_the_edge(platform: MemoryPlatform) -> None:
    platform.add(KEY, jpeg("one"))
    platform.settle()
    shown = versions(platform)
    platform.add(KEY, jpeg("two") + BROKEN)
    platform.settle()
    (asked,) = platform.edge.asked
    assert asked_versions(asked.paths) == shown


def test_an_original_that_is_served_as_it_is_comes_off_too(platform: MemoryPlatform) -> None:
    platform.add("public/raw/film.jpg", jpeg("one"))
    platform.settle()
    platform.add("public/raw/film.jpg", jpeg("two"))
    platform.settle()
    assert "/raw/film.jpg" in platform.edge.asked[-1].paths
    platform.library.remove("public/raw/film.jpg")
    assert "/raw/film.jpg" in platform.edge.asked[-1].paths


def test_what_the_edge_can_not_reach_is_not_asked_for(platform: MemoryPlatform) -> None:
    for text in ("one", "two"):
        platform.add("a/../b.jpg", jpeg(text))
        platform.settle()
    assert platform.edge.asked == []
    assert platform.engine.list().executions[0].status is ExecutionStatus.SUCCEEDED
