"""The key pair of signed URLs: made once, its private half kept in SSM as a SecureString and nowhere else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Final

from contentplatform.deployment.toolchain import Toolchain
from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import Conflict, NotFound, Unavailable

SIGNING_KEY_PARAMETER: Final = "/contentplatform/cloudfront/signing-key"
PUBLIC_KEY_PARAMETER: Final = "SigningPublicKey"
"""The parameter of the stack that tells CloudFront the public half."""
_DOING: Final = "making the key that signs URLs"
_NEW_PAIR: Final = """
const { generateKeyPairSync } = require("crypto");
const pair = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
});
process.stdout.write(JSON.stringify(pair));
"""
_PUBLIC_HALF: Final = """
const { createPublicKey } = require("crypto");
const pem = require("fs").readFileSync(0, "utf8");
process.stdout.write(createPublicKey(pem).export({ type: "spki", format: "pem" }));
"""
_TAGS: Final = ({"Key": "Project", "Value": "ContentPlatform"},)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair, 2 048 bits, as CloudFront wants it."""

    public: str
    """PEM."""
    private: str = field(default="", repr=False)
    """PEM; empty where it is kept already."""

    @property
    def fingerprint(self) -> str:
        """Tells keys apart, in names: CloudFront can't change a key, only take another beside it."""
        return hashlib.sha256(self.public.encode()).hexdigest()[:8]


def signing_key(aws: Aws, tools: Toolchain) -> SigningKey:
    """The pair that is kept, or a new one that ``keep`` has to be called with. Changes nothing.

    Raises:
        ConfigurationInvalid: the credentials may not read the parameter.
        Unavailable: AWS can't be reached, Node failed, or what is kept is no key.
    """
    private = _stored(aws)
    if private is None:
        finished = tools.run_node(_NEW_PAIR, doing=_DOING)
        if not finished.succeeded:
            raise Unavailable(_DOING, "Node could not make one", private=finished.errors[-500:])
        pair = json.loads(finished.output)
        return SigningKey(_in_lines(pair["publicKey"]), pair["privateKey"])
    finished = tools.run_node(_PUBLIC_HALF, doing="reading the key that signs URLs", given=private)
    if not finished.succeeded:
        raise Unavailable(
            "reading the key that signs URLs",
            f"what lies at {SIGNING_KEY_PARAMETER} is no private key",
            hint="Delete that parameter; the next `contentplatform deploy` makes another, and signed URLs that are out "
            "stop working",
        )
    return SigningKey(_in_lines(finished.output))


def keep(aws: Aws, key: SigningKey) -> None:
    """Keep the private half of a new pair. It leaves this process for SSM only.

    Raises:
        ConfigurationInvalid: the credentials may not write the parameter.
        Conflict: somebody else made one meanwhile, which counts.
        Unavailable: AWS can't be reached.
    """
    if not key.private:
        return
    try:
        with translated(_DOING):
            aws.client("ssm").put_parameter(
                Name=SIGNING_KEY_PARAMETER,
                Description="Signs URLs of private files; made by `contentplatform deploy`",
                Value=key.private,
                Type="SecureString",
                Overwrite=False,
                Tags=list(_TAGS),
            )
    except Conflict as error:
        raise Conflict(_DOING, "somebody else made one at this moment", hint="Deploy again, with that one") from error


def _in_lines(pem: str) -> str:
    return pem if pem.endswith("\n") else f"{pem}\n"


def _stored(aws: Aws) -> str | None:
    try:
        with translated("reading the key that signs URLs"):
            answer = aws.client("ssm").get_parameter(Name=SIGNING_KEY_PARAMETER, WithDecryption=True)
    except NotFound:
        return None
    return str(answer["Parameter"]["Value"])
