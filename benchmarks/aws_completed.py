"""From the start of the upload of a 1 MB photo to completed, on the emulator, against a bare path to the renditions.

    python benchmarks/aws_completed.py [--rounds 11]

Ours is what `deploy` deploys, from the same templates. The bare path (rivals/bare_path.py) is S3 -> Lambda -> Step
Functions -> Lambda, with no queue, no database, no sandbox, on a bucket of its own; it makes the renditions with the
very same image code, so that the figure tells what the platform costs around them. (Pillow, as one would first write
it, would flatter us.) Both photos are put by one call of S3 each, and looked for as often: ours until the record says
completed, the bare path's until its last rendition is there. Warm, in turns, each after the other's work has ended;
the median counts. The emulator stands in for AWS: one process answers every call, in milliseconds, and each execution,
of both sides, begins with a pause of 150 ms.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rivals.bare_path import SOURCE_FOLDER, TARGET_FOLDER

from aws.conftest import ACCOUNT, STACKS, SUFFIX, settings_for
from aws.deployment import deploy, zipped
from contentplatform.app import AwsHome, open_aws
from contentplatform.config import AwsSettings, Settings, StorageSettings
from contentplatform.drivers.boto import Aws
from contentplatform.errors import NotFound
from contentplatform.lambdas.functions import BY_NAME, RUNTIME, Layer
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole
from contentplatform.workflow.port import Execution, HistoryEvent
from contentplatform_infra.code import PACKAGE, package_files
from contentplatform_infra.layers import ensure_built
from emulator import REGION, Emulator, select_pause
from infra.synthesis import synthesise
from sample_media import encoded, photo

BAR = 2.0
"""Times what the bare path takes, at most."""
LOOK_SECONDS = 0.01
LIMIT_SECONDS = 60.0
QUIET_SECONDS = 0.5
"""After each turn, for what follows it in the background: indexes, history, the queue's own polling."""
SIZE_BYTES = 1_000_000
PHOTO = (2_048, 1_536)
BARE_BUCKET = f"bare-path-{SUFFIX}"
LAST_RENDITION = "webp"


def make_photo(seed: int) -> bytes:
    """A photo of 1 MB, to the byte: what is missing is appended, as cameras do with their notes."""
    body = encoded(photo(*PHOTO, seed=seed, noise=7), "JPEG", quality=88)
    if not 0.7 * SIZE_BYTES <= len(body) <= SIZE_BYTES:
        raise RuntimeError(f"the photo has {len(body)} bytes: choose another size for it")
    comment_limit = 65_533
    missing = SIZE_BYTES - len(body)
    pieces = []
    while missing > 4:
        length = min(missing, comment_limit + 2)
        pieces.append(b"\xff\xfe" + (length - 2).to_bytes(2) + bytes(length - 4))
        missing -= length
    return body[:2] + b"".join(pieces) + body[2:]


def make_templates(folder: Path) -> Path:
    """The templates of the stacks that the emulator takes."""
    ensure_built()
    settings = replace(
        Settings(data_folder=folder),
        storage=StorageSettings(bucket_suffix=SUFFIX),
        aws=AwsSettings(account_id=ACCOUNT, alert_email="ops@example.org"),
    )
    synthesise(settings, folder, account_id=ACCOUNT, only=STACKS)
    return folder


# -- the bare path -------------------------------------------------------------------------------------------------


