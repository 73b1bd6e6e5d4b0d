"""Calls that make each function use its rights, one after the other: what to make ready, and what to call it with.

Nothing else works meanwhile (``Stage``): no event of the store, no stream and no ended execution starts anything, so
what a function does with one right missing disturbs nobody.
"""

from __future__ import annotations

import base64
import itertools
import json
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Final

import document_files
import sample_clips
from aws.conftest import until
from billing import Billing
from contentplatform.app import PROCESSED_KINDS, AwsHome
from contentplatform.backup.port import REPORTS_PREFIX
from contentplatform.errors import Conflict, NotFound
from contentplatform.ingest.hashing import STATE_FOLDER, UNFINISHED_NOTE
from contentplatform.ingest.queue import UPLOADS
from contentplatform.ingest.reconciliation import POSITION_KEY
from contentplatform.ingest.service import IngestService
from contentplatform.media import file_id
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole, PutOptions, erase
from contentplatform.storage.rehash import ResumableSha256
from contentplatform.together import one_by_one
from contentplatform.workflow.definition import STATE_MACHINE
from contentplatform.workflow.publication import Publication
from emulator import BACKUP_REGION
from fakes.workflow_engine import InMemoryWorkflowEngine
from sample_media import encoded, photo

Event = Mapping[str, Any]
Prepare = Callable[["Stage"], Event]
ENDED_RULE: Final = "content-processing-ended"
_WAIT_SECONDS: Final = 10_000
"""The emulator waits a hundredth of that: longer than any test looks at what waits."""
_TEXT: Final = b"words and more words\n"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Called:
    """What came of one call."""

    failed: bool
    answer: Any
    log: str

    @property
    def words(self) -> str:
        """Everything that the call said."""
        return f"{json.dumps(self.answer)}\n{self.log}"


