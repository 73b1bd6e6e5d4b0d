"""The documents tell the truth: what they name exists, and what exists is in them."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final

import click
import pytest

import contentplatform
from contentplatform import errors
from contentplatform.catalog.codec import to_public
from contentplatform.cli import operate, output
from contentplatform.cli.main import cli
from contentplatform.config import CONFIG_FILE_NAME, TABLES, environment_name
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, PlatformError
from contentplatform.processing.presets import IMAGE_PRESETS
from contentplatform.web import problems
from contentplatform.web.api import page as api_page
from fakes.catalog import FULL_RENDITION, make_record

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src" / "contentplatform"
TESTS: Final = ROOT / "tests"
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
TAKES_A_VALUE: Final = frozenset({"--data", "--config", "--home", "--server"})
"""Of the options that stand before a command, those behind which another word stands."""
NOT_BUILT: Final = "not built"
NOT_ANSWERED: Final = "not answered"
SHOW_AWS: Final = ("infra/", "aws/", "contract/", "unit/test_lambda_", "e2e/test_prove_on_aws.py")
"""Where tests of the home on AWS are: on templates, on the emulator, of its functions, of the script for an account."""


def read(name: str) -> str:
    """A document's text."""
    return (ROOT / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of its rank or above."""
    rank = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{rank}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without headings' rules."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
    return [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def without_code(text: str) -> str:
    """The text without its fenced examples."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# -- commands ------------------------------------------------------------------------------------------------------


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command of the tree by its full name; groups only by what they hold."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def options(command: click.Command) -> Iterator[str]:
    """Every spelling of every option but help's."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)


def documented_commands() -> dict[str, str]:
    """The sections of docs/cli.md by the command in their heading."""
    text = read("docs/cli.md")
    headings = re.findall(r"^(### `contentplatform ([a-z -]+?)(?: [A-Z\[][^`]*)?`)$", text, re.MULTILINE)
    return {name: section(text, heading) for heading, name in headings}


def test_every_command_has_its_section_and_no_other_has_one() -> None:
    assert set(documented_commands()) == {name for name, _ in commands()}


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_command_s_section_names_its_options_and_no_others(name: str, command: click.Command) -> None:
    told = documented_commands()[name]
    first_cells = [cell for row in rows(told) for cell in re.findall(r"`(-[^` ]+)", row[0])]
    assert set(first_cells) == set(options(command))


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_command_and_each_of_its_options_say_what_they_are_for(name: str, command: click.Command) -> None:
    assert command.help, name
    assert command.get_short_help_str(), name


def test_the_options_of_all_commands_are_documented() -> None:
    told = section(read("docs/cli.md"), "## What all commands share")
    assert all(f"`{option}" in told for option in options(cli))


def examples(page: Path) -> Iterator[list[str]]:
    """The words of every line of every shell example of a page."""
    for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            yield shlex.split(line.rstrip("&"), comments=True)


def mentions(page: Path) -> Iterator[list[str]]:
    """The words of every command that a page's text mentions in passing."""
    for code in re.findall(r"`(contentplatform [^`]+)`", without_code(page.read_text("utf-8"))):
        yield code.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_an_example_exists(page: Path) -> None:
    for words in (*examples(page), *mentions(page)):
        if words[:1] == ["contentplatform"]:
            check_command(words[1:])


def check_command(words: list[str]) -> None:
    """Fail unless the command line names commands and options that exist."""
    command: click.Command = cli
    known = {*options(cli), "--help", "-h"}
    for position, word in enumerate(words):
        if word.startswith("-"):
            assert word in known, f"{' '.join(words)}: there is no option {word}"
        elif isinstance(command, click.Group) and words[position - 1] not in TAKES_A_VALUE:
            if not word.islower():
                return  # COMMAND, or an ellipsis
            assert word in command.commands, f"{' '.join(words)}: there is no command {word}"
            command = command.commands[word]
            known |= set(options(command))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_of_an_example_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    text = page.read_text("utf-8")
    named = {words[1] for words in examples(page) if words[:1] == ["make"]} | set(re.findall(r"`make ([a-z]+)`", text))
    assert named <= targets


def test_two_commands_set_it_up_and_test_it() -> None:
    made = [words for words in examples(ROOT / "README.md") if words[:1] == ["make"]]
    assert made == [["make", "demo"], ["make", "test"]]


def test_a_file_as_json_has_the_documented_fields() -> None:
    told = section(read("docs/cli.md"), "## A file as JSON")
    documented = {name for row in rows(told)[1:] for name in re.findall(r"`(\w+)`", row[0])}
    shown = to_public(make_record(renditions=(FULL_RENDITION,)))
    assert documented == set(shown)
    [rendition_row] = [row for row in rows(told) if row[0] == "`renditions`"]
    assert set(re.findall(r"`(\w+)`", rendition_row[1])) == set(shown["renditions"][0])


# -- errors and exit codes -----------------------------------------------------------------------------------------

ERROR_CLASSES: Final = sorted(
    kind.__name__ for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PlatformError)
)


