"""``shares``, ``upload-links``, ``webhooks``: what reaches people and programs without an account. Needs no server."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from contentplatform.cli.caller import caller_name
from contentplatform.cli.output import EXIT_NEEDS_ATTENTION, EXIT_OK, shown, size
from contentplatform.cli.paging import everything
from contentplatform.cli.session import Session, pass_session
from contentplatform.clock import timestamp
from contentplatform.errors import InvalidRequest

if TYPE_CHECKING:
    from datetime import datetime

    from contentplatform.hooks.port import Webhook
    from contentplatform.sharing.port import Share, Target, UploadLink

_KINDS: Final = ("image", "video", "audio", "document")
_EVENTS: Final = ("added", "replaced", "completed", "failed", "changed", "deleted", "undeleted", "moved", "removed")
_UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_PAGE: Final = 100


def _size_bytes(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """A number of bytes, perhaps with a unit in powers of 1 000."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,15}) ?([KMGT]B)?", value.strip(), re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"{value!r} is no size: say 500000000 or 500MB")
    return int(found[1]) * _UNITS[(found[2] or "").upper()]


# -- shares ---------------------------------------------------------------------------------------------------------


@click.group()
def shares() -> None:
    """See, make and end links that show files."""


@shares.command("list")
@pass_session
def list_shares(session: Session) -> int:
    """List share links, the newest first, those that are over included."""
    kept = session.platform.shares
    found = everything(lambda cursor: kept.shares(cursor=cursor, limit=_PAGE), lambda page: page.shares)
    session.output.document({"items": [share_document(share) for share in found], "next": None})
    session.output.table(
        ("ID", "SHOWS", "TITLE", "UNTIL", "VIEWS", "ORIGINALS"),
        (
            (
                share.id,
                f"{share.target.kind} {shown(share.target.name)}",
                shown(share.title),
                _until(session, share),
                str(share.views),
                "yes" if share.allow_originals else "",
            )
            for share in found
        ),
    )
    return EXIT_OK


@shares.command("add")
@click.option("--file", "key", metavar="KEY", help="Show this file.")
@click.option("--folder", metavar="F", help="Show what lies in this folder, and below it.")
@click.option("--collection", metavar="ID", help="Show what is in this collection.")
@click.option("--title", default="", help="What the page is called.")
@click.option("--days", type=click.IntRange(1, 36_500), help="End after so many days [default: when it is revoked].")
@click.option("--originals", is_flag=True, help="Let originals be downloaded, not renditions only.")
@pass_session
def add_share(
    session: Session,
    key: str | None,
    folder: str | None,
    collection: str | None,
    title: str,
    days: int | None,
    *,
    originals: bool,
) -> int:
    """Make a link that shows a file, a folder or a collection, and print it, this once."""
    from contentplatform.sharing.port import ShareDraft  # noqa: PLC0415 - `--help` loads no more than it needs

    draft = ShareDraft(
        target=_target(session, key, folder, collection),
        title=title,
        expires_at=_expires_at(session, days),
        allow_originals=originals,
    )
    secret, share = session.platform.shares.create_share(draft, caller_name())
    url = _url(session, "s", secret)
    session.output.document({**share_document(share), "url": url})
    session.output.line(url)
    return EXIT_OK


@shares.command("renew")
@click.argument("share_id", metavar="ID")
@pass_session
def renew_share(session: Session, share_id: str) -> int:
    """Give a share another link, and print it; the one before it ends at once."""
    secret = session.platform.shares.rotate_share(share_id)
    url = _url(session, "s", secret)
    session.output.document({**share_document(session.platform.shares.share(share_id)), "url": url})
    session.output.line(url)
    return EXIT_OK


@shares.command("revoke")
@click.argument("share_id", metavar="ID")
@pass_session
def revoke_share(session: Session, share_id: str) -> int:
    """End a share link at once, and for good."""
    share = session.platform.shares.revoke_share(share_id)
    session.output.document(share_document(share))
    session.output.line(f"{share.id} is over")
    return EXIT_OK


def share_document(share: Share) -> dict[str, Any]:
    """A share as JSON has it."""
    return {
        "id": share.id,
        "target": {"kind": share.target.kind.value, "name": share.target.name},
        "title": share.title,
        "created_by": share.created_by,
        "created_at": timestamp(share.created_at),
        "expires_at": _written(share.expires_at),
        "revoked_at": _written(share.revoked_at),
        "suspended": share.is_suspended,
        "allow_originals": share.allow_originals,
        "has_password": share.password_hash is not None,
        "views": share.views,
        "last_used_at": _written(share.last_used_at),
    }


