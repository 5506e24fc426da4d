"""From a wish, or from an executed plan, to a plan: copy, switch, restart, health gate, and the way back. Read-only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from actions.types.protocol import Draft, Target
from actions.types.redeploy_service.carrying import DISCARDED
from actions.types.redeploy_service.gate import terms
from actions.types.redeploy_service.releases import CURRENT, RELEASES, Manifest, exists, listed
from actions.types.redeploy_service.rules import Service
from actions.types.redeploy_service.standing import CONTROL, End, House
from actions.types.tree import Unreachable
from audit.changes.document import Change
from audit.changes.masking import mask

COPY, DISCARD, SWITCH, RESTART, GATE, PRUNE, UNPRUNE = (
    "copy",
    "discard",
    "switch",
    "restart",
    "gate",
    "prune",
    "unprune",
)
OPERATIONS = {COPY: "create", DISCARD: "delete", GATE: "read"}


@dataclass
class Wish:
    """What a plan is to bring about: from one end to the other, and what is copied or removed on the way.

    ``run`` is how the service is run afterwards, for the reviewer. ``restores`` is the step whose before-image has it
    when undoing. ``artifact`` is {"artifact", "release", "digest"}; ``releases`` are moved aside or brought back.
    """

    service: Service
    target: Target
    before: End
    after: End
    run: dict[str, Any] | None
    manifest: Manifest | None = None
    restores: str = ""
    copies: dict[str, str] | None = None
    discards: dict[str, str] | None = None
    prunes: list[str] = field(default_factory=list)
    purges: list[str] = field(default_factory=list)
    unprunes: list[str] = field(default_factory=list)


def draft(wish: Wish, house: House) -> Draft:
    """Return the plan of a wish, with what is needed to take it back."""
    steps = steps_of(wish)
    for n, step in enumerate(steps):
        step["after"] = [steps[n - 1]["key"]] if n else []
    image = house.image()
    touching = {step["key"]: image for step in steps if step["spec"]["op"] in (SWITCH, RESTART, GATE)}
    return Draft(
        resources=[{"kind": "service", "name": f"{wish.target.environment}:{wish.service.name}"}],
        changes=changes_of(wish, house, {step["spec"]["op"]: step["key"] for step in steps}),
        steps=steps,
        preconditions=[step["precondition"] for step in steps if step["precondition"]],
        compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
        observations={
            "running": house.runs(wish.before["token"]),
            "passed": bool((house.record() or {}).get("passed")),
        },
        summary=summary_of(wish),
        before_images=touching,
    )


def steps_of(wish: Wish) -> list[dict[str, Any]]:
    name, before, after = wish.service.name, wish.before["current"], wish.after["current"]
    back = back_words(wish)
    digest = wish.manifest.digest if wish.manifest else ""
    steps = []
    if wish.copies:
        title = f"Copy {wish.copies['artifact']} as release {wish.copies['release']}"
        gone = f"Remove the release {wish.copies['release']}"
        steps.append(_step(wish, COPY, title, gone, {"sha256": digest}, **wish.copies))
    if before != after:
        title = f"Point current of {name} to {after}" if after else f"Remove the link current of {name}"
        steps.append(_step(wish, SWITCH, title, back, {"current": before, "sha256": digest}, digest=digest))
    title = f"Restart {name} on release {after}" if after else f"Stop {name}"
    started = {"release": wish.before["release"], "token": wish.before["token"], "run": wish.before["run"]}
    steps.append(_step(wish, RESTART, title, back, started, restores=wish.restores))
    if after:
        gate = terms(wish.service)
        title = f"Wait until {name} is well {gate['times']} times in a row"
        steps.append(_step(wish, GATE, title, back, {}, gate=gate))
    if wish.discards:
        title, again = f"Remove the release {wish.discards['release']}", f"Copy {wish.discards['artifact']} again"
        steps.append(_step(wish, DISCARD, title, again, {"sha256": wish.discards["digest"]}, **wish.discards))
    steps += _pruning(wish)
    for n, step in enumerate(steps, 1):
        step["key"] = f"{n:03d}:{step['spec']['op']}{back_suffix(wish)}"
    return steps


def _pruning(wish: Wish) -> list[dict[str, Any]]:
    if wish.prunes:
        title = f"Move {len(wish.prunes)} old releases aside: {', '.join(wish.prunes)}"
        lost = f", but not {', '.join(wish.purges)}, moved aside earlier and removed now" if wish.purges else ""
        step = _step(wish, PRUNE, title, f"Bring them back{lost}", {}, releases=wish.prunes, purge=wish.purges)
        if lost:
            step["compensation"]["kind"] = "lossy"
        return [step]
    if wish.unprunes:
        title = f"Bring back the releases {', '.join(wish.unprunes)}"
        return [_step(wish, UNPRUNE, title, "Move them aside again", {}, releases=wish.unprunes, purge=[])]
    return []


def _step(wish: Wish, op: str, title: str, back: str, precondition: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "key": "",
        "title": title,
        "target": f"{wish.service.root}/{CURRENT}" if op == SWITCH else f"{op} {wish.service.name}",
        "operation": OPERATIONS.get(op, "modify"),
        "after": [],
        "precondition": {"service": wish.service.name, **precondition} if precondition else {},
        "compensation": {"kind": "reversible", "title": back},
        "spec": {
            "op": op,
            "service": wish.service.name,
            "path": wish.service.root,
            "before": wish.before,
            "after": wish.after,
            **spec,
        },
    }


def back_suffix(wish: Wish) -> str:
    """Plan and undo plan alternate, so that no step of one is ever taken for the other's."""
    return "-back" if wish.restores and not wish.restores.endswith("-back") else ""