def test_every_exit_code_is_documented_with_what_it_stands_for() -> None:
    told = {int(row[0].strip("`")): row[1] for row in rows(section(read("docs/cli.md"), "## Exit codes"))[1:]}
    others = {output.EXIT_OK, output.EXIT_NEEDS_ATTENTION, output.EXIT_USAGE, output.EXIT_INTERRUPTED}
    assert set(told) == others | set(output.EXIT_CODES.values())
    assert operate.EXIT_COULD_NOT_CHECK == output.EXIT_USAGE
    for kind, code in output.EXIT_CODES.items():
        assert f"`{kind.__name__}`" in told[code]


def test_every_error_class_is_documented_with_its_exit_code() -> None:
    told = {row[0].strip("`"): row for row in rows(section(read("docs/errors.md"), "## Classes"))[1:]}
    assert sorted(told) == ERROR_CLASSES
    for kind, code in output.EXIT_CODES.items():
        assert told[kind.__name__][1] == str(code)
    assert all(len(cell) > 5 for row in told.values() for cell in row[2:])


def test_every_error_code_is_documented_with_what_to_do() -> None:
    told = {row[0].strip("`"): row for row in rows(section(read("docs/errors.md"), "## Codes"))[1:]}
    assert list(told) == [code.value for code in ErrorCode]
    assert all(len(cell) > 5 for row in told.values() for cell in row[1:])


def test_what_may_be_retried_is_said_in_the_documents() -> None:
    [sentence] = re.findall(r"^Only (.*?) are worth a retry", read("docs/errors.md"), re.MULTILINE)
    retryable = {name for name in ERROR_CLASSES if getattr(errors, name).retryable}
    assert set(re.findall(r"`(\w+)`", sentence)) == retryable


# -- the HTTP API --------------------------------------------------------------------------------------------------


def test_every_route_of_the_api_is_documented_as_it_is_and_no_other() -> None:
    """After a change: ``make openapi``."""
    by_hand, begin, routes = read("docs/http-api.md").partition(api_page.BEGIN)
    assert begin, by_hand[:100]
    assert routes.strip() == api_page.routes_text().strip()
    assert read("docs/openapi.json") == api_page.description_text()
    told = set(re.findall(r"^### `([A-Z]+) ([^`]+)`$", routes, re.MULTILINE))
    paths = api_page.description()["paths"]
    assert told == {(method.upper(), path) for path, operations in paths.items() for method in operations}


def test_every_sort_of_problem_is_documented_with_its_status_and_the_errors_that_are_one() -> None:
    told = [
        row for row in rows(section(read("docs/http-api.md"), "## What failed")) if row[0].startswith("`/problems/")
    ]
    assert [row[0].strip("`") for row in told] == [kind.type for kind in problems.KINDS]
    for row, kind in zip(told, problems.KINDS, strict=True):
        assert row[1] == str(kind.status.value)
        classes = {error.__name__ for error, is_one in problems.OF_ERROR.items() if is_one is kind}
        assert set(re.findall(r"`(\w+)`", row[2])) == classes & set(ERROR_CLASSES)


# -- settings ------------------------------------------------------------------------------------------------------


def settings() -> Iterator[tuple[str, Field[Any]]]:
    """Every setting with its table."""
    for table, kind in TABLES.items():
        yield from ((table, setting) for setting in fields(kind))


def default_of(setting: Field[Any]) -> object:
    """A setting's default as TOML would say it."""
    value = setting.default if setting.default_factory is MISSING else setting.default_factory()
    return f'"{value}"' if isinstance(value, str) else value


def test_every_table_and_setting_is_documented_and_no_other() -> None:
    text = read("docs/configuration.md")
    told = {
        table: [row[0].strip("`") for row in rows(section(text, f"## `[{table}]`"))[1:]]
        for table in re.findall(r"^## `\[(\w+)\]`$", text, re.MULTILINE)
    }
    assert told == {table: [setting.name for setting in fields(kind)] for table, kind in TABLES.items()}