class Stage:
    """The deployed platform, held still; the test is the only one who calls."""

    def __init__(self, home: AwsHome, suffix: str) -> None:
        self.home = home
        self.primary = bucket_name(BucketRole.PRIMARY, suffix)
        platform = home.platform
        publication = Publication(platform.store, platform.catalog, platform.edge)
        self._engine = InMemoryWorkflowEngine(STATE_MACHINE, {}, platform.clock)
        self._ingest = IngestService(
            platform.store, platform.catalog, self._engine, publication, platform.clock, one_by_one, PROCESSED_KINDS
        )
        self._stops: list[Callable[[], Any]] = []
        self._keys: list[str] = []

    # -- still, and calling ----------------------------------------------------------------------------------

    @contextmanager
    def held_still(self) -> Iterator[Stage]:
        """Nothing starts a function but a call; afterwards everything does again."""
        s3, functions, events = (self.home.aws.client(name) for name in ("s3", "lambda", "events"))
        told = s3.get_bucket_notification_configuration(Bucket=self.primary)
        told.pop("ResponseMetadata")
        mappings = [found["UUID"] for found in functions.list_event_source_mappings()["EventSourceMappings"]]
        try:
            s3.put_bucket_notification_configuration(Bucket=self.primary, NotificationConfiguration={})
            events.disable_rule(Name=ENDED_RULE)
            until(lambda: self.home.platform.events.waiting() == 0, "the queue is empty")
            for mapping in mappings:
                functions.update_event_source_mapping(UUID=mapping, Enabled=False)
            yield self
        finally:
            for stop in self._stops:
                stop()
            self._clear()
            for mapping in mappings:
                functions.update_event_source_mapping(UUID=mapping, Enabled=True)
            events.enable_rule(Name=ENDED_RULE)
            s3.put_bucket_notification_configuration(Bucket=self.primary, NotificationConfiguration=told)

    def _clear(self) -> None:
        """Take away every file, so that nobody goes on with what was left half done."""
        catalog = self.home.platform.catalog
        for key in self._keys:
            erase(self.home.platform.store, BucketRole.PRIMARY, key)
            with suppress(NotFound, Conflict):  # an execution that was started may still write
                catalog.remove(file_id(key), catalog.get(file_id(key)).revision)

    def call(self, function: str, event: Event) -> Called:
        """Call a function itself, not the alias that everything else calls."""
        answer = self.home.aws.client("lambda").invoke(
            FunctionName=function, Payload=json.dumps(event).encode(), LogType="Tail"
        )
        log = base64.b64decode(answer.get("LogResult", "")).decode("utf-8", "replace")
        return Called("FunctionError" in answer, json.loads(answer["Payload"].read()), log)

    def renew(self, function: str, **variables: str) -> None:
        """Give a function a new process, which has read no parameter yet, and these variables besides its own."""
        functions = self.home.aws.client("lambda")
        given = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        wanted = {**given, **variables, "RENEWED": str(next(_numbers))}
        functions.update_function_configuration(FunctionName=function, Environment={"Variables": wanted})

    # -- files -----------------------------------------------------------------------------------------------

    def key(self, name: str) -> str:
        """A key that nobody used."""
        self._keys.append(f"rights/{next(_numbers)}/{name}")
        return self._keys[-1]

    def put(self, key: str, body: bytes) -> str:
        """Store a version; its id."""
        return self.home.platform.store.put(BucketRole.PRIMARY, key, BytesIO(body), PutOptions()).version_id

    def taken_in(self, key: str, body: bytes) -> dict[str, Any]:
        """Store a version and take it in, here; what its execution would begin with."""
        version = self.put(key, body)
        self._ingest.handle(key)
        entry = self.home.platform.catalog.get_entry(file_id(key), version)
        return dict(self._engine.get(entry.execution).input)

    def processed(self, key: str, body: bytes) -> dict[str, Any]:
        """The same, and process it, here; the execution's data before it is committed."""
        data = self.taken_in(key, body)
        resource = f"content-{data['route']}-processor"
        return {**data, "result": self.home.platform.steps.tasks()[resource](data)}

    def completed(self, key: str, body: bytes) -> dict[str, Any]:
        """The same, and commit it, here: its renditions are public."""
        data = self.processed(key, body)
        return {**data, "update": self.home.platform.steps.update_metadata(data)}

    def running(self, key: str, body: bytes) -> str:
        """Take a file in with an execution of Step Functions that goes on until it is stopped; its name."""
        with waiting_workflow(self.home):
            self.put(key, body)
            self.home.platform.ingest.handle(key)
            name = self.home.platform.catalog.get_entry(file_id(key), self.version(key)).execution
            waits(self.home, name)
        return name

    def version(self, key: str) -> str:
        """The current version of a key."""
        return self.home.platform.store.head(BucketRole.PRIMARY, key).version_id

    def delete_version(self, key: str) -> None:
        """Delete the current version for good."""
        self.home.platform.store.delete_version(BucketRole.PRIMARY, key, self.version(key))

    def keep(self, key: str, document: Mapping[str, Any]) -> None:
        """Write a document into the analytics bucket."""
        body = BytesIO(json.dumps(document).encode())
        self.home.platform.store.put(BucketRole.ANALYTICS, key, body, PutOptions("application/json"))

    def picture(self) -> bytes:
        """A picture that nobody has seen."""
        return encoded(photo(64, 48, seed=next(_numbers)), "JPEG")

    def sound(self) -> bytes:
        """A sound that nobody has heard."""
        made = BytesIO()
        with wave.open(made, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(next(_numbers).to_bytes(2, "little") * 2_000)
        return made.getvalue()

    def film(self) -> bytes:
        """A film that nobody has seen, with subtitles: a box is added to it that says nothing."""
        told = str(next(_numbers)).encode()
        box = (8 + len(told)).to_bytes(4, "big") + b"free" + told
        return sample_clips.three_subtitles_mp4().read_bytes() + box

    def encoded(self, key: str, body: bytes) -> dict[str, Any]:
        """Take a film in and have it encoded, here; what its completion begins with."""
        data = self.taken_in(key, body)
        job = self.home.platform.steps.videos.process(data)
        asked = {**data, "job": job}
        until(lambda: self.home.platform.steps.videos.check(asked)["status"] == "COMPLETE", f"{key} is encoded")
        return asked

    def billing(self) -> Billing:
        """A bill of nothing."""
        billing = Billing()
        billing.answers["GetCostAndUsage"] = lambda _asked: {"ResultsByTime": []}
        billing.answers["GetFreeTierUsage"] = lambda _asked: {"freeTierUsages": []}
        self._stops.append(billing.stop)
        return billing


@contextmanager
def waiting_workflow(home: AwsHome) -> Iterator[None]:
    """What is started meanwhile does nothing until it is stopped."""
    states = home.aws.client("stepfunctions")
    arn = machine_arn(home)
    text = states.describe_state_machine(stateMachineArn=arn)["definition"]
    waits = {"Type": "Wait", "Seconds": _WAIT_SECONDS, "Next": "End"}
    waiting = {"StartAt": "Wait", "States": {"Wait": waits, "End": {"Type": "Succeed"}}}
    states.update_state_machine(stateMachineArn=arn, definition=json.dumps(waiting))
    try:
        yield
    finally:
        states.update_state_machine(stateMachineArn=arn, definition=text)


def waits(home: AwsHome, name: str) -> None:
    """Return when an execution has begun to wait: the emulator looks the workflow up a moment after its start."""
    until(lambda: home.platform.engine.get(name).state == "Wait", f"{name} waits")


def machine_arn(home: AwsHome) -> str:
    """The state machine's ARN."""
    return f"arn:aws:states:{home.aws.region}:{home.aws.account_id}:stateMachine:{STATE_MACHINE.name}"


def execution_arn(home: AwsHome, name: str) -> str:
    """An execution's ARN."""
    return f"{machine_arn(home).replace(':stateMachine:', ':execution:')}:{name}"


# -- uploads -----------------------------------------------------------------------------------------------------


def _told_of(stage: Stage, key: str) -> Event:
    """What Lambda hands over when S3 told of a key."""
    told = {"s3": {"bucket": {"name": stage.primary}, "object": {"key": key}}}
    return {"Records": [{"messageId": "one", "body": json.dumps({"Records": [told]})}]}


def _new_file(stage: Stage) -> str:
    """Past the platform: nobody vouches for its hash."""
    key = stage.key("new.txt")
    stage.home.aws.client("s3").put_object(Bucket=stage.primary, Key=key, Body=_TEXT)
    return key


def _removed_photo(stage: Stage) -> str:
    key = stage.key("removed.jpg")
    stage.completed(key, stage.picture())
    stage.home.platform.store.delete(BucketRole.PRIMARY, key)
    return key


def _photo_deleted_for_good(stage: Stage) -> str:
    key = stage.key("deleted.jpg")
    stage.completed(key, stage.picture())
    stage.delete_version(key)
    return key


def _photo_brought_back(stage: Stage) -> str:
    key = stage.key("back.jpg")
    stage.completed(key, stage.picture())
    marker = stage.home.platform.store.delete(BucketRole.PRIMARY, key)
    stage._ingest.handle(key)
    stage.home.platform.store.delete_version(BucketRole.PRIMARY, key, marker.version_id)
    return key


def _deleted_while_it_runs(stage: Stage) -> str:
    key = stage.key("running.txt")
    stage.running(key, _TEXT)
    stage.delete_version(key)
    return key


def _half_hashed(stage: Stage) -> str:
    key, body = stage.key("large.txt"), _TEXT * 64
    data = stage.completed(key, body)
    catalog = stage.home.platform.catalog
    entry = catalog.get_entry(data["file_id"], data["version_id"])
    entry = catalog.put_entry(replace(entry, file_hash="", hash_verified=False, note=UNFINISHED_NOTE))
    catalog.put(replace(catalog.get(data["file_id"]), file_hash="", hash_verified=False, note=UNFINISHED_NOTE))
    digest = ResumableSha256()
    digest.update(body[:640])
    document = {"format": 1, "key": key, "version_id": entry.version_id, "size_bytes": len(body), "hashed_bytes": 640}
    state_key = f"{STATE_FOLDER}/{entry.file_id}/{entry.version_id}.json"
    stage.keep(state_key, {**document, "state": digest.state().as_text()})
    return key


def _name_of_a_moved_file(stage: Stage) -> str:
    key = stage.key("moved.txt")
    stage.put(key, _TEXT)
    dynamodb = stage.home.aws.client("dynamodb")
    chain = [file_id(name) for name in (stage.key("first.txt"), key, stage.key("last.txt"))]
    for source, target in itertools.pairwise(chain):
        redirect = {"file_id": {"S": source}, "moved_to": {"S": target}}
        dynamodb.put_item(TableName="content-metadata", Item=redirect)
    return key


def _message_that_fails(stage: Stage) -> Event:
    sqs = stage.home.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=UPLOADS.name)["QueueUrl"]
    sqs.purge_queue(QueueUrl=url)
    sqs.send_message(QueueUrl=url, MessageBody="no message of S3's")
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    stage._stops.append(lambda: sqs.purge_queue(QueueUrl=url))
    stage.renew("content-upload-handler")
    told = {"messageId": message["MessageId"], "body": message["Body"], "receiptHandle": message["ReceiptHandle"]}
    return {"Records": [{**told, "attributes": {"ApproximateReceiveCount": "1"}}]}


