"""Draws docs/state_machine.md from the table of moves, so that the page cannot lie."""

from actions.lifecycle.transitions import MOVES, UNENDED, Move
from actions.models.states import ACTIVE, ENDED, State

DESCRIPTIONS = {
    State.QUEUED: "submitted, waits for a worker",
    State.PREFLIGHT: "planned and evaluated",
    State.DENIED: "denied by a policy or a missing matrix row",
    State.AWAITING_APPROVAL: "waits for people: required approvals to fill, or its requester to accept the diff",
    State.APPROVED: "waits for a worker, its start time, a resource lock, a concurrency limit, or a freeze",
    State.REJECTED: "a person said no",
    State.EXPIRED: "not decided or not started in time",
    State.CANCELLED: "withdrawn before it began",
    State.IN_PROGRESS: "steps run, each with intent, effect and receipt",
    State.VERIFYING: "every step is done; checks run",
    State.COMPLETED: "done, verified, with evidence",
    State.ROLLING_BACK: "compensations run in reverse order",
    State.ROLLED_BACK: "the state before is back",
    State.HELD: "waits for a person to resolve it; see the held reason",
    State.FAILED: "ended by an error, with what is known",
}


def render_page() -> str:
    """The whole page: chart, moves, states."""
    edges = [
        f"    {source} --> {move.target}: {verb}"
        for verb, move in MOVES.items()
        for source in ([] if verb == "fail" else move.sources)
    ]
    moves = [f"| `{verb}` | {_sources(move)} | {move.target} | {move.what} |" for verb, move in MOVES.items()]
    states = [f"| `{s}` | {_turn(s)} | {DESCRIPTIONS[s]} |" for s in State]
    return "\n".join(
        [
            "# How an action moves",
            "",
            "Drawn by `manage.py draw_state_machine` from `MOVES` in `actions/lifecycle/transitions.py`.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> queued: submit",
            *edges,
            *[f"    {s} --> [*]" for s in ENDED],
            "```",
            "",
            "`fail` leads from every live state to `failed`; it is omitted from the chart.",
            "",
            "## Moves",
            "",
            "| verb | from | to | when |",
            "|---|---|---|---|",
            *moves,
            "",
            "## States",
            "",
            "| state | whose turn | what it means |",
            "|---|---|---|",
            *states,
            "",
            "A move is one guarded `UPDATE` (state, sequence and lease must match), the rows that belong to it, and",
            "its event, in one transaction. Retrying an ended action, or undoing a completed one, makes a linked new",
            "action.",
            "",
        ]
    )


def _sources(move: Move) -> str:
    return "any live state" if move.sources == UNENDED else ", ".join(move.sources)


def _turn(state: State) -> str:
    if state in ENDED:
        return "nobody: ended"
    return "a worker" if state in ACTIVE else "a person"