@pytest.mark.parametrize(("table", "setting"), list(settings()), ids=lambda value: getattr(value, "name", value))
def test_a_setting_is_documented_with_variable_default_unit_and_meaning(table: str, setting: Field[Any]) -> None:
    told = {row[0].strip("`"): row for row in rows(section(read("docs/configuration.md"), f"## `[{table}]`"))[1:]}
    _, variable, default, unit, meaning = told[setting.name]
    from_environment = f"`{environment_name(table, setting.name)}`"
    assert variable == (from_environment if setting.default_factory is MISSING else "settings file only")
    assert default == f"`{default_of(setting)}`"
    assert unit
    assert meaning.startswith(setting.metadata["help"])


def test_the_name_of_the_settings_file_is_documented() -> None:
    assert f"`{CONFIG_FILE_NAME}`" in read("docs/configuration.md")


# -- facts ---------------------------------------------------------------------------------------------------------


def test_the_renditions_are_documented_with_their_measures_and_keys() -> None:
    told = {
        row[0].strip("`"): row for row in rows(section(read("docs/concepts.md"), "## Renditions and their keys"))[1:]
    }
    assert list(told) == [preset.name for preset in IMAGE_PRESETS]
    for preset in IMAGE_PRESETS:
        _, what, key = told[preset.name]
        measure = f"{preset.width:,}".replace(",", " ") if preset.name == "webp" else f"{preset.width}×{preset.height}"
        assert measure in what
        assert f"quality {preset.quality}" in what
        assert key == f"`{preset.folder}/<key>.{preset.extension}`"


def test_the_limits_of_a_job_are_documented_as_they_are() -> None:
    told = {row[0]: row[1] for row in rows(section(read("docs/security.md"), "## The wall around decoding"))}
    limits = JobLimits()
    assert told["wall-clock time"] == f"{limits.wall_seconds:g} s"
    assert told["processor time"] == f"{limits.cpu_seconds} s"
    assert told["resident memory"] == f"{limits.resident_bytes >> 30} GiB"
    assert told["address space"] == f"{limits.address_space_bytes >> 30} GiB"
    assert told["one file"] == f"{limits.file_bytes >> 30} GiB"
    assert told["all files"] == f"{limits.scratch_bytes >> 30} GiB"
    assert told["threads"] == str(limits.threads)
    assert told["open files"] == str(limits.open_files)
    assert told["its answer"] == f"{limits.answer_bytes >> 20} MiB"


def test_every_bar_names_its_program_and_every_program_is_named() -> None:
    told = {row[-1].strip("`") for row in rows(section(read("docs/benchmarks.md"), "## As they came out"))[1:]}
    assert told == {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"run"}


def test_the_invariants_that_fsck_checks_are_those_that_the_list_says_it_checks() -> None:
    told = {row[0]: row[2] for row in rows(section(read("docs/operations.md"), "### The invariants"))[1:]}
    checked = {name for path in SOURCE.rglob("fsck.py") for name in re.findall(r'"(I\d+)"', path.read_text("utf-8"))}
    assert list(told) == [f"I{number}" for number in range(1, 26)]
    assert {name for name, how in told.items() if "fsck" in how} == checked


# -- the house -----------------------------------------------------------------------------------------------------


def test_the_changelog_s_newest_version_is_the_package_s() -> None:
    headings = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0][0] == contentplatform.__version__
    assert [date for _, date in headings] == sorted((date for _, date in headings), reverse=True)


def test_the_readme_is_short_and_leads_to_every_document() -> None:
    text = read("README.md")
    assert len(text.splitlines()) <= 150
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES if page.parent == DOCS}
    assert pages <= set(re.findall(r"\]\(([^)#]+)", text))


def test_the_readme_names_the_pythons_that_the_package_takes() -> None:
    classifiers = tomllib.loads(read("pyproject.toml"))["project"]["classifiers"]
    versions = [line.rpartition(" ")[2] for line in classifiers if re.search(r"Python :: 3\.\d+$", line)]
    assert f"Python {', '.join(versions[:-1])} or {versions[-1]}" in read("README.md")


