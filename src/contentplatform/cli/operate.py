"""Commands for who runs the platform: ``worker reprocess fsck verify load-test demo``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from contentplatform.cli.adding import AddRequest, add_files, plan
from contentplatform.cli.output import EXIT_NEEDS_ATTENTION, EXIT_OK, shown, size
from contentplatform.cli.session import Session, hands, pass_session
from contentplatform.cli.verifying import run_verification
from contentplatform.clock import RandomIds
from contentplatform.errors import PlatformError
from contentplatform.findings import CheckRun, Severity, run_checks

EXIT_COULD_NOT_CHECK = 2
_LOOK_SECONDS = 1.0
_COLOURS = {"passed": "green", "warning": "yellow", "failed": "red", "not built": "bright_black"}


@click.command()
@click.option("--with-parent", is_flag=True, help="End when standard input ends: for a program that starts workers.")
@pass_session
def worker(session: Session, *, with_parent: bool) -> int:
    """Take files in and process them until stopped (Ctrl-C or SIGTERM).

    It ends by itself, with an error, if the database failed under it: whoever starts it again opens it anew.
    """
    from contentplatform.worker import Worker  # noqa: PLC0415 - `--help` must not load a database driver

    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if with_parent:
        threading.Thread(target=_end_with_input, args=(stopping,), name="parent", daemon=True).start()
    talk = _silent if with_parent else session.output.talk
    for line in session.local.gaps():
        talk(line)
    with Worker(session.local):
        talk(f"Working on {session.platform.settings.data_folder}. Ctrl-C ends it.")
        while not session.platform.clock.wait(stopping, _LOOK_SECONDS):
            session.local.database.check_usable()  # else it would live on without doing anything
        talk("Stopping: what is at work is finished or handed back.")
    # What is still to be taken in, and it may be a hundred thousand files, the next worker finds.
    session.local.store.flush_journal()
    return EXIT_OK


def _silent(_line: str) -> None:
    """Who started this worker talks for it."""


def _end_with_input(stopping: threading.Event) -> None:
    """The parent holds the other end of standard input open; it is gone when there is nothing more to read."""
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1024):
            pass
    stopping.set()


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@click.option("--no-wait", is_flag=True, help="Return at once; a worker does it.")
@pass_session
def reprocess(session: Session, keys: tuple[str, ...], *, no_wait: bool) -> int:
    """Make the renditions of files anew."""
    library = session.platform.library
    started = {key: library.reprocess(key) for key in keys}
    if not no_wait:
        with hands(session) as helping:
            helping.wait_for(tuple(started.values()))
    session.home.finish()
    troubled = False
    for key, name in started.items():
        record = library.record(key)
        troubled |= record.error is not None
        session.output.line(f"{shown(key)}  {record.status.value}  {shown(record.error or name)}")
    session.output.document({"started": started})
    return EXIT_NEEDS_ATTENTION if troubled else EXIT_OK


@click.command()
@click.option("--deep", is_flag=True, help="Read and hash every byte, not only the structure.")
@click.option("--repair", is_flag=True, help="Mend what needs no decision: orphans, stale leases, the search index.")
@click.option("--rebuild-catalog", is_flag=True, help="Make the database anew from the store's files and manifests.")
@pass_session
def fsck(session: Session, *, deep: bool, repair: bool, rebuild_catalog: bool) -> int:
    """Check that nothing is lost, wrong or left over. Reads only, unless told to repair.

    Exit status: 0 clean, 1 findings, 2 the check could not be made.
    """
    output = session.output
    if rebuild_catalog:
        from contentplatform.rebuild import rebuild  # noqa: PLC0415

        report = rebuild(session.load_settings())
        output.talk(report.sentence())
    try:
        findings = list(run_checks(session.local.checks(), CheckRun(deep=deep, repair=repair)))
    except PlatformError as error:
        output.fail(error)
        return EXIT_COULD_NOT_CHECK
    output.document({"clean": not findings, "deep": deep, "findings": [asdict(finding) for finding in findings]})
    for finding in findings:
        mended = "  [repaired]" if finding.repaired else ""
        output.line(
            f"{finding.invariant:4} {finding.severity.value:8} {shown(finding.subject)}: {finding.message}{mended}"
        )
        if not finding.repaired:
            output.line(f"     → {finding.suggested_repair}")
    open_findings = [finding for finding in findings if not finding.repaired]
    if not open_findings:
        output.line("Clean." if not findings else "Clean after repair.")
    return EXIT_NEEDS_ATTENTION if any(f.severity is not Severity.WARNING for f in open_findings) else EXIT_OK


@click.command()
@pass_session
def verify(session: Session) -> int:
    """Put files through, look at everything, and say whether this home is healthy.

    What it makes lies under `_verify/` and is removed again.
    """
    from contentplatform.verify.report import Verdict  # noqa: PLC0415 - as above

    output = session.output
    report = run_verification(session)
    for row in report.rows:
        verdict = click.style(f"{row.verdict.value:10}", fg=_COLOURS[row.verdict.value])
        output.line(f"{verdict} {row.name}: {shown(row.detail)}")
    for kept in report.kept:
        output.line(f"{click.style('kept', fg='yellow')}       {shown(kept)}")
    for leftover in report.left_over:
        output.line(f"{click.style('left over', fg='red')}  {shown(leftover)}")
    counts = {verdict.value: sum(row.verdict is verdict for row in report.rows) for verdict in Verdict}
    output.line(", ".join(f"{count} {name}" for name, count in counts.items()))
    output.document({"healthy": report.healthy, "counts": counts, **asdict(report)})
    return EXIT_OK if report.healthy else EXIT_NEEDS_ATTENTION


@click.command("load-test")
@click.option("--files", type=click.IntRange(min=1), default=50, show_default=True, help="How many files.")
@click.option(
    "--size", "file_size_bytes", type=click.IntRange(min=1), default=1 << 20, show_default=True, help="Bytes of each."
)
@click.option("--at-once", type=click.IntRange(min=1), default=10, show_default=True, help="Uploads at a time.")
@pass_session
def load_test(session: Session, files: int, file_size_bytes: int, at_once: int) -> int:
    """Put many photos through at once, and tell throughput and latencies.

    What it makes lies under `_load-test/` and is removed again. A file that is lost or fails makes the run fail.
    """
    from contentplatform.load_test import Load, LoadTest  # noqa: PLC0415 - as above
    from contentplatform.processing.samples import sample_photo  # noqa: PLC0415 - as above

    output = session.output
    with tempfile.TemporaryDirectory() as folder:
        photo = sample_photo(Path(folder)).read_bytes()
    with hands(session) as helping:
        helping.see_to_it()
        load = Load(files, file_size_bytes, at_once)
        report = LoadTest(session.home, photo, load, RandomIds(), helping.pause).run()
    for trouble in (*report.troubled, *report.left_over):
        output.line(shown(trouble))
    rate = f"{report.stored_bytes_per_second / 1e6:.1f} MB/s"
    output.line(f"stored      {report.stored} of {report.files} in {report.store_seconds:.1f} s  {rate}")
    output.line(
        f"completed   {report.completed} of {report.files} in {report.total_seconds:.1f} s "
        f" {report.files_per_second:.2f} files/s"
    )
    for label, told in (("stored", report.acknowledged), ("completed", report.completed_after)):
        if told is not None:
            output.line(
                f"{label} after  p50 {told.p50:.2f} s, p95 {told.p95:.2f} s, p99 {told.p99:.2f} s, "
                f"longest {told.longest:.2f} s"
            )
    output.document(
        {
            "healthy": report.healthy,
            "files_per_second": report.files_per_second,
            "stored_bytes_per_second": report.stored_bytes_per_second,
            **asdict(report),
        }
    )
    return EXIT_OK if report.healthy else EXIT_NEEDS_ATTENTION


@click.command()
@pass_session
def demo(session: Session) -> int:
    """Make sample media, put them through, and show what came out."""
    from contentplatform.processing.samples import make_samples  # noqa: PLC0415

    output = session.output
    with tempfile.TemporaryDirectory(prefix="contentplatform-demo-") as name:
        folder = Path(name)
        make_samples(folder)
        outcome = add_files(
            session, AddRequest(plan([folder], "demo", session.platform.settings.data_folder), wait=True)
        )
    output.document({"items": outcome.items})
    if not output.as_json:
        output.line("")
        rows = [
            (
                shown(item["file_path"]),
                rendition["name"],
                f"{rendition['width']}×{rendition['height']}" if "width" in rendition else "",
                size(rendition["size"]),
                shown(rendition["key"]),
            )
            for item in outcome.items
            for rendition in item.get("renditions", ())
        ]
        output.table(("ORIGINAL", "RENDITION", "PIXELS", "SIZE", "KEY"), rows)
        output.line("")
        output.line(f"{len(outcome.items)} files, {len(rows)} renditions, all kept in {session.home.place()}")
        output.line(f"Next: {sys.argv[0]} {session.home.options()} list")
    return EXIT_OK


COMMANDS = (worker, reprocess, fsck, verify, load_test, demo)
