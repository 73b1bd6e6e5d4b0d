"""Stands in for the tools that scripts/prove-on-aws.sh calls: answers as AWS would, or wrongly where it is told to."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

WRONG = frozenset(os.environ["STAND_IN_WRONG"].split(";"))
STATE = Path(os.environ["STAND_IN_STATE"])
OUTPUTS = {"account_id": "111122223333", "region": "eu-west-1", "backup_region": "eu-north-1", "bucket_suffix": "x"}
TOKEN = "secret-of-a-token"
PART_BYTES = {1: 12_000_000, 2: 8_000_000}


def say(text: str) -> None:
    """One line of an answer."""
    sys.stdout.write(f"{text}\n")


def refuse(code: str) -> int:
    """How the AWS command line says that it may not; its exit status."""
    sys.stderr.write(f"An error occurred ({code})\n")
    return 254


def main(tool: str, arguments: list[str]) -> int:
    """Answer one call; its exit status."""
    with Path(os.environ["STAND_IN_CALLS"]).open("a", encoding="utf-8") as calls:
        calls.write(" ".join((tool, *arguments)) + "\n")
    return {"aws": aws, "contentplatform": contentplatform, "curl": curl}[tool](arguments)


def after(arguments: list[str], option: str) -> str:
    """What stands behind an option; empty if it is not there."""
    return arguments[arguments.index(option) + 1] if option in arguments else ""


def contentplatform(arguments: list[str]) -> int:
    known = {"deploy", "destroy", "outputs", "verify", "get", "show", "serve", "users", "tokens"}
    words = [word for word in arguments if word in known]
    called = f"contentplatform {words[0]}" + (" --delete-data" if "--delete-data" in arguments else "")
    if words[0] == "get" and any(word.endswith("direct.bin") for word in arguments):
        parts = (STATE / f"direct-{number}" for number in PART_BYTES)
        body = b"" if "contentplatform get direct" in WRONG else b"".join(part.read_bytes() for part in parts)
        Path(after(arguments, "-o")).write_bytes(body)
        return 0
    if called in WRONG:
        return 1
    if words[0] == "tokens":
        say(TOKEN)
    if words[0] == "outputs":
        say(json.dumps(OUTPUTS))
    if words[0] == "get":
        Path(after(arguments, "-o")).write_bytes((STATE / "uploaded").read_bytes())
    return 0


def told(arguments: list[str]) -> dict[str, str]:
    """The headers of a request, those in files, too."""
    given = [arguments[at + 1] for at, word in enumerate(arguments) if word == "-H"]
    lines = [line for each in given for line in (Path(each[1:]).read_text() if each[0] == "@" else each).splitlines()]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def server(arguments: list[str]) -> int:
    """A server of ours, which takes uploads whose parts go to S3."""
    path = arguments[-1].partition("/api/v1")[2]
    if "contentplatform serve" in WRONG:
        return 7
    if not path:
        return 0
    if told(arguments).get("authorization") != f"Bearer {TOKEN}":
        return 22
    parts, begin = [], 0
    for number, size in PART_BYTES.items():
        url = f"https://s3.example/key?partNumber={number}"
        parts.append(
            {"number": number, "first_byte": begin, "size_bytes": size, "url": url, "headers": {"x-owner": "me"}}
        )
        begin += size
    version_id = {"/uploads": None, "/uploads/u1/complete": "v1"}[path]
    begun = {"id": "u1", "direct": True, "version_id": version_id, "parts": parts}
    say(json.dumps(begun))
    return 0


def part(arguments: list[str]) -> int:
    """S3, as it takes one part: so many bytes as were signed for, in the bucket of whom it was signed for."""
    number = int(arguments[-1].rpartition("=")[2])
    body = Path(after(arguments, "-T")).read_bytes()
    is_signed = len(body) == PART_BYTES[number] and told(arguments) == {"x-owner": "me"}
    if is_signed:
        (STATE / f"direct-{number}").write_bytes(body)
    taken = "curl part" not in WRONG if is_signed else "curl other part" in WRONG
    sys.stdout.write("200" if taken else "403")
    return 0


def picture(arguments: list[str]) -> tuple[str, str]:
    """Status and type of a picture on the fly."""
    url = arguments[-1]
    is_free = "/w_" in url or "/private/" in url
    is_refused = is_free and "Signature=" not in url and "curl free" not in WRONG
    if "lambda-url" in url:
        is_refused = "curl function" not in WRONG
    wanted = told(arguments).get("accept", "image/jpeg")
    return "403" if is_refused else "200", "image/jpeg" if "curl picture" in WRONG else wanted


def curl(arguments: list[str]) -> int:
    url = arguments[-1]
    if url.startswith("http://127.0.0.1:"):
        return server(arguments)
    if "partNumber=" in url:
        return part(arguments)
    kind = "image/jpeg"
    status, cache, body = "200", "Hit from cloudfront", (STATE / "uploaded").read_bytes()
    if "curl stale" in WRONG:
        body = b"ever the same"
    if url.startswith("http:"):
        status = "301"
    elif "/images/" in url:
        status, kind = picture(arguments)
    elif url.endswith("nothing.jpg") or (
        "/private/" in url and "Signature=" not in url and "curl unsigned" not in WRONG
    ):
        status = "403"
    if "curl miss" in WRONG:
        cache = "Miss from cloudfront"
    Path(after(arguments, "-o")).write_bytes(body)
    Path(after(arguments, "-D")).write_text(f"HTTP/2 {status}\r\nX-Cache: {cache}\r\nContent-Type: {kind}\r\n", "ascii")
    sys.stdout.write(status)
    return 0


def aws(arguments: list[str]) -> int:
    service, operation = arguments[:2]
    called = f"{service} {operation}"
    wrong = called in WRONG
    if service in {"s3", "s3api"} and (answer := objects(called, arguments, wrong=wrong)) is not None:
        return answer
    if called == "s3api delete-bucket-policy" and not wrong:
        return refuse("AccessDenied")
    if called == "iam simulate-principal-policy":
        own = after(arguments, "--action-names") == "s3:PutObject"
        say("allowed" if own or wrong else "implicitDeny")
        return 0
    right = {
        "sts get-caller-identity": "111122223333",
        "ssm get-parameter": f"value of {after(arguments, '--name')}",
        "cloudfront list-invalidations": "2",
        "cloudfront sign": f"{after(arguments, '--url')}?Expires=1&Signature=x&Key-Pair-Id=y",
        "s3api get-bucket-lifecycle-configuration": "30\tSTANDARD_IA\n90\tGLACIER_IR\n365\tGLACIER\n1095\tDEEP_ARCHIVE",
        "lambda get-function-url-config": "https://pictures.lambda-url.eu-west-1.on.aws/",
        "athena start-query-execution": "an-id",
        "athena get-query-execution": "SUCCEEDED",
        "cloudwatch describe-alarms": "",
        "mediaconvert list-jobs": "process-1\tprocess-2",
        "configservice describe-compliance-by-config-rule": "COMPLIANT",
        "budgets describe-budget": "50.0",
    }
    say("something-else" if wrong else right.get(called, ""))
    return 1 if wrong and called == "budgets describe-budget" else 0


def objects(called: str, arguments: list[str], *, wrong: bool) -> int | None:
    """Calls about one object; None for any other."""
    if called == "s3 cp":
        source = next(word for word in arguments[2:] if not word.startswith(("-", "s3:")) and "/" in word)
        name = "archived" if arguments[-1].endswith("archived.png") else "uploaded"
        (STATE / name).write_bytes(Path(source).read_bytes())
        return 0
    if called == "s3api head-object":
        return head_object(arguments)
    if called == "s3api get-object":
        return get_object(arguments, wrong=wrong)
    if called == "s3api restore-object":
        (STATE / "restored").touch()
        return 0
    return None


def head_object(arguments: list[str]) -> int:
    bucket = after(arguments, "--bucket")
    if "processed" in bucket and "s3api head-object processed" in WRONG:
        return 254
    cold = "STANDARD" if "s3api head-object class" in WRONG else "GLACIER_IR"
    say(
        json.dumps(
            {
                "StorageClass": cold,
                "ReplicationStatus": "REPLICA",
                "VersionId": "v1",
                "Restore": 'ongoing-request="false", expiry-date="Fri, 23 Dec 2012 00:00:00 GMT"',
            }
        )
    )
    return 0


def get_object(arguments: list[str], *, wrong: bool) -> int:
    restored = (STATE / "restored").exists()
    if not restored and not wrong:
        return refuse("InvalidObjectState")
    Path(arguments[-1]).write_bytes((STATE / "archived").read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
