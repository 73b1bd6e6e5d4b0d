"""The bill's services on a loopback port: what the emulator lacks, with AWS's own rules for what may be asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import botocore.session
from botocore.validate import ParamValidator

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]
_SERVICES: Final = {"AWSInsightsIndexService": "ce", "AWSFreeTierService": "freetier"}


class Billing:
    """Cost Explorer and Free Tier: answers what it was given, refuses what their models don't allow.

    ``asked`` is every request, as ``(operation, parameters)``.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.refusals: dict[str, str] = {}
        """By operation: the error that it is answered with."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def environment(self) -> dict[str, str]:
        """The variables that lead a client here, and nowhere else."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "AWS_ENDPOINT_URL_COST_EXPLORER": url,
            "AWS_ENDPOINT_URL_FREETIER": url,
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "123456789012",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        prefix, _, operation = target.partition(".")
        parameters = json.loads(body)
        self.asked.append((operation, parameters))
        if operation in self.refusals:
            return 400, {"__type": self.refusals[operation], "message": "refused"}
        model = botocore.session.Session().get_service_model(_SERVICES[prefix]).operation_model(operation)
        problems = ParamValidator().validate(parameters, model.input_shape)
        unknown = set(parameters) - set(model.input_shape.members)
        wrong = [*_wrong_values(parameters, model.input_shape), *unknown]
        if problems.has_errors() or wrong:
            return 400, {"__type": "ValidationException", "message": f"{problems.generate_report()} {wrong}"}
        return 200, dict(self.answers[operation](parameters))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        billing = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, document = billing._answer(self.headers["X-Amz-Target"], body)
                told = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its parent calls it
                """Say nothing."""

        return Handler


def _wrong_values(value: Any, shape: Any) -> list[str]:
    """Values outside their enumeration: botocore leaves those to the service, so does a typing error."""
    if shape.type_name == "structure":
        return [text for name, part in value.items() for text in _wrong_values(part, shape.members[name])]
    if shape.type_name == "list":
        return [text for part in value for text in _wrong_values(part, shape.member)]
    allowed = getattr(shape, "enum", None) or ()
    return [f"{value!r} is none of {allowed}"] if allowed and value not in allowed else []
