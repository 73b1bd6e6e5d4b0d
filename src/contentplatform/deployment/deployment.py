"""One deployment from settings to a running home: the steps that the commands ``deploy`` and ``plan`` take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contentplatform.clock import Clock
from contentplatform.config import Settings
from contentplatform.cost.estimate import Estimate, idle_cost
from contentplatform.deployment.account import (
    Caller,
    Rights,
    caller,
    check_account,
    regions_to_bootstrap,
    rights,
)
from contentplatform.deployment.assembly import Assembly
from contentplatform.deployment.deployed import expected_account, settled, write_deployment
from contentplatform.deployment.rollout import Rollout, StackPlan
from contentplatform.deployment.signing_key import PUBLIC_KEY_PARAMETER, SigningKey, keep, signing_key
from contentplatform.deployment.stacks import STACKS, Failure, StackPlace, Stacks
from contentplatform.deployment.synthesis import TEMPLATES, build_layers, synthesise
from contentplatform.deployment.toolchain import Toolchain
from contentplatform.drivers.boto import Aws
from contentplatform.errors import ConfigurationInvalid

FOLDER: Final = Path("cdk.out")
"""Where the templates are written if nobody says otherwise, as the CDK itself does it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where on AWS: what the command line says before the settings are asked."""

    profile: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that a person wants to know before saying yes."""

    settings: Settings
    assembly: Assembly
    plans: tuple[StackPlan, ...]
    month: Estimate
    """With nothing in it."""
    caller: Caller
    rights: Rights
    regions_to_bootstrap: tuple[str, ...]
    signing_key: SigningKey

    @property
    def changes_nothing(self) -> bool:
        """Whether everything is as it should be already."""
        return not self.regions_to_bootstrap and all(plan.exists and not plan.changes for plan in self.plans)


@dataclass(frozen=True, slots=True)
class Output:
    """Something that a deployed stack tells."""

    stack: str
    name: str
    value: str
    description: str


