"""What is to be deployed: the templates as the CDK wrote them into a folder, read as data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contentplatform.errors import ConfigurationInvalid

_STACK: Final = "aws:cloudformation:stack"
_METADATA: Final = "AWS::CDK::Metadata"
RETAINED: Final = frozenset({"Retain", "RetainExceptOnCreate"})


@dataclass(frozen=True, slots=True)
class StackTemplate:
    """One stack as it is to be."""

    name: str
    account_id: str
    region: str
    template: Mapping[str, Any]
    bootstrap_version: int
    """The bootstrap that its assets need; 0: none."""

    @property
    def resources(self) -> Mapping[str, Mapping[str, Any]]:
        """The resources by their logical ids."""
        found: Mapping[str, Mapping[str, Any]] = self.template.get("Resources", {})
        return found

    @property
    def parameters(self) -> frozenset[str]:
        """The names of the values that deploying has to tell, or may."""
        return frozenset(self.template.get("Parameters", {}))

    def kinds(self) -> dict[str, int]:
        """How many resources of each type, the most frequent first."""
        counted = Counter(str(resource.get("Type")) for resource in self.resources.values())
        return {
            kind: count
            for kind, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
            if kind != _METADATA
        }


@dataclass(frozen=True, slots=True)
class Assembly:
    """All stacks of one synthesis, in an order in which they can be deployed."""

    folder: Path
    stacks: tuple[StackTemplate, ...]

    def only(self, names: tuple[str, ...]) -> Assembly:
        """The same with these stacks alone; all of them, if none is named.

        Raises:
            ConfigurationInvalid: there is no such stack.
        """
        known = [stack.name for stack in self.stacks]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigurationInvalid(
                "choosing stacks", f"there is no stack {', '.join(unknown)}", hint=f"There are {', '.join(known)}"
            )
        return Assembly(self.folder, tuple(stack for stack in self.stacks if not names or stack.name in names))

    def resources(self) -> Iterator[Mapping[str, Any]]:
        """Every resource of every stack."""
        for stack in self.stacks:
            yield from stack.resources.values()


def read_assembly(folder: Path) -> Assembly:
    """Read what the CDK wrote.

    Raises:
        ConfigurationInvalid: there is nothing to read.
    """
    doing = f"reading the templates in {folder}"
    try:
        artifacts: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))["artifacts"]
        stacks = [
            _read_stack(folder, name, artifacts[name])
            for name in _in_order(artifacts)
            if artifacts[name]["type"] == _STACK
        ]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationInvalid(doing, "the CDK left no templates there", private=repr(error)) from error
    return Assembly(folder, tuple(stacks))


def _read_stack(folder: Path, name: str, artifact: Mapping[str, Any]) -> StackTemplate:
    account, _, region = str(artifact["environment"]).removeprefix("aws://").partition("/")
    properties = artifact["properties"]
    return StackTemplate(
        name=str(properties.get("stackName", name)),
        account_id=account,
        region=region,
        template=json.loads((folder / str(properties["templateFile"])).read_text("utf-8")),
        bootstrap_version=int(properties.get("requiresBootstrapStackVersion", 0)),
    )


def _in_order(artifacts: Mapping[str, Any]) -> list[str]:
    """The artifacts' names, each behind those that it depends on."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done or name not in artifacts:
            return
        for needed in artifacts[name].get("dependencies", ()):
            visit(needed)
        done[name] = None

    for name in artifacts:
        visit(name)
    return list(done)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """How a stack's resources would change from one template to another, by type and logical id."""
    old: Mapping[str, Any] = before.get("Resources", {})
    new: Mapping[str, Any] = after.get("Resources", {})
    found = []
    for name in sorted({*old, *new}):
        was, will_be = old.get(name), new.get(name)
        kind = str((will_be or was or {}).get("Type"))
        if kind == _METADATA or was == will_be:
            continue
        if was is None:
            found.append(Change("new", kind, name))
        elif will_be is None:
            kept = was.get("DeletionPolicy") in RETAINED
            found.append(Change("no longer managed, kept" if kept else "removed", kind, name))
        elif properties := _differing(was.get("Properties", {}), will_be.get("Properties", {})):
            found.append(Change("changed", kind, name, properties))
        elif (parts := _differing(was, will_be)) != ("Metadata",):
            found.append(Change("changed", kind, name, parts))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Change:
    """What would become of one resource."""

    what: str
    kind: str
    name: str
    properties: tuple[str, ...] = ()
    """Which of its properties would change."""


def _differing(was: Mapping[str, Any], will_be: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in sorted({*was, *will_be}) if was.get(name) != will_be.get(name))
