"""The emulator itself: what the tests of the aws home stand on."""

from __future__ import annotations

import pytest

from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import NotFound
from emulator import Emulator


def test_accounts_see_their_own_things_only(emulator: Emulator, aws: Aws) -> None:
    aws.client("sqs").create_queue(QueueName="mine")
    assert aws.client("sts").get_caller_identity()["Account"] == aws.account_id
    assert aws.client("sqs").list_queues()["QueueUrls"]
    assert emulator.account() != aws.account_id


def test_an_error_is_translated(aws: Aws) -> None:
    with pytest.raises(NotFound, match=r"^looking: it does not exist"), translated("looking"):
        aws.client("ssm").get_parameter(Name="/nothing")
