"""Every function: that it has its module, what it loads, and what it does to a platform in memory."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Self, cast
from urllib.parse import quote_plus

import pytest

from contentplatform.app import AwsHome
from contentplatform.backup.port import BackupStatus
from contentplatform.backup.validator import BackupValidator, StoreDigests
from contentplatform.errors import ConfigurationInvalid, Unavailable
from contentplatform.ingest.aws import handle_batch
from contentplatform.ingest.reconciliation import POSITION_KEY, Reconciliation
from contentplatform.lambdas import runtime
from contentplatform.lambdas.functions import FUNCTIONS
from contentplatform.lambdas.functions import Function as Described
from contentplatform.lambdas.runtime import Container, Function
from contentplatform.media import ProcessingStatus
from contentplatform.storage.port import BucketRole, Listing, PutOptions, walk
from contentplatform.workflow.definition import STATE_MACHINE, Task
from contentplatform.workflow.recorder import Recorder
from fakes.platform import BROKEN, MemoryPlatform, document, film, jpeg, sound

BUCKET: Final = "content-platform-primary-test"
ALL: Final = {described.name: described for described in FUNCTIONS}
LOADED_BY_NONE: Final = ("apsw", "sqlite3", "click", "duckdb", "cfnlint", "aws_cdk", "pyvips", "pi_heif", "PIL")


def module_of(described: Described) -> str:
    return described.handler.rpartition(".")[0]


def function(name: str) -> Function:
    found = importlib.import_module(module_of(ALL[name])).handle
    assert isinstance(found, Function)
    return found


# -- what there is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("described", FUNCTIONS, ids=lambda described: described.name)
def test_every_function_has_its_module_and_a_body_of_a_few_lines(described: Described) -> None:
    body = function(described.name).body
    (definition,) = ast.parse(inspect.getsource(body)).body
    assert isinstance(definition, ast.FunctionDef)
    assert ast.get_docstring(definition)
    first, last = definition.body[1], definition.body[-1]
    lines = cast("int", last.end_lineno) - first.lineno + 1
    assert lines <= 6


def test_every_step_of_the_workflow_is_a_function_with_time_enough() -> None:
    steps = [state for state in STATE_MACHINE.states.values() if isinstance(state, Task)]
    assert {step.resource for step in steps} <= set(ALL)
    assert all(ALL[step.resource].timeout_seconds <= step.timeout_seconds for step in steps)


def test_no_function_loads_what_only_the_local_home_or_a_deployment_needs() -> None:
    program = (
        "import importlib, sys\n"
        f"never = set({LOADED_BY_NONE!r})\n"
        f"for name in {[module_of(described) for described in FUNCTIONS]!r}:\n"
        "    importlib.import_module(name)\n"
        "    found = sorted(never & set(sys.modules))\n"
        "    assert not found, (name, found)\n"
        "    assert 'boto3' not in sys.modules, name\n"
        "from contentplatform.lambdas.runtime import open_home\n"
        "home = open_home()\n"
        "home.pictures\n"
        "home.search_feed(), home.recorder(), home.reconciliation(), home.backup_validator(), home.cost_reporter()\n"
        "print(sorted(never & set(sys.modules)))\n"
    )
    environment = {"CONTENTPLATFORM_AWS_ACCOUNT_ID": "123456789012", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/"}
    result = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")


# -- what they do --------------------------------------------------------------------------------------------------


@dataclass
class FakeContext:
    function_name: str = "a function"
    aws_request_id: str = "request"
    milliseconds: int = 900_000

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@dataclass
class MemoryHome:
    """A home over a platform in memory; what AWS itself does around functions is played by the tests."""

    platform: MemoryPlatform
    alerts: list[str] = field(default_factory=list)
    swept: int = 0

    def take_in_batch(self, messages: Iterable[Mapping[str, Any]], is_over: Callable[[], bool]) -> dict[str, Any]:
        ingest = self.platform.ingest
        return dict(handle_batch(messages, lambda event: ingest.handle(event.key), bucket_name=BUCKET, is_over=is_over))

    def reconciliation(self) -> Reconciliation:
        return Reconciliation(self.platform.ingest, self.platform.store, self.platform.clock)

    def backup_validator(self) -> BackupValidator:
        return BackupValidator(
            self.platform.store,
            StoreDigests(self.platform.store),
            cast("Any", self),  # it hears its own alerts
            self.platform.clock,
        )

    def recorder(self) -> Recorder:
        return Recorder(cast("Any", self), self.platform.steps)

    @property
    def pictures(self) -> MemoryHome:
        return self

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return {"statusCode": 200, "headers": {"asked": event["rawPath"]}}

    def record_ended(self, arn: str) -> None:
        self.alerts.append(arn)

    def send(self, subject: str, _body: str, _severity: object) -> None:
        self.alerts.append(subject)

    def sweep_scratch(self) -> int:
        self.swept += 1
        return 0

    def gaps(self) -> tuple[str, ...]:
        return ("jobs can read files",)


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path) -> MemoryHome:
    return MemoryHome(MemoryPlatform(tmp_path))


@pytest.fixture
def call(home: MemoryHome, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call a function by its name, in a container of its own with the home in memory."""
    monkeypatch.setattr(runtime, "configured_log", SilentLog)
    containers: dict[str, Container] = {}

    def run(name: str, event: Mapping[str, Any], *, milliseconds: int = 900_000) -> dict[str, Any]:
        inside = containers.setdefault(name, Container(lambda: cast("AwsHome", home)))
        result = function(name).on(inside)(event, FakeContext(name, milliseconds=milliseconds))
        return cast("dict[str, Any]", json.loads(json.dumps(result, allow_nan=False)))

    return run


