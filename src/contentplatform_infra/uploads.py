"""The queue between the primary bucket and the upload handler, and the one for what failed again and again."""

from __future__ import annotations

from aws_cdk import aws_iam, aws_sqs
from constructs import Construct

from contentplatform.ingest.queue import UPLOADS
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names


class Uploads(Construct):
    """Both queues and their policies. ``policy`` has to stand before S3 is told of the queue: S3 tries it at once.

    Queues go with their stack: what they tell of, the reconciler finds again, and one that stayed behind would stand in
    the way of the next deployment.
    """

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        queue_arn = names.arn("sqs", UPLOADS.name)
        self.dead_letters = aws_sqs.CfnQueue(
            self,
            "DeadLetters",
            queue_name=UPLOADS.dead_letter_name,
            message_retention_period=UPLOADS.retention_seconds,
            sqs_managed_sse_enabled=True,
            redrive_allow_policy={"redrivePermission": "byQueue", "sourceQueueArns": [queue_arn]},
        )
        self.queue = aws_sqs.CfnQueue(
            self,
            "Queue",
            queue_name=UPLOADS.name,
            visibility_timeout=UPLOADS.visibility_timeout_seconds,
            message_retention_period=UPLOADS.retention_seconds,
            sqs_managed_sse_enabled=True,
            redrive_policy={
                "deadLetterTargetArn": self.dead_letters.attr_arn,
                "maxReceiveCount": UPLOADS.attempts,
            },
        )
        self.policy = self._policy("Policy", self.queue, _only_over_tls(self.queue), _from_primary(self.queue, names))
        self._policy("DeadLettersPolicy", self.dead_letters, _only_over_tls(self.dead_letters))

    def _policy(
        self, construct_id: str, queue: aws_sqs.CfnQueue, *statements: aws_iam.PolicyStatement
    ) -> aws_sqs.CfnQueuePolicy:
        return aws_sqs.CfnQueuePolicy(
            self,
            construct_id,
            queues=[queue.ref],
            policy_document=aws_iam.PolicyDocument(minimize=False, statements=list(statements)),
        )


def _only_over_tls(queue: aws_sqs.CfnQueue) -> aws_iam.PolicyStatement:
    return aws_iam.PolicyStatement(
        sid="OnlyOverTls",
        effect=aws_iam.Effect.DENY,
        principals=[aws_iam.AnyPrincipal()],
        actions=["sqs:*"],
        resources=[queue.attr_arn],
        conditions={"Bool": {"aws:SecureTransport": "false"}},
    )


def _from_primary(queue: aws_sqs.CfnQueue, names: Names) -> aws_iam.PolicyStatement:
    return aws_iam.PolicyStatement(
        sid="OnlyThePrimaryBucketSends",
        principals=[aws_iam.ServicePrincipal("s3.amazonaws.com")],
        actions=["sqs:SendMessage"],
        resources=[queue.attr_arn],
        conditions={
            "StringEquals": {"aws:SourceAccount": names.account_id},
            "ArnLike": {"aws:SourceArn": names.bucket_arn(BucketRole.PRIMARY)},
        },
    )
