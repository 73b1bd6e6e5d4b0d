"""The house keeps its own rules: what may import what, what a wheel holds, what a test may do.

Each rule is tried from both sides: the code as it is passes, and a planted offence is caught.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any, Final

import pytest

import contentplatform
from contentplatform.app import local_schemas

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src" / "contentplatform"
INFRA: Final = ROOT / "src" / "contentplatform_infra"
PYPROJECT: Final = ROOT / "pyproject.toml"
BIN: Final = Path(sys.executable).parent
SETTINGS: Final[dict[str, Any]] = tomllib.loads(PYPROJECT.read_text("utf-8"))

DOWNWARDS: Final = "Imports go downwards only"
ADAPTERS: Final = "Only the composition root, and rebuild, name adapters"
DRIVERS: Final = "Services and the command line know no driver of a database or a process"
PARSERS: Final = "Only the sandboxed child imports a parser"
CHILD: Final = "Nothing imports what runs in the sandboxed child"
SQLITE: Final = "SQLite is imported once, and never the machine's own"
PROCESSES: Final = "Only the sandbox starts processes"
CLOUD: Final = "The local home runs without any cloud library"


def run(
    *command: str | Path, folder: Path, given: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a tool as `make` does, in ``folder``."""
    return subprocess.run(  # noqa: PLW1510 - the caller looks at the exit status
        [str(part) for part in command],
        cwd=folder,
        input=given,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
    )


def modules() -> Iterator[Path]:
    """Every module of the package and of the templates."""
    for package in (SOURCE, INFRA):
        yield from sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)


# -- imports -------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    """A copy of the package with which a test may do what it likes; import-linter looks here first."""
    for source in (SOURCE, INFRA):
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def broken_contracts(package: Path) -> set[str]:
    """The import contracts that the package in this folder breaks."""
    result = run(BIN / "lint-imports", "--no-cache", "--config", PYPROJECT, folder=package, PYTHONPATH=str(package))
    broken = set(re.findall(r"^(.+?) BROKEN\b", result.stdout, re.MULTILINE))
    told = result.stdout + result.stderr
    assert (result.returncode == 0) == (not broken and "0 broken" in told), told
    return broken


def plant(package: Path, module: str, statement: str) -> None:
    """Add an import to a module of the copy."""
    path = package / "contentplatform" / module
    path.write_text(f"{path.read_text('utf-8')}\n\n{statement}\n", "utf-8")


def test_the_package_as_it_is_breaks_no_import_contract(copied_package: Path) -> None:
    assert broken_contracts(copied_package) == set()


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("storage/local.py", "from contentplatform.workflow.steps import Steps", DOWNWARDS),
        ("storage/local.py", "from contentplatform.workflow.port import Lane", DOWNWARDS),
        ("storage/blobs.py", "from contentplatform.catalog.codec import to_public", DOWNWARDS),
        ("processing/probe.py", "from contentplatform.storage.lifecycle import BUCKETS", DOWNWARDS),
        ("drivers/sqlite.py", "from contentplatform.storage.port import BucketRole", DOWNWARDS),
        ("media.py", "from contentplatform.config import Settings", DOWNWARDS),
        ("errors.py", "from contentplatform.log import event", DOWNWARDS),
        ("app/__init__.py", "from contentplatform.worker import Worker", DOWNWARDS),
        ("ingest/service.py", "def late() -> None:\n    import contentplatform.app", DOWNWARDS),
        ("cli/files.py", "from contentplatform.storage.local import LocalObjectStore", ADAPTERS),
        ("ingest/library.py", "from contentplatform.catalog.local import LocalCatalog", ADAPTERS),
        ("workflow/steps.py", "from contentplatform.processing.local import LocalMediaProcessor", ADAPTERS),
        ("ingest/service.py", "from contentplatform.drivers.sqlite import Database", DRIVERS),
        ("storage/port.py", "from contentplatform.drivers.files import Files", DRIVERS),
        ("cli/files.py", "import pyvips", PARSERS),
        ("processing/local.py", "import pi_heif", PARSERS),
        ("processing/local.py", "from contentplatform.processing.image import process", CHILD),
        ("catalog/local.py", "import apsw", SQLITE),
        ("catalog/local.py", "import sqlite3", SQLITE),
        ("worker.py", "import subprocess", PROCESSES),
        ("storage/local.py", "import boto3", CLOUD),
    ],
)
def test_a_planted_import_is_caught(copied_package: Path, module: str, statement: str, contract: str) -> None:
    plant(copied_package, module, statement)
    assert contract in broken_contracts(copied_package)


def test_a_capability_may_know_its_neighbour_s_port(copied_package: Path) -> None:
    plant(copied_package, "catalog/local.py", "from contentplatform.storage.port import BucketRole")
    assert broken_contracts(copied_package) == set()