def _uploaded(prepare: Callable[[Stage], str]) -> Prepare:
    """The upload handler is told of a key."""
    return lambda stage: _told_of(stage, prepare(stage))


def _reconciled(prepare: Callable[[Stage], str]) -> Prepare:
    """The reconciler finds a key by itself."""

    def prepared(stage: Stage) -> Event:
        prepare(stage)
        return {}

    return prepared


def _renewed(function: str, prepare: Prepare) -> Prepare:
    """The same in a new process, which knows no parameter yet."""

    def prepared(stage: Stage) -> Event:
        event = prepare(stage)
        stage.renew(function)
        return event

    return prepared


def _far_position(stage: Stage) -> Event:
    stage.keep(POSITION_KEY, {"begin": "catalog:"})
    return {}


# -- tasks of the workflow ---------------------------------------------------------------------------------------


def _new_photo(stage: Stage) -> Event:
    return stage.taken_in(stage.key("new.jpg"), stage.picture())


def _twin(stage: Stage) -> Event:
    body = stage.picture()
    stage.completed(stage.key("first.jpg"), body)
    return stage.taken_in(stage.key("second.jpg"), body)


def _photo_deleted_meanwhile(stage: Stage) -> Event:
    """Its content is known, so nothing is read of it before it is missed."""
    data = _twin(stage)
    stage.delete_version(data["key"])
    return data


