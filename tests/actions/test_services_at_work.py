"""Services and deployments carried by the engine: what is not well gives way, and what died is taken up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.commands import review, rollback
from actions.models import Action, JournalEntry
from actions.types.redeploy_service import RedeployService
from tests.actions.factory import propose, root_of
from tests.actions.running import carry, verbs_of
from tests.cast import Cast
from tests.run.test_rollback import facts_of
from tests.types.deployed import Shop, script
from tests.types.supervised import SECRET, Web, ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web(committed_cast: Cast) -> Iterator[Web]:
    with ended(Web(root_of(committed_cast.dev))) as made:
        made.lay("r1")
        made.settings["health_deadline_s"] = 3
        committed_cast.dev.settings |= {"services": {"web": made.settings}}
        committed_cast.dev.save()
        yield made


def redeploy(cast: Cast, **parameters: str) -> Action:
    action = propose(cast, type="redeploy_service", parameters={"service": "web", **parameters}, accept=True)
    return carry(action)


def test_a_service_is_deployed_redeployed_and_undone(committed_cast: Cast, web: Web) -> None:
    first = redeploy(committed_cast, release="r1")
    assert (first.state, web.running()) == ("completed", ["r1"])
    web.lay("artifacts/web-2")
    second = redeploy(committed_cast, artifact="web-2")
    assert second.state == "completed" and web.running() != ["r1"]
    assert (second.security_level, second.risk_class) == ("high", "guarded")
    undo, _ = rollback.rollback(committed_cast.access("operator"), second.pk, "the old one was better")
    undo = carry(undo)
    if undo.state == "awaiting_approval":
        assert undo.plan is not None
        review.accept(committed_cast.access("operator"), undo.pk, undo.plan.digest)
        undo = carry(undo)
    assert (undo.state, web.running(), web.current()) == ("completed", ["r1"], "releases/r1")
    assert len(web.starts()) == 3


def test_a_release_that_is_not_well_is_rolled_back_to_the_one_before(committed_cast: Cast, web: Web) -> None:
    redeploy(committed_cast, release="r1")
    web.lay("r2", status=500)
    action = redeploy(committed_cast, release="r2")
    assert action.error is not None
    assert (action.state, action.error["code"]) == ("rolled_back", "unhealthy")
    assert (web.running(), web.current()) == (["r1"], "releases/r1")
    assert verbs_of(action).count("step.undone") == 2
    told = list(JournalEntry.objects.filter(action=action).values_list("log", flat=True))
    assert SECRET not in "".join(told)


def test_a_run_that_died_between_switch_and_restart_is_taken_up(
    committed_cast: Cast, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    redeploy(committed_cast, release="r1")
    web.lay("r2")
    applied = RedeployService.apply

    def die(self: RedeployService, ctx):  # type: ignore[no-untyped-def]
        outcome = applied(self, ctx)
        if ctx.step["spec"]["op"] == "switch":
            raise KeyboardInterrupt  # as a worker that is killed: the effect is there, its receipt is not
        return outcome

    with monkeypatch.context() as dying:
        dying.setattr(RedeployService, "apply", die)
        with pytest.raises(KeyboardInterrupt):
            redeploy(committed_cast, release="r2")
    assert (web.current(), web.running()) == ("releases/r2", ["r1"])
    action = carry(Action.objects.get(state="in_progress"))
    assert (action.state, web.running()) == ("completed", ["r2"])
    assert web.starts() == ["r1", "r2"], "nothing was started twice"


def test_a_failed_deployment_is_taken_further_stage_by_stage(committed_cast: Cast) -> None:
    shop = Shop(Path(root_of(committed_cast.dev)))
    shop.stages[2]["command"] = script("import os\nif not os.path.exists('r'): open('r', 'w'); raise SystemExit(4)")
    committed_cast.dev.settings |= {"deployments": {"shop": shop.settings}}
    committed_cast.dev.save()

    def rerun(stage: str, **more: bool) -> Action:
        parameters = {"deployment": "shop", "stage": stage, **more}
        return carry(propose(committed_cast, type="rerun_deployment_stage", parameters=parameters, accept=True))

    both = rerun("migrate", and_following=True)
    assert both.error is not None
    assert (both.state, both.error["code"]) == ("rolled_back", "stage_failed")
    assert (shop.result("migrate"), shop.result("publish")) == ("failed", "failed")
    assert shop.effects() == ["migrate", "undo-migrate"]
    assert rerun("migrate").state == "completed" and rerun("publish").state == "completed"
    assert [shop.result(s) for s in ("build", "migrate", "publish")] == ["succeeded"] * 3


def test_a_stage_that_a_later_undo_spoils_is_not_rolled_back(committed_cast: Cast) -> None:
    """Each undo looked well when it was made; the read at the end finds the one that is not as before."""
    shop = Shop(Path(root_of(committed_cast.dev)))
    spoil = "import json; s = json.load(open('state.json')); s['stages']['publish'] = {'result': 'failed'}"
    shop.stages[1]["undo"] = script(f"{spoil}; json.dump(s, open('state.json', 'w'))")
    shop.stages.append({"name": "announce", "command": script("raise SystemExit(4)")})
    committed_cast.dev.settings |= {"deployments": {"shop": shop.settings}}
    committed_cast.dev.save()
    parameters = {"deployment": "shop", "stage": "migrate", "and_following": True}
    action = carry(propose(committed_cast, type="rerun_deployment_stage", parameters=parameters, accept=True))
    assert verbs_of(action).count("step.undone") == 2
    assert (action.state, action.held_reason) == ("held", "rollback_failed")
    assert facts_of(action, "action.hold")["step"] == "002:run:publish"
