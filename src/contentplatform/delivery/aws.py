"""The edge of the home on AWS: a CloudFront distribution, which parameters name and a key pair signs for.

The distribution's id, its domain and the id of its public key are SSM parameters that the stacks write; the private key
is a SecureString that ``deploy`` writes. All are read when they are first needed and kept for five minutes, so that a
rotated key reaches a function that lives long; where a call shows that they are old, they are read anew at once.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from contentplatform.clock import Clock
from contentplatform.delivery.port import (
    INVALIDATION_PAGE_SIZE,
    Edge,
    Invalidation,
    InvalidationPage,
    InvalidationStatus,
    InvalidationSummary,
    check_invalidation,
    check_page,
)
from contentplatform.delivery.signing import cloudfront_url
from contentplatform.drivers.boto import Aws, error_code, translated
from contentplatform.errors import ConfigurationInvalid, Conflict, InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = [
    "DISTRIBUTION_ID_PARAMETER",
    "DOMAIN_NAME_PARAMETER",
    "KEY_PAIR_ID_PARAMETER",
    "SIGNING_KEY_PARAMETER",
    "CloudFrontEdge",
]

T = TypeVar("T")

DISTRIBUTION_ID_PARAMETER: Final = "/contentplatform/cloudfront/distribution-id"
DOMAIN_NAME_PARAMETER: Final = "/contentplatform/cloudfront/domain-name"
KEY_PAIR_ID_PARAMETER: Final = "/contentplatform/cloudfront/key-pair-id"
SIGNING_KEY_PARAMETER: Final = "/contentplatform/cloudfront/signing-key"
_KEPT_SECONDS: Final = 300.0
_CONTROL_REGION: Final = "us-east-1"
"""CloudFront's own API has one home."""
_CURSOR: Final = re.compile(r"after-([A-Za-z0-9_-]{1,128})")


