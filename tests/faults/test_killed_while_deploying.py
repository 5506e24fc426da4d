"""A worker is killed in a redeployment and in a stage: what it runs stays up, and nothing is done twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.models import Action
from tests.actions.factory import propose, root_of
from tests.cast import Cast
from tests.support.processes import wait_for, worker
from tests.types.deployed import Shop, script
from tests.types.supervised import Web, ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web(committed_cast: Cast) -> Iterator[Web]:
    with ended(Web(root_of(committed_cast.dev), healthy_after=15, health_interval_s=0.2)) as made:
        made.lay("r1")
        made.lay("r2")
        committed_cast.dev.settings |= {"services": {"web": made.settings}}
        committed_cast.dev.save()
        yield made


def state_of(action: Action) -> str:
    return str(Action.objects.values_list("state", flat=True).get(pk=action.pk))


@pytest.mark.slow
def test_a_worker_killed_at_the_health_gate_leaves_the_service_up_and_its_heir_starts_nothing(
    committed_cast: Cast, product_environment: dict[str, str], redis_client: object, tmp_path: Path, web: Web
) -> None:
    web.deploy("r1")
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with worker(product_environment, first) as doomed:
        parameters = {"service": "web", "release": "r2"}
        action = propose(committed_cast, type="redeploy_service", parameters=parameters, accept=True)
        wait_for(lambda: web.starts() == ["r1", "r2"], 60, "the new release to start", first)
        doomed.kill()
    assert web.running() == ["r2"] and len(web.supervisors()) == 1
    assert state_of(action) == "in_progress"
    with worker(product_environment, second):
        wait_for(lambda: state_of(action) == "completed", 60, "the heir to complete it", second)
    assert web.starts() == ["r1", "r2"] and web.running() == ["r2"]


def test_a_worker_killed_in_a_stage_leaves_the_command_running_and_its_heir_attends_it(
    committed_cast: Cast, product_environment: dict[str, str], redis_client: object, tmp_path: Path
) -> None:
    shop = Shop(root_of(committed_cast.dev))
    text = "import time\nopen('effects', 'a').write('begun\\n')\ntime.sleep(4)\nopen('effects', 'a').write('ended\\n')"
    shop.stages[1]["command"] = script(text)
    committed_cast.dev.settings |= {"deployments": {"shop": shop.settings}}
    committed_cast.dev.save()
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with worker(product_environment, first) as doomed:
        parameters = {"deployment": "shop", "stage": "migrate"}
        action = propose(committed_cast, type="rerun_deployment_stage", parameters=parameters, accept=True)
        wait_for(lambda: shop.effects() == ["begun"], 60, "the command to begin", first)
        doomed.kill()
    with worker(product_environment, second):
        wait_for(lambda: state_of(action) == "completed", 60, "the heir to complete it", second)
    assert shop.effects() == ["begun", "ended"] and shop.result("migrate") == "succeeded"