class SilentLog:
    """A log that nobody reads."""

    def append_context_keys(self, **_keys: Any) -> SilentLog:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to end."""


def told_by_s3(*keys: str, message_id: str = "message-1", bucket: str = BUCKET) -> dict[str, Any]:
    """A message of the upload queue as Lambda hands it over, as S3 wrote it."""
    records = [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "2030-01-01T00:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                "object": {"key": quote_plus(key), "size": 4, "eTag": "x", "versionId": "v", "sequencer": "00"},
            },
        }
        for key in keys
    ]
    return {
        "messageId": message_id,
        "receiptHandle": "handle",
        "body": json.dumps({"Records": records}),
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:content-platform-uploads",
        "awsRegion": "us-east-1",
    }


def started(home: MemoryHome) -> dict[str, Any]:
    """The data of the newest execution, as Step Functions hands it to the first state."""
    return dict(home.platform.engine.list().executions[0].input)


def caught(outcome: Exception) -> dict[str, str]:
    """What Step Functions makes of a function's failure."""
    cause = {
        "errorMessage": str(outcome),
        "errorType": type(outcome).__name__,
        "requestId": "r",
        "stackTrace": ['  File "/var/task/x.py", line 1, in y\n'],
    }
    return {"Error": type(outcome).__name__, "Cause": json.dumps(cause)}


def test_an_image_goes_through_its_functions(home: MemoryHome, call: Call) -> None:
    key = "Fotos 2026/größe+1.jpg"
    home.platform.add(key, jpeg("one"))
    assert call("content-upload-handler", {"Records": [told_by_s3(key)]}) == {"batchItemFailures": []}
    assert home.platform.library.record(key).status is ProcessingStatus.PENDING
    data = started(home)
    data["result"] = call("content-image-processor", data)
    assert [rendition["name"] for rendition in data["result"]["renditions"]] == ["thumbnail", "medium", "webp"]
    data["update"] = call("update-metadata", data)
    assert (data["update"]["status"], data["update"]["renditions"]) == ("completed", 3)
    assert "status" in call("cloudfront-invalidation", data)
    assert home.platform.library.record(key).status is ProcessingStatus.COMPLETED
    assert set(home.platform.public(key)) == {"thumbnails", "medium", "webp"}


