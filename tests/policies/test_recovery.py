"""The offline way out: it works, it leaves an event with the reason, and it changes nothing else."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from approvals.policies.active_policies import epoch_of
from approvals.policies.matrix import matrix_for, set_row
from approvals.policies.publish import published_version
from audit.models import Event, PrivateValue
from tests.policies.factory import SETUP, TWO, drafted, published


def recover(*arguments: str) -> str:
    out = StringIO()
    call_command("recover_policy", "--tenant", "acme", "--reason", "locked out", *arguments, stdout=out)
    return out.getvalue()


def test_a_policy_is_retired_with_the_reason(cast):
    version, other = published(cast.acme), published(cast.acme, "other")
    before = epoch_of(cast.acme.pk)
    assert "no-deletes v1 is retired" in recover("--policy", "no-deletes")
    assert (published_version(version.policy_id), published_version(other.policy_id)) == (None, 1)
    event = Event.objects.filter(verb="policy.retired").get()
    assert (event.actor, json.loads(bytes(event.body))["facts"]["recovered"]) == ("system:recover", True)
    assert bytes(PrivateValue.objects.get(name="reason").value) == b"locked out"
    assert epoch_of(cast.acme.pk) == before + 1
    assert "nothing changed" in recover("--policy", "no-deletes")
    assert Event.objects.filter(verb="policy.retired").count() == 1


def test_a_global_policy_is_named_as_such(cast):
    version = published(cast.acme, "everywhere", everywhere=True)
    with pytest.raises(CommandError, match="add --everywhere"):
        recover("--policy", "everywhere")
    assert published_version(version.policy_id) == 1
    recover("--policy", "everywhere", "--everywhere")
    assert published_version(version.policy_id) is None


def test_one_row_of_the_matrix_is_written(cast):
    set_row(cast.prod, "low", TWO, by=SETUP)
    recover("--matrix", "prod", "critical", json.dumps(TWO))
    assert matrix_for([cast.acme.pk]) == {cast.prod.pk: {"low": TWO, "critical": TWO}}
    verbs = list(Event.objects.filter(actor="system:recover").order_by("id").values_list("verb", flat=True))
    assert verbs == ["matrix.row_added", "matrix.recovered"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--policy", "unknown"), "has no policy"),
        (("--matrix", "moon", "low", "[]"), "no environment"),
        (("--matrix", "prod", "huge", "[]"), "not a tier"),
        (("--matrix", "prod", "low", "nonsense"), "not JSON"),
        (("--matrix", "prod", "low", '[{"role": "auditor", "count": 1}]'), "may not approve"),
        (("--policy", "no-deletes", "--tenant", "moon"), "no tenant"),
        (("--policy", "no-deletes", "--reason", " "), "Give a reason"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(cast, arguments, says):
    drafted(cast.acme)
    before = Event.objects.count()
    with pytest.raises(CommandError, match=says):
        recover(*arguments)
    assert Event.objects.count() == before


def test_a_reason_is_asked(cast):
    with pytest.raises(CommandError, match="--reason"):
        call_command("recover_policy", "--tenant", "acme", "--policy", "x")
