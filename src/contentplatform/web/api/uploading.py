"""How files come in, as the description tells it: their routes are no part of FastAPI, for speed and exactness.

The single steps of tus are told by its own standard, not here.
"""

from __future__ import annotations

from typing import Any, Final

from contentplatform.web.api.route import SCOPE, failures

FORM_PATH: Final = "/api/v1/files"
BY_KEY_PATH: Final = "/api/v1/files/by-key/{key}"
ASK_PATH: Final = "/api/v1/uploads"
_TAG: Final = ["uploads"]
_BYTES: Final = {"type": "string", "format": "binary"}
_STORED: Final = {
    "type": "object",
    "required": ["key", "version_id"],
    "properties": {"key": {"type": "string"}, "version_id": {"type": "string"}},
}
_ANSWER: Final = {
    "type": "object",
    "required": ["already_here", "key"],
    "properties": {
        "already_here": {"type": "boolean"},
        "key": {"type": "string"},
        "version_id": {"type": "string"},
    },
}
_QUESTION: Final = {
    "type": "object",
    "required": ["key", "sha256", "size_bytes"],
    "properties": {
        "key": {"type": "string", "minLength": 1, "maxLength": 900, "description": "The name of the file."},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "size_bytes": {"type": "integer", "minimum": 0},
        "content_type": {"type": ["string", "null"], "description": "What it is said to be."},
    },
}
_KEY: Final = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "The name of the file, percent-encoded; slashes may stand as they are.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 900},
}


def _answer(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): answer for status, answer in failures(*statuses).items()}


def paths() -> dict[str, dict[str, Any]]:
    """The routes by path and method."""
    return {
        BY_KEY_PATH: {
            "put": {
                "tags": _TAG,
                "operationId": "put_file",
                "summary": "Store a file under a key",
                "description": (
                    "The body, none for an empty file, becomes the current version. A client that breaks off has "
                    "stored nothing."
                ),
                SCOPE: "write",
                "parameters": [_KEY],
                "requestBody": {"required": False, "content": {"application/octet-stream": {"schema": _BYTES}}},
                "responses": {
                    "201": _answer("Stored.", _STORED),
                    **_problems(404, 408, 409, 412, 413, 415, 422, 507),
                },
            }
        },
        FORM_PATH: {
            "post": {
                "tags": _TAG,
                "operationId": "post_form",
                "summary": "Store the files of a form",
                "description": "Every file of the form becomes a version, or none does.",
                SCOPE: "write",
                "requestBody": {
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": {"type": "object", "required": ["file"], "properties": {"file": _BYTES}}
                        }
                    },
                },
                "responses": {
                    "201": _answer("Stored.", {"type": "object"}),
                    **_problems(404, 408, 409, 413, 415, 422, 507),
                },
            }
        },
        ASK_PATH: {
            "post": {
                "tags": _TAG,
                "operationId": "begin_upload",
                "summary": "Ask whether bytes are here, or begin a resumable upload",
                "description": (
                    "With a document: if these bytes are here they become the current version, and nothing is sent. "
                    "With `Tus-Resumable: 1.0.0` an upload begins as tus 1.0 has it."
                ),
                SCOPE: "write",
                "requestBody": {"required": True, "content": {"application/json": {"schema": _QUESTION}}},
                "responses": {
                    "200": _answer("They are not here: send them.", _ANSWER),
                    "201": _answer("They were here.", _ANSWER),
                    **_problems(404, 408, 409, 412, 413, 415, 422, 507),
                },
            }
        },
    }