def test_a_broken_image_fails_with_words_that_reach_the_catalog(
    home: MemoryHome, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    home.platform.add("a.jpg", jpeg("") + BROKEN)
    call("content-upload-handler", {"Records": [told_by_s3("a.jpg")]})
    data = started(home)
    with pytest.raises(Exception, match=r"^\[E_DECODE\]") as failure:
        call("content-image-processor", data)
    capsys.readouterr()
    assert call("record-failure", {**data, "error": caught(failure.value)})["Error"] == "E_DECODE"
    record = home.platform.library.record("a.jpg")
    assert record.status is ProcessingStatus.FAILED
    assert record.error == "making renditions: the image is broken"
    assert '"FilesFailed":[1.0]' in capsys.readouterr().out


def test_a_video_goes_through_its_three_functions(home: MemoryHome, call: Call) -> None:
    home.platform.add("walk.mov", film("one"))
    call("content-upload-handler", {"Records": [told_by_s3("walk.mov")]})
    data = started(home)
    data["job"] = call("content-video-processor", data)
    assert [rung["name"] for rung in data["job"]["rungs"]] == ["720p", "480p"]
    data["job_status"] = call("check-mediaconvert-status", data)
    assert data["job_status"] == {"status": "COMPLETE", "percent": 100}
    data["result"] = call("content-video-finisher", data)
    assert {"720p", "480p"} <= {rendition["name"] for rendition in data["result"]["renditions"]}
    assert call("update-metadata", data)["status"] == "completed"
    assert home.swept == 2


@pytest.mark.parametrize(
    ("name", "body", "function_name", "made"),
    [
        ("song.mp3", sound("one"), "content-audio-processor", {"m4a", "opus"}),
        ("paper.pdf", document("one"), "content-document-processor", {"thumbnail", "text"}),
    ],
)
def test_a_sound_and_a_document_go_through_their_functions(
    home: MemoryHome, call: Call, name: str, body: bytes, function_name: str, made: set[str]
) -> None:
    home.platform.add(name, body)
    call("content-upload-handler", {"Records": [told_by_s3(name)]})
    data = started(home)
    data["result"] = call(function_name, data)
    assert made <= {rendition["name"] for rendition in data["result"]["renditions"]}
    assert call("update-metadata", data)["status"] == "completed"
    assert home.swept == 1


def test_any_other_file_goes_the_generic_way(home: MemoryHome, call: Call) -> None:
    home.platform.add("notes.txt", b"some words")
    call("content-upload-handler", {"Records": [told_by_s3("notes.txt")]})
    data = started(home)
    data["result"] = call("content-generic-processor", data)
    assert data["result"]["metadata"]["size"] == 10
    assert call("update-metadata", data)["status"] == "completed"


def test_of_a_batch_only_what_failed_comes_again(home: MemoryHome, call: Call) -> None:
    home.platform.add("a.txt", b"a")
    home.platform.add("b.txt", b"b")
    batch = [
        told_by_s3("a.txt", message_id="good"),
        told_by_s3("c.txt", message_id="foreign", bucket="somebody-else-s"),
        {"messageId": "unreadable", "body": "{"},
        {"messageId": "test", "body": json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})},
        told_by_s3("b.txt", message_id="good, too"),
    ]
    answer = call("content-upload-handler", {"Records": batch})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "foreign"}, {"itemIdentifier": "unreadable"}]}
    assert {record.input["key"] for record in home.platform.engine.list().executions} == {"a.txt", "b.txt"}


