"""A stand-in for MediaConvert on a loopback port: the emulator has none.

It refuses what the service would refuse (``mediaconvert_rules``), takes the role that a job names, reads and writes S3
with that role's rights, really encodes (``mediaconvert_encoder``), and knows a repeated request for a minute only.
Jobs run one after the other. A test can hold them (``held``), let single calls be throttled (``throttled``), and let a
minute pass (``pass_a_minute``).
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.exceptions import ClientError

from aws.mediaconvert_encoder import Failed, encode
from aws.mediaconvert_rules import problems
from contentplatform.drivers.boto import Aws
from contentplatform.processing.mediaconvert_job import ROLE_PARAMETER
from emulator import REGION, select_pause

Encoder = Callable[[Mapping[str, Any], Mapping[str, Any], Path, Path], None]
"""Makes one output: of a job's settings, the output's, the source, as a file."""
_JOBS: Final = "/2017-08-29/jobs"
_TOKEN_SECONDS: Final = 60.0
_LONGEST_SECONDS: Final = 60.0
_QUEUES: Final = frozenset({"Default"})
_ENDED: Final = frozenset({"COMPLETE", "ERROR", "CANCELED"})
_THROTTLED: Final = (429, "TooManyRequestsException", "Too many requests, please wait before trying again.")


class Refused(Exception):  # noqa: N818 - an answer of the service
    """An answer that is an error: status, name, words."""


@dataclass
class Job:
    """One job."""

    id: str
    account: str
    asked: Mapping[str, Any]
    created_at: float
    status: str = "SUBMITTED"
    percent: int | None = None
    error: tuple[int, str] | None = None
    warnings: Mapping[int, int] = field(default_factory=dict)
    """How often it warned, by code."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def told(self) -> dict[str, Any]:
        """As the service tells of it."""
        answer: dict[str, Any] = {
            "id": self.id,
            "arn": f"arn:aws:mediaconvert:{REGION}:{self.account}:jobs/{self.id}",
            "createdAt": self.created_at,
            "status": self.status,
            "role": self.asked["role"],
            "queue": self.asked["queue"],
            "settings": self.asked["settings"],
            "userMetadata": self.asked.get("userMetadata", {}),
            "clientRequestToken": self.asked.get("clientRequestToken", ""),
        }
        if self.status == "PROGRESSING" and self.percent is not None:
            answer["jobPercentComplete"] = self.percent
        if self.error is not None:
            answer["errorCode"], answer["errorMessage"] = self.error
        if self.warnings:
            answer["warnings"] = [{"code": code, "count": count} for code, count in self.warnings.items()]
        return answer


