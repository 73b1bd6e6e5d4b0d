"""AWS through boto3: clients made once, answers translated. The only importer of boto3.

Every adapter of the aws home asks here for its clients and runs its calls under ``translated``, so that no room ever
sees a botocore error, and a person reads what was being done, why it failed and what to do next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from contentplatform.errors import (
    Archived,
    ChecksumMismatch,
    ConfigurationInvalid,
    Conflict,
    Corrupt,
    InvalidRequest,
    NotFound,
    PlatformError,
    Unavailable,
)

_CONNECT_TIMEOUT_SECONDS: Final = 5
_READ_TIMEOUT_SECONDS: Final = 60
_ATTEMPTS: Final = 5
_CONNECTIONS: Final = 32
_TOO_MANY: Final = 429

_PARTITIONS: Final = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
"""Of AWS, by how their regions begin; all others are in the one called aws."""

_NOT_FOUND: Final = frozenset(
    {
        "404",
        "NoSuchKey",
        "NoSuchVersion",
        "NoSuchUpload",
        "NotFound",
        "NotFoundException",
        "ResourceNotFoundException",
        "ExecutionDoesNotExist",
        "ParameterNotFound",
        "NoSuchInvalidation",
    }
)
_CONFLICT: Final = frozenset(
    {
        "409",
        "412",
        "PreconditionFailed",
        "ConditionalRequestConflict",
        "ConflictException",
        "ConditionalCheckFailedException",
        "TransactionConflictException",
        "TransactionCanceledException",
        "ExecutionAlreadyExists",
        "ParameterAlreadyExists",
    }
)
_ARCHIVED: Final = frozenset({"InvalidObjectState", "ObjectNotInActiveTierError"})
_CHECKSUM: Final = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"})
_NOT_ALLOWED: Final = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "UnauthorizedOperation",
        "ExpiredToken",
        "ExpiredTokenException",
        "ForbiddenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_PASSING: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "OperationAborted",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "ServiceQuotaExceededException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


class Aws:
    """A session with AWS: whose account, where, and one client a service and region. Safe from any thread.

    Args:
        region: where calls go unless a client is asked for another.
        account_id: the account's 12 digits, which bucket owners are checked against; asked of STS if not given.
        profile: of the AWS configuration; empty takes credentials in AWS's own order.
    """

    def __init__(self, *, region: str, account_id: str = "", profile: str = "") -> None:
        self.region = region
        self._account_id = account_id
        self._profile = profile
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}

    @property
    def account_id(self) -> str:
        """The account's 12 digits.

        Raises:
            ConfigurationInvalid: there are no valid credentials.
        """
        if not self._account_id:
            with translated("finding out whose AWS account this is"):
                self._account_id = str(self.client("sts").get_caller_identity()["Account"])
        return self._account_id

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource in this account and region.

        Raises:
            ConfigurationInvalid: the account is not known, and there are no valid credentials to ask with.
        """
        partition = next((name for start, name in _PARTITIONS.items() if self.region.startswith(start)), "aws")
        return f"arn:{partition}:{service}:{self.region}:{self.account_id}:{resource}"

    def client(self, service: str, region: str | None = None) -> Any:
        """The client of a service, by boto3's name for it; the same one each time.

        Raises:
            ConfigurationInvalid: no such profile.
        """
        name = (service, region or self.region)
        with self._lock:
            if name not in self._clients:
                with translated(f"preparing to talk to {service}"):
                    if self._session is None:
                        self._session = boto3.Session(profile_name=self._profile or None, region_name=self.region)
                    self._clients[name] = self._session.client(service, region_name=name[1], config=_CONFIG)
            return self._clients[name]

    def presigned(self, operation: str, arguments: Mapping[str, Any], seconds: int, *, region: str) -> str:
        """An address by which whoever has it can make one call to S3 in our name, for so long. Asks nobody.

        Raises:
            ConfigurationInvalid: no credentials. InvalidRequest: no such call.
        """
        name = ("s3", f"{region} presigned")
        self.client("s3", region)
        with self._lock, translated("signing a request to S3"):
            if name not in self._clients:
                self._clients[name] = self._session.client("s3", region_name=region, config=_SIGNING)
            signer = self._clients[name]
        with translated("signing a request to S3"):
            return str(signer.generate_presigned_url(operation, Params=dict(arguments), ExpiresIn=seconds))