def bare_code() -> bytes:
    """The bare functions, and the package for its image code."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.write(Path(__file__).with_name("rivals") / "bare_path.py", "bare_path.py")
        for path in package_files():
            archive.write(path, path.relative_to(PACKAGE.parent))
    return held.getvalue()


def make_bare_path(aws: Aws) -> None:
    """A bucket, a function that it tells, a state machine, and the function that the machine calls."""
    role = f"arn:aws:iam::{aws.account_id}:role/bare-path"
    functions, machines, s3 = aws.client("lambda"), aws.client("stepfunctions"), aws.client("s3")
    layer = functions.publish_layer_version(
        LayerName="bare-images", Content={"ZipFile": zipped(ensure_built()[Layer.IMAGES])}
    )["LayerVersionArn"]
    twin = BY_NAME["content-image-processor"]
    shared = {"Runtime": RUNTIME, "Role": role, "Code": {"ZipFile": bare_code()}, "Timeout": twin.timeout_seconds}
    maker = functions.create_function(
        **shared,
        FunctionName="bare-make",
        Handler="bare_path.make",
        Layers=[layer],
        MemorySize=twin.memory_mb,
        EphemeralStorage={"Size": twin.scratch_mb},
    )["FunctionArn"]
    state = {"Type": "Task", "Resource": maker, "End": True}
    machine = machines.create_state_machine(
        name="bare-path", roleArn=role, definition=json.dumps({"StartAt": "Make", "States": {"Make": state}})
    )["stateMachineArn"]
    starter = functions.create_function(
        **shared,
        FunctionName="bare-start",
        Handler="bare_path.start",
        MemorySize=512,
        Environment={"Variables": {"MACHINE_ARN": machine}},
    )["FunctionArn"]
    functions.add_permission(
        FunctionName="bare-start",
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{BARE_BUCKET}",
    )
    s3.create_bucket(Bucket=BARE_BUCKET)
    told = {
        "LambdaFunctionArn": starter,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": SOURCE_FOLDER}]}},
    }
    s3.put_bucket_notification_configuration(
        Bucket=BARE_BUCKET, NotificationConfiguration={"LambdaFunctionConfigurations": [told]}
    )


# -- a turn of each ------------------------------------------------------------------------------------------------


def waited_for(what: Callable[[], bool], words: str) -> None:
    """Look again and again until it is so.

    Raises:
        RuntimeError: it never was.
    """
    until = time.monotonic() + LIMIT_SECONDS
    while not what():
        if time.monotonic() > until:
            raise RuntimeError(f"not within {LIMIT_SECONDS:.0f} s: {words}")
        select_pause(LOOK_SECONDS)


def bare_turn(aws: Aws, name: str, body: bytes) -> float:
    """Upload a photo to the bare path; seconds until its last rendition is there."""
    s3 = aws.client("s3")
    rendition = f"{TARGET_FOLDER}{name}/{LAST_RENDITION}"

    def is_there() -> bool:
        return bool(s3.list_objects_v2(Bucket=BARE_BUCKET, Prefix=rendition)["KeyCount"])

    began = time.perf_counter()
    s3.put_object(Bucket=BARE_BUCKET, Key=f"{SOURCE_FOLDER}{name}", Body=body)
    waited_for(is_there, f"the bare path's renditions of {name}")
    return time.perf_counter() - began


def our_turn(home: AwsHome, key: str, body: bytes) -> tuple[float, dict[str, float]]:
    """Upload a photo to the platform; seconds until its record says completed, and seconds of each stage of that."""
    catalog = home.platform.catalog

    def is_completed() -> bool:
        try:
            return catalog.get(file_id(key)).status is ProcessingStatus.COMPLETED
        except NotFound:
            return False

    bucket = bucket_name(BucketRole.PRIMARY, SUFFIX)
    began, began_at = time.perf_counter(), datetime.now(UTC)
    home.aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    put_at = datetime.now(UTC)
    waited_for(is_completed, f"{key} is completed")
    seconds, completed_at = time.perf_counter() - began, datetime.now(UTC)
    return seconds, stages(home, key, (began_at, put_at, completed_at))


def stages(home: AwsHome, key: str, moments: tuple[datetime, datetime, datetime]) -> dict[str, float]:
    """Where the time went, by the execution's times and history once it has ended; these add up to all of it."""
    began_at, put_at, completed_at = moments
    engine = home.platform.engine

    def ended() -> bool:
        found = engine.list(file_id=file_id(key)).executions
        return bool(found) and found[0].status.ended

    waited_for(ended, f"the execution of {key} has ended")
    execution: Execution = engine.list(file_id=file_id(key)).executions[0]
    history = engine.history(execution.name)
    started_at = execution.started_at or execution.created_at
    first, made_at = _moment(history, "ProcessImage", first=True), _moment(history, "ProcessImage")
    return {
        "put": (put_at - began_at).total_seconds(),
        "event, handler until it starts": (execution.created_at - put_at).total_seconds(),
        "start": (started_at - execution.created_at).total_seconds(),
        "the emulator's own pause before the first state": (first - started_at).total_seconds(),
        "ProcessImage": (made_at - first).total_seconds(),
        "UpdateMetadata until the record shows": (completed_at - made_at).total_seconds(),
        "afterwards: UpdateMetadata": (_moment(history, "UpdateMetadata") - completed_at).total_seconds(),
    }


def _moment(history: tuple[HistoryEvent, ...], state: str, *, first: bool = False) -> datetime:
    """When a state was entered, or left."""
    times = [event.at for event in history if event.state == state]
    return min(times) if first else max(times)


def quiet() -> None:
    """Let what follows a turn in the background come to its end."""
    select_pause(QUIET_SECONDS)


# -- the figures ---------------------------------------------------------------------------------------------------


def race(emulator: Emulator, templates: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Deploy both, and let them take turns."""
    os.environ.update(emulator.environment(ACCOUNT))
    aws = Aws(region=REGION, account_id=ACCOUNT)
    deploy(aws, templates, STACKS, {"SignedUrls": "no"})
    make_bare_path(aws)
    home = open_aws(settings_for(emulator, folder))
    ours: list[float] = []
    bare: list[float] = []
    told: list[Mapping[str, float]] = []
    for number in range(rounds + 2):
        body = make_photo(number)
        bare_seconds = bare_turn(aws, f"{number:03}.jpg", body)
        quiet()
        our_seconds, our_stages = our_turn(home, f"completed/{number:03}.jpg", body)
        quiet()
        if number >= 2:  # the first ones pay for what is done only once
            bare.append(bare_seconds)
            ours.append(our_seconds)
            told.append(our_stages)
    home.close()
    return {
        "name": "aws_completed",
        "ratio": round(statistics.median(ours) / statistics.median(bare), 3),
        "bar": BAR,
        "passed": statistics.median(ours) <= BAR * statistics.median(bare),
        "ours_seconds": [round(seconds, 3) for seconds in ours],
        "baseline_seconds": [round(seconds, 3) for seconds in bare],
        "stages_milliseconds": {
            stage: round(1_000 * statistics.median(one[stage] for one in told), 1) for stage in told[0]
        },
    }


def report(figure: Mapping[str, Any]) -> None:
    """Print the ratio, both figures, and the stages of ours."""
    ours, bare = (1_000 * statistics.median(figure[side]) for side in ("ours_seconds", "baseline_seconds"))
    print(
        f"aws_completed: ratio {figure['ratio']:.2f} (bar {figure['bar']:.2f}, less is better)"
        f" ours {ours:.0f} ms, bare path {bare:.0f} ms"
    )
    for stage, milliseconds in figure["stages_milliseconds"].items():
        print(f"  {milliseconds:7.1f} ms  {stage}")
    print(json.dumps(figure), flush=True)


def main() -> int:
    """Run both in turns and print the figures; 1 if the bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "templates").mkdir()
        templates = make_templates(folder / "templates")
        emulator = Emulator()
        try:
            figure = race(emulator, templates, folder / "data", rounds)
        finally:
            emulator.stop()
    report(figure)
    return 0 if figure["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