def test_the_readme_s_map_names_folders_that_exist_and_forgets_none() -> None:
    told = [cell for row in rows(section(read("README.md"), "## Map of the folders")) for cell in row[:1]]
    named = {name.strip("`") for name in told if name}
    assert all(any(ROOT.glob(name)) for name in named), named
    rooms = {f"src/contentplatform/{path.parent.name}" for path in SOURCE.glob("*/__init__.py")}
    assert rooms <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", without_code(page.read_text("utf-8"))):
        path, _, anchor = target.partition("#")
        assert "://" not in target, f"{target}: documents don't depend on hosts"
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_decisions_are_numbered_and_say_context_decision_and_consequences() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text("utf-8")
        assert re.match(rf"# {int(page.name[:4])}\. ", text), page.name
        assert [h for h in ("Context", "Decision", "Consequences") if f"\n## {h}\n" not in text] == [], page.name


def test_the_glossary_is_in_order_and_each_word_stands_once() -> None:
    words = [row[0].strip("`").lower() for row in rows(read("docs/glossary.md"))[1:]]
    assert words == sorted(set(words))


# -- words and places that no file may have ------------------------------------------------------------------------

_HOSTS: Final = ("py" + "pi.org", "python" + "hosted", "npm" + "js", "docker" + ".io", "ghcr" + ".io", "quay" + ".io")
_MACHINE_PATHS: Final = re.compile(r"(?<![\w.~$}])/(?:root|work|home/(?!me\b)\w+|Users/\w+|workspace)(?:/|\b)")


def project_files() -> Iterator[Path]:
    """Every text file of ours."""
    yield from (
        path for path in ROOT.iterdir() if path.is_file() and path.suffix in {".md", ".toml", ".lock", ".yaml", ""}
    )
    for folder in ("src", "tests", "benchmarks", "docs", ".ci"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def test_no_file_names_a_host_of_packages_or_a_path_of_somebody_s_machine() -> None:
    offences = []
    for path in project_files():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text("utf-8", errors="ignore").splitlines(), start=1):
            if any(host in line for host in _HOSTS) or _MACHINE_PATHS.search(line):
                offences.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert offences == []


def test_the_documents_use_the_one_word_for_each_thing() -> None:
    table = rows(section(read("CONTRIBUTING.md"), "## Words"))[1:]
    forbidden = re.compile(rf"\b({'|'.join(re.escape(row[1]) for row in table)})s?\b", re.IGNORECASE)
    assert len(table) >= 5
    offences = []
    for page in PAGES:
        text = page.read_text("utf-8")
        if page.name == "CONTRIBUTING.md":
            text = text.replace(section(text, "## Words"), "")
        offences += [f"{page.name}: {word}" for word in forbidden.findall(text)]
    assert offences == []


# -- traceability --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Requirement:
    """A row of docs/traceability.md."""

    number: str
    text: str
    state: str
    code: tuple[str, ...]
    tests: tuple[str, ...]


def requirements() -> list[Requirement]:
    """Every row of the first part."""
    found = []
    text = read("docs/traceability.md")
    for row in rows(text):
        if re.fullmatch(r"\d+\.\d+", row[0]):
            number, what, state, code, tests = row
            found.append(Requirement(number, what, state, _names(code), _names(tests)))
    return found


@dataclass(frozen=True)
class Pitfall:
    """A row of docs/aws-pitfalls.md."""

    number: int
    wrong: str
    state: str
    answer: str
    code: tuple[str, ...]
    tests: tuple[str, ...]


def pitfalls() -> list[Pitfall]:
    """Every row of that page, in its order."""
    found = [row for row in rows(read("docs/aws-pitfalls.md")) if re.fullmatch(r"D\d+", row[0])]
    return [
        Pitfall(int(number[1:]), wrong, state, answer, _names(code), _names(tests))
        for number, wrong, state, answer, code, tests in found
    ]


