"""What the contract promises and later work builds: says so, and is not in the OpenAPI document."""

from typing import NoReturn

from django.http import HttpRequest
from ninja import Router

from audit.errors import NotBuilt

router = Router()


@router.post("/actions/{action_id}/break-glass", include_in_schema=False)
def break_glass(request: HttpRequest, action_id: str) -> NoReturn:
    raise NotBuilt(
        "Break-glass is not built yet.", remedies=["Ask the approvers; the action lists the open required approvals."]
    )


@router.post("/chat", include_in_schema=False)
def chat(request: HttpRequest) -> NoReturn:
    raise NotBuilt("Chat is not built yet.", remedies=["Propose an action: POST /api/actions."])


@router.post("/models/switch", include_in_schema=False)
def switch_model(request: HttpRequest) -> NoReturn:
    raise NotBuilt("Switching models is not built yet.")


@router.post("/workflows", include_in_schema=False)
def propose_workflow(request: HttpRequest) -> NoReturn:
    raise NotBuilt("Workflows are not built yet.", remedies=["Propose the actions one by one: POST /api/actions."])


@router.get("/workflows/{workflow_id}", include_in_schema=False)
def workflow(request: HttpRequest, workflow_id: str) -> NoReturn:
    raise NotBuilt("Workflows are not built yet.")
