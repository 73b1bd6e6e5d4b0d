"""The API under ``/api/v1``: a module a noun, each handler no more than parse, call, render."""

from contentplatform.web.api.application import API_PREFIX, create_api

__all__ = ["API_PREFIX", "create_api"]