class MediaConvert:
    """The service. ``serve`` tells it where S3 and the roles are; ``stop`` ends it."""

    def __init__(self, encoder: Encoder = encode) -> None:
        self._encoder = encoder
        self.jobs: dict[str, Job] = {}
        """Every job that was made, by its id, the oldest first."""
        self.asked: Counter[str] = Counter()
        """How often each operation was asked for."""
        self._failures: list[tuple[int, str]] = []
        self._refusals: Counter[str] = Counter()
        self._passed_seconds = 0.0
        self._lock = threading.Lock()
        self._free = threading.Event()
        self._free.set()
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._environment: Mapping[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}),
            threading.Thread(target=self._work),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variable that leads a client here."""
        return {"AWS_ENDPOINT_URL_MEDIACONVERT": self.url}

    def serve(self, environment: Mapping[str, str]) -> None:
        """Work in the AWS that these variables lead to."""
        self._environment = environment

    def stop(self) -> None:
        """End it, and what it is at."""
        for job in self.jobs.values():
            job.cancelled.set()
        self._free.set()
        self._waiting.put(None)
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    # -- what a test does to it ------------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Jobs get no further than their beginning meanwhile."""
        self.hold()
        try:
            yield
        finally:
            self._free.set()

    def hold(self) -> None:
        """From now on, jobs get no further than their beginning."""
        self._free.clear()

    def finish(self) -> None:
        """Let jobs go on, and return when all have ended."""
        self._free.set()
        deadline = time.monotonic() + _LONGEST_SECONDS
        while any(job.status not in _ENDED for job in self.jobs.values()):
            assert time.monotonic() < deadline, "jobs did not end"
            select_pause(0.01)

    def fail_next(self, code: int, words: str) -> None:
        """The job that begins next ends with this error."""
        self._failures.append((code, words))

    def throttled(self, operation: str, times: int) -> None:
        """The next calls of an operation are refused: too many."""
        self._refusals[operation] += times

    def pass_a_minute(self) -> None:
        """Let so much time pass that no token is known any more."""
        self._passed_seconds += _TOKEN_SECONDS + 1

    # -- the interface ---------------------------------------------------------------------------------------

    def answer(self, method: str, address: str, body: bytes, account: str) -> tuple[int, dict[str, Any]]:
        """Status and document of one request."""
        parts = urlsplit(address)
        name = parts.path.removeprefix(_JOBS).strip("/")
        operation = {"POST": "CreateJob", "DELETE": "CancelJob"}.get(method, "GetJob" if name else "ListJobs")
        with self._lock:
            self.asked[operation] += 1
            if self._refusals[operation] > 0:
                self._refusals[operation] -= 1
                raise Refused(*_THROTTLED)
            match operation:
                case "CreateJob":
                    return 201, {"job": self._create(json.loads(body), account).told()}
                case "GetJob":
                    return 200, {"job": self._job(name, account).told()}
                case "CancelJob":
                    self._cancel(self._job(name, account))
                    return 202, {}
            return 200, self._list(parse_qs(parts.query), account)

    def _create(self, asked: dict[str, Any], account: str) -> Job:
        found = problems(asked)
        if found:
            raise Refused(400, "BadRequestException", "; ".join(found))
        wanted = asked.get("queue", "Default").rpartition("/")[2]
        if wanted not in _QUEUES:
            raise Refused(404, "NotFoundException", f"there is no queue {wanted}")
        if f"::{account}:" not in asked["role"]:
            raise Refused(403, "ForbiddenException", "the role is of another account")
        now = time.time() + self._passed_seconds
        token = asked.get("clientRequestToken")
        for job in self.jobs.values():
            if token and job.asked.get("clientRequestToken") == token and now - job.created_at < _TOKEN_SECONDS:
                return job
        number = len(self.jobs) + 1
        made = Job(f"{int(now * 1_000)}-{number:06x}", account, {"queue": "Default", **asked}, now)
        self.jobs[made.id] = made
        self._waiting.put(made)
        return made

    def _job(self, name: str, account: str) -> Job:
        job = self.jobs.get(name)
        if job is None or job.account != account:
            raise Refused(404, "NotFoundException", f"Job {name} not found.")
        return job

    def _cancel(self, job: Job) -> None:
        if job.status in _ENDED:
            raise Refused(409, "ConflictException", f"Job {job.id} has ended.")
        job.status = "CANCELED"
        job.cancelled.set()

    def _list(self, asked: Mapping[str, list[str]], account: str) -> dict[str, Any]:
        first = int(asked.get("nextToken", ["0"])[0])
        size = int(asked.get("maxResults", ["20"])[0])
        mine = [job for job in self.jobs.values() if job.account == account]
        ordered = mine[::-1] if asked.get("order", ["ASCENDING"])[0] == "DESCENDING" else mine
        page = {"jobs": [job.told() for job in ordered[first : first + size]]}
        return {**page, "nextToken": str(first + size)} if first + size < len(ordered) else page

    # -- the work --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if job.cancelled.is_set():
                continue
            job.status, job.percent = "PROGRESSING", 0
            while not self._free.wait(0.05) and not job.cancelled.is_set():
                pass
            folder = Path(tempfile.mkdtemp(prefix="mediaconvert-"))
            try:
                self._encode(job, folder)
                ended = "COMPLETE"
            except Failed as error:
                ended, job.error = "ERROR", (error.code, str(error))
            except Exception as error:  # noqa: BLE001 - as the service: whatever it was, the job ends and says so
                ended, job.error = "ERROR", (1_999, f"{type(error).__name__}: {error}")
            finally:
                shutil.rmtree(folder)
            with self._lock:
                if not job.cancelled.is_set():
                    job.status = ended

    def _encode(self, job: Job, folder: Path) -> None:
        settings = job.asked["settings"]
        if self._failures:
            raise Failed(*self._failures.pop(0))
        s3 = self._as_role(job)
        source = folder / "source"
        bucket, key = _place(settings["inputs"][0]["fileInput"])
        try:
            s3.download_file(bucket, key, str(source))
        except ClientError as error:
            raise Failed(1_401, f"You don't have permissions, or there is no {key}: {error}") from error
        outputs = [(group, output) for group in settings["outputGroups"] for output in group["outputs"]]
        for number, (group, output) in enumerate(outputs):
            if job.cancelled.is_set():
                return
            made = folder / f"output-{number}"
            self._encoder(settings, output, source, made)
            where = group["outputGroupSettings"]["fileGroupSettings"]["destination"]
            base = where if not where.endswith("/") else where + Path(key).stem
            bucket, name = _place(f"{base}{output.get('nameModifier', '')}.{output.get('extension', 'mp4')}")
            if job.cancelled.is_set():
                return
            try:
                s3.upload_file(str(made), bucket, name, ExtraArgs={"ContentType": "video/mp4"})
            except Exception as error:
                raise Failed(1_432, f"Unable to write to {name}: {error}") from error
            job.percent = 100 * (number + 1) // len(outputs)

    def _as_role(self, job: Job) -> Any:
        """A client of S3 that may do what the job's role may."""
        known = self._environment
        session = boto3.Session(
            aws_access_key_id=job.account, aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"], region_name=REGION
        )
        reached: dict[str, Any] = {"endpoint_url": known["AWS_ENDPOINT_URL"], "verify": known.get("AWS_CA_BUNDLE")}
        iam = session.client("iam", **reached)
        self._check_trust(iam, job)
        taken = session.client("sts", **reached).assume_role(RoleArn=_twin(iam, job), RoleSessionName=job.id)
        secret = taken["Credentials"]
        return session.client(
            "s3",
            aws_access_key_id=secret["AccessKeyId"],
            aws_secret_access_key=secret["SecretAccessKey"],
            aws_session_token=secret["SessionToken"],
            **reached,
        )

    def _check_trust(self, iam: Any, job: Job) -> None:
        """Fail unless the role lets this service take it, for this account."""
        name = job.asked["role"].rpartition("/")[2]
        [statement] = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"]
        trusted = statement["Principal"] == {"Service": "mediaconvert.amazonaws.com"}
        accounts = statement.get("Condition", {}).get("StringEquals", {}).get("aws:SourceAccount", job.account)
        if not trusted or accounts != job.account:
            raise Failed(1_401, "the role can't be assumed")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                scope = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", self.headers.get("Authorization", ""))
                headers = {"Content-Type": "application/json"}
                try:
                    if scope is None or (scope[2], scope[3]) != (REGION, "mediaconvert"):
                        raise Refused(403, "ForbiddenException", "not signed for this service and region")
                    status, document = service.answer(self.command, self.path, body, _account(scope[1]))
                except Refused as refused:
                    status, headers["x-amzn-ErrorType"], words = refused.args
                    document = {"message": words}
                told = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(told))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(told)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - as its parent calls them

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its parent calls it
                """Say nothing."""

        return Handler


