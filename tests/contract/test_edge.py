"""What every edge must do, on the one in memory, the local one, and CloudFront on the emulator."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.stub import Stubber

from contentplatform.delivery.aws import (
    DISTRIBUTION_ID_PARAMETER,
    DOMAIN_NAME_PARAMETER,
    KEY_PAIR_ID_PARAMETER,
    SIGNING_KEY_PARAMETER,
    CloudFrontEdge,
)
from contentplatform.delivery.local import KEYS_FILE_NAME, SCHEMA, LocalEdge
from contentplatform.delivery.port import PATHS_LIMIT, Edge, InvalidationStatus, InvalidationSummary
from contentplatform.delivery.rules import path_of
from contentplatform.drivers.boto import Aws
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ConfigurationInvalid, Conflict, InvalidRequest, NotFound, Unavailable
from contract.unproven import UNPROVEN
from fakes.clock import FakeClock, SequentialIds
from fakes.edge import MemoryEdge

SHA256: Final = "0123456789abcdef" * 4
PUBLIC: Final = "processed/webp/a/photo.jpg.webp"
PRIVATE: Final = "processed/webp/private/photo.jpg.webp"
HOSTILE: Final = (
    "a+b c%20d?x#y&z",
    "ключ/写真 😀.jpg",
    "all*of?them",
    "processed/x",
    "_admin/.well-known",
    "-`$(x)`;\"'",
)


@dataclass
class Home:
    """An edge and its clock."""

    edge: Edge
    clock: FakeClock


def in_memory(_request: pytest.FixtureRequest) -> Iterator[Home]:
    """The fake."""
    clock = FakeClock()
    yield Home(MemoryEdge(clock), clock)


def local(request: pytest.FixtureRequest) -> Iterator[Home]:
    """The local home."""
    folder: Path = request.getfixturevalue("tmp_path")
    clock, ids = FakeClock(), SequentialIds()
    database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    yield Home(LocalEdge(database, folder, clock, ids, private_prefix="private/"), clock)
    database.close()


def cloudfront(request: pytest.FixtureRequest) -> Iterator[Home]:
    """The home on AWS, on the emulator."""
    aws: Aws = request.getfixturevalue("aws")
    clock = FakeClock()
    deploy(aws)
    yield Home(CloudFrontEdge(aws, clock=clock, private_prefix="private/"), clock)


def deploy(aws: Aws) -> str:
    """A distribution, and the parameters that name it; its id."""
    origin = {"Id": "o", "DomainName": "b.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
    made = aws.client("cloudfront").create_distribution(
        DistributionConfig={
            "CallerReference": "one",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": {
                "TargetOriginId": "o",
                "ViewerProtocolPolicy": "redirect-to-https",
                "CachePolicyId": "658327ea-f89d-4fab-a63d-7e88639e58f6",
            },
        }
    )["Distribution"]
    ssm = aws.client("ssm")
    values = {DISTRIBUTION_ID_PARAMETER: made["Id"], DOMAIN_NAME_PARAMETER: made["DomainName"]}
    for name, value in {**values, KEY_PAIR_ID_PARAMETER: "K123"}.items():
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    ssm.put_parameter(Name=SIGNING_KEY_PARAMETER, Value=private_pem(), Type="SecureString", Overwrite=True)
    return str(made["Id"])


def private_pem() -> str:
    """The private key of these tests, made once."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    if not _PEM:
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        _PEM.append(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
        )
    return _PEM[0]


_PEM: Final[list[str]] = []
CHECKS: Final[list[Callable[[Home], None]]] = []


def check(function: Callable[[Home], None]) -> Callable[[Home], None]:
    """Make the function a part of the contract."""
    CHECKS.append(function)
    return function


# -- invalidations -----------------------------------------------------------------------------------------------


