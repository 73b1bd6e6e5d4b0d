"""The catalog's tables, the upload queues, the trail and the shared files: what the emulator drops or can't do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from contentplatform.catalog.tables import TABLES as CATALOG_TABLES
from infra.synthesis import ACCOUNT_ID, BACKUP_REGION, REGION, SUFFIX, Templates, named, resources

TABLES: Final = {
    "content-metadata": ("file_id", None),
    "content-ledger": ("file_id", "version"),
    "content-search": ("term", "newest_first"),
}


def table(templates: Templates, name: str) -> dict[str, Any]:
    return named(templates, "AWS::DynamoDB::GlobalTable", TableName=name)


# -- catalog -----------------------------------------------------------------------------------------------------


def test_there_are_three_tables_and_no_other_kind_of_table(templates: Templates) -> None:
    assert {held["TableName"] for _, held in resources(templates, "AWS::DynamoDB::GlobalTable")} == set(TABLES)
    assert list(resources(templates, "AWS::DynamoDB::Table")) == []


@pytest.mark.parametrize(("name", "keys"), TABLES.items())
def test_a_table_is_paid_by_use_encrypted_and_keyed(
    templates: Templates, name: str, keys: tuple[str, str | None]
) -> None:
    held = table(templates, name)
    assert held["BillingMode"] == "PAY_PER_REQUEST"
    assert held["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
    assert held["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    partition, sort = keys
    assert held["KeySchema"] == [
        {"AttributeName": partition, "KeyType": "HASH"},
        *([{"AttributeName": sort, "KeyType": "RANGE"}] if sort else []),
    ]


@pytest.mark.parametrize("name", TABLES)
def test_each_region_s_table_can_be_restored_for_35_days_and_not_be_deleted(templates: Templates, name: str) -> None:
    replicas = table(templates, name)["Replicas"]
    assert [replica["Region"] for replica in replicas] == [REGION, BACKUP_REGION]
    for replica in replicas:
        assert replica["PointInTimeRecoverySpecification"] == {
            "PointInTimeRecoveryEnabled": True,
            "RecoveryPeriodInDays": 35,
        }
        assert replica["DeletionProtectionEnabled"] is True


@pytest.mark.parametrize("name", TABLES)
def test_tables_outlive_the_stack(templates: Templates, name: str) -> None:
    [resource] = [
        resource
        for resource in templates["ContentPlatform"]["Resources"].values()
        if resource.get("Properties", {}).get("TableName") == name
    ]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


@pytest.mark.parametrize("name", TABLES)
def test_every_key_of_every_index_is_declared_as_text_and_nothing_else_is(templates: Templates, name: str) -> None:
    held = table(templates, name)
    indexes = held.get("GlobalSecondaryIndexes", [])
    keys = {part["AttributeName"] for one in (held, *indexes) for part in one["KeySchema"]}
    assert {part["AttributeName"]: part["AttributeType"] for part in held["AttributeDefinitions"]} == dict.fromkeys(
        keys, "S"
    )


@pytest.mark.parametrize("name", TABLES)
def test_an_index_holds_what_the_catalog_says_and_no_more(templates: Templates, name: str) -> None:
    [wanted] = [one for one in CATALOG_TABLES if one.name == name]
    held = {
        index["IndexName"]: index["Projection"] for index in table(templates, name).get("GlobalSecondaryIndexes", [])
    }
    assert set(held) == {index.name for index in wanted.indexes}
    for index in wanted.indexes:
        projection = held[index.name]
        if index.attributes:
            assert (projection["ProjectionType"], projection["NonKeyAttributes"]) == ("INCLUDE", list(index.attributes))
        else:
            assert projection == {"ProjectionType": "ALL" if index.attributes is None else "KEYS_ONLY"}


def test_what_is_listed_has_an_index(templates: Templates) -> None:
    def indexes(name: str) -> set[str]:
        return {index["IndexName"] for index in table(templates, name)["GlobalSecondaryIndexes"]}

    assert indexes("content-metadata") >= {"by-upload-time", "by-file-hash", "by-redirect-target"}
    assert indexes("content-ledger") >= {"by-content", "by-entry-status", "executions-by-time", "executions-by-status"}


def test_the_replica_is_a_setting(templates_for: Callable[..., Templates]) -> None:
    alone = templates_for(aws={"catalog_replica": False})
    for name in TABLES:
        assert [replica["Region"] for replica in table(alone, name)["Replicas"]] == [REGION]
    assert table(alone, "content-metadata")["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert "StreamSpecification" not in table(alone, "content-ledger")


# -- queues ------------------------------------------------------------------------------------------------------


def queue(templates: Templates, name: str) -> tuple[str, dict[str, Any]]:
    [found] = [
        (logical_id, held)
        for logical_id, held in resources(templates, "AWS::SQS::Queue")
        if held.get("QueueName") == name
    ]
    return found


def statements(templates: Templates, logical_id: str) -> dict[str, dict[str, Any]]:
    """The statements of the one policy of a queue, by their ids."""
    document = named(templates, "AWS::SQS::QueuePolicy", Queues=[{"Ref": logical_id}])["PolicyDocument"]
    return {statement.pop("Sid"): statement for statement in map(dict, document["Statement"])}


def test_a_message_that_fails_five_times_waits_for_a_person(templates: Templates) -> None:
    dead_id, dead = queue(templates, "content-platform-uploads-dead")
    _, uploads = queue(templates, "content-platform-uploads")
    assert uploads["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": [dead_id, "Arn"]},
        "maxReceiveCount": 5,
    }
    assert dead["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:content-platform-uploads"],
    }
    assert dead["MessageRetentionPeriod"] == uploads["MessageRetentionPeriod"] == 14 * 86_400


def test_no_queue_stays_behind_in_the_way_of_the_next_deployment(templates: Templates) -> None:
    queues = [
        resource
        for template in templates.values()
        for resource in template.get("Resources", {}).values()
        if resource["Type"] == "AWS::SQS::Queue"
    ]
    assert len(queues) == len({"uploads", "dead uploads", "failed calls"})
    assert {one.get(policy, "Delete") for one in queues for policy in ("DeletionPolicy", "UpdateReplacePolicy")} == {
        "Delete"
    }


def test_no_message_is_seen_again_while_it_is_worked_on(templates: Templates) -> None:
    _, uploads = queue(templates, "content-platform-uploads")
    handler = named(templates, "AWS::Lambda::Function", FunctionName="content-upload-handler")
    assert uploads["VisibilityTimeout"] == 6 * handler["Timeout"] == 5_400


@pytest.mark.parametrize("name", ["content-platform-uploads", "content-platform-uploads-dead"])
def test_a_queue_is_encrypted_and_only_spoken_to_over_tls(templates: Templates, name: str) -> None:
    logical_id, held = queue(templates, name)
    assert held["SqsManagedSseEnabled"] is True
    assert statements(templates, logical_id)["OnlyOverTls"] == {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "sqs:*",
        "Resource": {"Fn::GetAtt": [logical_id, "Arn"]},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_only_this_account_s_primary_bucket_fills_the_queue(templates: Templates) -> None:
    uploads, _ = queue(templates, "content-platform-uploads")
    dead, _ = queue(templates, "content-platform-uploads-dead")
    allowed = {name: held for name, held in statements(templates, uploads).items() if held["Effect"] == "Allow"}
    assert allowed == {
        "OnlyThePrimaryBucketSends": {
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": {"Fn::GetAtt": [uploads, "Arn"]},
            "Condition": {
                "StringEquals": {"aws:SourceAccount": ACCOUNT_ID},
                "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::content-platform-primary-{SUFFIX}"},
            },
        }
    }
    assert not any(held["Effect"] == "Allow" for held in statements(templates, dead).values())


# -- trail -------------------------------------------------------------------------------------------------------


def test_every_write_to_the_second_copy_is_recorded_and_nothing_else(templates: Templates) -> None:
    [(_, trail)] = resources(templates, "AWS::CloudTrail::Trail", "ContentPlatformAudit")
    assert trail["TrailName"] == "content-platform-audit"
    assert (trail["IsLogging"], trail["EnableLogFileValidation"]) == (True, True)
    assert (trail["IsMultiRegionTrail"], trail["IncludeGlobalServiceEvents"]) == (False, False)
    assert (trail["S3BucketName"], trail["S3KeyPrefix"]) == (f"content-platform-logs-{SUFFIX}", "cloudtrail")
    [selector] = trail["AdvancedEventSelectors"]
    assert {field.pop("Field"): field for field in map(dict, selector["FieldSelectors"])} == {
        "eventCategory": {"Equals": ["Data"]},
        "resources.type": {"Equals": ["AWS::S3::Object"]},
        "readOnly": {"Equals": ["false"]},
        "resources.ARN": {"StartsWith": [f"arn:aws:s3:::content-platform-backup-{SUFFIX}/"]},
    }
    assert "EventSelectors" not in trail


# -- shared files ------------------------------------------------------------------------------------------------


def test_there_are_no_shared_files_and_no_network_by_default(templates: Templates) -> None:
    kinds = {resource["Type"] for template in templates.values() for resource in template.get("Resources", {}).values()}
    assert not {kind for kind in kinds if kind.startswith(("AWS::EFS::", "AWS::EC2::"))}


def test_shared_files_are_encrypted_and_move_to_the_cheaper_class_and_back(
    templates_for: Callable[..., Templates],
) -> None:
    shared = templates_for(aws={"shared_files": True})
    [(logical_id, system)] = resources(shared, "AWS::EFS::FileSystem")
    assert (system["Encrypted"], system["PerformanceMode"], system["ThroughputMode"]) == (
        True,
        "generalPurpose",
        "elastic",
    )
    assert "ProvisionedThroughputInMibps" not in system
    assert system["LifecyclePolicies"] == [
        {"TransitionToIA": "AFTER_30_DAYS"},
        {"TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"},
    ]
    assert {"Key": "Name", "Value": "content-platform-efs"} in system["FileSystemTags"]
    assert system["BackupPolicy"] == {"Status": "ENABLED"}
    kept = shared["ContentPlatform"]["Resources"][logical_id]
    assert (kept["DeletionPolicy"], kept["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    denied = {statement["Sid"]: statement for statement in system["FileSystemPolicy"]["Statement"]}
    assert denied["OnlyOverTls"]["Effect"] == "Deny"
    assert denied["OnlyOverTls"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert denied["OnlyThroughMountTargets"]["Condition"] == {
        "Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}
    }
    [(_, folder)] = resources(shared, "AWS::EFS::AccessPoint")
    assert folder["PosixUser"] == {"Uid": "1000", "Gid": "1000"}
    assert folder["RootDirectory"]["CreationInfo"]["Permissions"] == "0770"


def test_shared_files_are_reached_in_two_zones_by_nfs_from_inside_only(
    templates_for: Callable[..., Templates],
) -> None:
    shared = templates_for(aws={"shared_files": True})
    [(_, network)] = resources(shared, "AWS::EC2::VPC")
    subnets = dict(resources(shared, "AWS::EC2::Subnet"))
    assert [subnet["AvailabilityZone"]["Fn::Select"][0] for subnet in subnets.values()] == [0, 1]
    targets = [held for _, held in resources(shared, "AWS::EFS::MountTarget")]
    [(group_id, group)] = resources(shared, "AWS::EC2::SecurityGroup")
    assert {target["SubnetId"]["Fn::GetAtt"][0] for target in targets} == set(subnets)
    assert all(target["SecurityGroups"] == [{"Fn::GetAtt": [group_id, "GroupId"]}] for target in targets)
    [rule] = group["SecurityGroupIngress"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 2049, 2049)
    assert rule["CidrIp"] == network["CidrBlock"]
    ways_out = ("AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route")
    assert not [found for kind in ways_out for found in resources(shared, kind)]


def test_throughput_of_shared_files_can_be_provisioned(templates_for: Callable[..., Templates]) -> None:
    shared = templates_for(aws={"shared_files": True, "shared_files_throughput_mibps": 500})
    [(_, system)] = resources(shared, "AWS::EFS::FileSystem")
    assert (system["ThroughputMode"], system["ProvisionedThroughputInMibps"]) == ("provisioned", 500)
