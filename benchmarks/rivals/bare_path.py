"""The bare path from an upload to its renditions, as two functions of Lambda: run by aws_completed.py.

No queue, no database, no sandbox, no check: ``start`` takes S3's event and starts an execution, whose only state is
``make``, which fetches the photo, makes the three renditions with the platform's own image code, and stores them.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import boto3

os.environ["VIPS_CONCURRENCY"] = "1"

SOURCE_FOLDER = "in/"
TARGET_FOLDER = "out/"


@functools.cache
def client(service: str) -> Any:
    """One of each in a container, as everybody keeps it."""
    return boto3.client(service)


def start(event: Mapping[str, Any], _context: object) -> None:
    """Start an execution for each object that S3 tells of."""
    for record in event["Records"]:
        told = {"bucket": record["s3"]["bucket"]["name"], "key": unquote_plus(record["s3"]["object"]["key"])}
        client("stepfunctions").start_execution(stateMachineArn=os.environ["MACHINE_ARN"], input=json.dumps(told))


def make(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Make the renditions of one photo. Where each goes: the folder, then the photo's name, then the rendition's."""
    from contentplatform.processing import image  # noqa: PLC0415 - ``start`` has no decoders
    from contentplatform.processing.presets import ImageLimits  # noqa: PLC0415

    name = event["key"].removeprefix(SOURCE_FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where the image code writes to
        source = Path(folder, "source")
        source.write_bytes(client("s3").get_object(Bucket=event["bucket"], Key=event["key"])["Body"].read())
        descriptor = os.open(source, os.O_RDONLY)
        try:
            made = image.render({"content_type": "image/jpeg", "limits": asdict(ImageLimits())}, descriptor)
        finally:
            os.close(descriptor)
        for file in made["files"]:
            client("s3").put_object(
                Bucket=event["bucket"],
                Key=f"{TARGET_FOLDER}{name}/{file['name']}",
                Body=Path(folder, file["file"]).read_bytes(),
            )
        os.chdir("/")
    return {"renditions": len(made["files"])}
