"""The evidence pack of an action: for everybody who may view it. The audit log's own route needs `audit`."""

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Router

from actions.api.caller import access_of
from actions.lifecycle import subject_of
from actions.verbs import find
from audit.evidence.pack import plan_pack
from audit.evidence.response import pack_response

router = Router(tags=["evidence"])
ZIP = {"responses": {200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}}}


@router.get("/actions/{action_id}/evidence", summary="The evidence pack", openapi_extra=ZIP)
def evidence(request: HttpRequest, action_id: str) -> StreamingHttpResponse:
    """Every event of the action and what they name, in one file that `python -m audit.verify` checks offline."""
    action = find(access_of(request), action_id)
    pack = plan_pack(action.tenant_id, subject_of(action))
    return pack_response(request, pack, f"evidence-action-{action.pk}")