class CloudFrontEdge(Edge):
    """Invalidates through CloudFront and signs with its key pair.

    Args:
        aws: the session; parameters are read in its region.
        clock: how old parameters are, and when links expire.
        private_prefix: as for every edge.
    """

    def __init__(self, aws: Aws, *, clock: Clock, private_prefix: str) -> None:
        super().__init__(private_prefix)
        self._aws = aws
        self._clock = clock
        self._lock = threading.Lock()
        self._parameters: dict[str, tuple[float, str]] = {}
        self._key: tuple[str, RSAPrivateKey] | None = None

    # -- invalidations ---------------------------------------------------------------------------------------

    def invalidate(self, paths: Iterable[str], reference: str) -> Invalidation | None:
        wanted = check_invalidation(paths, reference)
        if not wanted:
            return None
        batch = {"Paths": {"Quantity": len(wanted), "Items": list(wanted)}, "CallerReference": reference}
        doing = f"invalidating {len(wanted)} paths for {reference}"

        def create(distribution: str) -> Any:
            return self._client().create_invalidation(DistributionId=distribution, InvalidationBatch=batch)

        return _invalidation(self._at_the_distribution(doing, create)["Invalidation"])

    def invalidation(self, invalidation_id: str) -> Invalidation:
        def look(distribution: str) -> Any:
            return self._client().get_invalidation(DistributionId=distribution, Id=invalidation_id)

        found = self._at_the_distribution(f"reading invalidation {invalidation_id}", look)
        return _invalidation(found["Invalidation"])

    def invalidations(self, *, cursor: str | None = None, limit: int = INVALIDATION_PAGE_SIZE) -> InvalidationPage:
        check_page(limit)
        where: dict[str, Any] = {"MaxItems": str(limit)}
        if cursor is not None:
            found = _CURSOR.fullmatch(cursor)
            if found is None:
                raise InvalidRequest("listing invalidations", "that cursor is not one of ours")
            where["Marker"] = found[1]

        def look(distribution: str) -> Any:
            return self._client().list_invalidations(DistributionId=distribution, **where)

        told = self._at_the_distribution("listing invalidations", look)["InvalidationList"]
        summaries = [
            InvalidationSummary(item["Id"], _status(item["Status"]), item["CreateTime"])
            for item in told.get("Items", ())
        ]
        following = f"after-{told['NextMarker']}" if told.get("IsTruncated") else None
        return InvalidationPage(tuple(summaries), following)

    def _at_the_distribution(self, doing: str, call: Callable[[str], T]) -> T:
        """Call with the distribution's id; once more with a fresh one where there is none of that id any more."""
        try:
            with translated(doing):
                return self._told_apart(call, self._parameter(DISTRIBUTION_ID_PARAMETER), doing)
        except _GoneError:
            self._forget()
        try:
            with translated(doing):
                return self._told_apart(call, self._parameter(DISTRIBUTION_ID_PARAMETER), doing)
        except _GoneError as error:
            raise ConfigurationInvalid(
                doing,
                f"the distribution that {DISTRIBUTION_ID_PARAMETER} names does not exist",
                hint="`contentplatform deploy` makes it",
            ) from error

    def _told_apart(self, call: Callable[[str], T], distribution: str, doing: str) -> T:
        """Call CloudFront, whose own errors the translation does not know."""
        try:
            return call(distribution)
        except Exception as error:
            match error_code(error):
                case "NoSuchDistribution":
                    raise _GoneError from error
                case "InvalidationBatchAlreadyExists":
                    raise Conflict(doing, "that reference stands for other paths") from error
                case "TooManyInvalidationsInProgress":
                    raise Unavailable(doing, "too many invalidations are under way", hint="Try again") from error
            raise

    def _client(self) -> Any:
        return self._aws.client("cloudfront", _CONTROL_REGION)

    # -- links -----------------------------------------------------------------------------------------------

    def signed_url(self, key: str, expires_at: datetime, sha256: str) -> str:
        return self._signed(self._path(key, sha256), expires_at)

    def _signed(self, path: str, expires_at: datetime) -> str:
        if expires_at <= self._clock.now():
            raise InvalidRequest(f"linking to {path}", "the link would be over already")
        return cloudfront_url(
            self._base_url() + path, expires_at, self._parameter(KEY_PAIR_ID_PARAMETER), self._signature
        )

    def _base_url(self) -> str:
        return f"https://{self._parameter(DOMAIN_NAME_PARAMETER)}"

    def _signature(self, policy: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - functions carry no such library
        from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

        # SHA-1 is what CloudFront verifies a canned policy with.
        return self._private_key().sign(policy, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - same

    def _private_key(self) -> RSAPrivateKey:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        pem = self._parameter(SIGNING_KEY_PARAMETER, secret=True)
        if self._key is None or self._key[0] != pem:
            doing = "signing a link"
            try:
                key = load_pem_private_key(pem.encode("ascii"), password=None)
            except (ValueError, TypeError, UnicodeEncodeError) as error:
                raise ConfigurationInvalid(doing, f"{SIGNING_KEY_PARAMETER} holds no private key in PEM") from error
            if not isinstance(key, RSAPrivateKey):
                raise ConfigurationInvalid(doing, f"{SIGNING_KEY_PARAMETER} holds no RSA key")
            self._key = (pem, key)
        return self._key[1]

    # -- parameters ------------------------------------------------------------------------------------------

    def _parameter(self, name: str, *, secret: bool = False) -> str:
        """A parameter's value, at most five minutes old.

        Raises:
            ConfigurationInvalid: nothing was deployed that wrote it.
        """
        now = self._clock.monotonic_seconds()
        with self._lock:
            kept = self._parameters.get(name)
        if kept is not None and now - kept[0] < _KEPT_SECONDS:
            return kept[1]
        doing = f"reading the parameter {name}"
        try:
            with translated(doing):
                found = self._aws.client("ssm").get_parameter(Name=name, WithDecryption=secret)
        except NotFound as error:
            raise ConfigurationInvalid(doing, "it does not exist", hint="`contentplatform deploy` writes it") from error
        value = str(found["Parameter"]["Value"])
        with self._lock:
            self._parameters[name] = (now, value)
        return value

    def _forget(self) -> None:
        with self._lock:
            self._parameters.clear()


class _GoneError(Exception):
    """The distribution that was named does not exist."""


def _status(word: str) -> InvalidationStatus:
    return InvalidationStatus.COMPLETED if word == "Completed" else InvalidationStatus.IN_PROGRESS


def _invalidation(told: Any) -> Invalidation:
    batch = told["InvalidationBatch"]
    return Invalidation(
        id=told["Id"],
        reference=batch["CallerReference"],
        paths=tuple(sorted(batch["Paths"]["Items"])),
        status=_status(told["Status"]),
        created_at=told["CreateTime"],
    )