def _new_text(stage: Stage) -> Event:
    return stage.taken_in(stage.key("new.txt"), _TEXT)


def _replaced_text(stage: Stage) -> Event:
    """Another version has taken the place of the one that is processed."""
    data = _new_text(stage)
    stage.put(data["key"], _TEXT * 2)
    return data


def _rendered_photo(stage: Stage) -> Event:
    return stage.processed(stage.key("rendered.jpg"), stage.picture())


def _rendered_again(stage: Stage) -> Event:
    key = stage.key("again.jpg")
    stage.completed(key, stage.picture())
    return stage.processed(key, stage.picture())


def _photo_became_text(stage: Stage) -> Event:
    key = stage.key("photo-or-text")
    stage.completed(key, stage.picture())
    return stage.processed(key, _TEXT)


def _photo_became_broken(stage: Stage) -> Event:
    key = stage.key("broken.jpg")
    stage.completed(key, stage.picture())
    data = stage.taken_in(key, stage.picture()[:200])
    return {**data, "error": {"Error": "E_DECODE", "Cause": "it is broken"}}


def _replaced_photo(stage: Stage) -> Event:
    key = stage.key("replaced.jpg")
    stage.completed(key, stage.picture())
    return stage.completed(key, stage.picture())


def _new_film(stage: Stage) -> Event:
    return stage.taken_in(stage.key("new.mp4"), stage.film())


def _film_known(stage: Stage) -> Event:
    body, steps = stage.film(), stage.home.platform.steps
    data = stage.encoded(stage.key("first.mp4"), body)
    steps.update_metadata({**data, "result": steps.videos.finish(data)})
    return stage.taken_in(stage.key("second.mp4"), body)


def _film_deleted_meanwhile(stage: Stage) -> Event:
    """Its content is known, so nothing is read of it before it is missed."""
    data = _film_known(stage)
    stage.delete_version(data["key"])
    return data


def _film_at_mediaconvert(stage: Stage) -> Event:
    data = _new_film(stage)
    return {**data, "job": stage.home.platform.steps.videos.process(data)}


def _film_that_failed(stage: Stage) -> Event:
    return {**_film_at_mediaconvert(stage), "error": {"Error": "E_DECODE", "Cause": "it is broken"}}


