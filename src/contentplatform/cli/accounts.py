"""``users``, ``tokens``, ``audit``: who may come in, by which programs, and what was done. Works without a server."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from contentplatform.cli.caller import caller
from contentplatform.cli.output import EXIT_NEEDS_ATTENTION, EXIT_OK, shown, size
from contentplatform.cli.session import Session, pass_session
from contentplatform.clock import timestamp
from contentplatform.errors import InvalidRequest

if TYPE_CHECKING:
    from datetime import datetime

    from contentplatform.accounts.port import AuditEntry, Token, User

_ROLES: Final = ("admin", "editor", "viewer")
_SCOPES: Final = ("read", "write", "admin")
_UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_NO_QUOTA: Final = "none"
_LIST_LENGTH: Final = 50
_PAGE: Final = 100


def _size_bytes(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """A number of bytes, perhaps with a unit in powers of 1 000; None for ``none``, and where nothing was given."""
    if value is None or value.lower() == _NO_QUOTA:
        return None
    found = re.fullmatch(r"(\d{1,15}) ?([KMGT]B)?", value.strip(), re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"{value!r} is no size: say 500000000, 500MB or {_NO_QUOTA}")
    return int(found[1]) * _UNITS[(found[2] or "").upper()]


@click.group()
def users() -> None:
    """See and change who can sign in."""


@users.command("list")
@pass_session
def list_users(session: Session) -> int:
    """List users, by name."""
    found = session.platform.accounts.users()
    session.output.document({"items": [user_document(user) for user in found], "next": None})
    session.output.table(
        ("NAME", "ROLE", "FOLDER", "USED", "QUOTA", "SIGNED IN", ""),
        (
            (
                user.name,
                user.role.value,
                shown(user.folder or "everything"),
                size(user.used_bytes),
                size(user.quota_bytes) if user.quota_bytes is not None else "",
                _when(user.signed_in_at),
                "disabled" if user.is_disabled else "",
            )
            for user in found
        ),
    )
    return EXIT_OK


@users.command()
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="viewer", show_default=True, help="What the user may do.")
@click.option("--folder", metavar="F", default="", help="All that exists for the user [default: everything].")
@click.option("--quota", metavar="SIZE", callback=_size_bytes, help="The most that the user may upload.")
@click.option("--generate", is_flag=True, help="Make the password up, and print it this once.")
@pass_session
def add(session: Session, name: str, role: str, folder: str, quota: int | None, *, generate: bool) -> int:
    """Add a user. The password is asked for, or read from standard input: never an argument, which others could see."""
    from contentplatform.accounts.port import Role  # noqa: PLC0415 - `--help` loads no more than it needs

    password = _password(generate=generate)
    user = session.platform.accounts.add_user(
        name,
        password,
        Role(role),
        by=caller(),
        folder=folder,
        quota_bytes=quota,
        generated=generate,
    )
    return _told(session, user, password if generate else None)


@users.command()
@click.argument("name")
@click.argument("role", type=click.Choice(_ROLES))
@pass_session
def role(session: Session, name: str, role: str) -> int:
    """Give a user another role: admin may do everything, editor reads and writes, viewer reads."""
    from contentplatform.accounts.port import Role  # noqa: PLC0415 - as above

    accounts = session.platform.accounts
    return _told(session, accounts.set_role(accounts.user_named(name).id, Role(role), by=caller()))


@users.command()
@click.argument("name")
@click.argument("folder", default="")
@pass_session
def folder(session: Session, name: str, folder: str) -> int:
    """Let only this folder, and what is in it, exist for a user; without FOLDER everything."""
    accounts = session.platform.accounts
    return _told(session, accounts.set_folder(accounts.user_named(name).id, folder, by=caller()))


@users.command()
@click.argument("name")
@click.argument("quota", metavar="SIZE", callback=_size_bytes)
@pass_session
def quota(session: Session, name: str, quota: int | None) -> int:
    """Let a user upload so much, each file counted by its whole size: a number of bytes, 500MB, 2TB, or none."""
    accounts = session.platform.accounts
    return _told(session, accounts.set_quota(accounts.user_named(name).id, quota, by=caller()))


@users.command()
@click.argument("name")
@pass_session
def disable(session: Session, name: str) -> int:
    """Keep a user out, and everything of theirs that is signed in or has a token."""
    accounts = session.platform.accounts
    return _told(session, accounts.disable(accounts.user_named(name).id, by=caller()))


@users.command()
@click.argument("name")
@pass_session
def enable(session: Session, name: str) -> int:
    """Let a user in again."""
    accounts = session.platform.accounts
    return _told(session, accounts.enable(accounts.user_named(name).id, by=caller()))


@users.command("reset-password")
@click.argument("name")
@click.option("--generate", is_flag=True, help="Make the password up, and print it this once.")
@pass_session
def reset_password(session: Session, name: str, *, generate: bool) -> int:
    """Give a user another password, asked for or read from standard input, and sign the user out everywhere."""
    accounts = session.platform.accounts
    user = accounts.user_named(name)
    password = _password(generate=generate)
    changed = accounts.set_password(user.id, password, by=caller(), generated=generate)
    return _told(session, changed, password if generate else None)


@users.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask.")
@pass_session
def remove(session: Session, name: str, *, yes: bool) -> int:
    """Remove a user with sessions and tokens. Files stay, and so does what the audit log says."""
    accounts = session.platform.accounts
    user = accounts.user_named(name)
    if not yes:
        click.confirm(f"Remove {user.name}? The user's tokens end with it", abort=True, err=True)
    accounts.remove_user(user.id, by=caller())
    session.output.document({"removed": user.name})
    session.output.line(f"removed {user.name}")
    return EXIT_OK


@click.group()
def tokens() -> None:
    """See, make and end tokens, by which programs act for users."""


@tokens.command("list")
@click.option("--user", "name", metavar="NAME", help="Only this user's [default: everybody's].")
@pass_session
def list_tokens(session: Session, name: str | None) -> int:
    """List tokens, the newest first; those that expired, too, for thirty days."""
    accounts = session.platform.accounts
    found = accounts.tokens(accounts.user_named(name).id if name else None)
    names = {user.id: user.name for user in accounts.users()}
    session.output.document({"items": [_token_document(token, names) for token in found], "next": None})
    session.output.table(
        ("TOKEN", "USER", "NAME", "SCOPES", "FOLDER", "EXPIRES", "USED"),
        (
            (
                token.id,
                names.get(token.user_id, ""),
                shown(token.name),
                " ".join(sorted(token.scopes)),
                shown(token.folder or "the user's"),
                _when(token.expires_at),
                _when(token.last_used_at),
            )
            for token in found
        ),
    )
    return EXIT_OK


@tokens.command("add")
@click.argument("user")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(_SCOPES),
    multiple=True,
    default=("read",),
    show_default=True,
    help="A right that it has; may be repeated.",
)
@click.option("--folder", metavar="F", default="", help="All that exists for it [default: what exists for the user].")
@click.option("--days", type=click.IntRange(min=1), help="How long it lives [default: accounts.token_lifetime_days].")
@pass_session
def add_token(session: Session, user: str, name: str, scopes: tuple[str, ...], folder: str, days: int | None) -> int:
    """Make a token for a user's program, and print its secret, which nobody can be told again."""
    from contentplatform.accounts.port import Scope  # noqa: PLC0415 - as above

    accounts = session.platform.accounts
    owner = accounts.user_named(user)
    secret, token = accounts.create_token(
        owner.id, name, map(Scope, scopes), by=caller(), folder=folder, lifetime_days=days
    )
    session.output.document({**_token_document(token, {owner.id: owner.name}), "secret": secret})
    if not session.output.as_json:
        session.output.line(secret)
        session.output.talk(f"This is shown once. It ends {timestamp(token.expires_at)}; before with")
        session.output.talk(f"contentplatform tokens revoke {token.id}")
    return EXIT_OK