def _target(session: Session, key: str | None, folder: str | None, collection: str | None) -> Target:
    """What is to be shared: exactly one thing, which is there."""
    from contentplatform.sharing.port import Target, TargetKind  # noqa: PLC0415 - as above

    if sum(given is not None for given in (key, folder, collection)) != 1:
        raise click.UsageError("Say one of --file, --folder and --collection.")
    if key is not None:
        record = session.platform.library.record(key)
        if record.deleted_at is not None:
            raise InvalidRequest(f"sharing {key}", "it was removed", hint="Undelete brings it back")
        return Target(TargetKind.FILE, record.file_id)
    if folder is not None:
        return Target(TargetKind.FOLDER, folder.rstrip("/"))
    return Target(TargetKind.COLLECTION, str(collection))


# -- upload links ---------------------------------------------------------------------------------------------------


@click.group("upload-links")
def upload_links() -> None:
    """See, make and end links by which others send files."""


@upload_links.command("list")
@pass_session
def list_upload_links(session: Session) -> int:
    """List upload links, the newest first, those that are over included."""
    kept = session.platform.shares
    found = everything(lambda cursor: kept.upload_links(cursor=cursor, limit=_PAGE), lambda page: page.links)
    session.output.document({"items": [upload_link_document(link) for link in found], "next": None})
    session.output.table(
        ("ID", "FOLDER", "UNTIL", "FILES", "SIZE"),
        (
            (
                link.id,
                shown(link.folder),
                _until(session, link),
                f"{link.used_files}" + (f" of {link.max_files}" if link.max_files is not None else ""),
                size(link.used_bytes) + (f" of {size(link.max_bytes)}" if link.max_bytes is not None else ""),
            )
            for link in found
        ),
    )
    return EXIT_OK


@upload_links.command("add")
@click.argument("folder")
@click.option("--message", default="", help="What the page says to who comes.")
@click.option("--days", type=click.IntRange(1, 36_500), help="End after so many days [default: when it is revoked].")
@click.option("--max-files", type=click.IntRange(1), help="Take so many files.")
@click.option("--max-size", metavar="SIZE", callback=_size_bytes, help="Take no file larger than this.")
@click.option("--max-total", metavar="SIZE", callback=_size_bytes, help="Take so much of all files together.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Take this kind; may be repeated.")
@pass_session
def add_upload_link(
    session: Session,
    folder: str,
    message: str,
    days: int | None,
    max_files: int | None,
    max_size: int | None,
    max_total: int | None,
    kinds: tuple[str, ...],
) -> int:
    """Make a link by which others send files into a folder, and print it, this once."""
    from contentplatform.media import MediaKind  # noqa: PLC0415 - as above
    from contentplatform.sharing.port import UploadLinkDraft  # noqa: PLC0415

    draft = UploadLinkDraft(
        folder=folder.rstrip("/"),
        message=message,
        expires_at=_expires_at(session, days),
        max_files=max_files,
        max_bytes=max_total,
        max_file_bytes=max_size,
        kinds=frozenset(MediaKind(kind) for kind in kinds),
    )
    secret, link = session.platform.shares.create_upload_link(draft, caller_name())
    url = _url(session, "u", secret)
    session.output.document({**upload_link_document(link), "url": url})
    session.output.line(url)
    return EXIT_OK


@upload_links.command("revoke")
@click.argument("link_id", metavar="ID")
@pass_session
def revoke_upload_link(session: Session, link_id: str) -> int:
    """End an upload link at once, and for good; what came by it stays."""
    link = session.platform.shares.revoke_upload_link(link_id)
    session.output.document(upload_link_document(link))
    session.output.line(f"{link.id} is over")
    return EXIT_OK


def upload_link_document(link: UploadLink) -> dict[str, Any]:
    """An upload link as JSON has it."""
    return {
        "id": link.id,
        "folder": link.folder,
        "message": link.message,
        "created_by": link.created_by,
        "created_at": timestamp(link.created_at),
        "expires_at": _written(link.expires_at),
        "revoked_at": _written(link.revoked_at),
        "suspended": link.is_suspended,
        "max_files": link.max_files,
        "max_bytes": link.max_bytes,
        "max_file_bytes": link.max_file_bytes,
        "kinds": sorted(link.kinds),
        "used_files": link.used_files,
        "used_bytes": link.used_bytes,
    }


# -- webhooks -------------------------------------------------------------------------------------------------------


