"""A simulation says so wherever it is shown, and offers the real thing instead of an undo."""

from typing import Any

from actions.models import Action
from tests.cast import Cast
from tests.pages.conftest import Propose, a_file


def page(client: Any, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_queue_review_and_run_mark_a_simulation(place: Cast, propose: Propose) -> None:
    action = propose("prod", mode="simulate")
    assert action.state == "completed"
    client, here = place.client("operator"), f"/actions/{action.pk}/"
    for address in ("/?tab=ended", here, f"{here}run/", f"{here}preview/"):
        assert "flag--sim" in page(client, address), address
    run = page(client, f"{here}run/")
    assert "nothing was changed" in run and "Would create notes.txt" in run
    assert "Propose to apply" in run and "Propose the undo" not in run
    assert "simulated, nothing is changed" in page(client, f"{here}explain/")


def test_it_is_run_for_real_from_its_page(place: Cast, propose: Propose) -> None:
    action = propose("prod", mode="simulate")
    place.client("operator").post(f"/actions/{action.pk}/retry/", {"reason": "it looked right", "mode": "apply"})
    made = Action.objects.get(retry_of=action)
    assert not made.simulated and made.parameters == action.parameters
    edited = page(place.client("operator"), f"/actions/new/?from={action.pk}")
    assert 'value="simulate" checked' in edited


def test_the_form_proposes_a_simulation(place: Cast) -> None:
    change = a_file()["changes"][0]
    fields = {f"parameters.changes.0.{name}": value for name, value in change.items()}
    sent = {"type": "modify_files", "type_was": "modify_files", "environment": "prod", "reason": "to see", **fields}
    client = place.client("operator")
    shown = client.post("/actions/new/", {**sent, "do": "preview", "mode": "simulate"}).content.decode()
    assert "no approval is needed" in shown and 'value="simulate" checked' in shown
    client.post("/actions/new/", {**sent, "do": "submit", "mode": "simulate", "key": "k"})
    assert Action.objects.get().simulated
