"""``executions list | show | retry | cancel``: what the workflow does, did, and why it waits."""

from __future__ import annotations

import click

from contentplatform.catalog.describing import progress_of
from contentplatform.cli.output import EXIT_OK, shown
from contentplatform.cli.session import Session, pass_session
from contentplatform.clock import timestamp
from contentplatform.errors import NotFound
from contentplatform.workflow.describing import summary, told
from contentplatform.workflow.port import Execution, ExecutionStatus


@click.group()
def executions() -> None:
    """See what the workflow does, did, and why it waits."""


@executions.command("list")
@click.option(
    "--status", type=click.Choice([status.value for status in ExecutionStatus]), help="Only those of this status."
)
@click.option("--key", metavar="KEY", help="Only those of this file.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many [default: all].")
@pass_session
def list_(session: Session, status: str | None, key: str | None, limit: int | None) -> int:
    """List executions, the newest first."""
    wanted = ExecutionStatus(status) if status else None
    found: list[Execution] = []
    for file_id in _file_ids(session, key):
        cursor: str | None = None
        while limit is None or len(found) < limit:
            page = session.platform.engine.list(status=wanted, file_id=file_id, cursor=cursor)
            found.extend(page.executions)
            cursor = page.cursor
            if cursor is None:
                break
    found = found[:limit]
    session.output.document({"items": [summary(execution) for execution in found], "next": None})
    session.output.table(
        ("EXECUTION", "STATUS", "STATE", "KEY", "WHY"),
        (
            (
                execution.name,
                execution.status.value,
                execution.state,
                shown(str(execution.input.get("key", ""))),
                shown(execution.pending_reason or execution.cause or ""),
            )
            for execution in found
        ),
    )
    return EXIT_OK


@executions.command()
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> int:
    """Show one execution with its history: input and output of each state."""
    execution = session.platform.engine.get(name)
    history = session.platform.engine.history(name)
    progress = _progress(session, execution)
    session.output.document({**summary(execution), "progress": progress, "history": [told(event) for event in history]})
    if not session.output.as_json:
        for label, value in summary(execution).items():
            if value is not None and label not in {"input", "output"}:
                session.output.line(f"{label:15} {shown(str(value))}")
        if progress is not None:
            session.output.line(f"{'progress':15} {progress}")
        session.output.line("")
        session.output.table(
            ("#", "AT", "STATE", "EVENT", "TRY", "WHY"),
            (
                (
                    str(event.sequence),
                    timestamp(event.at),
                    event.state,
                    event.event,
                    str(event.attempt),
                    shown(event.cause or ""),
                )
                for event in history
            ),
        )
    return EXIT_OK


@executions.command()
@click.argument("name", required=False)
@click.option("--failed", "all_failed", is_flag=True, help="Every file whose current version failed.")
@click.option("--outdated", is_flag=True, help="Every file whose renditions were made by an older recipe.")
@pass_session
def retry(session: Session, name: str | None, *, all_failed: bool, outdated: bool) -> int:
    """Try again: one execution by name, everything that failed, or what an older recipe left."""
    library = session.platform.library
    if sum((name is not None, all_failed, outdated)) != 1:
        raise click.UsageError("Say which: a NAME, --failed or --outdated. Try: contentplatform executions list")
    if name is not None:
        started = [library.retry(name)]
    else:
        keys = library.failed() if all_failed else library.outdated()
        started = [library.reprocess(key) for key in list(keys)]
    session.output.document({"started": started})
    for execution in started:
        session.output.line(f"started {execution}")
    session.output.talk(f"{len(started)} started; `contentplatform worker` or the next `add` works on them")
    return EXIT_OK


@executions.command()
@click.argument("name")
@click.option(
    "--reason", default="cancelled on the command line", show_default=True, help="Why, for whoever asks later."
)
@pass_session
def cancel(session: Session, name: str, reason: str) -> int:
    """Stop an execution; what has ended stays as it ended."""
    execution = session.platform.library.cancel(name, reason)
    session.output.document(summary(execution))
    is_stopped = execution.status is ExecutionStatus.CANCELLED
    session.output.line(f"{execution.name}{'' if is_stopped else ' had ended before'}: {execution.status.value}")
    return EXIT_OK


def _progress(session: Session, execution: Execution) -> str | None:
    """How far the file is that an execution works on, where that is known."""
    if execution.status.ended:
        return None
    try:
        record = session.platform.catalog.get(execution.file_id)
    except NotFound:
        return None
    return progress_of(record) if record.version_id == execution.version_id else None


def _file_ids(session: Session, key: str | None) -> list[str | None]:
    """The identifiers a file has had; just None for no filter."""
    if key is None:
        return [None]
    record = session.platform.library.record(key)
    return [record.file_id, *reversed(record.moved_from)]


COMMANDS = (executions,)
