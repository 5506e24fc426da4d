"""GET /api/actions/{id}/plan, its forms, /changes and /log"""

import hashlib
import json

import pytest
import yaml

from actions.models import Action

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def planned(program, place, carry):
    changes = [{"path": f"f{n}.txt", "operation": "create", "content": f"line {n}\n"} for n in range(5)]
    action = program("operator").propose("prod", parameters={"changes": changes})
    carry()
    return f"/api/actions/{action['id']}"


def test_the_machine_plan_is_the_stored_artifact(program, planned):
    client = program("approver").client
    got = client.get(f"{planned}/plan")
    plan = Action.objects.get().plan
    assert got["Content-Type"] == "application/json" and got["X-Plan-Digest"] == plan.digest
    assert hashlib.sha256(got.content).hexdigest() == plan.document
    assert got.json()["digest"] == plan.digest and len(got.json()["steps"]) == 5
    assert client.get(f"{planned}/plan.json").content == got.content


@pytest.mark.parametrize(
    ("suffix", "accept", "media"),
    [
        ("", "text/markdown", "text/markdown; charset=utf-8"),
        (".md", "*/*", "text/markdown; charset=utf-8"),
        ("", "application/yaml, */*;q=0.1", "application/yaml"),
        (".yaml", "*/*", "application/yaml"),
        ("", "text/html,*/*;q=0.8", "application/json"),
        ("", "image/png", "application/json"),
    ],
)
def test_people_get_the_plan_as_they_ask_for_it(program, planned, suffix, accept, media):
    got = program("approver").client.get(f"{planned}/plan{suffix}", headers={"Accept": accept})
    assert (got.status_code, got["Content-Type"]) == (200, media)
    digest = Action.objects.get().plan.digest
    assert digest in got.content.decode()
    if "markdown" in media:
        assert "+line 3" in got.content.decode()
    if "yaml" in media:
        assert len(yaml.safe_load(got.content)["changes"]) == 5


def test_changes_come_page_by_page(program, planned):
    reader, seen, after = program("approver"), [], 0
    while after is not None:
        status, page = reader.get(f"{planned}/changes", after=after, limit=2)
        assert status == 200 and len(page["items"]) <= 2
        seen += [change["target"] for change in page["items"]]
        after = page["next"]
    assert len(seen) == len(set(seen)) == 5
    assert page["digest"] == Action.objects.get().plan.digest


def test_before_preflight_there_is_no_plan_and_that_is_said(program, place):
    action = program("operator").propose("prod")
    for part in ("plan", "plan.md", "changes"):
        status, problem = program("operator").get(f"/api/actions/{action['id']}/{part}")
        assert (status, problem["code"]) == (409, "no_plan") and "wait_s" in problem["remedies"][0]
    assert program("operator").get(f"/api/actions/{action['id']}/log")[1] == {"items": [], "next": None, "cursor": "0"}


def test_a_version_that_never_was_is_404(program, planned):
    assert program("approver").get(f"{planned}/plan", version=1)[0] == 200
    assert program("approver").get(f"{planned}/plan", version=7)[0] == 404


def test_what_the_steps_wrote_can_be_read_and_narrowed(program, place, carry):
    operator = program("operator")
    changes = [{"path": f"f{n}.txt", "operation": "create", "content": "x\n"} for n in range(3)]
    action = operator.propose(parameters={"changes": changes}, accept=True)
    carry()
    here = f"/api/actions/{action['id']}"
    first = operator.get(f"{here}/log", limit=1)[1]
    everything = operator.get(f"{here}/log")[1]["items"]
    assert json.dumps(everything).count('"step"') == len(everything)
    if everything:
        assert first["items"] == everything[:1]
        rest = operator.get(f"{here}/log", after=first["next"])[1]["items"]
        assert rest == everything[1:]
        step = everything[0]["step"]
        assert {it["step"] for it in operator.get(f"{here}/log", step=step)[1]["items"]} == {step}


def test_a_title_hides_nothing_and_is_no_link_in_the_summaries(program, carry):
    operator = program("operator")
    title = "\u202etxt.exe <b> [here](javascript:alert(1))"
    change = {"path": "a.txt", "operation": "create", "content": "x\n"}
    action = operator.propose("prod", title=title, parameters={"changes": [change]})
    carry()
    for suffix in ("md", "yaml"):
        text = operator.client.get(f"/api/actions/{action['id']}/plan.{suffix}").content.decode()
        assert "\u202e" not in text and "U+202Etxt.exe" in text
    assert "&lt;b> \\[here]" in operator.client.get(f"/api/actions/{action['id']}/plan.md").content.decode()