@check
def an_invalidation_can_be_read_again(home: Home) -> None:
    paths = [path_of(PUBLIC, SHA256), path_of(PUBLIC)]
    made = home.edge.invalidate(paths, "process-1")
    assert made is not None
    assert (made.reference, made.paths) == ("process-1", tuple(sorted(paths)))
    assert home.edge.invalidation(made.id) == made
    assert [listed.id for listed in home.edge.invalidations().invalidations] == [made.id]


@check
def the_same_reference_is_the_same_invalidation(home: Home) -> None:
    first = home.edge.invalidate([path_of("processed/webp/a"), path_of("processed/webp/b")], "one")
    again = home.edge.invalidate([path_of("processed/webp/b"), path_of("processed/webp/a")] * 2, "one")
    assert first == again
    with pytest.raises(Conflict):
        home.edge.invalidate([path_of("processed/webp/c")], "one")
    assert len(home.edge.invalidations().invalidations) == 1


@check
def no_paths_are_no_invalidation(home: Home) -> None:
    assert home.edge.invalidate([], "nothing") is None
    assert home.edge.invalidations().invalidations == ()


@check
def what_is_not_an_exact_path_is_refused(home: Home) -> None:
    for wrong in ("/*", "/processed/*", "processed/x", "/a b", "/%2A%2a", "/a/../b", "/é", "/a?v=*", "/" + "x" * 4_000):
        with pytest.raises(InvalidRequest):
            home.edge.invalidate([path_of(PUBLIC), wrong], "wrong")
    with pytest.raises(InvalidRequest):
        home.edge.invalidate([f"/{number}" for number in range(PATHS_LIMIT + 1)], "many")
    for reference in ("", "x" * 129):
        with pytest.raises(InvalidRequest):
            home.edge.invalidate([path_of(PUBLIC)], reference)
    assert home.edge.invalidations().invalidations == ()


@check
def hostile_keys_come_back_as_they_were_asked_for(home: Home) -> None:
    paths = tuple(sorted(path_of(f"processed/webp/{key}.webp", SHA256) for key in HOSTILE))
    made = home.edge.invalidate(paths, "hostile")
    assert made is not None
    assert home.edge.invalidation(made.id).paths == paths


@check
def an_invalidation_that_does_not_exist_is_not_found(home: Home) -> None:
    with pytest.raises(NotFound):
        home.edge.invalidation("I2J0I21PCUYOIK")


