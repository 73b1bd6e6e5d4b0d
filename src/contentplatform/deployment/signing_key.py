"""The key pair of signed URLs: made once, its private half kept in SSM as a SecureString and nowhere else."""

from __future__ import annotations

import json
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


def public_key(aws: Aws, tools: Toolchain) -> str:
    """The public half as PEM; the pair is made if there is none yet.

    The private half is 2 048 bits, as CloudFront wants it, and leaves this process for SSM only.

    Raises:
        ConfigurationInvalid: the credentials may not read or write the parameter.
        Unavailable: AWS can't be reached, or Node failed.
    """
    private = _stored(aws)
    if private is None:
        finished = tools.run_node(_NEW_PAIR, doing=_DOING)
        if not finished.succeeded:
            raise Unavailable(_DOING, "Node could not make one", private=finished.errors[-500:])
        pair = json.loads(finished.output)
        try:
            with translated(_DOING, why={Conflict: "somebody else makes one at this moment"}):
                aws.client("ssm").put_parameter(
                    Name=SIGNING_KEY_PARAMETER,
                    Description="Signs URLs of private files; made by `contentplatform deploy`",
                    Value=pair["privateKey"],
                    Type="SecureString",
                    Overwrite=False,
                    Tags=list(_TAGS),
                )
        except Conflict:
            private = _stored(aws)  # whoever was first has made the one that counts
        else:
            return str(pair["publicKey"])
    finished = tools.run_node(_PUBLIC_HALF, doing="reading the key that signs URLs", given=private or "")
    if not finished.succeeded:
        raise Unavailable(
            "reading the key that signs URLs",
            f"what lies at {SIGNING_KEY_PARAMETER} is no private key",
            hint="Delete that parameter; the next `contentplatform deploy` makes another, and signed URLs that are out "
            "stop working",
        )
    return finished.output + ("" if finished.output.endswith("\n") else "\n")


def _stored(aws: Aws) -> str | None:
    try:
        with translated("reading the key that signs URLs"):
            answer = aws.client("ssm").get_parameter(Name=SIGNING_KEY_PARAMETER, WithDecryption=True)
    except NotFound:
        return None
    return str(answer["Parameter"]["Value"])