def test_the_upload_handler_begins_no_file_for_which_it_has_no_time(home: MemoryHome, call: Call) -> None:
    message = told_by_s3("late.txt")
    answer = call("content-upload-handler", {"Records": [message]}, milliseconds=299_000)
    assert answer == {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
    assert not home.platform.engine.list().executions


def test_the_image_function_looks_around_once_a_container(home: MemoryHome, call: Call) -> None:
    for name in ("a.jpg", "b.jpg"):
        home.platform.add(name, jpeg(name))
        call("content-upload-handler", {"Records": [told_by_s3(name)]})
        call("content-image-processor", started(home))
    assert home.swept == 1


def test_the_edge_s_questions_reach_what_makes_pictures(home: MemoryHome, call: Call) -> None:
    asked = {"rawPath": "/images/t_card-512/a.jpg"}
    assert call("content-image-transformer", asked) == {"statusCode": 200, "headers": {"asked": asked["rawPath"]}}
    assert home.swept == 1


def test_an_execution_that_ended_is_handed_to_the_recorder(home: MemoryHome, call: Call) -> None:
    arn = "arn:aws:states:us-east-1:123456789012:execution:content-processing-workflow:process-1"
    assert call("content-execution-recorder", {"detail": {"executionArn": arn}}) == {
        "execution": arn,
        "recorded": False,
    }
    assert home.alerts == [arn]


def test_the_validator_s_report_is_returned_and_counted(
    home: MemoryHome, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    home.platform.add("a.txt", b"a")
    home.platform.clock.advance(3_600)
    report = call("content-backup-validator", {})
    assert (report["status"], report["overdue_count"]) == (BackupStatus.DEGRADED, 1)
    assert home.alerts == ["Backup DEGRADED: only 0 of 1 files (0.0 %) are in the second copy"]
    told = capsys.readouterr().out
    assert '"BackupsCompared":[1.0]' in told
    assert '"VersionsOverdue":[1.0]' in told


# -- reconciling ---------------------------------------------------------------------------------------------------


def lose(home: MemoryHome, *keys: str) -> None:
    """Uploads that no event told of."""
    for key in keys:
        home.platform.add(key, key.encode())
    home.platform.forget_events()


def position(home: MemoryHome) -> list[str]:
    return [version.key for version in walk(home.platform.store, BucketRole.ANALYTICS, POSITION_KEY)]


def test_the_reconciler_takes_in_what_no_event_told_of(
    home: MemoryHome, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    lose(home, "a.txt", "b.txt")
    found = call("content-reconciler", {})
    assert found == {"keys_seen": 2, "keys_mended": 2, "keys_failed": 0, "stopped_at": None}
    assert '"KeysMended":[2.0]' in capsys.readouterr().out
    assert call("content-reconciler", {})["keys_mended"] == 0
    assert position(home) == [], "one run is enough, so nothing is remembered"


def test_a_reconciler_that_is_out_of_time_goes_on_where_it_stopped(
    home: MemoryHome, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, keys = home.platform.store, [f"{number}.txt" for number in range(6)]
    lose(home, *keys)
    pages: list[str | None] = []

    def in_small_pages(listing: Callable[..., Listing]) -> Callable[..., Listing]:
        def small(bucket: BucketRole, *, prefix: str = "", continuation: str | None = None, **more: Any) -> Listing:
            if bucket is BucketRole.PRIMARY and not prefix:
                pages.append(continuation)
                more["limit"] = 2
            return listing(bucket, prefix=prefix, continuation=continuation, **more)

        return small

    def slow(key: str, *rest: Any) -> None:
        home.platform.clock.advance(100)
        took_in.append(key)
        handle(key, *rest)

    took_in: list[str] = []
    handle = home.platform.ingest.handle
    monkeypatch.setattr(store, "list", in_small_pages(store.list))
    monkeypatch.setattr(store, "list_versions", in_small_pages(store.list_versions))
    monkeypatch.setattr(home.platform.ingest, "handle", slow)
    first = call("content-reconciler", {}, milliseconds=420_000)
    assert (first["keys_mended"], took_in) == (3, keys[:3])
    assert first["stopped_at"] is not None
    pages.clear()
    second = call("content-reconciler", {}, milliseconds=900_000)
    assert (second["keys_mended"], second["stopped_at"]) == (3, None)
    assert took_in == keys
    assert pages[0] is not None, "the first page is not looked at again"
    call("content-reconciler", {})
    assert None in pages, "the next one begins at the beginning"


def test_a_place_that_is_none_any_more_is_no_obstacle(home: MemoryHome) -> None:
    lose(home, "a.txt")
    found = home.platform.ingest.reconcile(is_over=lambda: True)
    assert found.stopped_at is not None
    reconciliation = home.reconciliation()
    reconciliation.run(-1)
    for wrong in (b'{"begin": "store:not ours"}', b'{"begin": "elsewhere"}', b"[]", b"\xff"):
        put(home, wrong)
        assert reconciliation.run(60).stopped_at is None
    assert home.platform.library.record("a.txt").status is ProcessingStatus.PENDING


def put(home: MemoryHome, data: bytes) -> None:
    home.platform.store.put(BucketRole.ANALYTICS, POSITION_KEY, BytesIO(data), PutOptions())


def test_one_key_that_can_t_be_mended_holds_up_none_of_the_others_and_is_an_error(
    home: MemoryHome, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(home, "a.txt", "b.txt", "c.txt")
    handle = home.platform.ingest.handle

    def failing(key: str, *rest: Any) -> None:
        if key == "a.txt":
            raise Unavailable("taking in a.txt", "it is cursed")
        handle(key, *rest)

    monkeypatch.setattr(home.platform.ingest, "handle", failing)
    with pytest.raises(Exception, match=r"^\[Unavailable\] reconciling: 1 keys could not be taken in"):
        call("content-reconciler", {})
    assert {execution.input["key"] for execution in home.platform.engine.list().executions} == {"b.txt", "c.txt"}


def test_where_nothing_can_be_mended_a_reconciliation_gives_up(
    home: MemoryHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(home, *(f"{number:02}.txt" for number in range(40)))
    tried: list[str] = []

    def failing(key: str, *_rest: Any) -> None:
        tried.append(key)
        raise ConfigurationInvalid("taking in", "the right is missing")

    monkeypatch.setattr(home.platform.ingest, "handle", failing)
    with pytest.raises(ConfigurationInvalid):
        home.platform.ingest.reconcile()
    assert len(tried) == 20
