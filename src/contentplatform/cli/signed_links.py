"""``signed-links``: what ends links to private files that were given out. On this machine; CloudFront has its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from contentplatform.cli.caller import caller
from contentplatform.cli.output import EXIT_OK, shown
from contentplatform.cli.session import Session, pass_session

if TYPE_CHECKING:
    from contentplatform.catalog.port import Record

_KEY_BYTES: Final = 32


@click.group("signed-links")
def signed_links() -> None:
    """End links to private files that were given out."""


@signed_links.command("revoke")
@click.argument("key")
@pass_session
def revoke(session: Session, key: str) -> int:
    """End every signed link to a file that was given out until now: to its renditions, pictures, and original."""
    edge = session.local.edge
    record = session.platform.library.record(key)
    for linked in _keys_of(record):
        edge.revoke_links(linked)
    session.platform.audit.record(caller(), "signed_link.revoke", record.file_path)
    session.output.document({"revoked": record.file_path})
    session.output.line(f"signed links to {shown(record.file_path)} have ended")
    return EXIT_OK


@signed_links.command("rotate")
@pass_session
def rotate(session: Session) -> int:
    """Sign with a new key from now on. Links that are out work on, until this was done once more."""
    session.local.edge.rotate_keys(os.urandom(_KEY_BYTES))
    session.platform.audit.record(caller(), "signed_link.rotate", "link-signing.keys")
    session.output.document({"rotated": True})
    session.output.line("signed with a new key from now on")
    return EXIT_OK


def _keys_of(record: Record) -> tuple[str, ...]:
    """By which keys the edge shows a file, and what is made of it on the fly."""
    from contentplatform.delivery.rules import raw_edge_key  # noqa: PLC0415 - `--help` does without it

    raw = raw_edge_key(record.file_path)
    renditions = (rendition.key for rendition in record.renditions)
    return (*renditions, f"images/{record.file_path}", *(() if raw is None else (raw,)))


COMMANDS = (signed_links,)
