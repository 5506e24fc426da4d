"""New action: a form drawn from the type's schema, a dry run that stores nothing, and every issue beside its field."""

from pathlib import Path
from typing import Any

import pytest

from actions.models import Action, Plan
from actions.types.registry import executors
from audit.models import Event
from tests.cast import Cast
from tests.pages.conftest import Propose
from tests.types.deployed import Shop

URL = "/actions/new/"
FORM = {
    "type": "modify_files",
    "type_was": "modify_files",
    "environment": "dev",
    "reason": "a test",
    "key": "k1",
    "parameters.changes.0.path": "notes.txt",
    "parameters.changes.0.operation": "create",
    "parameters.changes.0.content": "hello\r\nworld\r\n",
}


def send(client: Any, do: str, **changed: str) -> Any:
    return client.post(URL, {**FORM, "do": do, **changed})


@pytest.mark.parametrize("name", sorted(executors()))
def test_every_type_has_a_form(place: Cast, name: str) -> None:
    html = place.client("operator").get(f"{URL}?type={name}").content.decode()
    assert f'<option value="{name}" selected>' in html
    for key in executors()[name].schema.get("properties", {}):
        assert f"parameters.{key}" in html


def test_proposing_stores_what_was_typed(place: Cast) -> None:
    answer = send(place.client("operator"), "submit", title="Greet", ticket="OPS-7")
    action = Action.objects.get()
    assert answer["Location"] == f"/actions/{action.pk}/"
    change = {"path": "notes.txt", "operation": "create", "content": "hello\nworld\n"}
    assert action.parameters == {"changes": [change]}
    assert (action.title, action.ticket, action.state) == ("Greet", "OPS-7", "queued")


def test_sending_the_same_form_twice_makes_one_action(place: Cast) -> None:
    client = place.client("operator")
    assert send(client, "submit")["Location"] == send(client, "submit")["Location"]
    send(client, "submit", title="Edited after going back")
    assert Action.objects.count() == 2


def test_a_dry_run_shows_the_diff_and_stores_nothing(place: Cast) -> None:
    html = send(place.client("operator"), "preview").content.decode()
    assert "hello" in html and "d-add" in html and "accept the dry-run diff" in html
    assert not Action.objects.exists() and not Plan.objects.exists()
    assert not Event.objects.filter(subject_kind="action").exists()


def test_all_issues_come_at_once_and_beside_their_fields(place: Cast) -> None:
    answer = send(place.client("operator"), "submit", reason="", **{"parameters.changes.0.operation": ""})
    assert answer.status_code == 422 and not Action.objects.exists()
    html = answer.content.decode()
    assert 'id="f-reason-e"' in html and "Give a reason" in html
    assert 'id="f-parameters-changes-0-operation-e"' in html
    traversal = send(place.client("operator"), "preview", **{"parameters.changes.0.path": "../x"}).content.decode()
    assert 'id="f-parameters-changes-0-path-e"' in traversal
    assert "hello\nworld" in traversal  # what was typed is still there


def test_rows_are_added_and_removed_without_losing_what_was_typed(place: Cast) -> None:
    client = place.client("operator")
    added = send(client, "add:parameters.changes").content.decode()
    assert 'name="parameters.changes.1.path"' in added and "hello\nworld" in added
    more = {"parameters.changes.1.path": "second.txt", "parameters.changes.1.operation": "delete"}
    removed = send(client, "remove:parameters.changes.0", **more).content.decode()
    assert 'value="second.txt"' in removed and "hello\nworld" not in removed
    assert "parameters.changes.1" not in removed


def test_a_check_is_drawn_by_its_kind(place: Cast) -> None:
    client = place.client("operator")
    tcp = {"checks.0.kind": "tcp", "checks.0.host": "db.internal", "checks.0.port": "5432"}
    html = send(client, "show", **tcp).content.decode()
    assert 'name="checks.0.port"' in html and 'name="checks.0.url"' not in html
    send(client, "submit", **tcp)
    assert Action.objects.get().checks == [{"kind": "tcp", "host": "db.internal", "port": 5432}]


def test_proposing_again_opens_the_form_filled_in(place: Cast, propose: Propose) -> None:
    action = propose("dev", title="The first time", ticket="OPS-9", checks=[{"kind": "file", "path": "notes.txt"}][:0])
    html = place.client("operator").get(f"{URL}?from={action.pk}").content.decode()
    assert 'value="The first time"' in html and 'value="notes.txt"' in html and "hello" in html
    assert place.client("outsider").get(f"{URL}?from={action.pk}").status_code == 404


def test_what_was_typed_comes_back_escaped(place: Cast) -> None:
    html = send(place.client("operator"), "show", reason="</textarea><script>alert(1)</script>").content.decode()
    assert "<script>alert" not in html and "&lt;/textarea&gt;" in html


def test_an_approver_may_not_propose(place: Cast) -> None:
    answer = place.client("approver").get(URL)
    assert answer.status_code == 403 and "Ask a tenant admin" in answer.content.decode()


def test_texts_are_chosen_from_what_is_there(place: Cast) -> None:
    shop = Shop(Path(place.dev.root))
    place.dev.settings |= {"deployments": {"shop": shop.settings}}
    place.dev.save()
    told = {"type": "rerun_deployment_stage", "type_was": "rerun_deployment_stage"}
    client = place.client("operator")
    html = client.get(f"{URL}?type=rerun_deployment_stage&environment=dev").content.decode()
    assert '<option value="shop">shop</option>' in html and 'value="migrate"' not in html
    html = send(client, "show", **told, **{"parameters.deployment": "shop"}).content.decode()
    assert '<option value="migrate">migrate: failed (exit code 3)</option>' in html
    html = send(client, "show", **told, **{"parameters.deployment": "gone"}).content.decode()
    assert '<option value="gone" selected>gone</option>' in html
    (shop.home / "state.json").write_text("not a state")
    html = send(client, "show", **told, **{"parameters.deployment": "shop"}).content.decode()
    assert '<option value="migrate">migrate: not run</option>' in html


def test_how_it_goes_back_and_what_stops_it_can_be_said_in_the_form(place: Cast) -> None:
    said = {"rollback.mode": "best-effort", "watch.every_s": "5", "watch.error_rate": "0.5", "watch.then": "rollback"}
    client = place.client("operator")
    assert send(client, "submit", **said).status_code == 302
    action = Action.objects.get()
    assert action.rollback == {"mode": "best-effort"}
    assert action.watch == {"every_s": 5, "error_rate": 0.5, "then": "rollback"}
    again = client.get(f"{URL}?from={action.pk}").content.decode()
    assert 'name="watch.every_s" value="5"' in again
    html = send(client, "submit", **{"watch.error_rate": "7"}).content.decode()
    assert 'id="f-watch-error_rate-e"' in html and "above 0 and at most 1" in html