def _names(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


@cache
def symbols(path: Path) -> frozenset[str]:
    """Every function, class, method and constant that a module defines."""
    found: set[str] = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for statement in body:
            match statement:
                case ast.ClassDef(name=name):
                    found.add(prefix + name)
                    collect(statement.body, f"{prefix}{name}.")
                case ast.FunctionDef(name=name):
                    found.add(prefix + name)
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    found.add(prefix + name)

    collect(ast.parse(path.read_text("utf-8")).body, "")
    return frozenset(found)


def problem_of_code(name: str) -> str | None:
    """Why ``path:symbol`` names nothing of the package or the house; None if it does."""
    path, _, symbol = name.partition(":")
    file = SOURCE / path if (SOURCE / path).exists() else ROOT / path
    if not file.exists():
        return f"{name}: there is no such file"
    if file.suffix == ".py" and symbol not in symbols(file):
        return f"{name}: the file defines no {symbol!r}"
    return None


def problem_of_test(name: str) -> str | None:
    """Why ``path::test`` names no test; None if it does."""
    path, _, test = name.partition("::")
    file = TESTS / path
    if not file.exists():
        return f"{name}: there is no such file"
    if test not in symbols(file):
        return f"{name}: the file defines no {test!r}"
    if not (test.startswith(("test_", "Test")) or path.startswith("contract/")):
        return f"{name}: that is no test"
    return None


def test_every_section_of_the_specification_is_traced_without_a_gap() -> None:
    numbers = [tuple(map(int, requirement.number.split("."))) for requirement in requirements()]
    assert sorted({chapter for chapter, _ in numbers}) == list(range(13))
    for chapter in range(13):
        inside = [number for of, number in numbers if of == chapter]
        assert inside == list(range(1, len(inside) + 1))


def test_every_requirement_has_code_and_test_or_says_that_it_is_not_built() -> None:
    for requirement in requirements():
        assert requirement.text, requirement.number
        if requirement.state == NOT_BUILT:
            assert not requirement.tests, f"{requirement.number} is not built and yet tested"
        else:
            assert requirement.state in {"built", "partly"}, requirement.number
            assert requirement.code, f"{requirement.number} names no code"
            assert requirement.tests, f"{requirement.number} names no test"


def test_what_is_built_in_part_and_nothing_else_says_what_is_missing() -> None:
    wrong = [r.number for r in requirements() if (r.state == "partly") != ("missing:" in r.text)]
    assert wrong == []


def test_what_is_built_for_aws_alone_names_a_test_of_its_template_or_on_the_emulator() -> None:
    of_aws = [r for r in requirements() if r.text.startswith("aws:") and r.state != NOT_BUILT]
    assert len(of_aws) >= 30
    without = [r.number for r in of_aws if not any(test.startswith(SHOW_AWS) for test in r.tests)]
    assert without == []


def test_the_counts_of_requirements_are_those_of_the_rows() -> None:
    counted = Counter(requirement.state for requirement in requirements())
    assert (
        f"Of {len(requirements())} requirements {counted['built']} are built, {counted['partly']} partly, "
        f"{counted[NOT_BUILT]} are not built."
    ) in read("docs/traceability.md")


def test_every_pitfall_stands_there_once_in_its_order() -> None:
    assert [pitfall.number for pitfall in pitfalls()] == list(range(1, 162))


def test_a_pitfall_is_answered_by_code_and_test_or_says_why_it_is_not() -> None:
    for pitfall in pitfalls():
        told = f"D{pitfall.number}: {pitfall.answer}"
        assert pitfall.wrong, told
        if pitfall.state == NOT_ANSWERED:
            assert not pitfall.code, told
            assert not pitfall.tests, told
            assert pitfall.answer, told
        else:
            assert pitfall.state in {"answered", "in part"}, told
            assert pitfall.code, told
            assert pitfall.tests, told
        assert ("missing:" in pitfall.answer) == (pitfall.state == "in part"), told


def test_the_counts_of_pitfalls_are_those_of_the_rows() -> None:
    counted = Counter(pitfall.state for pitfall in pitfalls())
    assert (
        f"Of {len(pitfalls())} pitfalls {counted['answered']} are answered, {counted['in part']} in part, "
        f"{counted[NOT_ANSWERED]} are not answered."
    ) in read("docs/aws-pitfalls.md")


def test_every_code_and_test_that_the_tables_name_exists() -> None:
    named: list[Requirement | Pitfall] = [*requirements(), *pitfalls()]
    problems = [
        problem for name in sorted({n for row in named for n in row.code}) if (problem := problem_of_code(name))
    ]
    problems += [p for name in sorted({n for row in named for n in row.tests}) if (p := problem_of_test(name))]
    assert problems == []


@pytest.mark.parametrize(
    "name",
    ["storage/nothing.py:put", "storage/port.py:nothing", "storage/port.py", "storage/port.py:ObjectStore.nothing"],
)
def test_a_code_reference_to_nothing_is_caught(name: str) -> None:
    assert problem_of_code(name)


@pytest.mark.parametrize(
    "name", ["unit/nothing.py::test_x", "unit/test_docs.py::test_nothing", "unit/test_docs.py::rows"]
)
def test_a_test_reference_to_nothing_is_caught(name: str) -> None:
    assert problem_of_test(name)
