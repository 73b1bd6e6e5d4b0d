"""Writes the API's description for programs, and the routes of its page for people: ``make openapi``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from contentplatform.web.api.application import described_api
from contentplatform.web.api.route import SCOPE

DESCRIPTION_NAME: Final = "openapi.json"
PAGE_NAME: Final = "http-api.md"
BEGIN: Final = "<!-- routes: written by `make openapi` -->"
_EXAMPLES: Final[Mapping[str, str]] = {
    "file_id": "$FILE",
    "key": "2026/whales.jpg",
    "version_id": "$VERSION",
    "upload_id": "$UPLOAD",
    "name": "thumbnail",
    "collection_id": "$COLLECTION",
    "link_id": "$LINK",
    "user_id": "$USER_ID",
    "token_id": "$TOKEN_ID",
    "webhook_id": "$WEBHOOK",
    "invalidation_id": "$INVALIDATION",
}
_BODIES: Final[Mapping[str, Any]] = {
    "edit_file": {"title": "Whales", "credit": "A. Diver"},
    "tag_file": {"add": ["ocean"], "remove": ["draft"]},
    "move_file": {"key": "2026/whales.jpg"},
    "sign_link": {"rendition": "medium", "expires_in_seconds": 3600},
    "act_in_bulk": {"act": "tag", "file_ids": ["0cc175b9c0f1b6a831c399e269772661"], "add_tags": ["ocean"]},
    "create_collection": {"name": "Best of 2026"},
    "edit_collection": {"name": "Best of the year"},
    "extend_collection": {"file_ids": ["0cc175b9c0f1b6a831c399e269772661"]},
    "shrink_collection": {"file_ids": ["0cc175b9c0f1b6a831c399e269772661"]},
    "arrange_collection": {"file_ids": ["0cc175b9c0f1b6a831c399e269772661"], "before": None},
    "cancel_execution": {"reason": "no longer wanted"},
    "create_invalidation": {"file_id": "0cc175b9c0f1b6a831c399e269772661"},
    "create_share": {"folder": "2026/press", "expires_at": "2027-01-31T00:00:00Z"},
    "create_upload_link": {"folder": "incoming", "max_files": 100},
    "add_webhook": {"url": "https://hooks.example.org/in", "events": ["completed"]},
    "edit_webhook": {"active": False},
    "change_password": {"current": "the old one", "password": "the new one, longer"},
    "create_token": {"name": "publishing", "scopes": ["read"], "lifetime_days": 30},
    "add_user": {"name": "berta", "role": "editor"},
    "begin_upload": {
        "key": "2026/whales.jpg",
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "size_bytes": 3,
    },
    "edit_user": {"quota_bytes": 100000000000},
}


def description() -> dict[str, Any]:
    """The API's description for programs."""
    return described_api().openapi()


def description_text() -> str:
    """The description as it is committed."""
    return json.dumps(description(), indent=1, ensure_ascii=False) + "\n"


def routes_text() -> str:
    """Every route for people, by its noun: right, parameters, answers, an example."""
    found = description()
    sections: dict[str, list[str]] = {}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_route(method, path, operation))
    return "\n".join(f"## {tag.capitalize()}\n\n" + "\n".join(routes) for tag, routes in sections.items())


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    lines = [
        f"### `{method.upper()} {path}`",
        "",
        f"{operation['summary']} (right: {operation[SCOPE]}). {operation['description']}",
        "",
    ]
    parameters = list(_parameters(operation))
    if parameters:
        lines += ["| parameter | where | what |", "|---|---|---|", *parameters, ""]
    return "\n".join([*lines, _answers(operation), "", "```sh", _curl(method, path, operation), "```", ""])


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    for given in operation.get("parameters", ()):
        told = given.get("description") or given["schema"].get("description") or _sort(given["schema"])
        needed = " Has to be given." if given.get("required") and given["in"] != "path" else ""
        yield f"| `{given['name']}` | {given['in']} | {_cell(told)}{needed} |"
    if "requestBody" in operation:
        yield f"| | body | {_shape(operation['requestBody']['content'])} |"


def _answers(operation: Mapping[str, Any]) -> str:
    good = {status: answer for status, answer in operation["responses"].items() if int(status) < 400}
    told = [f"`{status}`{_with_shape(answer)}" for status, answer in good.items()]
    failed = sorted(int(status) for status in operation["responses"] if int(status) >= 400)
    return f"Answers: {', '.join(told)}. Problems: {', '.join(f'`{status}`' for status in failed)}."


def _with_shape(answer: Mapping[str, Any]) -> str:
    shape = _shape(answer.get("content", {}))
    return f" {shape}" if shape else ""


def _shape(content: Mapping[str, Any]) -> str:
    for media_type, each in content.items():
        reference = each.get("schema", {}).get("$ref", "")
        return f"`{reference.rpartition('/')[2]}`" if reference else f"({media_type})".replace("(*/*)", "(bytes)")
    return ""


def _sort(schema: Mapping[str, Any]) -> str:
    options = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    if len(options) != 1:
        return "see the description"
    [option] = options
    if "$ref" in option:
        return f"one of `{option['$ref'].rpartition('/')[2]}`"
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    return str(option.get("format") or option.get("type", ""))


def _curl(method: str, path: str, operation: Mapping[str, Any]) -> str:
    filled = path
    for name, value in _EXAMPLES.items():
        filled = filled.replace(f"{{{name}}}", "$EXECUTION" if path.startswith("/api/v1/executions") else value)
    parts = ['curl -H "Authorization: Bearer $TOKEN"']
    if method != "get":
        parts.append(f"-X {method.upper()}")
    if any(given["name"].lower() == "if-match" for given in operation.get("parameters", ())):
        parts.append("""-H 'If-Match: "5"'""")
    if operation["operationId"] == "put_file":
        parts.append("--data-binary @whales.jpg")
    elif operation["operationId"] == "post_form":
        parts.append("-F file=@whales.jpg")
    elif "requestBody" in operation:
        body = json.dumps(_BODIES[operation["operationId"]])
        parts.append(f"-H 'Content-Type: application/json' -d '{body}'")
    if operation["operationId"] == "get_file_by_key":
        parts.append("-G --data-urlencode key=2026/whales.jpg")
    return " ".join([*parts, f'"$URL{filled}"'])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write both into the folder that is named."""
    folder = Path(sys.argv[1])
    (folder / DESCRIPTION_NAME).write_text(description_text(), "utf-8")
    page = folder / PAGE_NAME
    by_hand = page.read_text("utf-8").partition(BEGIN)[0]
    page.write_text(f"{by_hand}{BEGIN}\n\n{routes_text()}", "utf-8")


if __name__ == "__main__":
    main()