def _encoded_film(stage: Stage) -> Event:
    return stage.encoded(stage.key("encoded.mp4"), stage.film())


def _film_without_pictures(stage: Stage) -> Event:
    told = str(next(_numbers)).encode()
    body = sample_clips.sound_in_a_films_container("mp4").read_bytes()
    box = (8 + len(told)).to_bytes(4, "big") + b"free" + told
    return stage.encoded(stage.key("heard.mp4"), body + box)


def _new_sound(stage: Stage) -> Event:
    return stage.taken_in(stage.key("new.wav"), stage.sound())


def _sound_known(stage: Stage) -> Event:
    body = stage.sound()
    stage.completed(stage.key("first.wav"), body)
    return stage.taken_in(stage.key("second.wav"), body)


def _sound_deleted_meanwhile(stage: Stage) -> Event:
    data = _sound_known(stage)
    stage.delete_version(data["key"])
    return data


def _new_paper(stage: Stage) -> Event:
    words = b"BT /F1 24 Tf 72 700 Td (Paper %d) Tj ET" % next(_numbers)
    return stage.taken_in(stage.key("new.pdf"), document_files.pdf((words,)))


def _paper_known(stage: Stage) -> Event:
    body = document_files.pdf((b"BT /F1 24 Tf 72 700 Td (Known %d) Tj ET" % next(_numbers),))
    stage.completed(stage.key("first.pdf"), body)
    return stage.taken_in(stage.key("second.pdf"), body)


def _paper_deleted_meanwhile(stage: Stage) -> Event:
    data = _paper_known(stage)
    stage.delete_version(data["key"])
    return data


# -- pictures on the fly -----------------------------------------------------------------------------------------


def asked_for(path: str, **headers: str) -> Event:
    """What Lambda hands over when the edge asks for a picture."""
    context = {"http": {"method": "GET", "path": path}}
    return {"rawPath": path, "rawQueryString": "", "headers": headers, "requestContext": context}


def _picture_of_a_photo(stage: Stage) -> Event:
    key = stage.key("shown.jpg")
    stage.completed(key, stage.picture())
    return asked_for(f"/images/t_square-96/{key}")


def _picture_of_a_paper(stage: Stage) -> Event:
    key = stage.key("shown.pdf")
    words = b"BT /F1 24 Tf 72 700 Td (Shown %d) Tj ET" % next(_numbers)
    stage.completed(key, document_files.pdf((words,)))
    return asked_for(f"/images/t_square-96/{key}")


def _picture_of_a_photo_that_is_replaced(stage: Stage) -> Event:
    key = stage.key("replaced.jpg")
    stage.completed(key, stage.picture())
    stage.taken_in(key, stage.picture())
    return asked_for(f"/images/t_square-96/{key}")


# -- what follows, and what the clock starts ---------------------------------------------------------------------


def _changed_record(stage: Stage) -> Event:
    data = stage.taken_in(stage.key("found.txt"), _TEXT)
    identifier = {"file_id": {"S": data["file_id"]}}
    item = stage.home.aws.client("dynamodb").get_item(TableName="content-metadata", Key=identifier)["Item"]
    return {"Records": [{"dynamodb": {"Keys": identifier, "SequenceNumber": "1", "NewImage": item}}]}


def _stopped_by_hand(stage: Stage) -> Event:
    """The first version was public; the second one's execution ended past every state."""
    key = stage.key("stopped")
    stage.completed(key, stage.picture())
    name = stage.running(key, _TEXT)
    arn = execution_arn(stage.home, name)
    stage.home.aws.client("stepfunctions").stop_execution(executionArn=arn)
    return {"detail": {"executionArn": arn}}


def _a_file(stage: Stage) -> Event:
    stage.taken_in(stage.key("any.txt"), _TEXT)
    return {}


def _copy_in_parts(stage: Stage) -> Event:
    """The second copy of a file has another etag, as if it had been stored in parts: checksums have to be asked for."""
    key = stage.key("in-parts.txt")
    stage.taken_in(key, _TEXT)
    suffix = stage.primary.rpartition("-")[2]
    s3, where = (
        stage.home.aws.client("s3", BACKUP_REGION),
        {"Bucket": bucket_name(BucketRole.BACKUP, suffix), "Key": key},
    )
    for version in s3.list_object_versions(Bucket=where["Bucket"], Prefix=key)["Versions"]:
        s3.delete_object(**where, VersionId=version["VersionId"])
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=_TEXT)
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    return {}


