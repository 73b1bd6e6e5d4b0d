"""What deploying would change, and the deploying: the CDK does the work, this tells it in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from contentplatform.clock import Clock
from contentplatform.deployment.assembly import Assembly, Change, StackTemplate, changes
from contentplatform.deployment.stacks import Failure, Stacks
from contentplatform.deployment.toolchain import Toolchain
from contentplatform.errors import ConfigurationInvalid, PlatformError, Unavailable

_BOOTSTRAP_SECONDS: Final = 30 * 60.0
_DEPLOY_SECONDS: Final = 3 * 3600.0
_DIFF_SECONDS: Final = 15 * 60.0
_EVENT: Final = re.compile(
    r"^(?P<stack>\S+) \| +(?P<done>\d+)/(?P<all>\d+) \| [^|]+ \| (?P<status>[A-Z_]+) +\| (?P<kind>\S+) +\|"
    r" (?P<name>\S+)(?: \((?P<logical>\w+)\))?(?P<reason>.*)$"
)
_DONE: Final[Mapping[str, str]] = {
    "CREATE_COMPLETE": "made",
    "UPDATE_COMPLETE": "changed",
    "DELETE_COMPLETE": "removed",
    "DELETE_SKIPPED": "kept",
    "IMPORT_COMPLETE": "taken over",
    "CREATE_FAILED": "FAILED",
    "UPDATE_FAILED": "FAILED",
    "DELETE_FAILED": "FAILED",
    "IMPORT_FAILED": "FAILED",
}
_SLOW: Final = frozenset({"AWS::CloudFront::Distribution", "AWS::DynamoDB::GlobalTable"})
_STACK: Final = "AWS::CloudFormation::Stack"
_IMPACT: Final = re.compile(
    r"^\[[~-]\] \S+ (?:\S+ )*?(?P<logical>\w+)(?: (?P<impact>replace|may be replaced|destroy|orphan))$"
)
_IMPACT_WORDS: Final[Mapping[str, str]] = {
    "replace": "replaced",
    "may be replaced": "changed, perhaps replaced",
    "destroy": "removed",
    "orphan": "no longer managed, kept",
}


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What would become of one stack."""

    stack: str
    region: str
    exists: bool
    changes: tuple[Change, ...]


