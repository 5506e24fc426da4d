"""Next steps per ending and error code: proposals, each with the verb or page that carries it out. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actions.models import Action, Incident


@dataclass(frozen=True)
class NextStep:
    """
    One proposal. `verb` is a verb of the action (empty: a page or a conversation), `href` where it is done.

    `usable`: whether the reader may do it now.
    """

    key: str
    title: str
    why: str
    verb: str = ""
    href: str = ""
    usable: bool = True


RUN, WHY, AGAIN = "/actions/{id}/run/", "/actions/{id}/explain/", "/actions/new/?from={id}"
LOOK = NextStep("look", "Check the target first", "{about}", "", RUN)
RESOLVE = NextStep("settle", "Record whether the step took effect", "{settle}", "resume", RUN + "#held-panel")
GO_ON = NextStep("go_on", "Resume", "Continues from where it stopped.", "resume", RUN + "#held-panel")
TRY_UNDO = NextStep(
    "try_undo",
    "Retry the rollback",
    "After the cause is fixed. Starts with the step whose undo failed.",
    "resume",
    RUN + "#held-panel",
)
UNDO = NextStep("roll_back", "Roll back the rest", "Undoes the steps still in effect, newest first.", "rollback", RUN)
GIVE_UP = NextStep("give_up", "Give up", "The target stays as it is.", "resume", RUN)
RETRY = NextStep(
    "retry",
    "Propose again unchanged",
    "Gets a new plan from the current state and a new policy evaluation.",
    "retry",
    AGAIN,
)
EDIT = NextStep("edit", "Edit and propose again", "{edit}", "retry", AGAIN)
RULES = NextStep("rules", "See which policy blocks it", "Admins of the tenant can change policies.", "", WHY)
ADMIN = NextStep("ask_admin", "Ask an admin of this installation", "{admin}", "", "/system/")
BREAKER = NextStep(
    "breaker",
    "Check whether the target is back",
    "Its circuit breaker probes automatically and can be reset.",
    "",
    "/system/",
)
QUARANTINE = NextStep(
    "quarantine",
    "Clear the quarantine",
    "{shut}",
    "",
    "/quarantine/",
)
DIAGNOSE = NextStep(
    "diagnose",
    "Collect diagnostics",
    "Collects files, disk, processes and sockets of the environment.",
    "",
    "/actions/new/?type=collect_diagnostics&environment={place}",
)

HELD_STEPS = {
    "in_doubt": (LOOK, RESOLVE, GIVE_UP),
    "rollback_failed": (LOOK, TRY_UNDO, GIVE_UP),
    "risk_spike": (LOOK, UNDO, GO_ON),
    "breaker": (BREAKER, GO_ON, GIVE_UP),
    "policy": (RULES, UNDO, GO_ON),
    "replans": (RETRY, GIVE_UP),
    "executor_missing": (ADMIN, GIVE_UP),
    "internal_error": (ADMIN, GO_ON, UNDO),
}
CODES = {
    "precondition": (RETRY,),
    "drift": (RETRY,),
    "timeout": (EDIT, RETRY),
    "verification_failed": (LOOK, EDIT),
    "io": (DIAGNOSE, RETRY),
    "busy": (RETRY,),
    "unstable": (RETRY,),
    "address_refused": (ADMIN, EDIT),
    "settings": (ADMIN, RETRY),
    "content": (EDIT, RETRY),
    "does_not_start": (LOOK, DIAGNOSE, EDIT),
    "supervisor": (ADMIN, RETRY),
    "keeper": (ADMIN, RETRY),
    "overran": (EDIT, RETRY),
    "executor_error": (ADMIN, RETRY),
    "executor_missing": (ADMIN, RETRY),
    "internal_error": (ADMIN, RETRY),
    "policy": (RULES, RETRY),
    "aborted": (EDIT, RETRY),
    **dict.fromkeys(("connection", "dns", "status", "body", "certificate", "unhealthy"), (LOOK, DIAGNOSE, RETRY)),
}
ADVICE = {
    "timeout": "Raise the timeout or make the change smaller.",
    "overran": "A step timed out: raise the timeout or make the change smaller.",
    "content": "The content cannot be written; see the message.",
    "does_not_start": "The release does not start: choose another, or repair it first.",
    "address_refused": "Use an address that this installation may reach.",
    "verification_failed": "A check failed after the run: change the action or its checks.",
    "aborted": "Aborted by a person; the reason is in the activity.",
}
TO_ADMINS = {
    "executor_missing": "The action type is not installed on the workers.",
    "address_refused": "They can allow private addresses for this environment.",
    "settings": "The environment's settings for this action type are missing or wrong.",
    "supervisor": "The service supervisor on the worker's machine does not answer.",
    "keeper": "The deployment service on the worker's machine does not answer.",
}


def next_steps(
    incident: Incident,
    action: Action,
    place: str,
    allowed: Collection[str] | None = None,
    quarantined: Sequence[str] = (),
) -> list[NextStep]:
    """
    The next steps of an incident in the current state of its action, the first one first; `place` is the environment's
    slug.

    `allowed` are the reader's verbs on the action; without it all steps count as usable. `shut` names resources
    quarantined because of it.
    """
    if action.state == "held":
        chosen: tuple[NextStep, ...] = HELD_STEPS.get(action.held_reason, (LOOK, GO_ON, UNDO, GIVE_UP))
    elif action.state == "failed":
        left = (LOOK, UNDO) if incident.facts.get("remains") or incident.facts.get("standing") else ()
        chosen = tuple(dict.fromkeys((*left, *CODES.get(incident.code, (LOOK, RETRY, EDIT)))))
    elif action.state == "rolled_back":
        chosen = CODES.get(incident.code, (EDIT, RETRY))
    else:
        return []
    words = _texts(incident, action) | {
        "shut": f"No action may touch {', '.join(quarantined)} until an approved action clears it."
    }
    chosen = (*chosen, QUARANTINE) if quarantined else chosen
    return [_filled(step, action, place, words, allowed) for step in chosen]


def step_facts(steps: list[NextStep]) -> list[dict[str, Any]]:
    """The steps for diagnostics and webhooks: for everybody, so without `usable`."""
    return [{"key": s.key, "title": s.title, "why": s.why, "verb": s.verb, "href": s.href} for s in steps]


def _filled(
    step: NextStep, action: Action, place: str, words: dict[str, str], allowed: Collection[str] | None
) -> NextStep:
    usable = allowed is None or not step.verb or step.verb in allowed
    href = step.href.format(id=action.pk, place=place)
    return replace(step, why=step.why.format(**words), href=href, usable=usable)


def _texts(incident: Incident, action: Action) -> dict[str, str]:
    """Details of this case for the proposals. Values from outside are never used as a `format` template."""
    step = str(incident.facts.get("step") or "")
    remains = ", ".join(map(str, incident.facts.get("remains") or []))
    about = f"The run page shows its progress{f'; it stopped at {step}' if step else ''}."
    if remains:
        about = f"These steps were not undone and are still in effect: {remains}."
    return {
        "about": about,
        "settle": f"The target does not show whether {step or 'the open step'} took effect; your answer is recorded.",
        "edit": ADVICE.get(incident.code, "Change what caused this failure."),
        "admin": TO_ADMINS.get(
            incident.code,
            f"The log of the workers has the details; search it for the correlation id {action.correlation_id}.",
        ),
    }
