"""A small CDK app in the place of the platform's own: two stacks in two regions, with what is kept and what is not."""

from __future__ import annotations

import argparse
import sys

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm

from contentplatform.config import load
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole


def main(arguments: list[str]) -> None:
    """Write the templates of both stacks."""
    parser = argparse.ArgumentParser()
    for name in ("--out", "--data", "--account", "--broken", "--buckets", "--signing-key"):
        parser.add_argument(name)
    given = parser.parse_args(arguments)
    settings = load()
    suffix = settings.storage.bucket_suffix
    app = cdk.App(outdir=given.out, analytics_reporting=False)
    cdk.Tags.of(app).add("Project", "ContentPlatform")
    backup = cdk.Stack(
        app,
        "ContentPlatformBackup",
        env=cdk.Environment(account=given.account, region=settings.aws.backup_region),
        termination_protection=True,
    )
    cdk.CfnWaitConditionHandle(backup, "Something")
    with_buckets = given.buckets != "no"
    for role in (BucketRole.BACKUP, BucketRole.LOGS) if with_buckets else ():
        keep(backup, role.value.title(), bucket_name(role, suffix))
    main_stack = cdk.Stack(
        app, "ContentPlatform", env=cdk.Environment(account=given.account, region=settings.aws.region)
    )
    main_stack.add_stack_dependency(backup)
    for role in (BucketRole.PRIMARY, BucketRole.PROCESSED) if with_buckets else ():
        keep(main_stack, role.value.title(), bucket_name(role, suffix))
    dynamodb.Table(
        main_stack,
        "Metadata",
        table_name="content-metadata",
        partition_key=dynamodb.Attribute(name="file_id", type=dynamodb.AttributeType.STRING),
        deletion_protection=True,
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )
    logs.LogGroup(
        main_stack,
        "Log",
        log_group_name="/aws/lambda/content-upload-handler",
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )
    sqs.Queue(main_stack, "Uploads", queue_name="content-platform-uploads")
    topic = sns.Topic(main_stack, "Alerts", topic_name="backup-alerts")
    ssm.StringParameter(main_stack, "Where", parameter_name="/contentplatform/where", string_value=topic.topic_arn)
    cdk.CfnOutput(main_stack, "AlertsTopic", value=topic.topic_arn, description="Where alerts are sent")
    if given.broken:
        cdk.CfnResource(main_stack, "Broken", type="AWS::Nowhere::Nothing")
    app.synth()


def keep(stack: cdk.Stack, name: str, bucket: str) -> None:
    """A bucket that outlives its stack, and its policy with it: it goes over TLS only, and nobody deletes from it."""
    made = s3.Bucket(stack, name, bucket_name=bucket, versioned=True, removal_policy=cdk.RemovalPolicy.RETAIN)
    arns = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    others = {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/cdk-*"}}
    denied = (("OnlyOverTls", "s3:*", insecure), ("OnlyAdministratorsChangeGuards", "s3:DeleteBucket", others))
    policy = s3.CfnBucketPolicy(
        stack,
        f"{name}Policy",
        bucket=bucket,
        policy_document={
            "Version": "2012-10-17",
            "Statement": [
                {"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": action, "Resource": arns, "Condition": when}
                for sid, action, when in denied
            ],
        },
    )
    policy.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
    policy.node.add_dependency(made)


if __name__ == "__main__":
    main(sys.argv[1:])
