"""What the driver of AWS says without asking AWS."""

from __future__ import annotations

import pytest

from contentplatform.drivers.boto import Aws


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-1", "aws"), ("eu-central-1", "aws"), ("cn-north-1", "aws-cn")]
)
def test_an_arn_names_the_part_of_aws_that_the_region_belongs_to(region: str, partition: str) -> None:
    aws = Aws(region=region, account_id="111122223333")
    assert aws.arn("sns", "backup-alerts") == f"arn:{partition}:sns:{region}:111122223333:backup-alerts"
