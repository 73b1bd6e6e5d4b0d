"""Commands for the home on AWS as a whole: ``deploy plan outputs destroy``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from contentplatform.cli.output import EXIT_NEEDS_ATTENTION, EXIT_OK, Output, shown
from contentplatform.cli.session import HomeName, Session, pass_session
from contentplatform.clock import SystemClock
from contentplatform.config import DEPLOYMENT_FILE_NAME, Settings, load
from contentplatform.errors import Cancelled, InvalidRequest, NotFound, PlatformError

if TYPE_CHECKING:
    from contentplatform.cost.estimate import Estimate
    from contentplatform.deployment.assembly import Assembly
    from contentplatform.deployment.deployment import Deployment, Place, Prepared
    from contentplatform.deployment.rollout import StackPlan
    from contentplatform.deployment.stacks import Failure
    from contentplatform.deployment.teardown import Inventory, Left

Command = TypeVar("Command", bound=Callable[..., Any])
_COLOURS: Final = {"passed": "green", "warning": "yellow", "failed": "red", "not built": "bright_black"}


def _where(command: Command) -> Command:
    """The options with which a command finds its AWS account."""
    for option in (
        click.option(
            "--region", metavar="REGION", help="Region of everything but the second copy; else the settings'."
        ),
        click.option("--profile", metavar="NAME", help="Profile of the AWS configuration to take credentials from."),
    ):
        command = option(command)
    return command


def _stacks(command: Command) -> Command:
    """The option that leaves stacks out."""
    return click.option(
        "--only",
        "only",
        metavar="STACK",
        multiple=True,
        help="Only this stack, and none that it needs; may be repeated.",
    )(command)


def _out(command: Command) -> Command:
    """The option that tells where the templates go."""
    return click.option(
        "--out",
        "folder",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("cdk.out"),
        help="Where the templates are written [default: cdk.out].",
    )(command)


@click.command()
@_where
@_stacks
@_out
@click.option(
    "--dry-run", is_flag=True, help="Only make the templates, and say what they hold and cost: no AWS needed."
)
@click.option("--yes", is_flag=True, help="Don't ask before anything is changed.")
@click.option("--no-verify", is_flag=True, help="Don't put files through at the end.")
@pass_session
def deploy(
    session: Session,
    profile: str | None,
    region: str | None,
    only: tuple[str, ...],
    folder: Path,
    *,
    dry_run: bool,
    yes: bool,
    no_verify: bool,
) -> int:
    """Put the home on AWS up, or bring it up to date.

    Says what will change and what it costs a month, and asks. Can be interrupted and repeated at any time.
    """
    deployment, output = _deployment(session, _place(profile, region), folder), session.output
    if dry_run:
        settings, assembly, month = deployment.synthesise_only(only)
        output.talk("Dry run: nothing was asked of AWS, and nothing is changed.")
        _show_assembly(output, assembly)
        _show_month(output, month)
        output.line(f"The templates are in {folder}.")
        output.document({"dry_run": True, **_place_document(settings), **_assembly_document(assembly, month)})
        return EXIT_OK
    prepared = deployment.prepare(only, closely=False)
    document = _prepared_document(prepared)
    _show_prepared(output, prepared)
    if prepared.changes_nothing:
        output.line("Everything is deployed as it should be; deploying it again.")
    elif not yes and not click.confirm("Deploy this?", err=True):
        raise Cancelled("deploying", "you said no; nothing was changed")
    failures = _carried_out(deployment, prepared, output)
    if failures:
        _show_failures(output, failures)
        output.document({"deployed": False, **document, "failures": _failure_documents(failures)})
        return EXIT_NEEDS_ATTENTION
    output.line(f"Deployed. {prepared.settings.data_folder / DEPLOYMENT_FILE_NAME} tells where it is.")
    output.line(f"Next: contentplatform --home aws --data {prepared.settings.data_folder} add PHOTO…")
    verified = None if no_verify else _verify(session, prepared.settings)
    told = _outputs_of(prepared.settings)
    output.document({"deployed": True, **document, "failures": [], "outputs": told, "verified": verified})
    return EXIT_OK if verified is None or verified["healthy"] is not False else EXIT_NEEDS_ATTENTION


@click.command()
@_where
@_stacks
@_out
@pass_session
def plan(session: Session, profile: str | None, region: str | None, only: tuple[str, ...], folder: Path) -> int:
    """Show what `deploy` would change, and change nothing.

    CloudFormation itself is asked, by change sets that are not carried out, what it would replace.
    """
    prepared = _deployment(session, _place(profile, region), folder).prepare(only, closely=True)
    _show_prepared(session.output, prepared)
    if prepared.changes_nothing:
        session.output.line("Nothing would change.")
    session.output.document(_prepared_document(prepared))
    return EXIT_OK


@click.command()
@_where
@pass_session
def outputs(session: Session, profile: str | None, region: str | None) -> int:
    """Show what the deployed stacks tell: addresses, names, ids."""
    from contentplatform.deployment.deployment import deployed_settings  # noqa: PLC0415 - `--help` must stay light

    settings = deployed_settings(session.load_settings(), _place(profile, region))
    told = _outputs_of(settings)
    if not told:
        raise NotFound(
            "looking for what is deployed",
            f"there is no stack in account {settings.aws.account_id}, {settings.aws.region}",
            hint="`contentplatform deploy` makes it; --region and --profile say where to look",
        )
    rows = [(shown(row["name"]), shown(row["value"]), row["stack"], shown(row["description"])) for row in told]
    session.output.table(("NAME", "VALUE", "STACK", "WHAT IT IS"), rows)
    session.output.document({**_place_document(settings), "outputs": told})
    return EXIT_OK


@click.command()
@_where
@_stacks
@click.option("--delete-data", is_flag=True, help="Delete buckets, tables and logs too, with all they hold, for good.")
@click.option("--yes", is_flag=True, help="Don't ask before the stacks are deleted; data are always asked about.")
@pass_session
def destroy(
    session: Session, profile: str | None, region: str | None, only: tuple[str, ...], *, delete_data: bool, yes: bool
) -> int:
    """Take the home on AWS down; files, catalog and logs stay unless told otherwise.

    What stays is taken over again by the next `deploy`.
    """
    from contentplatform.deployment.deployed import forget_deployment  # noqa: PLC0415 - `--help` must stay light
    from contentplatform.deployment.deployment import deployed_settings  # noqa: PLC0415
    from contentplatform.deployment.teardown import Teardown  # noqa: PLC0415
    from contentplatform.drivers.boto import Aws  # noqa: PLC0415

    output = session.output
    settings = deployed_settings(session.load_settings(), _place(profile, region))
    aws = Aws(region=settings.aws.region, account_id=settings.aws.account_id, profile=settings.aws.profile)
    teardown = Teardown(settings, aws, SystemClock())
    inventory = teardown.inventory(only)
    if not inventory.stacks and not (delete_data and inventory.kept):
        output.line("There is no stack to take down.")
        output.document(_destroy_document(inventory, (), (), delete_data=delete_data))
        return EXIT_OK
    _show_inventory(output, inventory, delete_data=delete_data)
    _ask(settings, delete_data=delete_data, yes=yes)
    left: list[Left] = []
    try:
        if delete_data:
            teardown.lift_guards(inventory, output.talk)
        failures = teardown.delete_stacks(inventory, output.talk)
        if delete_data and not failures:
            left.extend(teardown.delete_data(inventory, output.talk))
    except KeyboardInterrupt:
        output.talk("Interrupted. CloudFormation goes on with what it began; repeat the command to go on from there.")
        raise
    if not only and not failures:
        staying = {kept.name for kept in inventory.kept if not delete_data}
        left.extend(one for one in teardown.still_there() if not any(name in one.what for name in staying))
    _show_left(output, failures, left)
    if delete_data and not only and not failures and not any(one.certain for one in left):
        forget_deployment(settings)
    output.line("The CDK's bootstrap (stack CDKToolkit, in both regions) stays: other programs may use it.")
    output.document(_destroy_document(inventory, failures, tuple(left), delete_data=delete_data))
    return EXIT_NEEDS_ATTENTION if failures or any(one.certain for one in left) else EXIT_OK


# -- steps ---------------------------------------------------------------------------------------------------------


def _place(profile: str | None, region: str | None) -> Place:
    from contentplatform.deployment.deployment import Place  # noqa: PLC0415 - `--help` must stay light

    return Place(profile=profile or "", region=region or "")


def _deployment(session: Session, place: Place, folder: Path) -> Deployment:
    from contentplatform.deployment.toolchain import find_tools  # noqa: PLC0415 - `--help` must stay light

    tools = find_tools()  # before anything of it is imported: what is missing is told in words
    session.output.talk(tools.sentence())
    from contentplatform.deployment.deployment import Deployment  # noqa: PLC0415

    return Deployment(session.load_settings(), place, tools, SystemClock(), session.output.talk, folder=folder)


def _carried_out(deployment: Deployment, prepared: Prepared, output: Output) -> tuple[Failure, ...]:
    try:
        return deployment.carry_out(prepared)
    except KeyboardInterrupt:
        output.talk(
            "Interrupted. CloudFormation goes on with what it began. `contentplatform deploy` again waits for that and"
            " goes on from there; `contentplatform destroy` takes it down"
        )
        raise


def _verify(session: Session, settings: Settings) -> dict[str, Any]:
    """Put files through what was deployed; what came out, or why it could not be tried."""
    output = session.output
    try:
        from contentplatform.cli.verifying import run_verification  # noqa: PLC0415 - `--help` must stay light

        output.talk("Putting files through it")
        deployed = Session(
            output=output,
            home_name=HomeName.AWS,
            load_settings=lambda: load(data_folder=settings.data_folder, deployed=True),
        )
        try:
            report = run_verification(deployed)
        finally:
            deployed.close()
    except PlatformError as error:
        why = error.public
        output.line(f"It is deployed, but could not be verified: {shown(why)}")
        output.line("Later: contentplatform --home aws verify")
        return {"healthy": None, "why": why}
    for row in report.rows:
        verdict = click.style(f"{row.verdict.value:10}", fg=_COLOURS[row.verdict.value])
        output.line(f"{verdict} {row.name}: {shown(row.detail)}")
    return {"healthy": report.healthy, **asdict(report)}


def _ask(settings: Settings, *, delete_data: bool, yes: bool) -> None:
    """Ask before anything goes; data only go if the suffix of the buckets is typed.

    Raises:
        Cancelled: the answer was no.
        InvalidRequest: something else was typed.
    """
    if not delete_data:
        if not yes and not click.confirm("Delete these stacks?", err=True):
            raise Cancelled("taking the home down", "you said no; nothing was changed")
        return
    suffix = settings.storage.bucket_suffix
    typed = click.prompt(f"This can't be undone. Type {suffix} to delete all of it for good", err=True)
    if typed.strip() != suffix:
        raise InvalidRequest("taking the home down", f"{shown(typed)!r} is not {suffix}; nothing was changed")


def _outputs_of(settings: Settings) -> list[dict[str, str]]:
    from contentplatform.deployment.deployment import outputs as outputs_of  # noqa: PLC0415 - as above

    return [asdict(one) for one in outputs_of(settings, SystemClock())]


# -- words ---------------------------------------------------------------------------------------------------------


def _show_assembly(output: Output, assembly: Assembly) -> None:
    for stack in assembly.stacks:
        kinds = stack.kinds()
        output.line(f"{stack.name} in {stack.region}: {sum(kinds.values())} resources")
        for kind, count in kinds.items():
            output.line(f"  {count:4}  {kind}")


def _show_month(output: Output, month: Estimate) -> None:
    output.line("With nothing in it, a month costs (list prices, USD; use comes on top):")
    for line in month.lines:
        for part in line.parts:
            output.line(f"  {part.cost_usd:8.2f}  {line.service}: {part.amount} × {part.unit}, {part.usage}")
    output.line(f"  {month.total_usd:8.2f}  together")
    for kind in month.unknown:
        output.line(f"  price unknown: {kind}")


def _show_prepared(output: Output, prepared: Prepared) -> None:
    output.talk(prepared.rights.sentence)
    for region in prepared.regions_to_bootstrap:
        output.line(f"The CDK is not at home in {region} yet: its bootstrap (stack CDKToolkit) is made")
    for plan_ in prepared.plans:
        _show_plan(output, plan_)
    _show_month(output, prepared.month)


def _show_plan(output: Output, plan_: StackPlan) -> None:
    if plan_.exists and not plan_.changes:
        output.line(f"{plan_.stack} in {plan_.region}: nothing changes")
        return
    if not plan_.exists:
        output.line(f"{plan_.stack} in {plan_.region}: new, {len(plan_.changes)} resources")
        return
    output.line(f"{plan_.stack} in {plan_.region}:")
    for change in plan_.changes:
        properties = f" ({', '.join(change.properties)})" if change.properties else ""
        output.line(f"  {change.what:9} {change.kind} {shown(change.name)}{properties}")


def _show_failures(output: Output, failures: tuple[Failure, ...]) -> None:
    output.talk("The deployment failed; CloudFormation has put the stack back to what it was, or does so now.")
    for failure in failures:
        output.talk(f"  {failure.stack}: {failure.kind} {shown(failure.resource)}: {shown(failure.reason)}")
        output.talk(f"     → {failure.advice()}")


def _show_inventory(output: Output, inventory: Inventory, *, delete_data: bool) -> None:
    for name, region in inventory.stacks:
        output.line(f"Stack {name} in {region} is deleted")
    if inventory.kept:
        output.line("These are deleted too, with all they hold:" if delete_data else "These stay, with all they hold:")
    for kept in inventory.kept:
        output.line(f"  {kept.kind} {shown(kept.name)} in {kept.region}")
    if inventory.kept and not delete_data:
        output.line("`contentplatform deploy` takes them over again: it imports what is there under its name.")


def _show_left(output: Output, failures: tuple[Failure, ...], left: list[Left]) -> None:
    for failure in failures:
        output.line(f"Not removed: {failure.stack} {failure.kind} {shown(failure.resource)}: {shown(failure.reason)}")
    for one in left:
        lag = "" if one.certain else " (AWS's list of tags lags behind by minutes)"
        output.line(f"Left: {shown(one.what)}: {shown(one.why)}{lag}")
    if not failures and not left:
        output.line("Nothing else is left.")


def _place_document(settings: Settings) -> dict[str, Any]:
    return {
        "account_id": settings.aws.account_id or None,
        "region": settings.aws.region,
        "backup_region": settings.aws.backup_region,
        "bucket_suffix": settings.storage.bucket_suffix,
    }


def _month_document(month: Estimate) -> dict[str, Any]:
    lines = [{"service": line.service, "usd": line.cost_usd} for line in month.lines]
    return {"total": month.total_usd, "lines": lines, "unknown": month.unknown}


def _assembly_document(assembly: Assembly, month: Estimate) -> dict[str, Any]:
    return {
        "templates": assembly.folder,
        "stacks": [
            {"name": stack.name, "region": stack.region, "resources": stack.kinds()} for stack in assembly.stacks
        ],
        "monthly_usd": _month_document(month),
    }


def _prepared_document(prepared: Prepared) -> dict[str, Any]:
    return {
        **_place_document(prepared.settings),
        "bootstrap": prepared.regions_to_bootstrap,
        "changes": [asdict(plan_) for plan_ in prepared.plans],
        "monthly_usd": _month_document(prepared.month),
    }


def _failure_documents(failures: tuple[Failure, ...]) -> list[dict[str, str]]:
    return [{**asdict(failure), "advice": failure.advice()} for failure in failures]


def _destroy_document(
    inventory: Inventory, failures: tuple[Failure, ...], left: tuple[Left, ...], *, delete_data: bool
) -> dict[str, Any]:
    return {
        "stacks": [{"name": name, "region": region} for name, region in inventory.stacks],
        "kept": [] if delete_data else [asdict(kept) for kept in inventory.kept],
        "deleted": [asdict(kept) for kept in inventory.kept] if delete_data else [],
        "failures": _failure_documents(failures),
        "left": [asdict(one) for one in left],
    }


COMMANDS = (deploy, plan, outputs, destroy)
