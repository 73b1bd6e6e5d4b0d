"""Whoever runs a command, as links and the audit log name them."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contentplatform.accounts.port import Principal


def caller_name() -> str:
    """Who is at the command line."""
    from contentplatform.sharing.port import at_command_line  # noqa: PLC0415 - `--help` loads no more than it needs

    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = str(os.getuid())
    return at_command_line(name)


def caller() -> Principal:
    """The same for what asks who somebody is."""
    from contentplatform.accounts.port import machine  # noqa: PLC0415 - as above

    return machine(caller_name())
