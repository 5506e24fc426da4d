"""A deployment in the browser: its second stage fails, the cause is put right, and that stage is run again."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from actions.models import Action
from tests.browser.conftest import Site
from tests.support.processes import wait_for
from tests.types.deployed import Shop, script

pytestmark = pytest.mark.browser

FAILS_UNTIL_MENDED = (
    "import os, sys; open('effects', 'a').write('migrate\\n'); print('migrating'); sys.exit(not os.path.exists('ok'))"
)


@pytest.fixture
def shop(site: Site) -> Iterator[Shop]:
    """Nothing but `build` has run; `migrate` fails for as long as there is no file `ok`."""
    root = site.root / "acme" / "dev"
    assert site.cast.dev.root == str(root)
    made = Shop(root)
    made.stages[1]["command"] = script(FAILS_UNTIL_MENDED)
    del made.stages[1]["undo"]
    made.write(build={"result": "succeeded"}, migrate={"result": "failed", "exit_code": 3})
    site.cast.dev.settings |= {"deployments": {"shop": made.settings}}
    site.cast.dev.save()
    yield made


def test_the_second_stage_of_a_deployment_fails_and_is_retried(site: Site, shop: Shop) -> None:
    tab = site.page("operator")
    tab.goto("/actions/new/?type=rerun_deployment_stage&environment=dev")
    tab.locator("#f-parameters-deployment").select_option("shop")
    expect(tab.get_by_role("option", name="migrate: failed (exit code 3)")).to_be_attached()
    tab.locator("#f-parameters-stage").select_option("migrate")
    tab.locator("#f-parameters-and_following").select_option("true")
    tab.locator("#f-reason").fill("The schema of 2.4 is missing")
    site.picture(tab, "deployment-form", full_page=True)
    _propose(tab)
    first = _accepted(site, tab)
    assert site.reached(first, "failed", "rolled_back").state in ("failed", "rolled_back")
    assert (shop.result("migrate"), shop.result("publish")) == ("failed", "not run")
    tab.goto(f"/actions/{first.pk}/run/")
    expect(tab.get_by_text("exit code 1").first).to_be_visible()
    site.picture(tab, "deployment-failed", full_page=True)

    (shop.home / "ok").touch()  # the cause is gone
    tab.goto(f"/actions/{first.pk}/")
    tab.locator("#verb-retry > summary").click()
    tab.locator("#form-retry button").click()
    again = _accepted(site, tab, but=first)
    assert again.retry_of_id == first.pk
    assert site.reached(again, "completed").state == "completed"
    assert (shop.result("migrate"), shop.result("publish")) == ("succeeded", "succeeded")
    assert shop.effects() == ["migrate", "migrate", "publish"]
    tab.goto(f"/actions/{again.pk}/run/")
    expect(tab.get_by_text("Completed").first).to_be_visible()
    site.picture(tab, "deployment-retried", full_page=True)


def _propose(tab: Page) -> None:
    tab.locator("button[name=do][value=submit]").first.click()
    expect(tab).to_have_url(re.compile(r"/actions/[0-9a-f-]{36}/$"))


def _accepted(site: Site, tab: Page, but: Action | None = None) -> Action:
    """The newest action, once it is planned; its diff is accepted where it waits for that."""
    ours = Action.objects.exclude(pk=but.pk if but else None)
    wait_for(lambda: ours.exists(), 10, "the action that was proposed")
    action = site.reached(ours.get(), "awaiting_approval", "failed", "denied")
    assert action.state == "awaiting_approval", action.error
    tab.goto(f"/actions/{action.pk}/")
    tab.get_by_role("button", name="Accept the diff and run").click()
    return action
