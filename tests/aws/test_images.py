"""Pictures on the fly by the deployed function, at its own address, signed as the edge signs."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.message import Message
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

from aws.conftest import Deployed, until
from contentplatform.app import AwsHome
from contentplatform.delivery.rules import UNVERSIONED_CACHE_CONTROL, VERSIONED_CACHE_CONTROL
from contentplatform.errors import ConfigurationInvalid
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole, PutOptions
from emulator import REGION
from sample_media import encoded, photo

FUNCTION = "content-image-transformer"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Address:
    """The function's address on the emulator."""

    def __init__(self, home: AwsHome, deployed: Deployed) -> None:
        told = home.aws.client("lambda").get_function_url_config(FunctionName=FUNCTION, Qualifier="live")
        self.auth_type = told["AuthType"]
        self._emulator = deployed.emulator
        self._prefix = f"{deployed.emulator.url}/_aws/lambda-url/{urlsplit(told['FunctionUrl']).netloc.split('.')[0]}"

    def get(self, target: str, *, signed: bool = True, **headers: str) -> Answer:
        asked = AWSRequest("GET", self._prefix + target, headers={k.replace("_", "-"): v for k, v in headers.items()})
        if signed:
            SigV4Auth(Session().get_credentials(), "lambda", REGION).add_auth(asked)
        request = urllib.request.Request(asked.url, headers=dict(asked.headers.items()))
        return answered(request, self._emulator.certificate)


def answered(request: urllib.request.Request, certificate: object) -> Answer:
    context = ssl.create_default_context(cafile=str(certificate))
    try:
        with urllib.request.urlopen(request, timeout=180, context=context) as answer:
            return Answer(answer.status, lower(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, lower(error.headers), error.read())


def lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture
def address(home: AwsHome, deployed: Deployed) -> Address:
    return Address(home, deployed)


def test_a_picture_is_made_by_the_function_and_ends_with_its_original(
    home: AwsHome, address: Address, folder: str
) -> None:
    key, platform = f"{folder}/shown.jpg", home.platform
    platform.store.put(BucketRole.PRIMARY, key, BytesIO(encoded(photo(640, 480, seed=7), "JPEG")), PutOptions())

    def is_there() -> bool:
        try:
            return platform.catalog.get(file_id(key)).status is ProcessingStatus.COMPLETED
        except Exception:  # noqa: BLE001 - it is not there yet
            return False

    until(is_there, f"{key} is processed")
    record = platform.catalog.get(file_id(key))
    link = urlsplit(platform.edge.image_url("t_square-96", key, record.file_hash))
    target = f"{link.path}?{link.query}"

    assert address.auth_type == "AWS_IAM"
    assert address.get(target, signed=False).status == 403
    made = address.get(target, accept="image/webp")
    assert (made.status, made.headers["content-type"]) == (200, "image/webp"), made.body
    assert made.body[:4] + made.body[8:12] == b"RIFFWEBP"
    assert made.headers["cache-control"] == VERSIONED_CACHE_CONTROL
    assert address.get(link.path, accept="image/webp").headers["cache-control"] == UNVERSIONED_CACHE_CONTROL
    still = address.get(target, accept="image/webp", if_none_match=made.headers["etag"])
    assert (still.status, still.body) == (304, b"")

    platform.library.remove(key)
    assert address.get(target, accept="image/webp", if_none_match=made.headers["etag"]).status == 404


def test_through_the_edge_presets_reach_the_function_and_free_options_nobody(
    home: AwsHome, deployed: Deployed, folder: str
) -> None:
    """The emulator's edge signs nothing, so the function's address refuses it; and it has no keys to check links by."""
    domain = deployed.stacks["ContentPlatform"].outputs["EdgeDomain"]
    told = {}
    for options in ("t_square-96", "w_300"):
        request = urllib.request.Request(
            f"{deployed.emulator.url}/images/{options}/{folder}/a.jpg", headers={"Host": domain}
        )
        told[options] = answered(request, deployed.emulator.certificate)
    assert {answer.status for answer in told.values()} == {403}
    with pytest.raises(ConfigurationInvalid):
        home.platform.edge.image_url("w_300", "a.jpg", "0" * 64, home.platform.clock.now() + timedelta(hours=1))
