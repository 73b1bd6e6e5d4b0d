"""What is around every function: outcomes by name, one home a container, log and metrics."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from contentplatform import app, errors, log
from contentplatform.app import AwsHome
from contentplatform.config import environment_name
from contentplatform.errors import (
    ConfigurationInvalid,
    ErrorCode,
    JobInterrupted,
    NoSpace,
    NotFound,
    PlatformError,
    ProcessingFailed,
    Unavailable,
)
from contentplatform.lambdas import runtime
from contentplatform.lambdas.runtime import Container, Function, Invocation, Result
from contentplatform.workflow.definition import STATE_MACHINE, Task

ROOM = logging.getLogger("contentplatform.storage.somewhere")
SECRET = "arn:aws:s3:::somebody's bucket"


@dataclass
class FakeContext:
    """What Lambda tells of a call."""

    function_name: str = "update-metadata"
    aws_request_id: str = "request-1"
    milliseconds: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """The platform's logger as it was before, afterwards."""
    logger = logging.getLogger(runtime.SERVICE)
    before = dict(vars(logger)), list(logger.handlers)
    runtime.configured_log.cache_clear()
    yield
    runtime.configured_log.cache_clear()
    vars(logger).clear()
    vars(logger).update(before[0])
    logger.handlers[:] = before[1]
    logger.manager._clear_cache()  # type: ignore[attr-defined]  # levels are remembered


def container(home: object = None) -> Container:
    return Container(lambda: cast("AwsHome", home))


def function(body: Callable[[Invocation], Result], inside: Container | None = None) -> Function:
    return Function(body, inside or container())


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Everything that was written, each line as the JSON it has to be."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def raising(error: Exception) -> Function:
    def body(_call: Invocation) -> Result:
        raise error

    return function(body)


class LostLease(Unavailable):
    """An error that a room derived for itself."""


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (
            ProcessingFailed("making it", "it is broken", code=ErrorCode.DECODE, private=SECRET),
            "E_DECODE",
            "[E_DECODE] making it: it is broken",
        ),
        (
            Unavailable("reading it", "AWS is busy", hint="Try again", private=SECRET),
            "Unavailable",
            "[Unavailable] reading it: AWS is busy. Try again",
        ),
        (NoSpace("a", "b", private=SECRET), "NoSpace", "[NoSpace] a: b"),
        (JobInterrupted("a", "b", private=SECRET), "JobInterrupted", "[JobInterrupted] a: b"),
        (NotFound("a", "b", private=SECRET), "NotFound", "[NotFound] a: b"),
        (LostLease("a", "b", private=SECRET), "Unavailable", "[Unavailable] a: b"),
        (
            ValueError(SECRET),
            "E_INTERNAL",
            "[E_INTERNAL] a fault of the platform, not of the file. The function's log tells more",
        ),
    ],
)
def test_an_outcome_has_the_name_that_the_workflow_knows_and_words_for_a_person(
    error: Exception, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exception, match=r"^\[") as caught:
        raising(error)({}, FakeContext())
    outcome = caught.value
    assert type(outcome).__name__ == name
    assert str(outcome) == message
    assert (outcome.__cause__, outcome.__context__) == (None, None)
    assert SECRET not in "".join(traceback.format_exception(outcome))
    [told] = [line for line in lines(capsys) if "message" in line]
    assert (told[log.ERROR_CODE], told[log.REASON]) == (name, message)
    assert SECRET in json.dumps(told, ensure_ascii=False), "the operator's log has it"
    assert ("exception" in told) == (name == "E_INTERNAL")


def test_every_error_that_a_step_may_raise_and_the_workflow_retries_can_be_an_outcome() -> None:
    retried = {
        name
        for state in STATE_MACHINE.states.values()
        if isinstance(state, Task)
        for retrier in state.retry
        for name in retrier.error_names
        if not name.startswith(("States.", "Lambda.", "Sandbox.", "Runtime."))
    }
    classes = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PlatformError)
    }
    assert retried
    assert retried <= classes | set(ErrorCode)


def test_a_result_goes_out_as_it_is() -> None:
    result = {"renditions": [], "metadata": {"width": 1}}
    assert function(lambda _call: result)({"key": "a"}, FakeContext()) is result


def test_the_home_is_opened_by_the_first_call_that_asks_and_kept() -> None:
    opened = []

    def open_home() -> AwsHome:
        opened.append(1)
        return cast("AwsHome", "the home")

    inside = Container(open_home)
    asking = function(lambda call: {"home": call.home}, inside)
    function(lambda _call: {}, inside)({}, FakeContext())
    assert opened == []
    assert [asking({}, FakeContext())["home"] for _ in range(2)] == ["the home"] * 2
    assert opened == [1]