@tokens.command()
@click.argument("token")
@pass_session
def revoke(session: Session, token: str) -> int:
    """End a token, by its id."""
    session.platform.accounts.revoke_token(token, by=caller())
    session.output.document({"revoked": token})
    session.output.line(f"revoked {token}")
    return EXIT_OK


@click.group()
def audit() -> None:
    """Read the log of what was done, and check that nobody changed it."""


@audit.command("list")
@click.option("--user", "name", metavar="NAME", help="Only what this user did.")
@click.option("--act", metavar="A", default="", help="Only acts that begin so: user, token.add, session, …")
@click.option("--limit", type=click.IntRange(min=1), default=_LIST_LENGTH, show_default=True, help="At most this many.")
@click.option("--cursor", metavar="C", help="Go on where an earlier list stopped.")
@pass_session
def list_audit(session: Session, name: str | None, act: str, limit: int, cursor: str | None) -> int:
    """List what was done and refused, the newest first."""
    platform = session.platform
    who_id = platform.accounts.user_named(name).id if name else ""
    found: list[AuditEntry] = []
    while True:
        page = platform.audit.entries(cursor=cursor, limit=min(_PAGE, limit - len(found)), who_id=who_id, act=act)
        found.extend(page.entries)
        cursor = page.cursor
        if cursor is None or len(found) == limit:
            break
    session.output.document({"items": [_entry_document(entry) for entry in found], "next": cursor})
    session.output.table(
        ("#", "AT", "WHO", "ACT", "SUBJECT", "DETAILS"),
        (
            (
                str(entry.sequence),
                timestamp(entry.at),
                shown(entry.who),
                entry.act,
                shown(entry.subject),
                shown(
                    ", ".join(f"{label}={value}" for label, value in entry.details.items() if value not in ("", None))
                ),
            )
            for entry in found
        ),
    )
    if cursor is not None:
        session.output.talk(f"There is more: --cursor {cursor}")
    return EXIT_OK


