"""The functions' code: this very package, the same bytes for the same source, without any library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aws_cdk import AssetHashType, IgnoreMode
from aws_cdk import aws_lambda as lambda_

import contentplatform

PACKAGE: Final = Path(contentplatform.__file__).parent
_LEFT_OUT: Final = frozenset({".pyc", ".pyo"})
_ONLY_THE_PACKAGE: Final = ["/*", f"!/{PACKAGE.name}", "__pycache__", "*.pyc", "*.pyo"]


def package_files() -> Iterator[Path]:
    """Every file of the package, in a stable order."""
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.suffix not in _LEFT_OUT:
            yield path


def code_hash() -> str:
    """SHA-256 of names and bytes: changes when, and only when, the code does."""
    digest = hashlib.sha256()
    for path in package_files():
        name = path.relative_to(PACKAGE).as_posix().encode()
        content = path.read_bytes()
        digest.update(b"%d %d\n" % (len(name), len(content)) + name + content)
    return digest.hexdigest()


def code_asset() -> lambda_.AssetCode:
    """The package as an asset, below its own name, as Lambda's Python imports it."""
    return lambda_.Code.from_asset(
        str(PACKAGE.parent),
        exclude=_ONLY_THE_PACKAGE,
        ignore_mode=IgnoreMode.GIT,
        asset_hash=code_hash(),
        asset_hash_type=AssetHashType.CUSTOM,
    )