def test_a_home_that_failed_to_open_is_tried_again() -> None:
    outcomes: list[Exception | None] = [ConfigurationInvalid("reading the settings", "aws.region is none"), None]

    def open_home() -> AwsHome:
        if error := outcomes.pop(0):
            raise error
        return cast("AwsHome", "the home")

    asking = function(lambda call: {"home": call.home}, Container(open_home))
    with pytest.raises(Exception, match=r"^\[ConfigurationInvalid\] reading the settings: aws\.region is none$"):
        asking({}, FakeContext())
    assert asking({}, FakeContext()) == {"home": "the home"}


def test_on_lambda_the_home_is_opened_while_the_container_starts(tmp_path: Path) -> None:
    program = (
        "from contentplatform.lambdas import runtime, update_metadata\n"
        "home = runtime._container._home\n"
        "print(home and sorted(service for service, _ in home.aws._clients))\n"
    )
    given = {
        "CONTENTPLATFORM_AWS_ACCOUNT_ID": "123456789012",
        "CONTENTPLATFORM_DATA": str(tmp_path),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "HOME": "/",
    }
    lambda_s = {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}
    wrong = {"CONTENTPLATFORM_AWS_REGION": "nowhere"}
    for environment, opened in (
        (given, None),
        (given | lambda_s, ["dynamodb", "s3"]),
        (given | lambda_s | wrong, None),
    ):
        told = subprocess.run(
            [sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert (told.stdout, told.stderr) == (f"{opened}\n", "")


def test_a_cold_start_is_measured_once_a_container(capsys: pytest.CaptureFixture[str]) -> None:
    inside = container()
    seen = function(lambda call: {"first": call.is_first}, inside)
    assert [seen({}, FakeContext())["first"] for _ in range(3)] == [True, False, False]
    [metric] = lines(capsys)
    assert metric["ColdStart"] == [1.0]
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "ContentPlatform"
    assert (metric["function_name"], metric["service"]) == ("update-metadata", "contentplatform")
    function(lambda _call: {}, container())({}, FakeContext())
    assert len(lines(capsys)) == 1, "another container, another start"


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_counted_is_written_however_the_call_ended(fails: bool, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001 - a case of the table
    def body(call: Invocation) -> Result:
        call.count(runtime.FILES_FAILED)
        call.count(runtime.FILES_FAILED, 2)
        if fails:
            raise NotFound("a", "b")
        return {}

    counting = function(body)
    for _ in range(2):
        if fails:
            with pytest.raises(Exception, match="NotFound"):
                counting({}, FakeContext())
        else:
            counting({}, FakeContext())
    counted = [line for line in lines(capsys) if "FilesFailed" in line]
    assert [line["FilesFailed"] for line in counted] == [[1.0, 2.0]] * 2
    assert all(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]] for line in counted)


def test_a_room_s_events_are_logged_with_the_platform_s_names_of_fields(capsys: pytest.CaptureFixture[str]) -> None:
    def body(_call: Invocation) -> Result:
        log.event(ROOM, logging.INFO, "object stored", **{log.COUNT: 3})
        ROOM.debug("a detail")
        return {}

    inside = container()
    event = {"bucket": "primary", "key": "a\nb.jpg", "version_id": "v1", "execution": "process-1", "result": {"x": 1}}
    function(body, inside)(event, FakeContext())
    function(body, inside)({"Records": []}, FakeContext(aws_request_id="request-2"))
    first, second = (line for line in lines(capsys) if "message" in line)
    assert "timestamp" in first
    assert {name: value for name, value in first.items() if name != "timestamp"} == {
        "level": "info",
        "logger": ROOM.name,
        "message": "object stored",
        "service": "contentplatform",
        "function": "update-metadata",
        "request_id": "request-1",
        "cold_start": True,
        "bucket": "primary",
        "key": "a\nb.jpg",
        "version_id": "v1",
        "execution": "process-1",
        "count": 3,
    }
    assert "key" not in second, "what was said of one call is not said of the next"
    assert (second["request_id"], second["cold_start"]) == ("request-2", False)


def test_the_remaining_time_is_told_in_seconds() -> None:
    telling = function(lambda call: {"seconds": call.remaining_seconds()})
    assert telling({}, FakeContext(milliseconds=1_500)) == {"seconds": 1.5}


def test_the_home_is_opened_by_the_function_s_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # whoever asked AWS anything would fail
    monkeypatch.setenv("CONTENTPLATFORM_DATA", str(tmp_path))
    monkeypatch.setenv(environment_name("storage", "bucket_suffix"), "x7")
    monkeypatch.setenv(environment_name("aws", "account_id"), "123456789012")
    monkeypatch.setenv(environment_name("aws", "region"), "eu-central-1")
    home = runtime.open_home()
    assert home.platform.settings.data_folder == tmp_path
    assert home.platform.settings.storage.bucket_suffix == "x7"
    assert (home.aws.region, home.aws.account_id) == ("eu-central-1", "123456789012")
    assert isinstance(home, app.AwsHome)
    home.close()