@audit.command()
@pass_session
def verify(session: Session) -> int:
    """Read the whole log: was an entry changed, left out, put in, or the end cut off?

    Exit status: 0 as it was written, 1 it is not.
    """
    log = session.platform.audit
    flaws = log.verify()
    newest = next(iter(log.entries(limit=1).entries), None)
    count, digest = (newest.sequence, newest.digest) if newest else (0, "")
    session.output.document(
        {
            "intact": not flaws,
            "entries": count,
            "digest": digest,
            "flaws": [{"sequence": flaw.sequence, "what": flaw.what} for flaw in flaws],
        }
    )
    for flaw in flaws:
        session.output.line(f"{flaw.sequence}: {flaw.what}")
    if not flaws:
        session.output.line(f"{count} entries, as they were written. The newest has the digest {digest or '(none)'}")
    return EXIT_NEEDS_ATTENTION if flaws else EXIT_OK


@audit.command()
@click.option("--yes", is_flag=True, help="Don't ask.")
@pass_session
def accept(session: Session, *, yes: bool) -> int:
    """Take the log as it is from now on, as after an older database was put back. What was found is written into it."""
    if not yes:
        click.confirm("Take the log as it is? Look at `audit verify` first", abort=True, err=True)
    flaws = session.platform.audit.accept(caller())
    session.output.document({"accepted": [{"sequence": flaw.sequence, "what": flaw.what} for flaw in flaws]})
    session.output.line(f"accepted, with {len(flaws)} flaws written down")
    return EXIT_OK


def user_document(user: User) -> dict[str, Any]:
    """A user as JSON."""
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role.value,
        "folder": user.folder,
        "quota_bytes": user.quota_bytes,
        "used_bytes": user.used_bytes,
        "created_at": timestamp(user.created_at),
        "password_changed_at": timestamp(user.password_changed_at),
        "password_is_generated": user.password_is_generated,
        "disabled_at": timestamp(user.disabled_at) if user.disabled_at else None,
        "signed_in_at": timestamp(user.signed_in_at) if user.signed_in_at else None,
    }


def _token_document(token: Token, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": token.id,
        "user": names.get(token.user_id),
        "name": token.name,
        "scopes": sorted(token.scopes),
        "folder": token.folder,
        "created_at": timestamp(token.created_at),
        "expires_at": timestamp(token.expires_at),
        "last_used_at": timestamp(token.last_used_at) if token.last_used_at else None,
    }


def _entry_document(entry: AuditEntry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": timestamp(entry.at),
        "who": entry.who,
        "who_id": entry.who_id,
        "via": entry.via.value,
        "act": entry.act,
        "subject": entry.subject,
        "details": dict(entry.details),
        "digest": entry.digest,
    }


def _told(session: Session, user: User, password: str | None = None) -> int:
    """Say what a user is now, and a password that was made up, this once."""
    session.output.document({**user_document(user), **({"password": password} if password else {})})
    if not session.output.as_json:
        if password:
            session.output.line(password)
            session.output.talk(f"This is the password of {user.name}, shown once.")
        state = ", disabled" if user.is_disabled else ""
        limit = f", quota {size(user.quota_bytes)}" if user.quota_bytes is not None else ""
        session.output.talk(f"{user.name}: {user.role.value}, {shown(user.folder or 'everything')}{limit}{state}")
    return EXIT_OK


def _password(*, generate: bool) -> str:
    """A password: made up, typed twice, or the first line of standard input."""
    if generate:
        from contentplatform.accounts.credentials import new_password  # noqa: PLC0415 - as above

        return new_password(os.urandom)
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline()
    if not line:
        raise InvalidRequest(
            "reading the password", "there is none on standard input", hint="Pipe it in, or use --generate"
        )
    return line.rstrip("\r\n")


def _when(moment: datetime | None) -> str:
    return timestamp(moment)[:16].replace("T", " ") if moment else ""


COMMANDS = (users, tokens, audit)