class Deployment:
    """Deploys the templates for some settings.

    Args:
        settings: as they were read; completed by what AWS and the command line say.
        place: the command line's word.
        tools: Node and the CDK.
        clock: time.
        tell: hears of progress, a line each.
        folder: for the templates.
        program: who writes the templates.
    """

    def __init__(
        self,
        settings: Settings,
        place: Place,
        tools: Toolchain,
        clock: Clock,
        tell: Callable[[str], None],
        *,
        folder: Path = FOLDER,
        program: tuple[str, ...] = TEMPLATES,
    ) -> None:
        self._given = settings
        self._place = place
        self._tools = tools
        self._clock = clock
        self._tell = tell
        self._folder = folder
        self._program = program

    def synthesise_only(self, only: tuple[str, ...]) -> tuple[Settings, Assembly, Estimate]:
        """The templates, and what they cost a month; needs neither credentials nor a network.

        Raises:
            ConfigurationInvalid: the settings can't be deployed.
        """
        account_id = expected_account(self._given)
        settings = settled(self._given, account_id=account_id, region=self._place.region, profile=self._place.profile)
        assembly = synthesise(settings, self._tools, self._folder, account_id=account_id, program=self._program)
        chosen = assembly.only(only)
        return settings, chosen, idle_cost(chosen.resources())

    def prepare(self, only: tuple[str, ...], *, closely: bool) -> Prepared:
        """Find out whose account it is and what deploying would change there. Changes nothing.

        Args:
            only: these stacks alone; all, if none is named.
            closely: also ask CloudFormation which resources it would replace.

        Raises:
            ConfigurationInvalid: no valid credentials, credentials of another account, or settings that can't be
                deployed.
            Unavailable: AWS can't be reached.
        """
        settings = settled(self._given, account_id="", region=self._place.region, profile=self._place.profile)
        who = caller(Aws(region=settings.aws.region, profile=settings.aws.profile))
        check_account(who, expected_account(self._given), settings.data_folder)
        settings = settled(
            self._given, account_id=who.account_id, region=self._place.region, profile=self._place.profile
        )
        self._tell(f"Account {who.account_id} as {who.arn}")
        aws = _aws(settings)
        if self._program == TEMPLATES:
            self._tell("Getting the functions' libraries, where they are not here yet")
            build_layers(self._tools)
        self._tell("Making the templates")
        key = signing_key(aws, self._tools)
        assembly = synthesise(
            settings,
            self._tools,
            self._folder,
            account_id=who.account_id,
            signing_key=key.fingerprint,
            program=self._program,
        ).only(only)
        missing = regions_to_bootstrap(aws, ((stack.region, stack.bootstrap_version) for stack in assembly.stacks))
        rollout = self._rollout(settings, aws)
        plans = rollout.plan(assembly)
        if closely and not missing:
            plans = rollout.look_closer(assembly, plans)
        may = rights(aws, who, bootstrapped=not missing)
        return Prepared(settings, assembly, plans, idle_cost(assembly.resources()), who, may, missing, key)

    def carry_out(self, prepared: Prepared) -> tuple[Failure, ...]:
        """Deploy what was prepared; what failed, nothing if all went well. Can be repeated at any time.

        Raises:
            ConfigurationInvalid: the credentials lack a right, or a stack is stuck.
            Unavailable: AWS can't be reached, or it took too long.
        """
        if prepared.rights.missing:
            raise ConfigurationInvalid(
                "preparing the deployment",
                f"the credentials of {prepared.caller.arn} lack {', '.join(prepared.rights.missing)}",
                hint="Ask whoever manages the account for the rights, or name another profile with --profile",
            )
        settings = prepared.settings
        aws = _aws(settings)
        rollout = self._rollout(settings, aws)
        write_deployment(settings)  # first: an interrupted deployment is found by every command, destroy for one
        if prepared.regions_to_bootstrap:
            self._tell(f"Bootstrapping the CDK in {' and '.join(prepared.regions_to_bootstrap)}")
            rollout.bootstrap(settings.aws.account_id, prepared.regions_to_bootstrap, self._tell)
        rollout.wait_for_others(prepared.assembly, self._tell)
        values = {
            stack.name: {PUBLIC_KEY_PARAMETER: prepared.signing_key.public}
            for stack in prepared.assembly.stacks
            if PUBLIC_KEY_PARAMETER in stack.parameters
        }
        if values:
            keep(aws, prepared.signing_key)
        self._tell("Deploying")
        return rollout.deploy(prepared.assembly, values, self._tell)

    def _rollout(self, settings: Settings, aws: Aws) -> Rollout:
        return Rollout(self._tools, Stacks(aws, self._clock), self._clock, profile=settings.aws.profile)


def deployed_settings(settings: Settings, place: Place) -> Settings:
    """The settings of what is deployed already, in the account of the credentials.

    Raises:
        ConfigurationInvalid: no valid credentials, or they are of another account.
        Unavailable: AWS can't be reached.
    """
    first = settled(settings, account_id="", region=place.region, profile=place.profile)
    who = caller(_aws(first, ask=True))
    check_account(who, expected_account(settings), settings.data_folder)
    return settled(settings, account_id=who.account_id, region=place.region, profile=place.profile)


def outputs(settings: Settings, clock: Clock, *, places: tuple[StackPlace, ...] = STACKS) -> tuple[Output, ...]:
    """What the deployed stacks tell.

    Raises:
        ConfigurationInvalid: the credentials may not ask.
        Unavailable: AWS can't be reached.
    """
    stacks = Stacks(_aws(settings), clock)
    return tuple(
        Output(place.name, name, value, description)
        for place in places
        for name, (value, description) in sorted(stacks.outputs(place.name, place.region(settings)).items())
    )


def _aws(settings: Settings, *, ask: bool = False) -> Aws:
    return Aws(
        region=settings.aws.region,
        account_id="" if ask else settings.aws.account_id,
        profile=settings.aws.profile,
    )