def test_a_new_room_has_to_be_given_its_place(copied_package: Path) -> None:
    room = copied_package / "contentplatform" / "warehouse"
    room.mkdir()
    (room / "__init__.py").write_text('"""A room that nobody placed."""\n', "utf-8")
    result = run(BIN / "lint-imports", "--no-cache", "--config", PYPROJECT, folder=copied_package)
    assert result.returncode != 0
    assert "contentplatform.warehouse" in result.stdout + result.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import sqlite3",
        "import apsw",
        "import pyvips",
        "import pi_heif",
        "import boto3",
        "import subprocess",
        "import random",
        "from datetime import datetime\n\ndatetime.now()",
        "import time\n\ntime.time()",
        "import time\n\ntime.sleep(1)",
        "from .port import Lane",
    ],
)
def test_the_linter_refuses_what_has_one_place_or_is_injected(statement: str) -> None:
    ruff = (BIN / "ruff", "check", "--no-cache", "--select", "TID", "--output-format", "concise")
    result = run(*ruff, "--stdin-filename", SOURCE / "workflow" / "planted.py", "-", folder=ROOT, given=statement)
    assert result.returncode == 1
    assert re.search(r"TID25[12]", result.stdout)


def test_importing_the_command_line_loads_no_database_no_parser_and_no_cloud() -> None:
    program = (
        "import sys, contentplatform.cli.main\n"
        "print(sorted({'apsw', 'sqlite3', 'pyvips', 'pi_heif', 'boto3', 'subprocess'} & set(sys.modules)))"
    )
    result = run(sys.executable, "-P", "-c", program, folder=ROOT)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_an_open_home_has_loaded_no_parser(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from contentplatform import config\n"
        "from contentplatform.app import open_local\n"
        f"home = open_local(config.load(data_folder=pathlib.Path({str(tmp_path)!r}), environment={{}}))\n"
        "home.close()\n"
        "print(sorted({'pyvips', 'pi_heif', 'boto3'} & set(sys.modules)))"
    )
    result = run(sys.executable, "-P", "-c", program, folder=tmp_path)
    assert (result.stdout, result.stderr) == ("[]\n", "")


# -- text ----------------------------------------------------------------------------------------------------------


def test_types_are_known_of_all_of_the_cdk_that_is_used() -> None:
    """What mypy passes over, and is used, would count as anything."""
    read = {
        module
        for rule in SETTINGS["tool"]["mypy"]["overrides"]
        if rule.get("follow_imports") == "silent"
        for module in rule["module"]
    }
    trees = [ast.parse(path.read_text("utf-8")) for folder in (INFRA, ROOT / "tests") for path in folder.rglob("*.py")]
    imported = {
        name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "aws_cdk"
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names if alias.name.islower()))
    }
    assert imported == read


