import pytest

from audit.database.clock import uuid7
from tenants.authentication.tokens import authenticate
from tenants.models import ApiToken, Principal

pytestmark = pytest.mark.django_db
URL = "/api/tokens"


def make(client, **fields):
    body = {"name": "ci", "scopes": ["view", "propose"], "expires_in_days": 7, **fields}
    return client.post(URL, body, content_type="application/json")


def test_a_person_makes_a_token_sees_it_listed_and_never_sees_it_again(cast):
    client = cast.client("operator")
    made = make(client)
    assert made.status_code == 201
    assert authenticate(made.json()["token"]).principal == cast.operator
    items = client.get(URL).json()["items"]
    assert [item["name"] for item in items] == ["ci"]
    assert made.json()["token"] not in client.get(URL).content.decode()


def test_an_owner_manages_the_tokens_of_their_agents(cast):
    client = cast.client("operator")
    made = make(client, principal="agent").json()
    assert authenticate(made["token"]).principal == cast.agent
    assert [item["principal"] for item in client.get(URL).json()["items"]] == ["agent"]
    assert client.delete(f"{URL}/{made['id']}").status_code == 204
    assert authenticate(made["token"]) is None


def test_somebody_elses_agent_is_as_good_as_unknown(cast):
    Principal.objects.create_agent("globex-agent", cast.outsider)
    bodies = [make(cast.client("operator"), principal=name) for name in ("globex-agent", "nobody", "approver")]
    assert {body.status_code for body in bodies} == {422}
    assert len({body.json()["detail"] for body in bodies}) == 1
    assert not ApiToken.objects.exists()


def test_a_token_makes_no_tokens(cast):
    for name in ("operator", "agent"):
        response = make(cast.api(name))
        assert response.status_code == 403
        assert response.json()["code"] == "not_your_token"


def test_a_token_can_end_itself_and_no_other(cast):
    api, other = cast.api("operator"), authenticate(cast.token("operator"))
    assert api.delete(f"{URL}/{other.pk}").status_code == 403
    mine = ApiToken.objects.exclude(pk=other.pk).get()
    assert api.delete(f"{URL}/{mine.pk}").status_code == 204
    assert api.get(URL).status_code == 401


def test_a_foreign_token_and_an_unknown_one_answer_alike(cast):
    foreign = authenticate(cast.token("outsider"))
    mates = authenticate(cast.token("approver"))
    client = cast.client("operator")
    answers = [client.delete(f"{URL}/{pk}") for pk in (foreign.pk, mates.pk, uuid7(), "nonsense")]
    assert {a.status_code for a in answers} == {404}
    assert len({a.json()["detail"] for a in answers}) == 1
    assert ApiToken.objects.filter(revoked_at=None).count() == 2


def test_all_issues_come_at_once(cast):
    answer = make(cast.client("operator"), name="", scopes=["fly"])
    assert answer.status_code == 422
    assert [issue["field"] for issue in answer.json()["issues"]] == ["name", "scopes"]
    assert make(cast.client("operator"), expires_in_days=4000).status_code == 422