@check
def invalidations_are_listed_from_new_to_old_page_by_page(home: Home) -> None:
    made = [home.edge.invalidate([path_of(PUBLIC)], f"number-{number}") for number in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = home.edge.invalidations(cursor=cursor, limit=2)
        seen += [listed.id for listed in page.invalidations]
        cursor = page.cursor
    assert seen == [there.id for there in reversed(made) if there is not None]
    assert cursor is None


@check
def a_page_of_nowhere_is_refused(home: Home) -> None:
    wrong: list[dict[str, Any]] = [{"limit": 0}, {"limit": 101}, {"cursor": "'; --"}]
    for asked in wrong:
        with pytest.raises(InvalidRequest):
            home.edge.invalidations(**asked)


# -- links -------------------------------------------------------------------------------------------------------


@check
def a_link_names_its_bytes(home: Home) -> None:
    link = home.edge.url(PUBLIC, SHA256)
    assert link.endswith(f"/{PUBLIC}?v=0123456789abcdef")
    assert home.edge.url("raw/film.mov", SHA256).endswith("/raw/film.mov?v=0123456789abcdef")


@check
def a_link_to_a_private_key_is_signed_or_refused(home: Home) -> None:
    with pytest.raises(InvalidRequest):
        home.edge.url(PRIVATE, SHA256)
    assert "Signature=" in home.edge.signed_url(PRIVATE, home.clock.now() + timedelta(hours=1), SHA256)


@check
def what_the_edge_does_not_reach_has_no_link(home: Home) -> None:
    later = home.clock.now() + timedelta(hours=1)
    for key in ("versions/f/v/r/webp.webp", "a/photo.jpg", "processed/new/x.jpg", "processed/webp/../x", "raw/./x", ""):
        with pytest.raises(InvalidRequest):
            home.edge.url(key, SHA256)
        with pytest.raises(InvalidRequest):
            home.edge.signed_url(key, later, SHA256)
    for wrong in ("", "xyz", SHA256.upper()):
        with pytest.raises(InvalidRequest):
            home.edge.url(PUBLIC, wrong)


@check
def a_link_that_is_over_is_not_made(home: Home) -> None:
    with pytest.raises(InvalidRequest):
        home.edge.signed_url(PRIVATE, home.clock.now(), SHA256)


@check
def a_link_to_a_picture_names_its_original(home: Home) -> None:
    link = home.edge.image_url("dpr_2,t_card-512", "a/photo b.jpg", SHA256)
    assert link.endswith("/images/t_card-512,dpr_2/a/photo%20b.jpg?v=0123456789abcdef")
    assert link.startswith(home.edge.url(PUBLIC, SHA256).partition("/processed/")[0])


@check
def a_picture_that_is_private_or_free_has_signed_links_only(home: Home) -> None:
    later = home.clock.now() + timedelta(hours=1)
    for options, key in (("w_300", "a/photo.jpg"), ("t_card-512", "private/photo.jpg"), ("w_9,f_png", "private/x")):
        with pytest.raises(InvalidRequest):
            home.edge.image_url(options, key, SHA256)
        with pytest.raises(InvalidRequest):
            home.edge.image_url(options, key, SHA256, home.clock.now())
        link = home.edge.image_url(options, key, SHA256, later)
        assert f"/images/{options}/{key}?v=0123456789abcdef&Expires=" in link
        assert "Signature=" in link


@check
def there_is_no_link_to_a_picture_that_can_not_be(home: Home) -> None:
    for options, key, sha256 in (
        ("w_0", "a.jpg", SHA256),
        ("t_none", "a.jpg", SHA256),
        ("t_card-512", "a/../b.jpg", SHA256),
        ("t_card-512", "a.jpg", ""),
    ):
        with pytest.raises(InvalidRequest):
            home.edge.image_url(options, key, sha256)


@check
def pictures_of_a_file_are_forgotten_as_often_as_one_likes(home: Home) -> None:
    for _ in range(2):
        home.edge.keep_images("ab" * 16, SHA256)
        home.edge.keep_images("ab" * 16, "")


# -- running the contract ----------------------------------------------------------------------------------------

HOMES: Final = [in_memory, local, cloudfront]
PROMISES: Final = [
    pytest.param(make_home, promise, id=f"{make_home.__name__}: {promise.__name__}")
    for make_home in HOMES
    for promise in CHECKS
    if make_home is not cloudfront or promise.__name__ not in UNPROVEN
]


@pytest.mark.parametrize(("make_home", "promise"), PROMISES)
def test_contract(
    make_home: Callable[[pytest.FixtureRequest], Iterator[Home]],
    promise: Callable[[Home], None],
    request: pytest.FixtureRequest,
) -> None:
    """One promise, on one home."""
    for home in make_home(request):
        promise(home)


# -- only at home ------------------------------------------------------------------------------------------------


def local_edge(folder: Path, clock: FakeClock, ids: SequentialIds) -> tuple[LocalEdge, Database]:
    database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    return LocalEdge(database, folder, clock, ids, private_prefix="private/", base_url="http://here/"), database


def test_a_local_link_works_until_it_is_over_and_for_nothing_else(tmp_path: Path) -> None:
    clock = FakeClock()
    edge, database = local_edge(tmp_path, clock, SequentialIds())
    link = edge.signed_url(PRIVATE, clock.now() + timedelta(seconds=60), SHA256).removeprefix("http://here")
    assert edge.check_link(link) == path_of(PRIVATE, SHA256)
    other = path_of("processed/webp/private/other.webp")
    forged = [
        link.replace("photo", "other"),
        link.replace("v=0123", "v=1123"),
        link.replace("Expires=", "Expires=9"),
        link.replace("Signature=", "Signature=x"),
        link + "&v=0123456789abcdef",
        link.partition("&")[0],
        other,
    ]
    for target in forged:
        with pytest.raises(InvalidRequest):
            edge.check_link(target)
    clock.advance(60)
    with pytest.raises(InvalidRequest):
        edge.check_link(link)
    database.close()


def test_local_keys_are_readable_by_their_owner_only_and_rotate(tmp_path: Path) -> None:
    clock, ids = FakeClock(), SequentialIds()
    edge, database = local_edge(tmp_path, clock, ids)
    later = clock.now() + timedelta(hours=1)
    links = [edge.signed_url(PRIVATE, later, SHA256).removeprefix("http://here")]
    assert (tmp_path / KEYS_FILE_NAME).stat().st_mode & 0o777 == 0o400
    for number in (1, 2):
        edge.rotate_keys(bytes([number]) * 32)
        links.append(edge.signed_url(PRIVATE, later, SHA256).removeprefix("http://here"))
    another = LocalEdge(database, tmp_path, clock, ids, private_prefix="private/")
    for link in links[1:]:
        assert another.check_link(link) == path_of(PRIVATE, SHA256)
    with pytest.raises(InvalidRequest):
        another.check_link(links[0])
    assert (tmp_path / KEYS_FILE_NAME).stat().st_mode & 0o777 == 0o400
    assert [path.name for path in tmp_path.iterdir() if KEYS_FILE_NAME in path.name] == [KEYS_FILE_NAME]
    database.close()


@pytest.mark.parametrize("content", ["", "nonsense", "01234567 00\n", "\xff"])
def test_a_damaged_key_file_is_told_and_never_replaced(tmp_path: Path, content: str) -> None:
    clock = FakeClock()
    edge, database = local_edge(tmp_path, clock, SequentialIds())
    (tmp_path / KEYS_FILE_NAME).write_text(content, "latin-1")
    with pytest.raises(ConfigurationInvalid, match=KEYS_FILE_NAME):
        edge.signed_url(PRIVATE, clock.now() + timedelta(hours=1), SHA256)
    assert (tmp_path / KEYS_FILE_NAME).read_text("latin-1") == content
    database.close()


# -- only on AWS -------------------------------------------------------------------------------------------------


def test_a_cloudfront_link_carries_a_canned_policy_that_its_public_key_verifies(aws: Aws) -> None:
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    deploy(aws)
    clock = FakeClock()
    edge = CloudFrontEdge(aws, clock=clock, private_prefix="private/")
    expires = clock.now() + timedelta(hours=1)
    key = f"processed/webp/private/{HOSTILE[0]}.webp"
    link = edge.signed_url(key, expires, SHA256)
    asked, _, rest = link.partition("&")
    told = {name: values[0] for name, values in parse_qs(rest).items()}
    assert asked == f"https://{urlsplit(link).netloc}{path_of(key, SHA256)}"
    assert told["Key-Pair-Id"] == "K123"
    assert told["Expires"] == str(int(expires.timestamp()))
    until = f'{{"DateLessThan":{{"AWS:EpochTime":{told["Expires"]}}}}}'
    policy = f'{{"Statement":[{{"Resource":"{asked}","Condition":{until}}}]}}'
    json.loads(policy)
    private = serialization.load_pem_private_key(private_pem().encode(), password=None)
    assert isinstance(private, rsa.RSAPrivateKey)
    signature = told["Signature"].translate(str.maketrans("-_~", "+=/"))
    private.public_key().verify(base64.b64decode(signature), policy.encode(), padding.PKCS1v15(), hashes.SHA1())


def test_without_a_deployment_it_says_what_is_missing(aws: Aws) -> None:
    edge = CloudFrontEdge(aws, clock=FakeClock(), private_prefix="private/")
    with pytest.raises(ConfigurationInvalid, match="deploy"):
        edge.invalidate([path_of(PUBLIC)], "one")
    with pytest.raises(ConfigurationInvalid, match="domain-name"):
        edge.url(PUBLIC, SHA256)


def test_a_distribution_that_was_made_anew_is_found_at_once(aws: Aws) -> None:
    ssm = aws.client("ssm")
    ssm.put_parameter(Name=DISTRIBUTION_ID_PARAMETER, Value="EGONE", Type="String")
    edge = CloudFrontEdge(aws, clock=FakeClock(), private_prefix="private/")
    with pytest.raises(ConfigurationInvalid, match="does not exist"):
        edge.invalidate([path_of(PUBLIC)], "one")
    deploy(aws)
    made = edge.invalidate([path_of(PUBLIC)], "one")
    assert made is not None
    assert edge.invalidation(made.id).reference == "one"


def test_the_marker_of_cloudfront_is_passed_on(aws: Aws) -> None:
    distribution = deploy(aws)
    edge = CloudFrontEdge(aws, clock=FakeClock(), private_prefix="")
    created = datetime(2026, 1, 1, tzinfo=UTC)
    page = {"Marker": "", "MaxItems": 1, "Quantity": 1, "IsTruncated": False}
    with Stubber(aws.client("cloudfront")) as stub:
        first = {"Id": "I2", "CreateTime": created, "Status": "InProgress"}
        listed = {**page, "IsTruncated": True, "NextMarker": "I2", "Items": [first]}
        stub.add_response(
            "list_invalidations", {"InvalidationList": listed}, {"DistributionId": distribution, "MaxItems": "1"}
        )
        stub.add_response(
            "list_invalidations",
            {"InvalidationList": {**page, "Items": [{**first, "Id": "I1", "Status": "Completed"}]}},
            {"DistributionId": distribution, "MaxItems": "1", "Marker": "I2"},
        )
        newest = edge.invalidations(limit=1)
        oldest = edge.invalidations(limit=1, cursor=newest.cursor)
    assert newest.invalidations == (InvalidationSummary("I2", InvalidationStatus.IN_PROGRESS, created),)
    assert oldest.invalidations == (InvalidationSummary("I1", InvalidationStatus.COMPLETED, created),)
    assert oldest.cursor is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("TooManyInvalidationsInProgress", Unavailable),
        ("InvalidationBatchAlreadyExists", Conflict),
        ("AccessDenied", ConfigurationInvalid),
    ],
)
def test_what_cloudfront_answers_is_told_apart(aws: Aws, code: str, kind: type[Exception]) -> None:
    deploy(aws)
    edge = CloudFrontEdge(aws, clock=FakeClock(), private_prefix="")
    with Stubber(aws.client("cloudfront")) as stub:
        stub.add_client_error("create_invalidation", code, http_status_code=400)
        with pytest.raises(kind, match="invalidating 1 paths for one"):
            edge.invalidate([path_of(PUBLIC)], "one")


def test_parameters_are_read_again_after_a_while(aws: Aws) -> None:
    deploy(aws)
    clock = FakeClock()
    edge = CloudFrontEdge(aws, clock=clock, private_prefix="private/")
    before = edge.url(PUBLIC, SHA256)
    aws.client("ssm").put_parameter(Name=DOMAIN_NAME_PARAMETER, Value="new.example", Type="String", Overwrite=True)
    assert edge.url(PUBLIC, SHA256) == before
    clock.advance(301)
    assert edge.url(PUBLIC, SHA256).startswith("https://new.example/")


@pytest.mark.parametrize("content", ["nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_signing_key_that_is_none_is_told(aws: Aws, content: str) -> None:
    deploy(aws)
    aws.client("ssm").put_parameter(Name=SIGNING_KEY_PARAMETER, Value=content, Type="SecureString", Overwrite=True)
    clock = FakeClock()
    edge = CloudFrontEdge(aws, clock=clock, private_prefix="private/")
    with pytest.raises(ConfigurationInvalid, match="signing-key"):
        edge.signed_url(PRIVATE, clock.now() + timedelta(hours=1), SHA256)
