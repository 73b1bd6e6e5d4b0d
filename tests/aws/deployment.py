"""Deploys a folder of templates to the emulator by the services' own interfaces, in a second or two.

What the CDK's command line does: publish the files, make the stacks. `deploy` itself runs that command line, in a test
of its own; here it would cost a quarter of a minute each time. Afterwards the properties that the emulator drops are
applied (``dropped_properties``).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aws.dropped_properties import apply_dropped
from contentplatform.drivers.boto import Aws

_QUALIFIER: Final = "hnb659fds"
_CAPABILITIES: Final = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
_FIXED_TIME: Final = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Stack:
    """One deployed stack."""

    name: str
    region: str
    template: Mapping[str, Any]
    outputs: Mapping[str, str]
    physical_ids: Mapping[str, str]
    """By logical name."""


def deploy(aws: Aws, assembly: Path, names: Sequence[str], parameters: Mapping[str, str]) -> dict[str, Stack]:
    """Deploy these stacks of a packed folder of templates, in this order; what gets lost of them is applied after."""
    manifest = json.loads((assembly / "manifest.json").read_text("utf-8"))
    deployed = {}
    for name in names:
        artifact = manifest["artifacts"][name]
        region = artifact["environment"].rpartition("/")[2]
        deployed[name] = _deploy_one(aws, assembly, name, region, parameters)
    for stack in deployed.values():
        apply_dropped(aws, stack.region, stack.template, resolver(aws, stack))
    return deployed


def pack(assembly: Path, names: Sequence[str]) -> None:
    """Pack the folders that these stacks publish, each into a zip file beside it. Takes seconds: once is enough."""
    for name in names:
        for file in _files_of(assembly, name):
            source = assembly / file["source"]["path"]
            if file["source"]["packaging"] == "zip" and not _packed(source).exists():
                _packed(source).write_bytes(zipped(source))


def _files_of(assembly: Path, name: str) -> list[dict[str, Any]]:
    """What a stack publishes."""
    return list(json.loads((assembly / f"{name}.assets.json").read_text("utf-8"))["files"].values())


def _packed(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.zip")


def remove(aws: Aws, stacks: Sequence[Stack]) -> None:
    """Delete these stacks, in this order; what is retained stays."""
    for stack in stacks:
        cloudformation = aws.client("cloudformation", stack.region)
        cloudformation.update_termination_protection(StackName=stack.name, EnableTerminationProtection=False)
        cloudformation.delete_stack(StackName=stack.name)
        cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=stack.name, WaiterConfig={"Delay": 1, "MaxAttempts": 300}
        )


def _deploy_one(aws: Aws, assembly: Path, name: str, region: str, parameters: Mapping[str, str]) -> Stack:
    bucket = _bootstrapped(aws, region)
    url = ""
    for file in _files_of(assembly, name):
        [destination] = file["destinations"].values()
        source = assembly / file["source"]["path"]
        is_packed = file["source"]["packaging"] == "zip"
        body = (_packed(source) if is_packed else source).read_bytes()
        aws.client("s3", region).put_object(Bucket=bucket, Key=destination["objectKey"], Body=body)
        if source.name == f"{name}.template.json":
            url = f"{aws.client('s3', region).meta.endpoint_url}/{bucket}/{destination['objectKey']}"
    template = _template(assembly, name)
    given = [
        {"ParameterKey": key, "ParameterValue": value}
        for key, value in parameters.items()
        if key in template.get("Parameters", {})
    ]
    cloudformation = aws.client("cloudformation", region)
    cloudformation.create_stack(StackName=name, TemplateURL=url, Capabilities=_CAPABILITIES, Parameters=given)
    _finish(cloudformation, name)
    return standing(aws, assembly, name, region)


def standing(aws: Aws, assembly: Path, name: str, region: str) -> Stack:
    """A stack that has been deployed, whoever did it."""
    cloudformation = aws.client("cloudformation", region)
    described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
    physical = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in pages
        for resource in page["StackResourceSummaries"]
    }
    return Stack(name, region, _template(assembly, name), outputs, physical)


def _template(assembly: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((assembly / f"{name}.template.json").read_text("utf-8"))
    return read


def _finish(cloudformation: Any, name: str) -> None:
    """Wait until a stack stands; what failed, by name."""
    waiter = cloudformation.get_waiter("stack_create_complete")
    try:
        waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
    except Exception as error:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [
            f"{event['LogicalResourceId']} ({event['ResourceType']}): {event.get('ResourceStatusReason')}"
            for event in events
            if "FAILED" in event["ResourceStatus"]
        ]
        raise AssertionError(f"{name} was not deployed: {'; '.join(reasons)}") from error


def _bootstrapped(aws: Aws, region: str) -> str:
    """The bucket for published files, made where it is missing, together with the mark that the templates look for."""
    bucket = f"cdk-{_QUALIFIER}-assets-{aws.account_id}-{region}"
    s3 = aws.client("s3", region)
    if bucket not in {there["Name"] for there in s3.list_buckets()["Buckets"]}:
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=bucket, **where)
        aws.client("ssm", region).put_parameter(
            Name=f"/cdk-bootstrap/{_QUALIFIER}/version", Value="30", Type="String", Overwrite=True
        )
    return bucket


def zipped(folder: Path) -> bytes:
    """A folder as a zip file, the same each time."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(_files(folder)):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _FIXED_TIME)
            entry.external_attr = (path.stat().st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return held.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def resolver(aws: Aws, stack: Stack) -> Any:
    """A function that puts values in place of a template's references: names and ARNs of what was deployed."""

    def resolve(value: Any) -> Any:
        match value:
            case list(items):
                return [resolve(item) for item in items]
            case {"Ref": str(name)}:
                found: Any = _pseudo(aws, stack).get(name) or stack.physical_ids[name]
            case {"Fn::GetAtt": [str(name), "Arn"]}:
                found = _arn(aws, stack, name)
            case {"Fn::Join": [str(separator), list(parts)]}:
                found = separator.join(str(resolve(part)) for part in parts)
            case {"Fn::Sub": str(text)}:
                found = text
                for name, told in _pseudo(aws, stack).items():
                    found = found.replace(f"${{{name}}}", told)
            case dict(members):
                found = {key: resolve(item) for key, item in members.items()}
            case _:
                found = value
        return found

    return resolve


def _pseudo(aws: Aws, stack: Stack) -> dict[str, str]:
    return {
        "AWS::Region": stack.region,
        "AWS::AccountId": aws.account_id,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::NoValue": "",
    }


def _arn(aws: Aws, stack: Stack, name: str) -> str:
    kind, physical = stack.template["Resources"][name]["Type"], stack.physical_ids[name]
    if physical.startswith("arn:"):
        return physical
    forms = {
        "AWS::S3::Bucket": f"arn:aws:s3:::{physical}",
        "AWS::IAM::Role": f"arn:aws:iam::{aws.account_id}:role/{physical}",
        "AWS::SQS::Queue": f"arn:aws:sqs:{stack.region}:{aws.account_id}:{physical.rpartition('/')[2]}",
        "AWS::Lambda::Function": f"arn:aws:lambda:{stack.region}:{aws.account_id}:function:{physical}",
        "AWS::SNS::Topic": f"arn:aws:sns:{stack.region}:{aws.account_id}:{physical}",
    }
    return forms[kind]