def back_words(wish: Wish) -> str:
    if wish.before["release"]:
        return f"Point current back to {wish.before['current'] or 'nothing'} and run {wish.before['release']} again"
    return f"Stop {wish.service.name} and point current back to {wish.before['current'] or 'nothing'}"


def summary_of(wish: Wish) -> str:
    where, before, after = (
        f"{wish.service.name} in {wish.target.environment}",
        wish.before["current"],
        wish.after["current"],
    )
    if after is None:
        return f"Stop {where} (it runs {before})"
    if before == after:
        return f"Restart {where} on release {after}"
    return f"Redeploy {where}: {before or 'nothing'} → {after}"


def changes_of(wish: Wish, house: House, keys: dict[str, str]) -> list[Change]:
    """The releases' file lists before and after, what is run before and after, and what is taken away."""
    changes = [_process(wish, house, keys[RESTART])]
    if SWITCH in keys:
        changes.insert(0, _files(wish, house, keys[SWITCH]))
    for op, gone in ((PRUNE, wish.prunes), (PRUNE, wish.purges)):
        for name in gone:
            where = RELEASES if gone is wish.prunes else f"{CONTROL}/{DISCARDED}"
            text = f"{wish.service.root}/{where}/{name}\n"
            note = "moved aside" if gone is wish.prunes else "removed for good"
            changes.append(
                Change(keys[op], text.strip(), "release", "delete", text, None, sha(text), None, language="", note=note)
            )
    return changes


def _files(wish: Wish, house: House, key: str) -> Change:
    before, after = wish.before["current"], wish.after["current"]
    old = None
    if before:
        try:
            old = f"release: {before}\n" + house.manifest_of(before).text
        except Unreachable as exc:
            old = f"release: {before}\n({exc})\n"
    new = f"release: {after}\n{wish.manifest.text}" if wish.manifest else None
    return Change(
        key,
        f"{wish.service.root}/{CURRENT}",
        "release",
        _operation(old, new),
        old,
        new,
        before_digest=sha(before) if before else None,
        after_digest=wish.manifest.digest if wish.manifest else None,
        note="One line per file: SHA-256, mode, path.",
    )


def _process(wish: Wish, house: House, key: str) -> Change:
    record = house.record()
    old = process_text(wish, record, record["release"], record["token"][:8]) if record else None
    new = process_text(wish, wish.run, wish.after["release"], "this action's") if wish.run else None
    return Change(
        key,
        f"service {wish.service.name}",
        "service",
        _operation(old, new),
        old,
        new,
        before_digest=sha(f"{record['token']}:{wish.before['run']}") if record else None,
        after_digest=sha(f"{wish.after['release']}:{wish.after['run']}") if wish.run else None,
        language="yaml",
    )


def process_text(wish: Wish, run: dict[str, Any], release: str, deployment: str) -> str:
    """What runs, as the reviewer reads it; values that look like secrets are masked."""
    lines = [f"service: {wish.service.name}", f"release: {release}", f"deployment: {deployment}", "command:"]
    lines += [f"  - {part}" for part in run["command"]]
    lines += ["environment:"] if run["environment"] else []
    lines += [f"  {name}: {value}" for name, value in sorted(run["environment"].items())]
    return mask("\n".join([*lines, f"grace_s: {run['grace_s']}", ""]), wish.target.mask_key)


def _operation(old: str | None, new: str | None) -> str:
    return "create" if old is None else "delete" if new is None else "modify"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def surplus(house: House, keep: int, used: tuple[str | None, ...]) -> tuple[list[str], list[str]]:
    """Return the unused releases beyond the newest ``keep``, and those that an earlier deployment set aside."""
    if not keep or not exists(house.home, RELEASES):
        return [], []
    old = [name for name in listed(house.home, RELEASES, house.manifests) if name not in used]
    keeps = max(0, keep - len({name for name in used if name}))
    gone = old[keeps:]
    aside = listed(house.control, DISCARDED, -1) if house.control >= 0 and exists(house.control, DISCARDED) else []
    return gone, sorted(aside) if gone else []
