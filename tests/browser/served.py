"""A served data folder and a browser for it: the platform as its users have it, in processes of their own."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM: Final = Path("/usr/bin/chromium")
_QUIET: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
_PATIENCE_MILLISECONDS: Final = 180_000
DESKTOP: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 390, "height": 844}
_DROP: Final = """
(files) => {
  const held = new DataTransfer();
  for (const [name, type, data] of files)
    held.items.add(new File([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))], name, { type }));
  document.dispatchEvent(new DragEvent("dragenter", { dataTransfer: held, bubbles: true }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true }));
}
"""
_AXE: Final = Path(__file__).resolve().parents[2] / "console" / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str]]:
    """A server over a new data folder with one worker; its address, and the administrator's password."""
    told = folder.parent / "told.txt"
    command = (sys.executable, "-m", "contentplatform.cli", "--data", folder, "--json", "serve", "--port", "0")
    with told.open("w") as talk, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True) as process:
        assert process.stdout is not None
        document = ""
        while not document.endswith("}\n"):
            line = process.stdout.readline()
            assert line, told.read_text()
            document += line
        password = re.search(r"^ {4}(\S+)$", told.read_text(), re.MULTILINE)
        assert password is not None, told.read_text()
        try:
            yield json.loads(document)["url"], password[1]
        finally:
            process.terminate()
            process.wait(300)


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Debian's Chromium, without a window; with further arguments of its own."""
    expect.set_options(timeout=_PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_QUIET, *arguments])
        yield browser
        browser.close()


class Person:
    """Somebody at a browser. Whatever goes wrong in a page's scripts is collected."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(_PATIENCE_MILLISECONDS)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)

    def sign_in(self, password: str, name: str = "admin") -> None:
        """Fill in the form."""
        self.page.goto("/sign-in")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("heading", name="Library", level=1)).to_be_visible()

    def drop(self, files: Mapping[str, tuple[str, bytes]]) -> None:
        """Drop files, by their names, with what the browser believes they are, anywhere on the page."""
        given = [(name, kind, base64.b64encode(data).decode()) for name, (kind, data) in files.items()]
        self.page.evaluate(_DROP, given)

    def open(self, name: str) -> None:
        """Open a file from the library."""
        self.page.goto("/library")
        self.page.locator(".card .open", has_text=name).click()
        expect(self.page.locator("h1")).to_be_visible()

    def faults(self, rule: str = "") -> list[str]:
        """What axe finds on the page that is serious, or worse; with ``rule`` by that one only."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(_AXE.read_text("utf-8"))
        only = [rule] if rule else ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found: dict[str, Any] = self.page.evaluate(
            "(only) => axe.run(document, { runOnly: only, resultTypes: ['violations'] })", only
        )
        return [
            f"{each['id']}: {node['html'][:160]} ({node['failureSummary'][:200]})"
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]