class Rollout:
    """Brings an assembly into an account."""

    def __init__(self, tools: Toolchain, stacks: Stacks, clock: Clock, *, profile: str = "") -> None:
        self._tools = tools
        self._stacks = stacks
        self._clock = clock
        self._with_profile = ("--profile", profile) if profile else ()

    def plan(self, assembly: Assembly) -> tuple[StackPlan, ...]:
        """What deploying would change, by comparing templates with those that are deployed."""
        plans = []
        for stack in assembly.stacks:
            failed_before = self._stacks.never_came_about(stack.name, stack.region)
            deployed = {} if failed_before else self._stacks.template(stack.name, stack.region)
            plans.append(StackPlan(stack.name, stack.region, bool(deployed), changes(deployed, stack.template)))
        return tuple(plans)

    def look_closer(self, assembly: Assembly, plans: tuple[StackPlan, ...]) -> tuple[StackPlan, ...]:
        """The same plans, with what CloudFormation itself says would be replaced: it is asked by change sets.

        Raises:
            Unavailable: the CDK could not ask.
        """
        changed = [plan.stack for plan in plans if plan.exists and plan.changes]
        if not changed:
            return plans
        doing = "asking CloudFormation what would change"
        finished = self._tools.run_cdk(
            (*self._on(assembly), "diff", *changed, "--exclusively", *self._with_profile),
            doing=doing,
            timeout_seconds=_DIFF_SECONDS,
        )
        if not finished.succeeded:
            raise Unavailable(doing, "the CDK could not tell", hint="Try again", private=finished.last_words(40))
        impacts = {
            found["logical"]: _IMPACT_WORDS[found["impact"]]
            for line in f"{finished.output}\n{finished.errors}".splitlines()
            if (found := _IMPACT.match(line.rstrip()))
        }
        return tuple(
            replace(
                plan,
                changes=tuple(
                    replace(change, what=impacts.get(change.name, change.what)) if plan.exists else change
                    for change in plan.changes
                ),
            )
            for plan in plans
        )

    def bootstrap(self, account_id: str, regions: tuple[str, ...], tell: Callable[[str], None]) -> None:
        """Make the CDK at home in these regions.

        Raises:
            ConfigurationInvalid: it could not be done.
            Unavailable: it took too long.
        """
        doing = f"bootstrapping the CDK in {' and '.join(regions)}"
        finished = self._tools.run_cdk(
            ("bootstrap", *(f"aws://{account_id}/{region}" for region in regions), *self._with_profile, "--ci"),
            doing=doing,
            timeout_seconds=_BOOTSTRAP_SECONDS,
            on_line=lambda line: _tell_event(line, tell),
        )
        if not finished.succeeded:
            raise ConfigurationInvalid(
                doing,
                _complaint(finished.output, finished.errors),
                hint="The credentials need the rights of an administrator for this one step",
                private=finished.last_words(40),
            )

    def wait_for_others(self, assembly: Assembly, tell: Callable[[str], None]) -> None:
        """Wait until nothing is under way in any of the stacks, an interrupted deployment for instance.

        Raises:
            ConfigurationInvalid: one is in a state out of which only a person gets it.
            Unavailable: it took too long.
        """
        for stack in assembly.stacks:
            status = self._stacks.wait_until_settled(stack.name, stack.region, tell)
            if self._stacks.never_came_about(stack.name, stack.region):
                tell(f"{stack.name}: taking away what is left of a creation that failed")
                self._stacks.delete(stack.name, stack.region, tell)
            if status in {"UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"}:
                raise ConfigurationInvalid(
                    f"deploying the stack {stack.name}",
                    f"it is stuck in {status}",
                    hint=f"aws cloudformation continue-update-rollback --stack-name {stack.name} "
                    f"--region {stack.region}, or `contentplatform destroy`, then deploy again",
                )

    def deploy(
        self, assembly: Assembly, values: Mapping[str, Mapping[str, str]], tell: Callable[[str], None]
    ) -> tuple[Failure, ...]:
        """Deploy every stack of the assembly; what failed, nothing if all went well.

        Args:
            assembly: the stacks.
            values: by stack, the values of its template's parameters.
            tell: hears of progress, a line each.

        Raises:
            Unavailable: it took too long, or failed without CloudFormation knowing of it.
        """
        began = self._clock.now().replace(microsecond=0)
        doing = f"deploying {', '.join(stack.name for stack in assembly.stacks)}"
        parameters = [
            argument
            for stack, of_stack in values.items()
            for name, value in of_stack.items()
            for argument in ("--parameters", f"{stack}:{name}={value}")
        ]
        finished = self._tools.run_cdk(
            (
                *self._on(assembly),
                *("deploy", *(stack.name for stack in assembly.stacks), "--exclusively"),
                # What an earlier deployment left behind under its name is taken over, not run into.
                *("--require-approval", "never", "--progress", "events", "--ci", "--import-existing-resources"),
                *parameters,
                *self._with_profile,
            ),
            doing=doing,
            timeout_seconds=_DEPLOY_SECONDS,
            on_line=lambda line: _tell_event(line, tell),
        )
        if finished.succeeded:
            return ()
        failures = self._failures(assembly.stacks, began)
        if not failures:
            raise Unavailable(
                doing,
                _complaint(finished.output, finished.errors),
                hint="The same command goes on from here",
                private=finished.last_words(40),
            )
        return failures

    def _failures(self, stacks: tuple[StackTemplate, ...], began: datetime) -> tuple[Failure, ...]:
        found: list[Failure] = []
        for stack in stacks:
            try:
                found.extend(self._stacks.failures(stack.name, stack.region, began))
            except PlatformError:
                continue  # it was never made, or is gone: then nothing of it failed
        return tuple(found)

    def _on(self, assembly: Assembly) -> tuple[str, ...]:
        return ("--app", str(assembly.folder))


def event_in_words(line: str) -> str:
    """A line of the CDK's progress for a person; empty for what needs no telling."""
    found = _EVENT.match(line)
    if found is None or found["kind"] == _STACK:
        return ""
    words = _DONE.get(found["status"], "")
    if not words:
        slow = found["status"].endswith("E_IN_PROGRESS") and found["kind"] in _SLOW
        words = "at it" if slow else ""
    if not words:
        return ""
    after = f": {found['reason'].strip()}" if words == "FAILED" and found["reason"].strip() else ""
    minutes = " (takes minutes)" if words == "at it" else ""
    # An update may touch more than the changes that the CDK counted.
    known = int(found["done"]) <= int(found["all"])
    count = f"{found['done']}/{found['all']}" if known else found["done"]
    return f"{found['stack']} {count}  {words}  {found['kind']} {found['name']}{minutes}{after}"


def _tell_event(line: str, tell: Callable[[str], None]) -> None:
    words = event_in_words(line)
    if words:
        tell(words)


def _complaint(output: str, errors: str) -> str:
    """The sentence with which the CDK gave up."""
    lines = [line.strip(" ❌\t") for line in f"{output}\n{errors}".splitlines() if line.strip()]
    marked = [line for line in lines if re.search(r"\b(failed|error|denied|unable|expired)\b", line, re.IGNORECASE)]
    return (marked or lines or ["the CDK failed and said nothing"])[-1][:500]
