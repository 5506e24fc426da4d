"""From a draft to the action that would put it in force, in the browser."""

from actions.models import Action
from approvals.policies.drafts import draft_matrix
from tests.policies.factory import SETUP, TWO, backtested, drafted, published


def test_who_administers_proposes_a_draft(cast):
    version, client = backtested(drafted(cast.acme)), cast.client("admin")
    address = f"/policies/policy/{version.pk}/propose/"
    page = client.get(address).content.decode()
    assert "Publish no-deletes v1" in page and "prod" in page
    sent = client.post(address, {"environment": "prod", "reason": "It happened twice."})
    action = Action.objects.get()
    assert (sent.status_code, sent["Location"]) == (302, f"/actions/{action.pk}/")
    assert (action.type, action.state, action.title) == ("config_change", "queued", "Publish no-deletes v1")
    assert action.parameters == {"kind": "policy", "draft": str(version.pk)}


def test_a_matrix_lands_in_its_own_environment(cast):
    draft = backtested(draft_matrix(cast.prod, {"critical": TWO}, by=SETUP))
    client, address = cast.client("admin"), f"/policies/matrix/{draft.pk}/propose/"
    assert client.post(address, {"environment": "dev", "reason": "why"}).status_code == 422
    client.post(address, {"environment": "prod", "reason": "why"})
    assert Action.objects.get().environment == cast.prod


def test_what_cannot_be_is_said_beside_the_form(cast):
    version, client = published(cast.acme), cast.client("admin")
    sent = client.post(f"/policies/policy/{version.pk}/propose/", {"environment": "prod", "reason": "why"})
    assert sent.status_code == 422 and "only a draft or a retired version" in sent.content.decode()
    assert (
        client.post(f"/policies/retire/{version.pk}/propose/", {"environment": "prod", "reason": ""}).status_code == 422
    )
    assert not Action.objects.exists()


def test_who_does_not_administer_proposes_nothing(cast):
    version = drafted(cast.acme)
    sent = cast.client("operator").post(
        f"/policies/policy/{version.pk}/propose/", {"environment": "prod", "reason": "why"}
    )
    assert sent.status_code == 422
    assert not Action.objects.exists()
    assert cast.client("outsider").get(f"/policies/policy/{version.pk}/propose/").status_code == 404
