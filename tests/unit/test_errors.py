"""The error tree: what the docstring draws is what there is, and each class has an exit code."""

from __future__ import annotations

import inspect
import re

import pytest

from contentplatform import errors
from contentplatform.cli.output import (
    EXIT_CODES,
    EXIT_INTERRUPTED,
    EXIT_NEEDS_ATTENTION,
    EXIT_OK,
    EXIT_USAGE,
    exit_code,
)
from contentplatform.errors import (
    Conflict,
    ErrorCode,
    JobInterrupted,
    NoSpace,
    NotFound,
    PlatformError,
    ProcessingFailed,
    RateLimited,
    Unavailable,
)

CLASSES = sorted(
    (kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PlatformError)),
    key=lambda kind: kind.__name__,
)
_BRANCH = re.compile(r"^ {4}(?P<stem>[ │├└─]*)(?P<name>[A-Z][A-Za-z]+)")


def drawn_parents() -> dict[str, str]:
    """Every class in the docstring's drawing, and the one it hangs from."""
    above: list[str] = []
    parents: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = _BRANCH.match(line)
        if found is None:
            continue
        depth = len(found["stem"]) // 4
        del above[depth:]
        parents[found["name"]] = above[-1] if above else "Exception"
        above.append(found["name"])
    return parents


def made(kind: type[PlatformError]) -> PlatformError:
    """An error of that class."""
    if issubclass(kind, RateLimited):
        return kind("signing in", "too often", hint="Wait", private="errno 28", retry_after_seconds=3)
    if issubclass(kind, ProcessingFailed):
        return kind("processing a.jpg", "it is broken", code=ErrorCode.DECODE)
    return kind("storing a.jpg", "the disk is full", hint="Free some space", private="errno 28")


def test_the_docstring_draws_exactly_the_classes_that_exist() -> None:
    assert drawn_parents() == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


def test_there_are_few_enough_classes_to_know_them_all() -> None:
    assert len(CLASSES) <= 17, "thirteen for what happens to files, four for who asks, what they may and how much"


def test_only_passing_faults_are_worth_a_retry() -> None:
    assert {kind for kind in CLASSES if kind.retryable} == {Unavailable, NoSpace, JobInterrupted}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_has_an_exit_code_of_its_own(kind: type[PlatformError]) -> None:
    assert kind in EXIT_CODES
    assert exit_code(made(kind)) == EXIT_CODES[kind]


def test_exit_codes_are_distinct_from_each_other_and_from_those_of_the_shell() -> None:
    codes = [*EXIT_CODES.values(), EXIT_OK, EXIT_NEEDS_ATTENTION, EXIT_USAGE, EXIT_INTERRUPTED]
    assert len(set(codes)) == len(codes)
    assert all(code < 126 for code in EXIT_CODES.values())


def test_a_class_without_a_code_of_its_own_takes_that_of_the_nearest_above_it() -> None:
    class Locked(Conflict):
        pass

    assert exit_code(Locked("storing a.jpg", "somebody holds it")) == EXIT_CODES[Conflict]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_says_what_was_done_why_it_failed_and_what_to_do_but_nothing_private(
    kind: type[PlatformError],
) -> None:
    error = made(kind)
    assert error.public.startswith(f"{error.doing}: {error.why}")
    assert error.hint in error.public
    assert str(error) == error.public
    assert "errno" not in error.public


def test_without_a_hint_the_sentence_ends_with_the_reason() -> None:
    assert NotFound("reading a.jpg", "there is no such file").public == "reading a.jpg: there is no such file"


def test_every_class_and_every_code_says_in_a_sentence_what_it_means() -> None:
    assert all(inspect.getdoc(kind) != inspect.getdoc(Exception) and kind.__doc__ for kind in CLASSES)
    source = inspect.getsource(ErrorCode)
    for code in ErrorCode:
        assert re.search(rf'{code.name} = "{code.value}"\n    """[A-Z].+\."""', source), code


def test_codes_are_marked_as_such_and_distinct() -> None:
    assert all(re.fullmatch(r"E_[A-Z]+", code.value) for code in ErrorCode)