def _fewer_files_than_before(stage: Stage) -> Event:
    """The last report told of many more files, so somebody has to be told."""
    stage.keep(f"{REPORTS_PREFIX}last.json", {"primary": {"objects": 10**9, "size_bytes": 10**12, "versions": 10**9}})
    return {}


def _the_bill(stage: Stage) -> Event:
    led = {name: url for name, url in stage.billing().environment().items() if name.startswith("AWS_ENDPOINT_URL_")}
    stage.renew("cost-report-generator", **led)
    return {}


_TAKE_IN: Final[Mapping[str, Callable[[Stage], str]]] = {
    "a new file": _new_file,
    "a removed photo": _removed_photo,
    "a photo deleted for good": _photo_deleted_for_good,
    "a photo brought back": _photo_brought_back,
    "a file deleted while it is processed": _deleted_while_it_runs,
    "a file that is half hashed": _half_hashed,
    "a file by the name of one that was moved": _name_of_a_moved_file,
}
FRESH: Final = "in a new process"
CALLS: Final[Mapping[str, Mapping[str, Prepare]]] = {
    "content-upload-handler": {
        **{name: _uploaded(prepare) for name, prepare in _TAKE_IN.items()},
        FRESH: _renewed("content-upload-handler", _uploaded(_removed_photo)),
        "a message that fails": _message_that_fails,
    },
    "content-image-processor": {
        "a new photo": _new_photo,
        "a photo whose content is known": _twin,
        "a photo that is deleted meanwhile": _photo_deleted_meanwhile,
    },
    "content-video-processor": {
        "a new film": _new_film,
        "a film whose content is known": _film_known,
        "a film that is deleted meanwhile": _film_deleted_meanwhile,
    },
    "check-mediaconvert-status": {"a film at MediaConvert": _film_at_mediaconvert},
    "content-video-finisher": {
        "an encoded film": _encoded_film,
        "a film without pictures": _film_without_pictures,
    },
    "content-audio-processor": {
        "a new sound": _new_sound,
        "a sound whose content is known": _sound_known,
        "a sound that is deleted meanwhile": _sound_deleted_meanwhile,
    },
    "content-document-processor": {
        "a new paper": _new_paper,
        "a paper whose content is known": _paper_known,
        "a paper that is deleted meanwhile": _paper_deleted_meanwhile,
    },
    "content-generic-processor": {"a new text": _new_text, "a text that was replaced": _replaced_text},
    "update-metadata": {
        "a new photo": _rendered_photo,
        "a photo that replaces one": _rendered_again,
        "a text that replaces a photo": _photo_became_text,
        FRESH: _renewed("update-metadata", _photo_became_text),
    },
    "record-failure": {
        "a broken photo that replaces one": _photo_became_broken,
        "a film whose encoding failed": _film_that_failed,
        FRESH: _renewed("record-failure", _photo_became_broken),
    },
    "cloudfront-invalidation": {
        "a photo that replaced one": _replaced_photo,
        FRESH: _renewed("cloudfront-invalidation", _replaced_photo),
    },
    "content-image-transformer": {
        "a picture of a photo": _picture_of_a_photo,
        "a picture of a paper": _picture_of_a_paper,
        "a picture of a photo that is being replaced": _picture_of_a_photo_that_is_replaced,
    },
    "content-search-indexer": {"a changed record": _changed_record},
    "content-execution-recorder": {
        "an execution that was stopped by hand": _stopped_by_hand,
        FRESH: _renewed("content-execution-recorder", _stopped_by_hand),
    },
    "content-reconciler": {
        **{name: _reconciled(prepare) for name, prepare in _TAKE_IN.items()},
        FRESH: _renewed("content-reconciler", _reconciled(_removed_photo)),
        "a stretch that is left": _far_position,
    },
    "content-backup-validator": {
        "a file": _a_file,
        "a copy that was stored in parts": _copy_in_parts,
        "fewer files than before": _fewer_files_than_before,
    },
    "content-metadata-export": {"a file": _a_file},
    "cost-report-generator": {"a week": _the_bill},
}
"""By function: what it is called with, and what that is called."""
