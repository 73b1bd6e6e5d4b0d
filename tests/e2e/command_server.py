"""A process that has imported the command line and forks for each command: what it imports takes longest of most.

``python -P command_server.py DESCRIPTOR``: over that socket comes a request a message, with five descriptors: standard
input, output and error, and a socket on which the number of the command's process is told, and then how it ended.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

import contentplatform.app.local  # noqa: F401 - what nearly every command imports once it begins
from contentplatform.cli.main import main

MOST_BYTES = 1 << 20
DESCRIPTORS = 4


def serve(requests: socket.socket) -> None:
    """Until nobody asks any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, DESCRIPTORS)
        if not message:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            run(json.loads(message), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def run(request: dict[str, Any], descriptors: list[int]) -> None:
    """Fork a process that is the command, and tell how it ended; this one is between it and the server."""
    *streams, told = descriptors
    process_id = os.fork()
    if process_id == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for descriptor in descriptors:
            os.close(descriptor)
        become(request)
    for stream in streams:
        os.close(stream)
    for number in range(3):
        os.close(number)
    with socket.socket(fileno=told) as answer:
        answer.sendall(f"{process_id}\n".encode())
        _, status = os.waitpid(process_id, 0)
        answer.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Be the command."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["contentplatform", *request["arguments"]]
    main()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
