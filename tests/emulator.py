"""The AWS emulator as tests use it: one server a test process, and accounts as many as wanted.

It lives in a virtual environment of its own (``make emulator``), so that nothing of the project's environment can hide
what a function lacks. A 12-digit access key is an account of its own there; names of buckets are shared by all.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = Path(os.environ.get("CONTENTPLATFORM_EMULATOR", ROOT / ".emulator"))
"""The emulator's virtual environment."""
PROGRAM: Final = ROOT / "tests" / "emulator_program.py"
REGION: Final = "us-east-1"
BACKUP_REGION: Final = "us-west-2"
_FIRST_PORT: Final = 20_000
_PORTS: Final = 12_000
_START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 2.0
"""It waits for connections that nobody closes. Its functions end when it does, however that is."""
_numbers = itertools.count(1)


class Emulator:
    """One running server. ``stop`` ends it by its own process id.

    A ``guarded`` one speaks TLS only and enforces policies: functions may do what their roles allow, buckets what their
    policies allow. Only the account's own key may do everything, as always there. ``beside`` leads its functions to
    services that it lacks.
    """

    def __init__(self, *, guarded: bool = False, beside: Mapping[str, str] | None = None) -> None:
        python = HOME / "bin" / "python"
        if not python.exists():
            raise FileNotFoundError(f"there is no emulator at {HOME}: run `make emulator`")
        self._folder = Path(tempfile.mkdtemp(prefix="contentplatform-emulator-"))
        self.port = _free_port()
        self.url = f"{'https' if guarded else 'http'}://127.0.0.1:{self.port}"
        self.certificate = _certificate(self._folder) if guarded else None
        self.log = self._folder / "log.txt"
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "VIRTUAL"))},
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_ACCOUNT_ID": "123456789012",
            "SFTP_ENABLED": "0",
            "TMPDIR": str(self._folder),
            "S3_DATA_DIR": str(self._folder / "s3"),
            **self._guards(),
            **(beside or {}),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-P", PROGRAM], env=variables, stdout=log, stderr=log, cwd=self._folder
            )
        self._wait_until_up()

    def account(self) -> str:
        """A new account's 12 digits, which nobody else in any process uses."""
        return f"{os.getpid() % 10**7:07d}{next(_numbers):05d}"[-12:].rjust(12, "1")

    def environment(self, account: str) -> dict[str, str]:
        """The variables with which a program works in ``account``."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self._trust(),
        }

    def _trust(self) -> dict[str, str]:
        """The variables by which programs trust the server's certificate."""
        if self.certificate is None:
            return {}
        return {"AWS_CA_BUNDLE": str(self.certificate), "SSL_CERT_FILE": str(self.certificate)}

    def _guards(self) -> dict[str, str]:
        """The variables of a guarded server; its functions inherit the address and the certificate."""
        if self.certificate is None:
            return {}
        return {
            "AUTH": "true",
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(self.certificate),
            "MINISTACK_SSL_KEY": str(self.certificate.with_name("key.pem")),
            "AWS_ENDPOINT_URL": self.url,
            **self._trust(),
        }

    def _open(self, request: str | urllib.request.Request, timeout_seconds: float) -> None:
        context = None if self.certificate is None else ssl.create_default_context(cafile=str(self.certificate))
        urllib.request.urlopen(request, timeout=timeout_seconds, context=context).close()

    def configure(self, **values: Any) -> None:
        """Set the emulator's own knobs, as ``{"stepfunctions._SFN_WAIT_SCALE": 0}``."""
        self._post("/_ministack/config", values)

    def reset(self) -> None:
        """Forget everything, in every account."""
        self._post("/_ministack/reset", {})

    def stop(self) -> None:
        """End the server, its functions too, and take away what it wrote."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _post(self, path: str, document: Mapping[str, Any]) -> None:
        request = urllib.request.Request(
            self.url + path, json.dumps(document).encode(), {"Content-Type": "application/json"}
        )
        self._open(request, 180)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        pause = 0.02
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                self._open(f"{self.url}/_ministack/health", 1)
            except (urllib.error.URLError, OSError):
                select_pause(pause)
            else:
                return
        told = self.log.read_text("utf-8", "replace")[-2_000:]
        self.stop()
        raise RuntimeError(f"the emulator did not start:\n{told}")


def select_pause(seconds: float) -> None:
    """Wait for something outside this process that tells nobody when it is ready."""
    socket_pair = socket.socketpair()
    with socket_pair[0] as ours, socket_pair[1]:
        ours.settimeout(seconds)
        try:
            ours.recv(1)
        except TimeoutError:
            return


def _certificate(folder: Path) -> Path:
    """A certificate of its own for this machine's loopback, beside its key."""
    path = folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", folder / "key.pem", "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    return path


def _free_port() -> int:
    """A port that nobody listens on, below those that the kernel hands out to whoever connects somewhere."""
    for number in itertools.count(os.getpid() * 97 + next(_numbers)):
        port = _FIRST_PORT + number % _PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError  # counting never ends
