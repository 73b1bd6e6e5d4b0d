"""The console over a real home in a folder, asked in this process: no socket, no worker, and one of each role."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
from starlette.types import ASGIApp

from contentplatform.accounts.credentials import csrf_token
from contentplatform.accounts.passwords import Argon2Cost
from contentplatform.accounts.port import Role, machine
from contentplatform.app import LocalHome, open_local
from contentplatform.app.people import LatePeople, open_accounts
from contentplatform.catalog.port import Record
from contentplatform.config import load
from contentplatform.media import file_id
from contentplatform.web.claim import Part
from contentplatform.web.site import open_site

HOST: Final = "http://127.0.0.1"
PASSWORD: Final = "a long password that nobody guesses"
CHEAP: Final = Argon2Cost(passes=1, memory_kib=8, lanes=1)
TESTER: Final = machine("tester")


class Browser:
    """Somebody's browser without scripts; signed in with a session's secret, or not."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop, secret: str = "") -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        cookies = {"session": secret} if secret else {}
        self._client = httpx.AsyncClient(
            transport=transport, base_url=HOST, cookies=cookies, headers={"Accept": "text/html"}
        )
        self._loop = loop
        self._token = csrf_token(secret) if secret else ""

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page."""
        return self._loop.run_until_complete(self._client.get(path, headers=headers))

    def page(self, path: str) -> Page:
        """A page that is there."""
        response = self.get(path)
        assert response.status_code == 200, (path, response.status_code, response.headers.get("location"))
        return Page.of(response.text)

    def post(
        self,
        path: str,
        fields: dict[str, Any] | None = None,
        *,
        token: str | None = None,
        origin: str = HOST,
        **options: Any,
    ) -> httpx.Response:
        """Send a form, as one of our pages would."""
        sent = {"csrf_token": self._token if token is None else token, **(fields or {})}
        headers = {"Origin": origin, **options.pop("headers", {})}
        if "content" not in options:
            options["data"] = sent
        asked = self._client.post(path, headers=headers, **options)
        return self._loop.run_until_complete(asked)

    def done(self, path: str, fields: dict[str, Any] | None = None) -> Page:
        """Send a form, and see the page to which it leads."""
        response = self.post(path, fields)
        assert response.status_code == 303, (path, response.status_code, Page.of(response.text).text)
        return self.page(response.headers["location"])


@dataclass
class Page(HTMLParser):
    """What a page has, taken apart."""

    text: str = ""
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    scripts: str = ""
    """Text within scripts and styles: there should be none."""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._inside = ""

    @classmethod
    def of(cls, html: str) -> Page:
        """Take a page apart."""
        made = cls()
        made.feed(html)
        made.close()
        return made

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag if tag in {"script", "style"} else self._inside

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts += data
        else:
            self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of every element of a sort."""
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and all(attributes.get(each) == value for each, value in wanted.items())
        ]

    @property
    def posts(self) -> set[str]:
        """Where its forms, or single buttons of them, are sent to."""
        actions = {form["action"] for form in self.all("form", method="post")}
        return actions | {button["formaction"] for button in self.all("button") if "formaction" in button}


class ConsoleSite:
    """A home, its site, and browsers of it."""

    def __init__(self, home: LocalHome) -> None:
        self.home = home
        self.platform = home.platform
        self.app = open_site(home, [Part.APP], listening_host="127.0.0.1").app
        self.loop = asyncio.new_event_loop()
        self.nobody = Browser(self.app, self.loop)
        self.admin = self.browser("anna", Role.ADMIN)
        self.editor = self.browser("emil", Role.EDITOR)
        self.viewer = self.browser("vera", Role.VIEWER)

    def browser(self, name: str, role: Role, folder: str = "") -> Browser:
        """The browser of a new user, signed in."""
        user = self.platform.accounts.add_user(name, PASSWORD, role, by=TESTER, folder=folder)
        return Browser(self.app, self.loop, self.platform.accounts.start_session(user.id, source="127.0.0.1"))

    def add(self, key: str, data: bytes = b"some words to read", **changes: Any) -> Record:
        """A file that is taken in, with what processing would have found."""
        self.platform.library.add(key, BytesIO(data))
        self.home.take_in_all()
        record = self.platform.library.record(key)
        if changes:
            record = self.platform.catalog.put(replace(record, **changes))
        self.home.index_for_search()
        return record

    def url(self, key: str) -> str:
        """A file's page."""
        return f"/files/{file_id(key)}"


@contextmanager
def open_console(folder: Path) -> Iterator[ConsoleSite]:
    """A site over a new home in ``folder``, closed behind."""
    settings = load(data_folder=folder, environment={})
    home = open_local(settings)
    people = open_accounts(settings, home.platform.clock, database=home.database, cost=CHEAP)
    home.platform = replace(home.platform, people=LatePeople(lambda: people))
    site = ConsoleSite(home)
    try:
        yield site
    finally:
        site.loop.run_until_complete(site.loop.shutdown_default_executor())
        site.loop.close()
        home.close()