_CONFIG: Final = Config(
    connect_timeout=_CONNECT_TIMEOUT_SECONDS,
    read_timeout=_READ_TIMEOUT_SECONDS,
    retries={"mode": "standard", "max_attempts": _ATTEMPTS},
    max_pool_connections=_CONNECTIONS,
    user_agent_appid="content-platform",
)
_SIGNING: Final = _CONFIG.merge(Config(signature_version="s3v4", s3={"us_east_1_regional_endpoint": "regional"}))
"""Version 4 and the bucket's own region: a browser does not follow S3 from one host to another."""


def error_code(error: Exception) -> str:
    """The service's own name of an error; empty for one that no service answered with."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def cancellation_codes(error: Exception) -> tuple[str, ...]:
    """Why each part of a cancelled DynamoDB transaction failed, in the order of its parts; empty for other errors."""
    reasons = error.response.get("CancellationReasons", ()) if isinstance(error, ClientError) else ()
    return tuple(str(reason.get("Code", "None")) for reason in reasons)


@contextmanager
def translated(doing: str, *, why: Mapping[type[PlatformError], str] | None = None) -> Iterator[None]:
    """Run AWS calls; what they raise becomes an error of the platform.

    Args:
        doing: what is being done, as a gerund.
        why: words for single outcomes, by the error's class, where AWS's own say little.

    Raises:
        NotFound, Conflict, Archived, ChecksumMismatch, InvalidRequest: as the service answered.
        Corrupt: what it sent does not have the checksum that it keeps of it.
        Unavailable: the service is throttling, failing or out of reach.
        ConfigurationInvalid: no credentials, or they may not do this.
    """
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _translation(error, doing, why or {}) from error


def _translation(
    error: BotoCoreError | ClientError, doing: str, why: Mapping[type[PlatformError], str]
) -> PlatformError:
    if isinstance(error, ClientError):
        return _from_service(error, doing, why)
    private = f"{type(error).__name__}: {error}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | TokenRetrievalError):
        return ConfigurationInvalid(
            doing,
            "there are no AWS credentials",
            hint="Sign in with `aws configure` or `aws sso login`, or name a profile with --profile",
            private=private,
        )
    if isinstance(error, ProfileNotFound | NoRegionError):
        return ConfigurationInvalid(doing, str(error), hint="`aws configure list-profiles` lists the profiles")
    if isinstance(error, FlexibleChecksumError):
        return Corrupt(doing, why.get(Corrupt, "the bytes differ from their stored checksum"), private=private)
    if isinstance(error, BotoConnectionError | HTTPClientError | IncompleteReadError):
        return Unavailable(doing, "AWS can't be reached", hint="Check the network, then try again", private=private)
    return InvalidRequest(doing, f"AWS's library refused the request ({error})", private=private)


_KINDS: Final[tuple[tuple[frozenset[str], type[PlatformError], str, str], ...]] = (
    (_NOT_FOUND, NotFound, "it does not exist", ""),
    (_CONFLICT, Conflict, "somebody else changed it first, or it exists already", ""),
    (
        _ARCHIVED,
        Archived,
        "it is in an archive tier",
        "Ask for a restore, wait until it is done, then read it",
    ),
    (_CHECKSUM, ChecksumMismatch, "the bytes that arrived are not the bytes that were sent", "Try again"),
)


def _from_service(error: ClientError, doing: str, why: Mapping[type[PlatformError], str]) -> PlatformError:
    code = error_code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    message = str(error.response.get("Error", {}).get("Message", "")).strip()
    private = f"{error.operation_name}: {code} (HTTP {status}): {message}"
    if code == "TransactionCanceledException" and _is_passing_cancellation(error):
        return Unavailable(doing, "AWS is busy", hint="Try again", private=private)
    for codes, kind, words, hint in _KINDS:
        if code in codes:
            return kind(doing, why.get(kind, words), hint=hint, private=private)
    if code in _NOT_ALLOWED:
        return ConfigurationInvalid(
            doing,
            why.get(ConfigurationInvalid, f"the AWS credentials in use may not do this ({error.operation_name})"),
            hint="Sign in again, or ask whoever manages the account for the right",
            private=private,
        )
    if code in _PASSING or status >= 500 or status == _TOO_MANY:
        return Unavailable(doing, why.get(Unavailable, "AWS is busy or failing"), hint="Try again", private=private)
    if code == "NoSuchBucket":
        return ConfigurationInvalid(
            doing, "the bucket does not exist", hint="`contentplatform deploy` makes it", private=private
        )
    return InvalidRequest(doing, why.get(InvalidRequest, message or code or "AWS refused it"), private=private)


def _is_passing_cancellation(error: ClientError) -> bool:
    """Whether a transaction failed for being too busy, not for one of its conditions."""
    codes = set(cancellation_codes(error)) - {"None"}
    return bool(codes) and codes <= {"ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"}