@click.group()
def webhooks() -> None:
    """See and change which programs are told what happens to files."""


@webhooks.command("list")
@pass_session
def list_webhooks(session: Session) -> int:
    """List webhooks, the newest first.

    Exit status 1 if messages of one were given up, and wait for a person.
    """
    found = session.platform.webhooks.all()
    session.output.document({"items": [webhook_document(webhook) for webhook in found], "next": None})
    session.output.table(
        ("ID", "URL", "TOLD", "LAST", "TRIES", "GIVEN UP"),
        (
            (
                webhook.id,
                shown(webhook.url),
                ", ".join(sorted(webhook.events)) or "everything",
                shown(webhook.last_status) if webhook.active else "off",
                str(webhook.attempts or ""),
                str(webhook.dead or ""),
            )
            for webhook in found
        ),
    )
    return EXIT_NEEDS_ATTENTION if any(webhook.dead for webhook in found) else EXIT_OK


@webhooks.command("add")
@click.argument("url")
@click.option(
    "--event", "events", multiple=True, type=click.Choice(_EVENTS), help="Tell this only; may be repeated [all]."
)
@pass_session
def add_webhook(session: Session, url: str, events: tuple[str, ...]) -> int:
    """Tell a program what happens to files from now on, and print the secret that signs the messages, this once."""
    from contentplatform.hooks.port import check_events  # noqa: PLC0415 - as above

    platform = session.platform
    after = session.local.catalog.newest_change()
    secret, webhook = platform.webhooks.add(url, check_events(events), caller_name(), after=after)
    session.output.document({**webhook_document(webhook), "secret": secret})
    session.output.line(f"{webhook.id}  {secret}")
    return EXIT_OK


@webhooks.command("test")
@click.argument("webhook_id", metavar="ID")
@pass_session
def test_webhook(session: Session, webhook_id: str) -> int:
    """Send a message that tells nothing, and say how it went.

    Exit status 1 if it was not taken.
    """
    sent = session.local.postman().test(webhook_id)
    session.output.document({"id": webhook_id, "taken": sent.taken, "status": sent.status})
    session.output.line(shown(sent.status))
    return EXIT_OK if sent.taken else EXIT_NEEDS_ATTENTION


@webhooks.command("retry")
@click.argument("webhook_id", metavar="ID")
@pass_session
def retry_webhook(session: Session, webhook_id: str) -> int:
    """Send what was given up once more, the oldest first, until one is not taken.

    Exit status 1 if some are left.
    """
    taken = session.local.postman().redrive(webhook_id)
    left = session.platform.webhooks.get(webhook_id).dead
    session.output.document({"id": webhook_id, "taken": taken, "left": left})
    session.output.line(f"{taken} taken, {left} left")
    return EXIT_NEEDS_ATTENTION if left else EXIT_OK


@webhooks.command("remove")
@click.argument("webhook_id", metavar="ID")
@pass_session
def remove_webhook(session: Session, webhook_id: str) -> int:
    """Tell a program nothing more, and forget what was given up."""
    session.platform.webhooks.remove(webhook_id)
    session.output.document({"removed": webhook_id})
    session.output.line(f"{shown(webhook_id)} removed")
    return EXIT_OK


def webhook_document(webhook: Webhook) -> dict[str, Any]:
    """A webhook as JSON has it; the secret is no part of it."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": sorted(webhook.events),
        "created_by": webhook.created_by,
        "created_at": timestamp(webhook.created_at),
        "active": webhook.active,
        "attempts": webhook.attempts,
        "due_at": _written(webhook.due_at),
        "last_status": webhook.last_status,
        "last_at": _written(webhook.last_at),
        "given_up": webhook.dead,
    }


# -- words ----------------------------------------------------------------------------------------------------------


def _url(session: Session, part: str, secret: str) -> str:
    """A link as people get it; without the server's address where the settings don't tell it."""
    return f"{session.platform.settings.server.public_url}/{part}/{secret}"


def _expires_at(session: Session, days: int | None) -> datetime | None:
    return None if days is None else session.platform.clock.now() + timedelta(days=days)


def _until(session: Session, link: Share | UploadLink) -> str:
    if link.revoked_at is not None:
        return "revoked"
    if link.is_suspended:
        return "suspended"
    if not link.is_open(session.platform.clock.now()):
        return "over"
    return timestamp(link.expires_at)[:16].replace("T", " ") if link.expires_at is not None else ""


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


COMMANDS = (shares, upload_links, webhooks)
