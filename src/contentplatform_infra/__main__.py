"""``python -m contentplatform_infra`` writes the templates. ``contentplatform deploy`` runs it as a child process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contentplatform.config import load
from contentplatform.errors import PlatformError
from contentplatform_infra.app import build
from contentplatform_infra.layers import unbuilt
from contentplatform_infra.names import DRY_RUN_ACCOUNT_ID
from contentplatform_infra.stacks import OPTION_OF, StackName


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the templates; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = load(data_folder=options.data, config_file=options.config)
        account_id = options.account or settings.aws.account_id or DRY_RUN_ACCOUNT_ID
        if account_id == DRY_RUN_ACCOUNT_ID:
            sys.stderr.write("no account is set: these templates can be read, not deployed\n")
        if StackName.MAIN in options.only and (missing := unbuilt()):
            sys.stderr.write(f"not built yet, placeholders stand for them: the layers {', '.join(missing)}\n")
        build(settings, options.out, account_id=account_id, only=options.only, signing_key=options.signing_key).synth()
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m contentplatform_infra", description=main.__doc__)
    parser.add_argument("--out", help="folder for the templates; by default the CDK's own choice")
    parser.add_argument("--config", type=Path, help="settings file")
    parser.add_argument("--data", type=Path, help="data folder, in which the settings file lies")
    parser.add_argument("--account", help="the account's twelve digits; by default the setting aws.account_id")
    parser.add_argument(
        "--signing-key",
        default="",
        metavar="FINGERPRINT",
        help="of the key that signs URLs; `contentplatform deploy` knows it",
    )
    parser.add_argument(
        "--only",
        type=_stacks,
        default=tuple(OPTION_OF.values()),
        help=f"the stacks to write, comma between: {', '.join(OPTION_OF)}",
    )
    return parser


def _stacks(text: str) -> tuple[str, ...]:
    unknown = [name for name in text.split(",") if name not in OPTION_OF]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is no stack; there are {', '.join(OPTION_OF)}")
    return tuple(OPTION_OF[name] for name in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
