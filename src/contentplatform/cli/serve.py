"""The command ``serve``: everything that a media team needs in a browser, in one process and its workers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from contentplatform.cli.output import EXIT_OK
from contentplatform.cli.session import HomeName, Session, pass_session
from contentplatform.errors import ConfigurationInvalid, InvalidRequest

if TYPE_CHECKING:
    from contentplatform.config import Settings
    from contentplatform.web.claim import Part
    from contentplatform.web.site import Site

_PARTS = ("app", "edge", "worker")  # as web.claim.Part, which `--help` must not load


@click.command()
@click.option("--host", help="Address to listen on [default: server.host, 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0: any that is free [default: server.port, 8080].")
@click.option(
    "--part",
    "part_names",
    multiple=True,
    type=click.Choice(_PARTS),
    help="Serve this part only; may be repeated. `--part edge` is an edge as a process of its own [default: all].",
)
@pass_session
def serve(session: Session, host: str | None, port: int | None, part_names: tuple[str, ...]) -> int:
    """Serve the console, the API, uploads and the edge, and keep workers running, until stopped.

    The first start makes an administrator and says how to sign in. Ctrl-C or SIGTERM ends it: what is being answered
    is finished, what is at work is finished or handed back.
    """
    from contentplatform.web.claim import Claim, Part  # noqa: PLC0415 - `--help` must not load a web framework
    from contentplatform.web.server import HttpServer, address_of, listening_socket  # noqa: PLC0415 - same
    from contentplatform.web.site import open_site  # noqa: PLC0415 - same

    parts = _parts(session, [Part(name) for name in part_names or _PARTS])
    settings = _settings(session.load_settings(), host, port)
    with ExitStack() as stack:
        claims = [stack.enter_context(Claim(settings.data_folder, part)) for part in parts]
        if parts == [Part.WORKER]:
            raise InvalidRequest("serving", "there is nothing to serve", hint="`contentplatform worker` only works")
        _refuse_open_air(settings)
        listener = listening_socket(settings.server.host, settings.server.port)
        stack.callback(listener.close)
        url = address_of(listener)
        stopping = threading.Event()
        site = open_site(session.home, parts, listening_host=settings.server.host, stopping=stopping)
        stack.callback(site.close)
        if Part.WORKER in parts:
            _start_workers(session, stack, settings)

        def ready() -> None:
            for claim in claims:
                claim.tell(url)
            _welcome(session, site, url, settings)

        HttpServer(site.app, settings.server, stopping, ready, quick=site.quick).run(listener)
        session.output.talk("Stopping: what is at work is finished or handed back.")
    return EXIT_OK


def _parts(session: Session, wanted: Sequence[Part]) -> list[Part]:
    """The parts that there are in this home: on AWS the edge is CloudFront, and functions do the work."""
    from contentplatform.web.claim import Part  # noqa: PLC0415 - as above

    parts = list(dict.fromkeys(wanted))
    return [Part.APP] if session.home_name is HomeName.AWS else parts


def _settings(given: Settings, host: str | None, port: int | None) -> Settings:
    server = given.server
    server = server if host is None else replace(server, host=host)
    return replace(given, server=server if port is None else replace(server, port=port))


def _refuse_open_air(settings: Settings) -> None:
    """Passwords and private files travel over TLS, or not beyond this machine."""
    from contentplatform.web.server import is_loopback  # noqa: PLC0415 - as above

    if not is_loopback(settings.server.host) and not settings.server.public_url.startswith("https://"):
        raise ConfigurationInvalid(
            f"listening on {settings.server.host}",
            "others than this machine would reach it without TLS",
            hint="Put a proxy with TLS in front, and set server.public_url to its https:// address",
        )


def _start_workers(session: Session, stack: ExitStack, settings: Settings) -> None:
    from contentplatform.drivers.companion import Companion  # noqa: PLC0415 - as above

    session.local.check_versions()
    for line in session.local.gaps():
        session.output.talk(line)
    arguments = (sys.executable, "-m", "contentplatform.cli", *session.arguments, "worker", "--with-parent")
    for _ in range(settings.server.workers):
        companion = Companion(arguments, session.platform.clock)
        companion.start()
        stack.callback(companion.stop, settings.server.shutdown_seconds)


def _welcome(session: Session, site: Site, url: str, settings: Settings) -> None:
    output = session.output
    shown = settings.server.public_url or url
    output.talk(f"Serving {session.home.place()} on {shown}. Ctrl-C ends it.")
    for line in site.welcome:
        output.talk(line)
    output.document({"url": shown, "listening": url})


COMMANDS = (serve,)
