"""Encodes videos on MediaConvert: one job a video, paid once.

**Exactly this version.** The service reads by key and knows no versions, so the version is copied beside its
renditions first, under a key of plain characters, and that copy is what it reads.

**Paid once.** The service knows a repeated request for a minute only. So what is asked for is noted before, and the
job's id after, in objects of the version's own folder that nobody can write twice: a repeated call finds the id, or
looks for the job that was asked for, before it asks again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any, Final

from contentplatform import log
from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import (
    ConfigurationInvalid,
    Conflict,
    ErrorCode,
    InvalidRequest,
    NotFound,
)
from contentplatform.media import file_extension
from contentplatform.processing.mediaconvert_job import (
    DEFAULT_QUEUE,
    EXECUTION_FIELD,
    ROLE_PARAMETER,
    STAGING,
    create_job,
)
from contentplatform.processing.port import Transcoder, TranscodeRequest, TranscodeState, TranscodeStatus
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions, erase

_JOBS_A_PAGE: Final = 20
_CLOCKS_DIFFER_BY: Final = timedelta(minutes=5)
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}")
_SOURCE: Final = re.compile(rf"s3://[^/]+/(versions/[^/]+/[^/]+/{STAGING}/[^/]+)")
_ADDRESS: Final = re.compile(r"\b(s3|https?)://\S+")
_SERVICE_S_OWN: Final = frozenset({1401, 1404, 1432, 1433, 1434, 1999}) | frozenset(range(3_000, 4_000))
"""Error codes of jobs that failed for what is around the file: storage that could not be read or written, the service
itself."""
_IS_UNSUPPORTED: Final = re.compile(r"unsupported|not support|doesn't support|does not support", re.IGNORECASE)
_LONGEST_WORDS: Final = 300
_NOT_OF_THE_FILE: Final = frozenset({100_000})
"""Warning codes that say nothing of the film: it waited in another queue than was hoped."""
_MOST_WARNINGS: Final = 5

_logger = logging.getLogger(__name__)


class MediaConvertTranscoder(Transcoder):
    """Jobs of MediaConvert, on the region's own endpoint.

    Args:
        aws: the session; role and queue are in its account and region.
        store: where the original is, and what is made of it.
        clock: when a job was asked for.
        bucket_name: of the processed bucket.
        queue: the queue's name.
    """

    def __init__(
        self, aws: Aws, store: ObjectStore, clock: Clock, *, bucket_name: str, queue: str = DEFAULT_QUEUE
    ) -> None:
        self._aws = aws
        self._store = store
        self._clock = clock
        self._bucket_name = bucket_name
        self._queue = queue

    # -- asking ----------------------------------------------------------------------------------------------

    def submit(self, request: TranscodeRequest) -> str:
        kept = self._kept(request)
        if kept is not None:
            return kept
        source = f"s3://{self._bucket_name}/{_source_key(request)}"
        job = create_job(
            request,
            source=source,
            bucket_name=self._bucket_name,
            role_arn=self._role_arn(),
            queue_arn=self._queue_arn(),
        )
        self._stage(request)
        asked_at = self._note_asking(request)
        found = None if asked_at is None else self._find(request, asked_at)
        return self._keep(request, found or self._create(job, request))

    def _create(self, job: Any, request: TranscodeRequest) -> str:
        doing = f"asking for the encoding of {request.key}"
        try:
            with translated(doing):
                return str(self._client().create_job(**job)["Job"]["Id"])
        except NotFound as error:
            raise ConfigurationInvalid(
                doing,
                f"MediaConvert has no queue {self._queue}",
                hint="The setting aws.mediaconvert_queue names it; `Default` is there in every account",
                private=error.private,
            ) from error

    def _stage(self, request: TranscodeRequest) -> None:
        """Copy the version to where the service reads it, unless that was done before."""
        key = _source_key(request)
        with suppress(NotFound):
            self._store.head(BucketRole.PROCESSED, key)
            return
        version = self._store.head(BucketRole.PRIMARY, request.key, version_id=request.version_id)
        self._store.write_copy(version, BucketRole.PROCESSED, key, PutOptions(content_type=version.content_type))

    def _role_arn(self) -> str:
        doing = f"reading the parameter {ROLE_PARAMETER}"
        try:
            with translated(doing):
                return str(self._aws.client("ssm").get_parameter(Name=ROLE_PARAMETER)["Parameter"]["Value"])
        except NotFound as error:
            raise ConfigurationInvalid(doing, "it does not exist", hint="`contentplatform deploy` writes it") from error

    def _queue_arn(self) -> str:
        return self._aws.arn("mediaconvert", f"queues/{self._queue}")

    # -- once ------------------------------------------------------------------------------------------------

    def _kept(self, request: TranscodeRequest) -> str | None:
        """The id of the job that was made for this request; None if none is known."""
        try:
            with self._store.open(BucketRole.PROCESSED, _note_key(request, "job")) as reader:
                return str(json.loads(reader.read())["id"])
        except NotFound:
            return None

    def _note_asking(self, request: TranscodeRequest) -> datetime | None:
        """Note that a job is about to be asked for; when that was noted before, None: it was not."""
        key = _note_key(request, "asked")
        try:
            self._write_once(key, {"at": timestamp(self._clock.now())})
        except Conflict:
            with self._store.open(BucketRole.PROCESSED, key) as reader:
                return parse_timestamp(json.loads(reader.read())["at"])
        return None

    def _find(self, request: TranscodeRequest, asked_at: datetime) -> str | None:
        """The job that was made for this request, but whose id never came back; None if there is none."""
        for job in self._jobs(f"looking for the encoding of {request.key}"):
            if job.get("UserMetadata", {}).get(EXECUTION_FIELD) == request.token:
                return str(job["Id"])
            if job["CreatedAt"] < asked_at - _CLOCKS_DIFFER_BY:
                return None
        return None

    def _jobs(self, doing: str) -> Iterator[dict[str, Any]]:
        """The queue's jobs, the newest first."""
        with translated(doing):
            pages = self._client().get_paginator("list_jobs")
            for page in pages.paginate(
                Queue=self._queue_arn(), Order="DESCENDING", PaginationConfig={"PageSize": _JOBS_A_PAGE}
            ):
                yield from page.get("Jobs", ())

    def _keep(self, request: TranscodeRequest, job_id: str) -> str:
        """Note the job's id. Where another call noted one meanwhile, that is the job, and ours is one too many."""
        try:
            self._write_once(_note_key(request, "job"), {"id": job_id})
        except Conflict:
            other = self._kept(request)
            if other is not None and other != job_id:
                self._cancel(job_id)
                return other
        return job_id

    def _write_once(self, key: str, document: dict[str, str]) -> None:
        """Raises Conflict where it is there already."""
        body = BytesIO(json.dumps(document).encode())
        self._store.write(
            BucketRole.PROCESSED, key, body, PutOptions(content_type="application/json", create_only=True)
        )

    # -- what becomes of it ----------------------------------------------------------------------------------

    def status(self, job_id: str) -> TranscodeStatus:
        job = self._job(job_id)
        state = TranscodeState(job["Status"])
        match state:
            case TranscodeState.ERROR:
                code, words = _failure(int(job.get("ErrorCode", 0)), str(job.get("ErrorMessage", "")))
                self._report(job_id, job)
                return TranscodeStatus(state, error=words, error_code=code)
            case TranscodeState.CANCELED:
                return TranscodeStatus(
                    state, error="the encoding was cancelled at MediaConvert", error_code=ErrorCode.CANCELLED
                )
            case TranscodeState.COMPLETE:
                return TranscodeStatus(state, 100, damage=_damage(job.get("Warnings", ())))
        return TranscodeStatus(state, job.get("JobPercentComplete"))

    def cancel(self, job_id: str) -> None:
        self._cancel(job_id)
        self.forget(job_id)

    def forget(self, job_id: str) -> None:
        try:
            job = self._job(job_id)
        except NotFound:
            return
        for given in job["Settings"]["Inputs"]:
            source = _SOURCE.fullmatch(given.get("FileInput", ""))
            if source is not None:
                erase(self._store, BucketRole.PROCESSED, source[1])

    def _cancel(self, job_id: str) -> None:
        try:
            with translated(f"cancelling the encoding {job_id}"):
                self._client().cancel_job(Id=job_id)
        except NotFound:
            return
        except (Conflict, InvalidRequest):  # as the service answers for a job that ended
            if not self.status(job_id).state.is_final:
                raise

    def _job(self, job_id: str) -> dict[str, Any]:
        with translated(f"asking how far the encoding {job_id} is"):
            found: dict[str, Any] = self._client().get_job(Id=job_id)["Job"]
        return found

    def _report(self, job_id: str, job: dict[str, Any]) -> None:
        told = {"job": job_id, log.ERROR_CODE: job.get("ErrorCode"), log.REASON: job.get("ErrorMessage")}
        log.event(_logger, logging.WARNING, "encoding failed", **told)

    def _client(self) -> Any:
        return self._aws.client("mediaconvert")


