"""The commands about files and executions, done by a server: the same words as at home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contentplatform.cli import executions, files
from contentplatform.cli.output import Output
from contentplatform.cli.remote import RemoteHome
from contentplatform.cli.session import HomeName, Session
from contentplatform.errors import Denied, InvalidRequest, NotFound, Unauthenticated
from contentplatform.media import ProcessingStatus
from fakes.clock import FakeClock
from fakes.site import ApiSite, Asker, open_site

COMMANDS = {command.name: command for module in (files, executions) for command in module.COMMANDS}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with open_site(tmp_path_factory.mktemp("server"), with_uploads=True) as opened:
        yield opened


class Shell:
    """Runs commands as ``contentplatform --server URL --json`` does, in this process."""

    def __init__(self, site: ApiSite, asker: Asker) -> None:
        self._site = site
        self._asker = asker

    def session(self) -> Session:
        settings = self._site.platform.settings
        home = RemoteHome(self._site.client(self._asker), settings, FakeClock())
        return Session(
            Output(as_json=True), HomeName.LOCAL, lambda: settings, server="http://testserver", token="x", _home=home
        )

    def run(self, name: str, *arguments: str) -> Any:
        """The document of a command."""
        session = self.session()
        try:
            done = CliRunner().invoke(COMMANDS[name], arguments, obj=session, standalone_mode=False)
        finally:
            session.close()
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout)


@pytest.fixture
def shell(site: ApiSite) -> Shell:
    return Shell(site, site.editor)


def added(site: ApiSite, shell: Shell, tmp_path: Path, name: str, text: str = "some words") -> dict[str, Any]:
    """A file sent by ``add`` and taken in by the server."""
    (tmp_path / name).write_text(text)
    outcome = shell.run("add", str(tmp_path / name), "--no-wait")
    assert outcome["added"] == 1
    site.home.take_in_all()
    site.home.index_for_search()
    shown: dict[str, Any] = shell.run("show", name)
    return shown


def test_a_file_is_sent_and_shown_as_at_home(site: ApiSite, shell: Shell, tmp_path: Path) -> None:
    shown = added(site, shell, tmp_path, "sent.txt")
    assert shown == site.platform.describe(site.platform.library.record("sent.txt"))
    again = shell.run("add", str(tmp_path / "sent.txt"), "--no-wait")
    assert (again["added"], again["skipped"]) == (0, 1)


def test_files_are_listed_searched_and_counted(site: ApiSite, shell: Shell, tmp_path: Path) -> None:
    added(site, shell, tmp_path, "found by walrus.txt")
    assert "found by walrus.txt" in [item["file_path"] for item in shell.run("list")["items"]]
    assert [item["file_path"] for item in shell.run("search", "walrus")["items"]] == ["found by walrus.txt"]
    assert len(shell.run("list", "--limit", "1")["items"]) == 1
    facets = shell.run("search", "walrus", "--facets")
    assert facets["total"] == {"count": 1, "capped": False}


def test_a_file_is_changed_moved_removed_and_brought_back(site: ApiSite, shell: Shell, tmp_path: Path) -> None:
    added(site, shell, tmp_path, "life.txt")
    assert shell.run("tag", "life.txt", "a", "b")["tags"] == ["a", "b"]
    assert shell.run("edit", "life.txt", "--title", "Life")["title"] == "Life"
    assert shell.run("move", "life.txt", "moved/life.txt")["file_path"] == "moved/life.txt"
    shell.run("remove", "moved/life.txt")
    with pytest.raises(NotFound):
        shell.run("get", "moved/life.txt", "-o", str(tmp_path / "out"))
    assert shell.run("undelete", "moved/life.txt")["tags"] == ["a", "b"]
    assert len(shell.run("versions", "moved/life.txt")["items"]) == 1


def test_bytes_are_written_to_a_file(site: ApiSite, shell: Shell, tmp_path: Path) -> None:
    added(site, shell, tmp_path, "bytes.txt", "to the byte")
    told = shell.run("get", "bytes.txt", "-o", str(tmp_path / "copy.txt"))
    assert (tmp_path / "copy.txt").read_text() == "to the byte"
    assert told["size"] == 11


def test_a_version_is_deleted_for_good_by_who_may(site: ApiSite, shell: Shell, tmp_path: Path) -> None:
    version = added(site, shell, tmp_path, "two.txt", "one")["version_id"]
    added(site, shell, tmp_path, "two.txt", "two")
    with pytest.raises(Denied):
        shell.run("remove", "two.txt", "--version", version, "--yes")
    Shell(site, site.admin).run("remove", "two.txt", "--version", version, "--yes")
    assert len(shell.run("versions", "two.txt")["items"]) == 1


def test_executions_are_listed_shown_stopped_and_tried_again(site: ApiSite, shell: Shell, tmp_path: Path) -> None:
    shown = added(site, shell, tmp_path, "worked.txt")
    [execution] = shell.run("executions", "list", "--key", "worked.txt")["items"]
    assert execution["file_id"] == shown["file_id"]
    assert shell.run("executions", "show", execution["name"])["status"] == "pending"
    assert shell.run("executions", "cancel", execution["name"])["status"] == "cancelled"
    assert shell.run("executions", "retry", execution["name"])["started"] == [f"{execution['name']}-r1"]
    with pytest.raises(InvalidRequest, match="where the data folder is"):
        shell.run("executions", "retry", "--outdated")


def test_add_waits_until_the_server_has_done_with_it(site: ApiSite, shell: Shell, tmp_path: Path) -> None:
    shown = added(site, shell, tmp_path, "waited.txt")
    library = shell.session().platform.library
    waiting = library.entry("waited.txt", shown["version_id"])
    assert waiting.status is ProcessingStatus.PENDING
    assert shell.run("executions", "show", waiting.execution)["pending_reason"]
    shell.run("executions", "cancel", waiting.execution)
    [item] = shell.run("add", str(tmp_path / "waited.txt"))["items"]
    assert (item["processing_status"], item["processing_error_code"]) == ("failed", "E_CANCELLED")
    assert not library.is_gone("waited.txt", shown["version_id"])
    assert library.is_gone("waited.txt", "another")
    assert "waited.txt" in set(library.failed())


def test_what_only_the_machine_with_the_data_can_do_says_so(shell: Shell) -> None:
    session = shell.session()
    with pytest.raises(InvalidRequest, match="on this machine"):
        _ = session.local
    for part in ("events", "store", "collections", "people"):
        with pytest.raises(InvalidRequest, match="where the data folder is"):
            _ = getattr(session.platform, part).anything
    with pytest.raises(InvalidRequest, match="where the data folder is"):
        _ = session.platform.accounts
    assert session.home.place() == "http://testserver"
    assert session.home.workers() == 0


def test_without_a_token_nothing_is_asked(site: ApiSite) -> None:
    settings = site.platform.settings
    session = Session(Output(as_json=True), HomeName.LOCAL, lambda: settings, server="http://testserver")
    with pytest.raises(Unauthenticated, match="CONTENTPLATFORM_TOKEN"):
        _ = session.home
