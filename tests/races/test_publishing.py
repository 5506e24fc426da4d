"""Two versions published at once: one is in force, the other is told, and no change is lost."""

import threading

import pytest
from django.db import connections

from approvals.errors import RulesChanged
from approvals.models import PolicyVersion
from approvals.policies.active_policies import epoch_of
from approvals.policies.publish import publish, published_version
from audit.models import Event
from tests.policies.factory import SETUP, drafted, published

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]
MANY = 8


def test_of_many_publications_at_once_exactly_one_holds(cast):
    first = published(cast.acme)
    drafts = [drafted(cast.acme, effect="warn") for _ in range(MANY)]
    before, outcomes, gate = epoch_of(cast.acme.pk), [], threading.Barrier(MANY)

    def go(version: PolicyVersion) -> None:
        try:
            gate.wait(10)
            outcomes.append(publish(version.pk, None, SETUP, expected=1))
        except RulesChanged:
            outcomes.append("moved")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=go, args=(version,)) for version in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, outcomes)) == ["True", *["moved"] * (MANY - 1)]
    assert PolicyVersion.objects.filter(state="published").count() == 1
    assert published_version(first.policy_id) in [version.version for version in drafts]
    assert epoch_of(cast.acme.pk) == before + 1
    assert Event.objects.filter(verb="policy.published").count() == 2
