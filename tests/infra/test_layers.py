"""The layers: what is locked, that Lambda can load it, that it is all there and nothing else is needed.

The layers are built once a machine (the cache folder), by pip, as a deployment would build them.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from contentplatform.errors import ConfigurationInvalid
from contentplatform.lambdas.functions import BY_NAME, FUNCTIONS, Function, Layer
from contentplatform.processing.local import DOCUMENT_JOB, IMAGE_JOB, MEDIA_JOBS
from contentplatform_infra import layers
from contentplatform_infra.code import package_files
from contentplatform_infra.wheels import install_wheels
from emulator import HOME, ROOT

MAGIC: Final = b"\x7fELF"
LAYERS_LIMIT: Final = 5
"""Lambda's, for one function."""
FOREIGN: Final = re.compile(r"\.cpython-(\d+)-")


@pytest.fixture(scope="session")
def built() -> dict[Layer, Path]:
    return layers.ensure_built()


def problems_of(folder: Path) -> Iterator[str]:
    """What would keep Lambda from loading the libraries of a layer."""
    for path in layers.files_of(folder):
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                continue
            yield from (f"{path.name}: {problem}" for problem in elf_problems(file))
        tag = FOREIGN.search(path.name)
        if tag and tag[1] != layers.PYTHON_VERSION.replace(".", ""):
            yield f"{path.name}: for another Python"


def elf_problems(file: IO[bytes]) -> Iterator[str]:
    file.seek(0)
    elf = ELFFile(file)
    if elf.get_machine_arch() != "x64":
        yield f"for another machine: {elf.get_machine_arch()}"
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _library, symbols in section.iter_versions():
                for symbol in symbols:
                    found = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", symbol.name)
                    if found and (int(found[1]), int(found[2])) > layers.GLIBC_LIMIT:
                        yield f"needs {symbol.name}"


# -- locks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", Layer)
def test_a_layer_has_the_versions_that_the_tests_run_with(layer: Layer) -> None:
    ours = layers.locked_versions((ROOT / "requirements.lock").read_text("utf-8"))
    theirs = layers.locked_versions(layers.lock_of(layer).read_text("utf-8"))
    assert theirs
    assert {name: version for name, version in theirs.items() if ours.get(name) != version} == {}


@pytest.mark.parametrize("layer", Layer)
def test_every_library_of_a_layer_is_locked_by_hash(layer: Layer) -> None:
    lock = layers.lock_of(layer).read_text("utf-8")
    entries = re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE))
    assert [entry for entry in entries if entry.strip() and "--hash=sha256:" not in entry] == []


def test_what_lambda_brings_is_not_in_a_layer() -> None:
    locked = {name for layer in Layer for name in layers.locked_versions(layers.lock_of(layer).read_text("utf-8"))}
    assert locked.isdisjoint({"boto3", "botocore", "s3transfer", "urllib3"})


# -- what is built -------------------------------------------------------------------------------------------------


def test_lambda_can_load_every_library(built: dict[Layer, Path]) -> None:
    libraries = [path for folder in built.values() for path in layers.files_of(folder) if ".so" in path.name]
    assert len(libraries) > 5
    assert [problem for folder in built.values() for problem in problems_of(folder)] == []


def test_every_function_fits_unpacked_with_its_layers_of_which_it_has_five_at_most(built: dict[Layer, Path]) -> None:
    code = sum(path.stat().st_size for path in package_files())
    for function in FUNCTIONS:
        size = code + layers.size_bytes_of(built[layer] for layer in function.layers)
        assert size <= layers.SIZE_LIMIT_BYTES, function.name
        assert len(function.layers) <= LAYERS_LIMIT, function.name


def test_a_layer_holds_no_tests_and_no_bytecode(built: dict[Layer, Path]) -> None:
    names = {part for folder in built.values() for path in layers.files_of(folder) for part in path.parts}
    assert not names & {"tests", "__pycache__", "RECORD"}


@pytest.mark.parametrize(
    ("name", "symbol", "machine", "problem"),
    [
        ("planted.so", "GLIBC_2.38", 62, "planted.so: needs GLIBC_2.38"),
        ("planted.so", "GLIBC_2.34", 183, "planted.so: for another machine: AArch64"),
        ("planted.cpython-311-x86_64-linux-gnu.so", "GLIBC_2.2.5", 62, "for another Python"),
    ],
)
def test_a_planted_library_that_lambda_can_t_load_is_caught(
    tmp_path: Path, name: str, symbol: str, machine: int, problem: str
) -> None:
    (tmp_path / name).write_bytes(library(symbol, machine))
    found = list(problems_of(tmp_path))
    assert len(found) == 1
    assert problem in found[0]


def test_a_planted_library_that_lambda_can_load_is_not(tmp_path: Path) -> None:
    (tmp_path / "planted.so").write_bytes(library("GLIBC_2.34", 62))
    assert list(problems_of(tmp_path)) == []


def test_the_same_lock_is_built_once(built: dict[Layer, Path], tmp_path: Path) -> None:
    (tmp_path / layers.hash_of(Layer.RUNTIME)).mkdir()
    assert layers.ensure_built([Layer.RUNTIME], tmp_path) == {Layer.RUNTIME: tmp_path / built[Layer.RUNTIME].name}


