"""``users``, ``tokens``, ``audit`` on a data folder: what they answer, and what they never show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contentplatform.accounts.audit import NOTE_FILE_NAME
from contentplatform.accounts.port import Scope
from contentplatform.app import open_accounts, open_local
from contentplatform.cli.main import cli
from contentplatform.config import load
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from fakes.accounts import PASSWORD


@dataclass
class Terminal:
    """The command line on one data folder, in this process."""

    folder: Path

    def run(self, *words: str, given: str | None = None, code: int = 0) -> str:
        """Standard output of a command that must end so."""
        result = CliRunner().invoke(cli, ["--data", str(self.folder), *words], input=given, standalone_mode=False)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.return_value == code, result.output
        return result.stdout

    def json(self, *words: str, given: str | None = None, code: int = 0) -> Any:
        """The one document of a command."""
        return json.loads(self.run("--json", *words, given=given, code=code))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A folder with an administrator and an editor in a folder."""
    terminal = Terminal(tmp_path_factory.mktemp("people"))
    terminal.json("users", "add", "root", "--role", "admin", "--generate")
    words = ("users", "add", "Anna", "--role", "editor", "--folder", "press", "--quota", "5GB")
    made = terminal.json(*words, given=f"{PASSWORD}\n")
    assert (made["name"], made["role"], made["folder"], made["quota_bytes"]) == (
        "anna",
        "editor",
        "press/",
        5_000_000_000,
    )
    assert "password" not in made
    return terminal


def test_a_made_up_password_is_shown_once_and_signs_in(filled: Terminal) -> None:
    made = filled.json("users", "reset-password", "root", "--generate")
    assert made["password_is_generated"]
    people = open_accounts(load(data_folder=filled.folder, environment={}))
    assert people.accounts.authenticate("root", made["password"], "192.0.2.1").name == "root"
    assert people.accounts.authenticate("anna", PASSWORD, "192.0.2.1").name == "anna"
    people.close()
    listed = filled.run("--json", "users", "list") + filled.run("--json", "audit", "list")
    assert made["password"] not in listed
    assert PASSWORD not in listed


def test_users_are_listed_for_people_and_for_programs(filled: Terminal) -> None:
    assert [user["name"] for user in filled.json("users", "list")["items"]] == ["anna", "root"]
    table = filled.run("users", "list")
    assert "anna  editor  press/" in table
    assert "5.0 GB" in table


def test_a_user_is_changed_by_name(filled: Terminal) -> None:
    assert filled.json("users", "quota", "anna", "none")["quota_bytes"] is None
    assert filled.json("users", "quota", "anna", "1500")["quota_bytes"] == 1_500
    assert filled.json("users", "folder", "ANNA", "press/2030")["folder"] == "press/2030/"
    assert filled.json("users", "folder", "anna")["folder"] == ""
    assert filled.json("users", "role", "anna", "viewer")["role"] == "viewer"
    assert filled.json("users", "disable", "anna")["disabled_at"] is not None
    assert filled.json("users", "enable", "anna")["disabled_at"] is None
    assert filled.json("users", "role", "anna", "editor")["role"] == "editor"


def test_a_token_is_made_listed_and_revoked(filled: Terminal) -> None:
    made = filled.json("tokens", "add", "anna", "nightly backup", "--scope", "read", "--scope", "write", "--days", "7")
    assert made["secret"].startswith("cp_")
    assert (made["user"], made["scopes"]) == ("anna", ["read", "write"])
    listed = filled.json("tokens", "list", "--user", "anna")["items"]
    assert [token["id"] for token in listed] == [made["id"]]
    assert made["secret"] not in str(listed)
    assert filled.run("tokens", "add", "anna", "second").startswith("cp_")
    assert filled.json("tokens", "revoke", made["id"]) == {"revoked": made["id"]}
    assert made["id"] not in filled.run("tokens", "list")


def test_what_was_done_is_listed_and_checked(filled: Terminal) -> None:
    filled.run("users", "disable", "anna")
    filled.run("users", "enable", "anna")
    page = filled.json("audit", "list", "--limit", "2", "--act", "user.")
    assert [entry["act"] for entry in page["items"]] == ["user.enable", "user.disable"]
    assert page["items"][0]["who"].startswith("command line (")
    after = filled.json("audit", "list", "--limit", "1", "--cursor", page["next"])["items"]
    assert after[0]["sequence"] < page["items"][-1]["sequence"]
    assert filled.json("audit", "list", "--user", "anna")["items"] == []
    told = filled.json("audit", "verify")
    assert told["intact"]
    assert told["digest"] == filled.json("audit", "list", "--limit", "1")["items"][0]["digest"]


def test_a_log_that_was_changed_needs_attention(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.run("users", "add", "root", "--role", "admin", "--generate")
    home = open_local(load(data_folder=tmp_path, environment={}))
    home.database.write(lambda unit: unit.run("DROP TRIGGER audit_is_not_changed"))
    home.database.write(lambda unit: unit.run("UPDATE audit SET who = 'nobody'"))
    home.close()
    told = terminal.json("audit", "verify", code=1)
    assert (told["intact"], [flaw["sequence"] for flaw in told["flaws"]]) == (False, [1])
    (tmp_path / NOTE_FILE_NAME).unlink()
    assert len(terminal.json("audit", "verify", code=1)["flaws"]) == 2
    assert len(terminal.json("audit", "accept", "--yes")["accepted"]) == 2
    assert len(terminal.json("audit", "verify", code=1)["flaws"]) == 1  # what was forged stays forged


def test_a_user_is_removed_after_a_question(filled: Terminal) -> None:
    filled.run("users", "add", "temp", "--generate")
    assert filled.json("users", "remove", "temp", "--yes") == {"removed": "temp"}
    with pytest.raises(NotFound):
        filled.run("users", "remove", "temp", "--yes")


def test_what_can_t_be_is_refused_in_words(filled: Terminal) -> None:
    with pytest.raises(Conflict, match="last administrator"):
        filled.run("users", "disable", "root")
    with pytest.raises(InvalidRequest, match="standard input"):
        filled.run("users", "add", "new", given="")
    with pytest.raises(InvalidRequest, match="12 characters"):
        filled.run("users", "add", "new", given="short\n")
    with pytest.raises(InvalidRequest, match="no right to: admin"):
        filled.run("tokens", "add", "anna", "t", "--scope", Scope.ADMIN.value)
    with pytest.raises(NotFound):
        filled.run("tokens", "revoke", "nothing")


def test_the_home_on_aws_has_its_users_in_the_data_folder_of_who_serves(
    filled: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTENTPLATFORM_AWS_ACCOUNT_ID", "123456789012")  # nothing is asked of AWS
    words = ("--home", "aws", "--json", "users", "list")
    assert [user["name"] for user in json.loads(filled.run(*words))["items"]] == ["anna", "root"]
