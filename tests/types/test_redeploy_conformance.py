"""`redeploy_service` keeps the rules that bind every executor, with a real service under a real supervisor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.types.conformance import ExecutorCase, ExecutorConformance
from tests.types.supervised import SECRET, Web, ended

BAD: list[tuple[dict[str, str], str]] = [
    ({}, ""),
    ({"service": "web"}, ""),
    ({"service": "web", "release": "r1", "artifact": "web-2"}, ""),
    ({"service": "nope", "release": "r1"}, "service"),
    ({"service": "web", "release": "../r1"}, "release"),
    ({"service": "web", "release": "r1; rm -rf /"}, "release"),
    ({"service": "web", "release": "r99"}, "release"),
    ({"service": "web", "artifact": "../services"}, "artifact"),
    ({"service": "web", "artifact": "/etc"}, "artifact"),
    ({"service": "web", "artifact": "nope"}, "artifact"),
]


class WithWeb(ExecutorConformance):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Iterator[ExecutorCase]:
        root = tmp_path / "root"
        root.mkdir()
        with ended(Web(root)) as web:
            yield self.make_with(web)

    def make_with(self, web: Web) -> ExecutorCase:
        raise NotImplementedError


class TestFromAnArtifactOverARunningRelease(WithWeb):
    def make_with(self, web: Web) -> ExecutorCase:
        web.lay("r1")
        web.lay("artifacts/web-2")
        web.deploy("r1")
        case = web.case(artifact="web-2")
        (copied,) = [step["spec"]["release"] for step in case.plan().steps if step["spec"]["op"] == "copy"]

        def tamper() -> None:
            made = web.home / "releases" / copied
            made.mkdir(exist_ok=True)
            (made / "server.py").write_text("somebody else was here\n")

        case.tamper, case.bad, case.secret = tamper, BAD, SECRET
        case.effects = lambda: len(web.starts())
        return case


class TestTheFirstReleaseOfAService(WithWeb):
    def make_with(self, web: Web) -> ExecutorCase:
        web.lay("r1")
        web.lay("r0")
        case = web.case(release="r1")

        def tamper() -> None:
            (web.home / "current").unlink(missing_ok=True)
            (web.home / "current").symlink_to("releases/r0")

        case.tamper, case.bad, case.secret = tamper, BAD, SECRET
        case.effects = lambda: len(web.starts())
        return case