def test_no_module_is_named_for_nothing_in_particular() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    named = [path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert [path for path in named if set(path.stem.split("_")) & vague] == []


def test_nothing_is_left_to_be_written() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    assert [path for path in modules() if left.search(path.read_text("utf-8"))] == []


def test_every_module_of_the_package_says_what_it_is_for() -> None:
    assert [path for path in modules() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []


def test_no_test_sleeps_or_patches_what_is_ours() -> None:
    forbidden = re.compile(
        r"\btime\.sleep\(|\bmock\.patch|import mock\b|\bMagicMock\b|monkeypatch\.setattr\(\s*[\"']content"
    )
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    assert [path for path in tests if forbidden.search(path.read_text("utf-8"))] == []


_WAIVER: Final = re.compile(r"# (?:noqa: ([A-Z0-9, ]*\d)( - \S)?|type: ignore\[([^]]+)\](  # \S)?)")


def test_every_sort_of_waiver_in_a_file_says_why_at_least_once() -> None:
    unexplained = []
    for folder in ("src", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            found = {(noqa or ignored, bool(why or because)) for noqa, why, ignored, because in _WAIVER.findall(text)}
            unexplained += [
                (path.name, code) for code, explained in found if not explained and (code, True) not in found
            ]
    assert unexplained == []


# -- tests ---------------------------------------------------------------------------------------------------------

PLANTED_TESTS: Final = """
import pytest

def test_listed(shared_media):
    assert shared_media

def test_unlisted():
    pytest.skip("it is Tuesday")

@pytest.mark.skipif(True, reason="it is Wednesday")
def test_unlisted_by_mark():
    pass

def test_unlisted_by_import():
    pytest.importorskip("a_package_that_nobody_has")

def test_passes():
    assert True
"""
PLANTED_MODULE: Final = """
import pytest

pytest.skip("it is Thursday", allow_module_level=True)
"""


def test_a_skip_for_an_unlisted_reason_fails_the_run(tmp_path: Path) -> None:
    tests = tmp_path / "checkout" / "tests"  # no folder of real media lies beside it
    tests.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", tests)
    (tests / "test_planted.py").write_text(PLANTED_TESTS, "utf-8")
    (tests / "test_planted_module.py").write_text(PLANTED_MODULE, "utf-8")
    options = ("-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "--import-mode=importlib")
    result = run(sys.executable, "-m", "pytest", *options, "tests", folder=tests.parent)
    assert result.returncode == 1, result.stdout
    assert "2 failed, 1 passed, 1 skipped, 2 errors" in result.stdout
    for reason in ("it is Tuesday", "it is Wednesday", "a_package_that_nobody_has", "it is Thursday"):
        assert re.search(rf"reason that is not on the list: .*{reason}", result.stdout), reason


# -- the wheel -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built as a publisher would, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    result = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=ROOT)
    assert result.returncode == 0, result.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    data = {".py", ".typed", ".toml", ".sql", ".json", ".lock", ".txt", ".html", ".css", ".js", ".svg"}
    wanted = {
        path.relative_to(SOURCE.parent).as_posix()
        for package in (SOURCE, INFRA)
        for path in package.rglob("*")
        if path.suffix in data and "__pycache__" not in path.parts
    }
    assert held == wanted
    assert {f"contentplatform/web/static/{name}.js" for name in ("shell", "library", "file", "outside")} <= held


def test_the_wheel_tells_version_licence_command_and_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {name.partition(".dist-info/")[2]: archive.read(name).decode() for name in archive.namelist()}
    told = Parser().parsestr(texts["METADATA"])
    assert told["Version"] == contentplatform.__version__
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] == "<3.14,>=3.11"
    assert "Apache License" in texts["licenses/LICENSE"]
    assert "contentplatform = contentplatform.cli.main:main" in texts["entry_points.txt"]
    runtime = [line for line in told.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(re.split(r"[<>=]", line)[0] for line in runtime) == [
        "apsw",
        "argon2-cffi",
        "av",
        "click",
        "fastapi",
        "httptools",
        "httpx",
        "imageio-ffmpeg",
        "jinja2",
        "msgspec",
        "numpy",
        "pi-heif",
        "pypdfium2",
        "python-multipart",
        "pyvips",
        "pyvips-binary",
        "rawpy",
        "starlette",
        "uvicorn",
        "uvloop",
    ]


def test_package_and_project_agree_on_the_version() -> None:
    assert SETTINGS["project"]["version"] == contentplatform.__version__


# -- what it stands on ---------------------------------------------------------------------------------------------


def test_every_package_is_locked_to_a_version_and_by_hash() -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text("utf-8"))
    locked = {entry.split("==")[0].lower(): entry for entry in entries if not entry.startswith("#")}
    assert all(
        re.search(r"^[\w.-]+==\S+", entry) and "--hash=sha256:" in entry for entry in locked.values() if entry.strip()
    )
    project = SETTINGS["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    wanted = [*project["dependencies"], *extras, *SETTINGS["build-system"]["requires"]]
    names = {re.split(r"[<>=\[]", name)[0].lower() for name in wanted} - {"contentplatform"}
    assert names <= set(locked)


def test_the_demo_installs_what_the_tests_install_and_less_of_it() -> None:
    def locked(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", (ROOT / name).read_text("utf-8"), re.MULTILINE))

    assert locked("product.lock") < locked("requirements.lock")
    named = {line.split("==")[0] for line in locked("product.lock")}
    assert named.isdisjoint({"boto3", "aws-cdk-lib", "pytest"})


def test_ci_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^make test\b", script.read_text("utf-8"), re.MULTILINE)
    [test_line] = re.findall(r"^test: (.*?)  ##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {"lint", "types", "imports", "unit"} <= set(test_line.split())


# -- migrations ----------------------------------------------------------------------------------------------------

RELEASED_MIGRATIONS: Final[dict[str, tuple[str, ...]]] = {
    "storage": ("001ede30fb012404", "31ce9273f71b60ef"),
    "ingest": ("a8e60366a83918a0",),
    "catalog": ("38ffe463aff35e22", "21ab2eebfad98405"),
    "workflow": ("6b1050632dbc5286", "7c5c67aee13ec96a"),
    "delivery": ("527fff134d28c227", "15ff8327b6691dff"),
    "transcoding": ("9ebbf8e0ea384df6", "de848956b78f58d0"),
    "schedule": ("9711f3780507ac87",),
    "drops": ("58984467dbb72b6a",),
    "uploads": ("bba48a596ce60585",),
    "accounts": ("4b7a62772ed804f2",),
    "sharing": ("eb81c0eeb4efe518",),
    "hooks": ("d30c50df046ec1c0",),
    "replies": ("1073de88cd713767",),
    "direct_uploads": ("2132973cc9bedb73",),
}
"""The first 16 hex digits of the SHA-256 of each released migration. Lines are added here, and never changed:
a data folder somewhere was made by exactly this text."""


def digests() -> dict[str, tuple[str, ...]]:
    """What ``RELEASED_MIGRATIONS`` is for the code as it is."""
    return {
        schema.room: tuple(hashlib.sha256(script.encode()).hexdigest()[:16] for script in schema.migrations)
        for schema in local_schemas()
    }


def test_a_released_migration_is_never_edited_and_a_new_one_is_written_down() -> None:
    assert digests() == RELEASED_MIGRATIONS


def test_rooms_are_migrated_in_an_order_that_never_changes() -> None:
    assert [schema.room for schema in local_schemas()] == [
        "storage",
        "ingest",
        "catalog",
        "workflow",
        "delivery",
        "transcoding",
        "drops",
        "schedule",
        "uploads",
        "accounts",
        "sharing",
        "hooks",
        "replies",
        "direct_uploads",
    ]