def _twin(iam: Any, job: Job) -> str:
    """A role with exactly the rights of the job's, which the account may take: the emulator has no service to do it."""
    name = job.asked["role"].rpartition("/")[2]
    twin = f"{name}-as-taken-by-the-service"
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{job.account}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    try:
        arn = iam.create_role(RoleName=twin, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    except iam.exceptions.EntityAlreadyExistsException:
        arn = iam.get_role(RoleName=twin)["Role"]["Arn"]
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        rights = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        iam.put_role_policy(RoleName=twin, PolicyName=policy, PolicyDocument=json.dumps(rights))
    return str(arn)


def make_role(aws: Aws) -> None:
    """The role of the service, and the parameter that names it, as the deployment makes them."""
    trust = {"Effect": "Allow", "Principal": {"Service": "mediaconvert.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    made = aws.client("iam").create_role(RoleName="MediaConvertRole", AssumeRolePolicyDocument=document)
    aws.client("ssm").put_parameter(Name=ROLE_PARAMETER, Value=made["Role"]["Arn"], Type="String")


def _account(access_key: str) -> str:
    """Whose call it is: of functions, whose keys are made up at each start, there is one account."""
    return access_key if re.fullmatch(r"\d{12}", access_key) else "123456789012"


def _place(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.netloc, parts.path.removeprefix("/")
