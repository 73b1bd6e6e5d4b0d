"""Lambda layers: libraries that functions share, built from locked wheels, without a container.

A layer is named by its lock: the same lock is the same layer, on every machine, so templates can be made without a
network. Where a layer was not built yet, a placeholder stands in the templates under another name, which nothing that
is deployed later can be mistaken for.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from aws_cdk import Annotations, AssetHashType, RemovalPolicy
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from contentplatform.lambdas.functions import RUNTIME, Layer
from contentplatform_infra.wheels import install_wheels

PYTHON_VERSION: Final = RUNTIME.removeprefix("python")
LOCKS: Final = Path(__file__).with_name("layers")
SIZE_LIMIT_BYTES: Final = 250 * 1024 * 1024
"""Lambda's limit for a function's code and all its layers, unpacked."""
GLIBC_LIMIT: Final = (2, 34)
"""Amazon Linux 2023's."""
_RECIPE: Final = "1"
"""Changes when the same lock would be built otherwise."""
_NOISE_FOLDERS: Final = frozenset({"__pycache__", "tests", "test", "bin"})
_NOISE_FILES: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
_NOISE_SUFFIXES: Final = frozenset({".pyc", ".pyi", ".pyx", ".h"})
_LOCKED: Final = re.compile(r"^([a-z0-9][\w.-]*)==(\S+)", re.MULTILINE)
_DESCRIPTION: Final[Mapping[Layer, str]] = {
    Layer.RUNTIME: "What every function runs on: structured log and tracer",
    Layer.IMAGES: "The image decoders",
    Layer.ARRAYS: "Arithmetic on samples and pixels",
    Layer.MEDIA: "What films and sounds are parsed with",
    Layer.DOCUMENTS: "The PDF engine",
}


def lock_of(layer: Layer) -> Path:
    """The file that says which libraries, by version and hash."""
    return LOCKS / f"{layer.value}.lock"


def locked_versions(lock: str) -> dict[str, str]:
    """Version by name in a lock's text."""
    return dict(_LOCKED.findall(lock))


def hash_of(layer: Layer, *, python_version: str = PYTHON_VERSION) -> str:
    """What names a built layer: SHA-256 of all that decides what is in it."""
    parts = (_RECIPE, python_version, lock_of(layer).read_text("utf-8"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where built layers are kept between runs, by the XDG base directory specification."""
    base = (os.environ if environment is None else environment).get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "contentplatform" / "layers"


def built_folder(layer: Layer, cache: Path | None = None) -> Path:
    """Where the layer is, or would be, once it is built."""
    return (cache or cache_folder()) / hash_of(layer)


def unbuilt(cache: Path | None = None) -> list[str]:
    """The layers for which a placeholder would stand in the templates."""
    return [layer.value for layer in Layer if not built_folder(layer, cache).is_dir()]


def ensure_built(layers: Iterable[Layer] = tuple(Layer), cache: Path | None = None) -> dict[Layer, Path]:
    """Build the layers that are not built yet; where each is. Needs a network only for those.

    Raises:
        ConfigurationInvalid: pip can't get them.
    """
    folders = {}
    for layer in layers:
        folder = built_folder(layer, cache)
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f"{layer.value}-", dir=folder.parent) as scratch:
                made = Path(scratch) / "layer"
                build_layer(layer, made)
                if not folder.is_dir():  # another build may have been faster
                    made.rename(folder)
        folders[layer] = folder
    return folders


def build_layer(layer: Layer, folder: Path, *, python_version: str = PYTHON_VERSION) -> None:
    """Fill ``folder`` with the layer as Lambda unpacks it: libraries under ``python/``, without what nobody loads.

    Raises:
        ConfigurationInvalid: pip can't get them.
    """
    target = folder / "python"
    target.mkdir(parents=True)
    install_wheels(lock_of(layer), target, python_version=python_version)
    _strip(target)


def files_of(folder: Path) -> Iterator[Path]:
    """Every file of a folder, in a stable order."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def size_bytes_of(folders: Iterable[Path]) -> int:
    """How much these folders take, unpacked."""
    return sum(path.stat().st_size for folder in folders for path in files_of(folder))


class Layers(Construct):
    """The layers as versions that functions name."""

    def __init__(self, scope: Construct, construct_id: str, *, cache: Path | None = None) -> None:
        super().__init__(scope, construct_id)
        self.versions = {layer: self._version(layer, cache) for layer in Layer}

    def _version(self, layer: Layer, cache: Path | None) -> lambda_.LayerVersion:
        folder = built_folder(layer, cache)
        name = hash_of(layer)
        if not folder.is_dir():
            folder = LOCKS
            name = hashlib.sha256(f"{name} not built".encode()).hexdigest()
            Annotations.of(self).add_warning_v2(
                f"contentplatform:{layer.value}",
                f"The layer {layer.value} is not built: a placeholder stands for it. `contentplatform deploy` builds.",
            )
        return lambda_.LayerVersion(
            self,
            layer.value.title(),
            code=lambda_.Code.from_asset(str(folder), asset_hash=name, asset_hash_type=AssetHashType.CUSTOM),
            compatible_runtimes=[lambda_.Runtime(RUNTIME, lambda_.RuntimeFamily.PYTHON)],
            compatible_architectures=[lambda_.Architecture.X86_64],
            description=_DESCRIPTION[layer],
            # A version that is in use by a function of before can be gone: Lambda keeps what functions still name.
            removal_policy=RemovalPolicy.DESTROY,
        )


def _strip(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.name in _NOISE_FOLDERS:
            shutil.rmtree(path)
        elif path.is_file() and (path.suffix in _NOISE_SUFFIXES or _is_bookkeeping(path)):
            path.unlink()


def _is_bookkeeping(path: Path) -> bool:
    return path.parent.suffix == ".dist-info" and path.name in _NOISE_FILES
