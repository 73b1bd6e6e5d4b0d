"""Finds every wildcard of every policy in a template, whatever resource carries the policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contentplatform_infra.wildcards import Found, wildcards_of


@dataclass(frozen=True, slots=True)
class Wild:
    """A wildcard, and where it stands."""

    stack: str
    resource: str
    found: Found

    def __str__(self) -> str:
        return f"{self.stack}/{self.resource}: {self.found.kind} {self.found.text} for {', '.join(self.found.actions)}"


def wildcards(templates: Mapping[str, Mapping[str, Any]]) -> Iterator[Wild]:
    """The wildcards of all templates."""
    for stack, template in templates.items():
        for name, resource in template.get("Resources", {}).items():
            for document in documents(resource.get("Properties", {})):
                for found in wildcards_of(document):
                    if not _means_itself(resource["Type"], found):
                        yield Wild(stack, name, found)


def _means_itself(kind: str, found: Found) -> bool:
    """Whether a wildcard is no more than the resource that carries the policy: so a key's policy calls the key."""
    return kind == "AWS::KMS::Key" and (found.kind, found.text) == ("Resource", "*")


def documents(held: Any) -> Iterator[Mapping[str, Any]]:
    """The policy documents within a resource, also those written as text: all that has statements with an effect."""
    if isinstance(held, str) and held.lstrip().startswith("{") and '"Effect"' in held:
        held = json.loads(held)
    if isinstance(held, Mapping):
        statements = held.get("Statement")
        if any(isinstance(one, Mapping) and "Effect" in one for one in _listed(statements)):
            yield held
        else:
            for part in held.values():
                yield from documents(part)
    elif isinstance(held, list):
        for part in held:
            yield from documents(part)


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]
