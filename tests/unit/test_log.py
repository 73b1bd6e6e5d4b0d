"""The log: one event a line, whatever a file is called."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform import log

LOGGER = logging.getLogger("contentplatform.tests.log")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the log writes, through the formatter that entry points install."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(log.JsonFormatter())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    yield written
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(logging.NOTSET)


def formatted(message: str, **fields: object) -> str:
    """One event as the formatter writes it."""
    record = LOGGER.makeRecord(
        LOGGER.name, logging.INFO, __file__, 1, message, (), None, extra={"contentplatform_fields": fields}
    )
    return log.JsonFormatter().format(record)


def test_an_event_is_one_json_object_with_its_message_and_fields(stream: io.StringIO) -> None:
    log.event(LOGGER, logging.WARNING, "event not handled", **{log.KEY: "a/b.jpg", log.COUNT: 3})
    assert json.loads(stream.getvalue()) == {
        "level": "warning",
        "logger": LOGGER.name,
        "message": "event not handled",
        "key": "a/b.jpg",
        "count": 3,
    }


@pytest.mark.parametrize(
    "name",
    [
        "photo.jpg\n" + json.dumps({"level": "error", "message": "forged"}),
        "photo\r.jpg",
        "photo\x1b[2J.jpg",
        "photo\u2028.jpg",
        "photo\u202egpj.exe",
        "photo\x85.jpg",
        "\ud800.jpg",
    ],
)
def test_a_file_s_name_can_forge_no_line_and_reach_no_terminal(name: str) -> None:
    line = formatted("stored", key=name)
    assert line.splitlines() == [line]
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["key"] == name


@given(st.text())
def test_any_text_comes_back_out_of_its_one_line(text: str) -> None:
    line = formatted("stored", key=text)
    assert line.splitlines() == [line]
    assert json.loads(line)["key"] == text


def test_values_that_json_does_not_know_are_written_as_text() -> None:
    assert json.loads(formatted("stored", reason=ValueError("why")))["reason"] == "why"


def test_a_traceback_stays_inside_its_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("inner\nlines")
    except ValueError:
        LOGGER.exception("unexpected error")
    line = stream.getvalue().removesuffix("\n")
    assert line.splitlines() == [line]
    assert "ValueError: inner\nlines" in json.loads(line)["exception"]


def test_entry_points_send_the_log_to_stderr_once_however_often_they_configure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger("contentplatform")
    before = (root.handlers[:], root.level, root.propagate)
    try:
        log.configure(logging.INFO)
        log.configure(logging.INFO)
        log.event(LOGGER, logging.INFO, "said once")
        LOGGER.debug("not said")
    finally:
        root.handlers[:], root.propagate = before[0], before[2]
        root.setLevel(before[1])
    told = capsys.readouterr()
    assert told.out == ""
    assert [json.loads(line)["message"] for line in told.err.splitlines()] == ["said once"]


def test_every_field_name_is_used_for_one_thing_only() -> None:
    names = [value for name, value in vars(log).items() if name.isupper() and not name.startswith("_")]
    assert len(set(names)) == len(names)
    assert not set(names) & {"level", "logger", "message", "exception"}
