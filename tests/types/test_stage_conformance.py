"""`rerun_deployment_stage` keeps the rules that bind every executor, with real commands."""

from pathlib import Path
from typing import Any

from actions.types.conformance import ExecutorCase, ExecutorConformance
from tests.types.deployed import SECRET, Shop

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"deployment": "shop"}, ""),
    ({"deployment": "nope", "stage": "build"}, "deployment"),
    ({"deployment": "shop", "stage": "nope"}, "stage"),
    ({"deployment": "shop", "stage": "../build"}, "stage"),
    ({"deployment": "shop", "stage": "build"}, "stage"),
    ({"deployment": "shop", "stage": "publish"}, "stage"),
    ({"deployment": "shop", "stage": "migrate", "force": "yes"}, "force"),
]


class TestAFailedStageAndTheOneAfterIt(ExecutorConformance):
    def make(self, root: Path) -> ExecutorCase:
        shop = Shop(root)
        case = shop.case(and_following=True)

        def tamper() -> None:
            state = shop.state()["stages"]
            shop.write(**{**state, "migrate": {"result": "succeeded", "key": "somebody else's"}})

        case.tamper, case.bad, case.secret = tamper, BAD, SECRET
        case.effects = lambda: len(shop.effects())
        return case