def _failure(code: int, message: str) -> tuple[ErrorCode, str]:
    """Whose fault it was that a job failed, and the service's words without addresses."""
    words = _ADDRESS.sub("the file", message).strip()[:_LONGEST_WORDS] or "it gave no reason"
    if code in _SERVICE_S_OWN or code == 0:
        return ErrorCode.INTERNAL, f"MediaConvert could not do its work (error {code}): {words}"
    if _IS_UNSUPPORTED.search(message):
        return ErrorCode.UNSUPPORTED, f"MediaConvert does not know this sort of video (error {code}): {words}"
    return ErrorCode.DECODE, f"MediaConvert could not read the video (error {code}): {words}"


def _damage(warnings: Iterable[Mapping[str, int]]) -> str:
    """What the service warned of while it encoded: it conceals damage, and tells so by numbers only."""
    told = {group["Code"]: group["Count"] for group in warnings if group["Code"] not in _NOT_OF_THE_FILE}
    if not told:
        return ""
    counts = ", ".join(f"warning {code}, {count} times" for code, count in sorted(told.items())[:_MOST_WARNINGS])
    return f"MediaConvert warned while it encoded it, so parts of it may be damaged or missing ({counts})"


def _folder(request: TranscodeRequest) -> str:
    return f"versions/{request.file_id}/{request.version_id}/{STAGING}"


def _note_key(request: TranscodeRequest, what: str) -> str:
    return f"{_folder(request)}/{request.token}.{what}.json"


def _source_key(request: TranscodeRequest) -> str:
    """Where the service reads the version: its own extension tells it what to expect."""
    extension = file_extension(request.key)
    return f"{_folder(request)}/{request.token}." + (extension if _EXTENSION.fullmatch(extension) else "bin")