def test_templates_are_made_without_built_layers_and_say_so(tmp_path: Path) -> None:
    """With no network either: nothing is fetched for a dry run."""
    done = subprocess.run(  # noqa: PLW1510 - the caller looks at the exit status
        [sys.executable, "-m", "contentplatform_infra", "--only", "main", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PIP_INDEX_URL": "http://127.0.0.1:9/"},
    )
    assert done.returncode == 0, done.stderr
    names = [layer.value for layer in Layer]
    assert f"not built yet, placeholders stand for them: the layers {', '.join(names)}" in done.stderr
    template = json.loads((tmp_path / "out" / "ContentPlatform.template.json").read_text("utf-8"))
    keys = {
        held["Properties"]["Content"]["S3Key"]
        for held in template["Resources"].values()
        if held["Type"] == "AWS::Lambda::LayerVersion"
    }
    assert len(keys) == len(Layer)
    assert layers.unbuilt(tmp_path / "contentplatform" / "layers") == names


def test_a_library_whose_hash_differs_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "planted.lock"
    lock.write_text("typing-extensions==4.16.0 --hash=sha256:" + "0" * 64 + "\n", "utf-8")
    with pytest.raises(ConfigurationInvalid, match=r"planted\.lock"):
        install_wheels(lock, tmp_path / "out", python_version=layers.PYTHON_VERSION)


# -- nothing is missing --------------------------------------------------------------------------------------------

IMPORTS: Final = """
import importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module(module)
"""
OPENING: Final = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from contentplatform import config
from contentplatform.app import open_aws
environment = {"CONTENTPLATFORM_DATA": "/nowhere", "CONTENTPLATFORM_AWS_ACCOUNT_ID": "123456789012"}
home = open_aws(config.load(environment=environment))
home.backup_validator(), home.search_feed(), home.recorder(), home.reconciliation(), home.cost_reporter()
print(*sys.modules)
"""
"""What a container does at its first call, and what its functions ask it for."""


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_a_handler_finds_what_it_imports_in_its_code_and_layers(built: dict[Layer, Path], function: Function) -> None:
    """On Lambda's Python, without any other folder of libraries; boto3 is Lambda's own."""
    module = function.handler.rpartition(".")[0]
    outcome = import_alone([module], [built[layer] / "python" for layer in function.layers])
    assert outcome.returncode == 0, outcome.stderr


def test_the_home_that_a_function_opens_finds_its_libraries(built: dict[Layer, Path]) -> None:
    """Adapters are imported when the home is opened, not with the handler."""
    outcome = run_alone(OPENING, [], [built[Layer.RUNTIME] / "python"])
    assert (outcome.returncode, outcome.stderr) == (0, "")
    loaded = set(outcome.stdout.split())
    assert {"boto3", "contentplatform.storage.aws", "contentplatform.delivery.aws"} <= loaded
    assert not loaded & {"apsw", "sqlite3", "click", "pyvips", "duckdb", "aws_cdk", "cryptography"}


@pytest.mark.parametrize(
    ("job", "function"),
    [
        (IMAGE_JOB, "content-image-processor"),
        (MEDIA_JOBS, "content-video-processor"),
        (MEDIA_JOBS, "content-video-finisher"),
        (MEDIA_JOBS, "content-audio-processor"),
        (DOCUMENT_JOB, "content-document-processor"),
    ],
)
def test_what_parses_loads_from_the_layers_of_its_function(built: dict[Layer, Path], job: str, function: str) -> None:
    """All of it: a fenced-in child can load nothing later."""
    folders = [built[layer] / "python" for layer in BY_NAME[function].layers]
    outcome = import_alone([job.partition(":")[0]], folders)
    assert outcome.returncode == 0, outcome.stderr


def test_what_is_not_in_the_layers_is_not_found(built: dict[Layer, Path]) -> None:
    outcome = import_alone(["contentplatform.processing.image"], [built[Layer.RUNTIME] / "python"])
    assert "No module named 'pi_heif'" in outcome.stderr


def import_alone(modules: list[str], folders: list[Path]) -> subprocess.CompletedProcess[str]:
    return run_alone(IMPORTS, modules, folders)


def run_alone(program: str, arguments: list[str], folders: list[Path]) -> subprocess.CompletedProcess[str]:
    """Run a program with the code, these folders and what is Lambda's own, and nothing else to import from."""
    paths = [str(ROOT / "src"), *map(str, folders), str(lambda_s_own())]
    return subprocess.run(  # noqa: PLW1510 - the caller looks at the exit status
        [HOME / "bin" / "python", "-I", "-S", "-B", "-c", program, json.dumps(paths), *arguments],
        capture_output=True,
        text=True,
        env={"AWS_DEFAULT_REGION": "us-east-1", "PATH": "/usr/bin:/bin", "POWERTOOLS_TRACE_DISABLED": "true"},
    )


def lambda_s_own() -> Path:
    """The folder with boto3, as Lambda's Python has it."""
    return next(HOME.glob("lib/python3*/site-packages"))


# -- a library by hand ---------------------------------------------------------------------------------------------


def library(symbol: str, machine: int) -> bytes:
    """The smallest ELF library that needs one version of a symbol of libc."""
    strings = b"\0libc.so.6\0" + symbol.encode() + b"\0"
    names = b"\0.dynstr\0.gnu.version_r\0.shstrtab\0"
    need = struct.pack("<HHIII", 1, 1, 1, 16, 0) + struct.pack("<IHHII", 0, 0, 2, 11, 0)
    blocks = [strings, need, names]
    offsets, at = [], 64
    for block in blocks:
        offsets.append(at)
        at += len(block)
    ident = MAGIC + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, at, 0, 64, 0, 0, 64, 4, 3)
    sections = [
        (0, 0, 0, 0, 0, 0),
        (1, 3, offsets[0], len(strings), 0, 0),
        (9, 0x6FFFFFFE, offsets[1], len(need), 1, 1),
        (24, 3, offsets[2], len(names), 0, 0),
    ]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, link, info, 1, 0)
        for name, kind, offset, size, link, info in sections
    )
    return header + b"".join(blocks) + table
