"""What the demo declares in staging can be planned as it is."""

from pathlib import Path

from actions.demo.world import service_settings, write_services
from actions.types.conformance import target
from actions.types.redeploy_service import RedeployService
from actions.types.rerun_deployment_stage import RerunDeploymentStage


def test_the_demos_service_and_deployment_can_be_planned(tmp_path: Path) -> None:
    write_services(tmp_path)
    write_services(tmp_path)
    place = target(tmp_path, allow_private_targets=True, **service_settings())
    first = RedeployService().plan({"service": "greeter", "release": "1.1"}, place)
    assert first.summary == "Redeploy greeter in dev: nothing → 1.1"
    assert (
        RedeployService().plan({"service": "greeter", "artifact": "greeter/1.2"}, place).steps[0]["spec"]["op"]
        == "copy"
    )
    again = RerunDeploymentStage().plan({"deployment": "shop", "stage": "migrate", "and_following": True}, place)
    assert [step["compensation"]["kind"] for step in again.steps] == ["reversible", "irreversible"]
