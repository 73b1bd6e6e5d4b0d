"""How files come in, as the description tells it: their routes are no part of FastAPI, for speed and exactness.

The single steps of tus are told by its own standard, not here.
"""

from __future__ import annotations

from typing import Any, Final

from contentplatform.web.api.route import SCOPE, failures

FORM_PATH: Final = "/api/v1/files"
BY_KEY_PATH: Final = "/api/v1/files/by-key/{key}"
ASK_PATH: Final = "/api/v1/uploads"
UPLOAD_PATH: Final = "/api/v1/uploads/{upload_id}"
ABANDON_PATH: Final = "/api/v1/uploads/{upload_id}/abandon"
COMPLETE_PATH: Final = "/api/v1/uploads/{upload_id}/complete"
_TAG: Final = ["uploads"]
_BYTES: Final = {"type": "string", "format": "binary"}
_STORED: Final = {
    "type": "object",
    "required": ["key", "version_id"],
    "properties": {"key": {"type": "string"}, "version_id": {"type": "string"}},
}
_PART: Final = {
    "type": "object",
    "required": ["number", "first_byte", "size_bytes", "url", "headers", "expires_at"],
    "properties": {
        "number": {"type": "integer"},
        "first_byte": {"type": "integer"},
        "size_bytes": {"type": "integer"},
        "url": {"type": "string", "description": "Takes the part's bytes by PUT."},
        "headers": {"type": "object", "description": "What that request has to say."},
        "expires_at": {"type": "string", "format": "date-time"},
    },
}
_DIRECT: Final = {
    "type": "object",
    "required": ["id", "key", "size_bytes", "part_size_bytes", "expires_at", "version_id", "parts_there", "parts"],
    "properties": {
        "already_here": {"type": "boolean"},
        "direct": {"type": "boolean"},
        "id": {"type": "string"},
        "key": {"type": "string"},
        "size_bytes": {"type": "integer"},
        "part_size_bytes": {"type": "integer"},
        "expires_at": {"type": "string", "format": "date-time"},
        "version_id": {"type": ["string", "null"], "description": "The version that it became."},
        "parts_there": {"type": "array", "items": {"type": "integer"}},
        "parts": {"type": "array", "items": _PART, "description": "The first hundred that are missing."},
    },
}
_ANSWER: Final = {
    "type": "object",
    "required": ["already_here", "key"],
    "properties": {
        "already_here": {"type": "boolean"},
        "key": {"type": "string"},
        "version_id": {"type": ["string", "null"]},
        "direct": {"type": "boolean", "description": "False: this server takes the bytes itself."},
    },
}
_QUESTION: Final = {
    "type": "object",
    "required": ["key", "size_bytes"],
    "anyOf": [
        {"required": ["sha256"]},
        {"required": ["direct"], "properties": {"direct": {"const": True}}},
    ],
    "properties": {
        "key": {"type": "string", "minLength": 1, "maxLength": 900, "description": "The name of the file."},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "size_bytes": {"type": "integer", "minimum": 0},
        "content_type": {"type": ["string", "null"], "description": "What it is said to be."},
        "direct": {"type": "boolean", "description": "Send the bytes straight to the store, where the home can."},
        "create_only": {"type": "boolean", "description": "Refuse to replace a file."},
    },
}
_KEY: Final = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "The name of the file, percent-encoded; slashes may stand as they are.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 900},
}
_UPLOAD_ID: Final = {
    "name": "upload_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
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
                    "With `direct`, in the home on AWS, an upload begins whose parts go straight to S3. "
                    "With `Tus-Resumable: 1.0.0` an upload begins as tus 1.0 has it."
                ),
                SCOPE: "write",
                "requestBody": {"required": True, "content": {"application/json": {"schema": _QUESTION}}},
                "responses": {
                    "200": _answer("They are not here: send them.", _ANSWER),
                    "201": _answer("They were here; or an upload began.", {"anyOf": [_DIRECT, _ANSWER]}),
                    **_problems(404, 408, 409, 412, 413, 415, 422, 507),
                },
            }
        },
        UPLOAD_PATH: {
            "get": {
                "tags": _TAG,
                "operationId": "get_upload",
                "summary": "Tell which parts of an upload are in the store, and where the others go",
                "description": "Of an upload that was begun with `direct`. Each answer has fresh addresses.",
                SCOPE: "write",
                "parameters": [_UPLOAD_ID],
                "responses": {"200": _answer("The upload.", _DIRECT), **_problems(404)},
            },
        },
        ABANDON_PATH: {
            "post": {
                "tags": _TAG,
                "operationId": "abandon_upload",
                "summary": "End an upload, and free its parts",
                "description": "Of an upload that was begun with `direct`. A version that it became stays.",
                SCOPE: "write",
                "parameters": [_UPLOAD_ID],
                "responses": {"204": {"description": "Ended."}, **_problems(404)},
            }
        },
        COMPLETE_PATH: {
            "post": {
                "tags": _TAG,
                "operationId": "complete_upload",
                "summary": "Make the version, once all parts are in the store",
                "description": "Asked again it answers the same. 409: a part is missing; or the file exists already.",
                SCOPE: "write",
                "parameters": [_UPLOAD_ID],
                "responses": {"200": _answer("The upload, with its version.", _DIRECT), **_problems(404, 409)},
            }
        },
    }
