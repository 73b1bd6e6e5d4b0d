"""The list of what is unproven names only what exists, each with its reason."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Final

import pytest

from contract.unproven import UNPROVEN

_PROMISE: Final = re.compile(r"(\w+)\.(\w+)\.(\w+): \S.+")


def checks() -> set[str]:
    """The name of every check and test of the contracts."""
    return {
        node.name
        for path in Path(__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def exists(name: str) -> bool:
    """Whether this is a check, or a promise of a port that there is."""
    promise = _PROMISE.fullmatch(name)
    if promise is None:
        return name in checks()
    room, port, method = promise.groups()
    module = importlib.import_module(f"contentplatform.{room}.port")
    return hasattr(getattr(module, port, None), method)


@pytest.mark.parametrize("name", UNPROVEN)
def test_an_entry_names_a_check_or_a_promise_and_says_why(name: str) -> None:
    assert exists(name)
    assert len(UNPROVEN[name].split()) >= 5


def test_what_does_not_exist_is_found() -> None:
    for name in ("no_such_check", "storage.ObjectStore.fly: high", "storage.Cupboard.put: a thing", "storage.x"):
        assert not exists(name)
