"""The command ``contentplatform``: options that every command shares, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contentplatform import __version__, config, log
from contentplatform.cli import (
    accounts,
    collections,
    deploy,
    events,
    executions,
    files,
    operate,
    serve,
    sharing,
    signed_links,
)
from contentplatform.cli.output import EXIT_INTERRUPTED, EXIT_UNEXPECTED, EXIT_USAGE, Output
from contentplatform.cli.session import HomeName, Session
from contentplatform.errors import PlatformError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--data",
    "data_folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept [default: $CONTENTPLATFORM_DATA, else ~/.local/share/contentplatform].",
)
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings as TOML [default: contentplatform.toml in the data folder, if there is one].",
)
@click.option(
    "--home",
    "home_name",
    type=click.Choice([name.value for name in HomeName]),
    envvar="CONTENTPLATFORM_HOME",
    default=HomeName.LOCAL.value,
    help="This machine, or the home on AWS that `deploy` made [default: $CONTENTPLATFORM_HOME, else local].",
)
@click.option(
    "--server",
    metavar="URL",
    envvar="CONTENTPLATFORM_SERVER",
    help="Let this server do it, with the token in $CONTENTPLATFORM_TOKEN [default: $CONTENTPLATFORM_SERVER].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout; words go to stderr.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, as JSON lines on stderr.")
@click.version_option(__version__, prog_name="contentplatform")
@click.pass_context
def cli(
    context: click.Context,
    data_folder: Path | None,
    config_file: Path | None,
    home_name: str,
    server: str | None,
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Keep media files safe, make the renditions that the web needs, and find them again.

    Begin with `contentplatform add PHOTO…`, then `contentplatform list`.
    """
    log.configure(logging.INFO if verbose else logging.ERROR)
    name = HomeName(home_name)
    context.obj = Session(
        output=Output(as_json=as_json),
        home_name=name,
        server=server or None,
        token=os.environ.get("CONTENTPLATFORM_TOKEN"),
        load_settings=lambda: config.load(
            data_folder=data_folder, config_file=config_file, deployed=name is HomeName.AWS
        ),
        arguments=(
            *(("--data", str(data_folder.absolute())) if data_folder is not None else ()),
            *(("--config", str(config_file.absolute())) if config_file is not None else ()),
            *(("--verbose",) if verbose else ()),
        ),
    )
    context.call_on_close(context.obj.close)


for _module in (files, collections, serve, accounts, sharing, signed_links, executions, events, operate, deploy):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def _placed(error: click.ClickException) -> click.ClickException:
    """The error, telling somebody who gave one of the shared options behind the command where it belongs."""
    if not isinstance(error, click.NoSuchOption) or all(error.option_name not in own.opts for own in cli.params):
        return error
    words = f"{error.message} It stands before the command: contentplatform {error.option_name} …"
    return click.NoSuchOption(error.option_name, words, ctx=error.ctx)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with its exit code and never shows a traceback for what is foreseen."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(as_json="--json" in given)
    try:
        code = cli.main(given, prog_name="contentplatform", standalone_mode=False)
    except click.ClickException as wrong:
        error = _placed(wrong)
        output.error("UsageError", error.format_message(), EXIT_USAGE)
        error.show(file=sys.stderr)
        code = EXIT_USAGE
    except PlatformError as error:
        code = output.fail(error)
    except (click.Abort, KeyboardInterrupt):
        words = "Interrupted. What was acknowledged is kept; the same command goes on where this one stopped."
        output.error("Interrupted", words, EXIT_INTERRUPTED)
        output.talk(words)
        code = EXIT_INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()  # nobody reads any more, and Python would complain of that at exit
            sys.exit(EXIT_INTERRUPTED)
        code = output.fail(Unavailable(f"using {error.filename or 'this machine'}", error.strerror or str(error)))
    except Exception as error:  # the outermost edge: a fault of ours is said in words, its trace to the log
        logging.getLogger("contentplatform").info("unexpected error", exc_info=error)
        words = (
            f"an unexpected fault of the platform ({type(error).__name__}). Nothing acknowledged is lost."
            " The same command with --verbose tells more"
        )
        output.error("Unexpected", words, EXIT_UNEXPECTED)
        output.talk(f"Error: {words}")
        code = EXIT_UNEXPECTED
    sys.exit(code if isinstance(code, int) else 0)
