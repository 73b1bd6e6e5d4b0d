"""The API by its description: Schemathesis finds no fault, and every route answers as all of them promise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import schemathesis
from schemathesis.engine import events, from_schema

from contentplatform.accounts.port import Role, Scope
from contentplatform.web import problems
from contentplatform.web.api import uploading
from fakes.site import ApiSite, open_site

COMMITTED: Final = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
ENDLESS: Final = "/api/v1/events"
IDEMPOTENCY: Final = "Idempotency-Key"
REFUSED_IN_WORDS: Final = ["2xx", "400", "401", "403", "404", "409", "412", "428", "429"]
"""A cursor, a key, a state: a description can't say which of them are good."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with open_site(tmp_path_factory.mktemp("schema"), with_uploads=True) as opened:
        opened.add("a.txt")
        opened.add("folder/b c.txt")
        yield opened


def examined(site: ApiSite, examples: int, *, coverage: bool) -> tuple[int, list[str]]:
    """How many requests Schemathesis made, seeded, as an administrator; and the faults that it found."""
    described = site.description()
    del described["paths"][ENDLESS]
    for operations in described["paths"].values():
        for operation in operations.values():
            # One key for requests that differ would be a fault of the client, and hide those of the server.
            named = operation.get("parameters", [])
            operation["parameters"] = [each for each in named if each["name"] != IDEMPOTENCY]
    config = schemathesis.Config.from_dict(
        {
            "seed": 7,
            "headers": {"Authorization": site.admin.authorization},
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "phases": {"stateful": {"enabled": False}, "coverage": {"enabled": coverage}},
            # Its other methods are those of tus, which answers 412 to who does not speak it.
            "operations": [
                {"include-path": uploading.UPLOAD_PATH, "checks": {"unsupported_method": {"enabled": False}}}
            ],
            "checks": {
                "positive_data_acceptance": {"expected-statuses": REFUSED_IN_WORDS},
                "negative_data_rejection": {"expected-statuses": ["4xx"]},
                "missing_required_header": {"expected-statuses": ["4xx"]},
            },
        }
    )
    schema = schemathesis.openapi.from_dict(described, config=config)
    schema.app = site.app
    requests, faults = 0, []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            faults.append(str(event))
        if isinstance(event, events.ScenarioFinished):
            requests += len(event.recorder.cases)
            faults += [
                f"{event.recorder.label}: {check.name}: {check.failure_info.failure}"
                for checks in event.recorder.checks.values()
                for check in checks
                if check.failure_info is not None
            ]
    return requests, faults


def test_schemathesis_finds_no_fault(tmp_path: Path) -> None:
    with open_site(tmp_path, with_uploads=True) as own:  # it removes whoever it finds
        own.add("a.txt")
        requests, faults = examined(own, 1, coverage=False)
        assert faults == []
        assert requests > len(own.routes())


@pytest.mark.soak
def test_schemathesis_finds_no_fault_however_long_it_looks(tmp_path: Path) -> None:
    with open_site(tmp_path, with_uploads=True) as own:
        own.add("a.txt")
        requests, faults = examined(own, 50, coverage=True)
    assert faults == []
    assert requests > 2_000


# -- the description -----------------------------------------------------------------------------------------------


def test_the_committed_description_is_the_generated_one(site: ApiSite) -> None:
    """After a change: ``make openapi``."""
    assert json.loads(COMMITTED.read_text("utf-8")) == site.description()


