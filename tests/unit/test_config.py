"""Settings: where each comes from, and that everything wrong is said at once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from contentplatform.config import (
    CONFIG_FILE_NAME,
    TABLES,
    Settings,
    default_data_folder,
    environment_name,
    load,
)
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ConfigurationInvalid
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole


def refused(**arguments: object) -> str:
    """Why these arguments make no settings."""
    with pytest.raises(ConfigurationInvalid) as caught:
        load(**{"environment": {}, **arguments})  # type: ignore[arg-type]  # each caller names what load takes
    return caught.value.public


def written(folder: Path, toml: str) -> Path:
    """A settings file with this text."""
    path = folder / "settings.toml"
    path.write_text(toml, "utf-8")
    return path


def test_without_anything_every_setting_has_its_default(tmp_path: Path) -> None:
    assert load(data_folder=tmp_path, environment={}) == Settings(data_folder=tmp_path)


def test_the_file_in_the_data_folder_is_found_by_itself(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE_NAME).write_text("[workflow]\nmax_concurrent = 3\n", "utf-8")
    assert load(data_folder=tmp_path, environment={}).workflow.max_concurrent == 3


def test_a_named_file_is_read_instead_of_that_one(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE_NAME).write_text("[workflow]\nmax_concurrent = 3\n", "utf-8")
    named = written(tmp_path, "[workflow]\nmax_concurrent = 5\n")
    assert load(data_folder=tmp_path, config_file=named, environment={}).workflow.max_concurrent == 5


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[workflow]\nmax_concurrent = 5\nlease_seconds = 20.0\n")
    variables = {"CONTENTPLATFORM_WORKFLOW_MAX_CONCURRENT": "7"}
    workflow = load(data_folder=tmp_path, config_file=path, environment=variables).workflow
    assert (workflow.max_concurrent, workflow.lease_seconds) == (7, 20.0)


def test_the_data_folder_comes_from_the_argument_then_the_environment_then_the_user_s_home(tmp_path: Path) -> None:
    variables = {"CONTENTPLATFORM_DATA": str(tmp_path / "b"), "XDG_DATA_HOME": str(tmp_path / "c")}
    assert load(data_folder=tmp_path / "a", environment=variables).data_folder == tmp_path / "a"
    assert load(environment=variables).data_folder == tmp_path / "b"
    assert default_data_folder(variables) == tmp_path / "c" / "contentplatform"
    assert default_data_folder({}) == Path.home() / ".local" / "share" / "contentplatform"
    assert default_data_folder({"XDG_DATA_HOME": "not/absolute"}) == default_data_folder({})


def test_a_relative_data_folder_is_made_absolute_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(data_folder=Path("data"), environment={}).data_folder == tmp_path / "data"


def test_a_named_file_that_is_missing_is_an_error_and_a_default_one_is_not(tmp_path: Path) -> None:
    assert "does not exist" in refused(data_folder=tmp_path, config_file=tmp_path / "nothing.toml")
    load(data_folder=tmp_path / "nothing", environment={})


def test_every_problem_is_reported_in_one_go_with_its_name_and_what_was_expected(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        workflow = 3
        [storage]
        gc_grace_seconds = -1
        colour = "red"
        [procesing]
        job_cpu_seconds = 1
        [processing]
        job_cpu_seconds = 1.5
        """,
    )
    told = refused(config_file=path, environment={"CONTENTPLATFORM_PROCESSING_JOB_MEMORY_BYTES": "plenty"})
    for words in (
        "[workflow] must be a table, is 3",
        "storage.gc_grace_seconds = -1: must be at least 0",
        "storage.colour is not a setting",
        f"[procesing] is not a table of settings; there are {', '.join(sorted(TABLES))}",
        "processing.job_cpu_seconds = 1.5: must be a whole number",
        "CONTENTPLATFORM_PROCESSING_JOB_MEMORY_BYTES = 'plenty': must be a whole number",
        "docs/configuration.md",
    ):
        assert words in told


def test_a_problem_says_what_the_setting_is_for(tmp_path: Path) -> None:
    told = refused(config_file=written(tmp_path, "[workflow]\nlease_seconds = 0\n"))
    assert "How long a worker may be silent" in told


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("[workflow]\nmax_concurrent = -1", "at least 0"),
        ("[workflow]\nmax_concurrent = true", "must be a number"),
        ("[workflow]\nmax_concurrent = [1]", "must be a number"),
        ("[workflow]\nlease_seconds = 'soon'", "must be a number"),
        ("[storage]\nbucket_suffix = 3", "must be text"),
        ("[storage]\nclass_folders = 'elsewhere'", "must be a table of texts"),
        ("[storage.class_folders]\nGLACIER = 3", "must be a table of texts"),
        ("[workflow", "can't be read"),
        ("workflow = []", "must be a table"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_words(tmp_path: Path, toml: str, why: str) -> None:
    assert why in refused(config_file=written(tmp_path, toml))


def test_a_file_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "can't be read" in refused(config_file=path)


def test_a_whole_number_may_be_written_where_a_fraction_is_possible(tmp_path: Path) -> None:
    path = written(tmp_path, "[workflow]\nlease_seconds = 20\n")
    assert load(config_file=path, environment={}).workflow.lease_seconds == 20.0


def test_storage_classes_may_be_given_folders_of_their_own(tmp_path: Path) -> None:
    path = written(tmp_path, '[storage.class_folders]\nGLACIER_IR = "/mnt/cold"\n')
    assert load(config_file=path, environment={}).storage.class_folders == {"GLACIER_IR": "/mnt/cold"}


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_can_be_given_in_the_environment(table: str, tmp_path: Path) -> None:
    numbers = {
        setting.name: setting.metadata["minimum"]
        for setting in fields(TABLES[table])
        if setting.metadata.get("minimum") is not None
    }
    variables = {environment_name(table, name): str(value) for name, value in numbers.items()}
    settings = getattr(load(data_folder=tmp_path, environment=variables), table)
    assert {name: getattr(settings, name) for name in numbers} == numbers


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_says_what_it_is_for_and_every_number_has_a_lower_bound(table: str) -> None:
    for setting in fields(TABLES[table]):
        assert setting.metadata["help"], setting.name
        if isinstance(setting.default, int | float) and not isinstance(setting.default, bool):
            assert setting.metadata["minimum"] is not None, setting.name
            assert setting.default >= setting.metadata["minimum"], setting.name


def test_the_limits_of_a_job_are_by_default_those_of_the_sandbox_itself(tmp_path: Path) -> None:
    given, own = load(data_folder=tmp_path, environment={}).processing, JobLimits()
    assert (given.job_wall_seconds, given.job_cpu_seconds) == (own.wall_seconds, own.cpu_seconds)
    assert (given.job_memory_bytes, given.job_file_bytes) == (own.resident_bytes, own.file_bytes)


def test_a_bucket_s_name_is_made_of_its_role_and_the_one_suffix(tmp_path: Path) -> None:
    variables = {"CONTENTPLATFORM_STORAGE_BUCKET_SUFFIX": "primary-museum"}
    suffix = load(data_folder=tmp_path, environment=variables).storage.bucket_suffix
    names = {bucket_name(role, suffix) for role in BucketRole}
    assert names == {f"content-platform-{role.value}-primary-museum" for role in BucketRole}


def test_settings_can_t_be_changed_once_they_are_read(tmp_path: Path) -> None:
    settings = load(data_folder=tmp_path, environment={})
    with pytest.raises(FrozenInstanceError):
        settings.workflow.max_concurrent = 3  # type: ignore[misc]  # that it is refused is the point
