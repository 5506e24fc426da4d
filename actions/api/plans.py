"""An action's plan for machines and for people, its changes page by page, and the logs of its steps."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from actions.api.caller import access_of
from actions.api.run_schemas import LogPage
from actions.api.schemas import ChangePage
from actions.models import Action, Plan
from actions.preflight.summary import as_markdown, as_yaml
from actions.reading import note_reading
from actions.transcripts import Cursor, part_of
from actions.verbs import find
from audit.changes.document import Change, parse_changes, text_diff
from audit.errors import Conflict, NotFound, Unavailable
from audit.log.artifacts import ArtifactMissing, read_artifact

router = Router(tags=["plan"])
FORMATS = {"json": "application/json", "md": "text/markdown; charset=utf-8", "yaml": "application/yaml"}
ACCEPTED = {"text/markdown": "md", "application/yaml": "yaml", "text/yaml": "yaml", "application/x-yaml": "yaml"}
LOGS = 20
PLAN_CONTENT = {
    "json": {"schema": {"type": "object"}},
    "md": {"schema": {"type": "string"}},
    "yaml": {"schema": {"type": "object"}},
}


class NoPlan(Conflict):
    """This action has no plan yet."""

    code = "no_plan"


def _content(*names: str) -> dict[str, Any]:
    """What OpenAPI says about an answer that is not an object of ours."""
    content = {FORMATS[name].split(";")[0]: PLAN_CONTENT[name] for name in names}
    return {"responses": {200: {"description": "The plan", "content": content}}}


@router.get("/actions/{action_id}/plan", summary="The plan", openapi_extra=_content("json", "md", "yaml"))
def plan(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The machine plan; as Markdown or YAML with diffs for people, where `Accept` asks for that."""
    wanted = request.get_preferred_type(["application/json", *ACCEPTED]) or ""
    return plan_as(request, action_id, ACCEPTED.get(wanted, "json"), version)


@router.get("/actions/{action_id}/plan.json", summary="The plan for machines", openapi_extra=_content("json"))
def plan_json(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The machine plan: exactly the bytes that the evidence pack holds."""
    return plan_as(request, action_id, "json", version)


@router.get("/actions/{action_id}/plan.md", summary="The plan for people", openapi_extra=_content("md"))
def plan_md(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The human summary in Markdown, with every diff."""
    return plan_as(request, action_id, "md", version)


@router.get("/actions/{action_id}/plan.yaml", summary="The plan for people, as YAML", openapi_extra=_content("yaml"))
def plan_yaml(request: HttpRequest, action_id: str, version: int = Query(0, ge=0, le=32_767)) -> HttpResponse:
    """The human summary in YAML."""
    return plan_as(request, action_id, "yaml", version)


def plan_as(request: HttpRequest, action_id: str, form: str, version: int) -> HttpResponse:
    access = access_of(request)
    action = find(access, action_id)
    found = plan_of(action, version)
    total = found.counts.get("changes", 0)
    if form == "json":
        body: bytes | str = artifact(action, found.document)
        note_reading(access, action, found, total=total)
    else:
        body = {"md": as_markdown, "yaml": as_yaml}[form](action, found, changes_of(action, found))
        note_reading(access, action, found, range(1, total + 1), total)
    response = HttpResponse(body, content_type=FORMATS[form])
    response["X-Plan-Digest"] = found.digest
    response["Vary"] = "Accept, Authorization, Cookie"
    return response


@router.get("/actions/{action_id}/changes", response=ChangePage, summary="What would change")
def changes(
    request: HttpRequest,
    action_id: str,
    after: int = Query(0, ge=0, le=2**31 - 1),
    limit: int = Query(20, ge=1, le=100),
    version: int = Query(0, ge=0, le=32_767),
) -> dict[str, Any]:
    """Before and after, masked, with a unified diff; page by page."""
    access = access_of(request)
    action = find(access, action_id)
    found = plan_of(action, version)
    everything = changes_of(action, found)
    shown = everything[after : after + limit]
    note_reading(access, action, found, range(after + 1, after + 1 + len(shown)), len(everything))
    following = after + limit if after + limit < len(everything) else None
    return {"digest": found.digest, "items": [change_shown(c) for c in shown], "next": following}


@router.get("/actions/{action_id}/log", response=LogPage, summary="What the steps wrote")
def log(
    request: HttpRequest,
    action_id: str,
    step: str = Query("", max_length=200),
    after: str = Query("", max_length=400, description="The `next` or `cursor` of an earlier answer."),
    limit: int = Query(LOGS, ge=1, le=100),
) -> dict[str, Any]:
    """
    The log of every attempt, in order; `step` narrows it to one.

    Of a running attempt what it has written until about a second ago, as `live`; the item that ends it has the rest.
    """
    action = find(access_of(request), action_id)
    part = part_of(action, Cursor.read(after), step=step.replace("\x00", ""), most=limit, only_logs=True)
    items = [
        {"step": e.step, "attempt": e.attempt, "kind": e.kind, "at": e.at, "text": "\n".join(e.log)}
        for e in part.entries
        if e.log
    ]
    return {"items": items, "next": str(part.cursor) if part.more else None, "cursor": str(part.cursor)}


def plan_of(action: Action, version: int = 0) -> Plan:
    """The current plan, or an earlier version. Raises NoPlan, NotFound."""
    if version:
        earlier = Plan.objects.filter(action=action, version=version).first()
        if earlier is None:
            raise NotFound(f"This action has no plan of version {version}.")
        return earlier
    if action.plan is None:
        words = str(action.state).replace("_", " ")
        raise NoPlan(
            f"This action has no plan; it is {words}.",
            remedies=["Wait for preflight: GET the action with ?wait_s=25, then look again."],
        )
    return action.plan


def artifact(action: Action, digest: str) -> bytes:
    try:
        return read_artifact(action.tenant_id, digest)
    except ArtifactMissing as error:
        raise Unavailable(f"The log names an artifact that is gone: {error}. Tell an auditor.") from error


def changes_of(action: Action, found: Plan) -> list[Change]:
    return parse_changes(artifact(action, found.changes))


def change_shown(change: Change) -> dict[str, Any]:
    return {**vars(change), "diff": text_diff(change)}