def test_the_description_is_complete_in_itself_and_sorts_of_answers_are_described(site: ApiSite) -> None:
    told = site.description()
    text = json.dumps(told)
    assert "HTTPValidationError" not in text
    assert "http://" not in text
    schemas = told["components"]["schemas"]
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas
    names = [operation["operationId"] for path in told["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))


def test_no_page_of_the_api_comes_from_elsewhere(site: ApiSite) -> None:
    for path in ("/docs", "/redoc", "/api/v1/docs", "/api/v1/redoc"):
        assert site.nobody.get(path).status_code == 404


# -- every route ---------------------------------------------------------------------------------------------------


def asked_of_every_route(site: ApiSite) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Each route with a path that could be, and its description."""
    for path, operations in site.description()["paths"].items():
        filled = path
        for name in ("file_id", "user_id", "collection_id", "link_id", "token_id", "webhook_id"):
            filled = filled.replace(f"{{{name}}}", "0" * 32)
        for name in ("name", "version_id", "invalidation_id", "key"):
            filled = filled.replace(f"{{{name}}}", "none")
        for method, operation in operations.items():
            yield method.upper(), filled, operation


def body_for(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Some body of the sort that an operation takes, as a client sends it."""
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        return {"files": {"file": ("a.txt", b"x")}}
    return {"content": b"x"} if "application/octet-stream" in content else {"json": {}} if content else {}


def test_every_route_s_headers_are_those_of_a_private_answer(site: ApiSite) -> None:
    for method, path, operation in asked_of_every_route(site):
        for asker in (site.nobody, site.viewer):
            if (path, asker) == (ENDLESS, site.viewer):
                continue  # its answer has no end; tests/unit/test_feed.py has its headers
            answer = asker.ask(method, path, **body_for(operation))
            assert_private(answer, f"{method} {path}")


def assert_private(answer: httpx.Response, route: str) -> None:
    """What every answer of the API promises to a browser and to caches."""
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == problems.MEDIA_TYPE, route
        told = answer.json()
        assert set(told) >= {"type", "title", "status", "detail", "instance"}, route
        assert told["status"] == answer.status_code
        assert told["type"].startswith(problems.TYPE_FOLDER)
    else:
        assert answer.headers["content-type"] == "application/json", route
    assert "no-store" in answer.headers["cache-control"], route
    assert answer.headers["x-content-type-options"] == "nosniff", route
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers, "the API is for our own pages and for tokens"


def test_every_route_wants_somebody_known_with_the_right_that_its_description_names(site: ApiSite) -> None:
    for method, path, operation in asked_of_every_route(site):
        body = body_for(operation)
        assert site.nobody.ask(method, path, **body).status_code == 401, path
        scope = Scope(operation["x-scope"])
        if scope is not Scope.READ:
            assert site.viewer.ask(method, path, **body).status_code == 403, path
        if scope is Scope.ADMIN:
            assert site.editor.ask(method, path, **body).status_code == 403, path


def test_a_method_that_a_path_does_not_know_is_told_those_that_it_does(site: ApiSite) -> None:
    by_path: dict[str, set[str]] = {}
    for method, path, _ in asked_of_every_route(site):
        by_path.setdefault(path, set()).add(method)
    for path, methods in by_path.items():
        if path in {uploading.ASK_PATH, uploading.UPLOAD_PATH}:
            continue  # whoever doesn't speak tus there is told so first, as that protocol has it
        answer = site.admin.ask("DELETE" if "PUT" in methods else "PUT", path)
        assert answer.status_code == 405, path
        assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == methods, path


def test_every_sort_of_problem_is_explained_where_its_type_leads(site: ApiSite) -> None:
    for kind in problems.KINDS:
        assert site.nobody.json("GET", kind.type) == {
            "type": kind.type,
            "title": kind.title,
            "status": kind.status.value,
        }
    site.nobody.problem("GET", "/problems/none", 404)


def test_a_path_that_nobody_owns_is_a_problem_for_programs_and_a_page_for_people(site: ApiSite) -> None:
    site.nobody.problem("GET", "/api/v1/nothing", 404)
    site.nobody.problem("GET", "/api/v2/files", 404, headers={"Accept": "text/html"})
    page = site.nobody.get("/nothing", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


# -- health --------------------------------------------------------------------------------------------------------


def test_a_site_that_works_is_live_and_ready(site: ApiSite) -> None:
    assert site.nobody.json("GET", "/health/live") == {"status": "live", "reasons": []}
    assert site.nobody.json("GET", "/health/ready") == {"status": "ready", "reasons": []}
    site.nobody.problem("POST", "/health/ready", 405)
    site.nobody.problem("GET", "/health/other", 404)


def test_roles_are_those_of_the_description(site: ApiSite) -> None:
    assert site.description()["components"]["schemas"]["Role"]["enum"] == [role.value for role in Role]
