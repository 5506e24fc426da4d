"""The product in real Chromium: Daphne and a worker as processes over the test's own database and Redis."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from actions.commands.review import approve
from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.lifecycle.allowed import find_action
from actions.models import Action
from tests.api.conftest import write_matrix
from tests.cast import PLACES, Cast, make_cast
from tests.support.processes import Group, answers, free_port, wait_for, worker

CHROMIUM = os.environ.get("INTERLOCK_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
SHOTS = os.environ.get("INTERLOCK_SHOTS", "")
"""A directory: then every test leaves its pictures there."""


@dataclass
class Site:
    """The running product. `say` collects what the browser's console complained about."""

    base: str
    cast: Cast
    browser: Browser
    root: Path
    complaints: list[str] = field(default_factory=list)

    def page(self, who: str, *, width: int = 1440, height: int = 900, scheme: str = "light", **more: Any) -> Page:
        """A signed-in tab. A phone is `width=390`."""
        phone = width < 600
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            is_mobile=phone,
            has_touch=phone,
            base_url=self.base,
            **more,
        )
        session = self.cast.client(who).cookies["interlock_session"].value
        context.add_cookies([{"name": "interlock_session", "value": session, "url": self.base}])
        tab = context.new_page()
        tab.set_default_timeout(15_000)
        tab.on("console", lambda m: self._heard(m) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda e: self.complaints.append(str(e)))
        return tab

    def _heard(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def do(self, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a verb in a thread of its own: in this one runs Playwright's loop, and sockets could not be told."""

        def called() -> Any:
            try:
                return verb(*args, **kwargs)
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(called).result()

    def approve(self, action: Action, who: str, comment: str = "") -> None:
        assert action.plan is not None
        self.do(approve, self.cast.access(who), action.pk, True, action.plan.digest, comment)

    def propose(self, environment: str = "prod", who: str = "operator", **more: Any) -> Action:
        """Submit through the one way in; the worker process carries it."""
        change = {"path": "notes.txt", "operation": "create", "content": "hello\n"}
        fields = {"type": "modify_files", "reason": "a test", "parameters": {"changes": [change]}, **more}
        action, _ = submit(
            self.cast.access(who), Submission(environment=environment, **fields), correlation_id="c0ffee"
        )
        return action

    def reached(self, action: Action, *states: str, seconds: float = 30) -> Action:
        """Wait until the worker has brought an action to one of these states."""
        wait_for(lambda: Action.objects.get(pk=action.pk).state in states, seconds, f"{action.title}: {states}")
        return find_action(self.cast.access("operator"), action.pk)

    def picture(self, tab: Page, name: str, **more: Any) -> None:
        if SHOTS:
            tab.screenshot(path=Path(SHOTS) / f"{name}.png", **more)


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """One browser per test: Playwright's loop counts as running in this thread, which other tests must not meet."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def fonts() -> None:
    """A fresh clone has none: `make run` builds them, and so do these tests."""
    call_command("build_assets", verbosity=0)


@pytest.fixture
def web(fonts: None, product_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], str]]:
    """`web()` starts the server (again) on one port, and returns its address."""
    port = free_port()
    environment = {**product_environment, "INTERLOCK_STATIC": "source", "INTERLOCK_SWEEP_S": "0.5"}
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "config.asgi:application"]
    running: list[Group] = []

    def start() -> str:
        running.append(Group(command, environment, tmp_path / "web.log"))
        wait_for(lambda: answers(port), 40, "the server's first answer", tmp_path / "web.log")
        return f"http://127.0.0.1:{port}"

    def stop() -> None:
        while running:
            running.pop().kill()

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    stop()


@pytest.fixture
def worker_app() -> str:
    """The Celery application of the worker; a module that needs another executor brings its own."""
    return "config.celery"


@pytest.fixture
def site(
    web: Callable[[], str],
    product_environment: dict[str, str],
    chromium: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    worker_app: str,
) -> Iterator[Site]:
    """The product with a worker, the cast and the matrix."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright's loop runs in this thread; nothing here awaits
    cast = make_cast(write_matrix)
    with worker(product_environment, tmp_path / "worker.log", worker_app):
        made = Site(web(), cast, chromium, PLACES)
        yield made
        for context in chromium.contexts:
            context.close()
    connection.close()  # the one opened under Playwright's loop: outside of it nobody would find it again
    unexpected = [
        c for c in made.complaints if not re.search(r"status of (4\d\d|503)|WebSocket connection|ERR_CONNECTION", c)
    ]
    assert not unexpected, f"the console complained: {unexpected}"
