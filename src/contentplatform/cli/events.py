"""``events list | redrive``: news of files that could not be taken in, and trying them again."""

from __future__ import annotations

import click

from contentplatform.cli.output import EXIT_NEEDS_ATTENTION, EXIT_OK, shown
from contentplatform.cli.session import Session, pass_session


@click.group()
def events() -> None:
    """See which files could not be taken in, and try them again."""


@events.command("list")
@pass_session
def list_(session: Session) -> int:
    """List events that were tried in vain too often and wait for a person.

    Exit status 1 if there are any.
    """
    waiting, dead = session.platform.events.waiting(), session.platform.events.dead()
    items = [{"key": one.event.key, "attempts": one.attempts, "reason": one.reason} for one in dead]
    session.output.document({"waiting": waiting, "items": items})
    rows = ((shown(one.event.key), str(one.attempts), shown(one.reason)) for one in dead)
    if dead:
        session.output.table(("KEY", "TRIES", "WHY"), rows)
        session.output.talk("`contentplatform events redrive` tries them again, once the reason is gone.")
    else:
        session.output.line(f"None waits for a person; {waiting} to be handled.")
    return EXIT_NEEDS_ATTENTION if dead else EXIT_OK


@events.command()
@pass_session
def redrive(session: Session) -> int:
    """Give events that wait for a person all their tries back."""
    count = session.platform.events.redrive()
    session.home.finish()
    session.output.document({"redriven": count})
    session.output.line(f"{count} tried again")
    return EXIT_OK


COMMANDS = (events,)
