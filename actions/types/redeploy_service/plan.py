"""Plan a redeploy from parameters, or its undo from an executed plan: copy, switch, restart, health gate. Read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actions.types.protocol import Draft, PlanRefused, Target, error
from actions.types.redeploy_service.apply import (
    ARTIFACTS,
    DISCARDED,
    has_release,
    is_same_deployment,
    parse_image,
    release_fault,
)
from actions.types.redeploy_service.probe import CONTROL, ServiceDir, ServiceState, health_gate_terms, open_service
from actions.types.redeploy_service.releases import CURRENT, RELEASES, Manifest, exists, list_releases, scan
from actions.types.redeploy_service.schema import Service, parse_service, run_digest
from actions.types.shared.executor_base import StepRefused
from actions.types.shared.fs_state import open_directory, open_subdirectory
from actions.types.shared.safe_path import Unreachable
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
class DesiredState:
    """What a plan is to bring about: from one end to the other, and what is copied or removed on the way.

    ``run`` is how the service is run afterwards, for the reviewer. ``restores`` is the step whose before-image has it
    when undoing. ``artifact`` is {"artifact", "release", "digest"}; ``releases`` are moved aside or brought back.
    """

    service: Service
    target: Target
    before: ServiceState
    after: ServiceState
    run: dict[str, Any] | None
    manifest: Manifest | None = None
    restores: str = ""
    copies: dict[str, str] | None = None
    discards: dict[str, str] | None = None
    prunes: list[str] = field(default_factory=list)
    purges: list[str] = field(default_factory=list)
    unprunes: list[str] = field(default_factory=list)


def build_draft(wish: DesiredState, house: ServiceDir) -> Draft:
    """Return the plan of a wish, with what is needed to take it back."""
    steps = build_steps(wish)
    for n, step in enumerate(steps):
        step["after"] = [steps[n - 1]["key"]] if n else []
    image = house.image()
    touching = {step["key"]: image for step in steps if step["spec"]["op"] in (SWITCH, RESTART, GATE)}
    return Draft(
        resources=[{"kind": "service", "name": f"{wish.target.environment}:{wish.service.name}"}],
        changes=build_changes(wish, house, {step["spec"]["op"]: step["key"] for step in steps}),
        steps=steps,
        preconditions=[step["precondition"] for step in steps if step["precondition"]],
        compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
        observations={
            "running": house.runs(wish.before["token"]),
            "passed": bool((house.record() or {}).get("passed")),
        },
        summary=summarize(wish),
        before_images=touching,
    )


def build_steps(wish: DesiredState) -> list[dict[str, Any]]:
    name, before, after = wish.service.name, wish.before["current"], wish.after["current"]
    back = describe_undo(wish)
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
        gate = health_gate_terms(wish.service)
        title = f"Wait until {name} is well {gate['times']} times in a row"
        steps.append(_step(wish, GATE, title, back, {}, gate=gate))
    if wish.discards:
        title, again = f"Remove the release {wish.discards['release']}", f"Copy {wish.discards['artifact']} again"
        steps.append(_step(wish, DISCARD, title, again, {"sha256": wish.discards["digest"]}, **wish.discards))
    steps += _pruning_steps(wish)
    for n, step in enumerate(steps, 1):
        step["key"] = f"{n:03d}:{step['spec']['op']}{undo_suffix(wish)}"
    return steps


def _pruning_steps(wish: DesiredState) -> list[dict[str, Any]]:
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


def _step(
    wish: DesiredState, op: str, title: str, back: str, precondition: dict[str, Any], **spec: Any
) -> dict[str, Any]:
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


def undo_suffix(wish: DesiredState) -> str:
    """Plan and undo plan alternate, so that no step of one is ever taken for the other's."""
    return "-back" if wish.restores and not wish.restores.endswith("-back") else ""


def describe_undo(wish: DesiredState) -> str:
    if wish.before["release"]:
        return f"Point current back to {wish.before['current'] or 'nothing'} and run {wish.before['release']} again"
    return f"Stop {wish.service.name} and point current back to {wish.before['current'] or 'nothing'}"


def summarize(wish: DesiredState) -> str:
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


def build_changes(wish: DesiredState, house: ServiceDir, keys: dict[str, str]) -> list[Change]:
    """The releases' file lists before and after, what is run before and after, and what is taken away."""
    changes = [_process_change(wish, house, keys[RESTART])]
    if SWITCH in keys:
        changes.insert(0, _files_change(wish, house, keys[SWITCH]))
    for op, gone in ((PRUNE, wish.prunes), (PRUNE, wish.purges)):
        for name in gone:
            where = RELEASES if gone is wish.prunes else f"{CONTROL}/{DISCARDED}"
            text = f"{wish.service.root}/{where}/{name}\n"
            note = "moved aside" if gone is wish.prunes else "removed for good"
            changes.append(
                Change(
                    keys[op],
                    text.strip(),
                    "release",
                    "delete",
                    text,
                    None,
                    sha256_hex(text),
                    None,
                    language="",
                    note=note,
                )
            )
    return changes


def _files_change(wish: DesiredState, house: ServiceDir, key: str) -> Change:
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
        before_digest=sha256_hex(before) if before else None,
        after_digest=wish.manifest.digest if wish.manifest else None,
        note="One line per file: SHA-256, mode, path.",
    )


def _process_change(wish: DesiredState, house: ServiceDir, key: str) -> Change:
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
        before_digest=sha256_hex(f"{record['token']}:{wish.before['run']}") if record else None,
        after_digest=sha256_hex(f"{wish.after['release']}:{wish.after['run']}") if wish.run else None,
        language="yaml",
    )


def process_text(wish: DesiredState, run: dict[str, Any], release: str, deployment: str) -> str:
    """What runs, as the reviewer reads it; values that look like secrets are masked."""
    lines = [f"service: {wish.service.name}", f"release: {release}", f"deployment: {deployment}", "command:"]
    lines += [f"  - {part}" for part in run["command"]]
    lines += ["environment:"] if run["environment"] else []
    lines += [f"  {name}: {value}" for name, value in sorted(run["environment"].items())]
    return mask("\n".join([*lines, f"grace_s: {run['grace_s']}", ""]), wish.target.mask_key)


def _operation(old: str | None, new: str | None) -> str:
    return "create" if old is None else "delete" if new is None else "modify"


def sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def find_surplus_releases(house: ServiceDir, keep: int, used: tuple[str | None, ...]) -> tuple[list[str], list[str]]:
    """Return the unused releases beyond the newest ``keep``, and those that an earlier deployment set aside."""
    if not keep or not exists(house.home, RELEASES):
        return [], []
    old = [name for name in list_releases(house.home, RELEASES, house.manifests) if name not in used]
    keeps = max(0, keep - len({name for name in used if name}))
    gone = old[keeps:]
    aside = (
        list_releases(house.control, DISCARDED, -1) if house.control >= 0 and exists(house.control, DISCARDED) else []
    )
    return gone, sorted(aside) if gone else []


# The target state of a plan: from parameters, or from an executed plan to undo.


def plan_deployment(parameters: dict[str, Any], target: Target) -> Draft:
    """Plan a redeployment. Raises PlanRefused."""
    service = find_service(parameters["service"], target)
    name = "release" if "release" in parameters else "artifact"
    try:
        with open_service(target, service.root) as house:
            release, manifest, copies = resolve_release(parameters, target, house)
            after = {"current": release, "release": release, "token": None, "run": run_digest(service.run())}
            before = house.end()
            used = (before["current"], before["release"], release)
            prunes, purges = find_surplus_releases(house, service.keep_releases, used)
            wish = DesiredState(
                service, target, before, after, service.run(), manifest, copies=copies, prunes=prunes, purges=purges
            )
            return build_draft(wish, house)
    except Unreachable as exc:
        raise PlanRefused([error(str(exc), name)]) from exc


def resolve_release(
    parameters: dict[str, Any], target: Target, house: ServiceDir
) -> tuple[str, Manifest, dict[str, str] | None]:
    """Return the release, its manifest, and what is copied to make it. The same artifact is copied only once."""
    if "release" in parameters:
        return parameters["release"], current_manifest(parameters["release"], house), None
    artifact = parameters["artifact"]
    manifest = artifact_manifest(artifact, target)
    release = release_name(artifact, manifest)
    if not has_release(house, release):
        return release, manifest, {"artifact": artifact, "release": release, "digest": manifest.digest}
    if fault := release_fault(house, release, manifest.digest):
        words = f"{fault} An operator removes that release, or puts its files back."
        raise PlanRefused([error(words, "artifact")])
    return release, manifest, None


def artifact_manifest(artifact: str, target: Target) -> Manifest:
    shown = f"{ARTIFACTS}/{artifact}"
    with open_directory(target.root, shown) as fd:
        return scan(fd, shown)


def release_name(artifact: str, manifest: Manifest) -> str:
    """The artifact's last name, made plain, and the start of its digest: one content, one release."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in artifact.rpartition("/")[2])
    return f"{plain.lstrip('._-')[:80] or 'release'}-{manifest.digest[:12]}"


def find_service(name: str, target: Target) -> Service:
    service, issues = parse_service(name, target)
    if service is None:
        raise PlanRefused(issues)
    return service


def plan_undo(plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]) -> Draft:
    """Plan the way back to how the service stood before a plan. Raises PlanRefused where it has moved on since."""
    steps = {step["spec"]["op"]: step for step in plan_steps}
    done = steps[RESTART]
    spec = done["spec"]
    service = find_service(spec["service"], target)
    if service.root != spec["path"]:
        raise PlanRefused(f"{service.name} has moved to {service.root} since, so this can no longer be undone.")
    try:
        with open_service(target, service.root) as house:
            refuse_if_changed_since(steps, house)
            record = parse_image(before_image(done["key"]))["record"]
            before = spec["before"]
            back = undo_operations(steps, house, target)
            manifest = manifest_to_restore(before["current"], back, house, target)
            wish = DesiredState(
                service, target, house.end(), {**before, "token": None}, record, manifest, restores=done["key"], **back
            )
            return build_draft(wish, house)
    except StepRefused as exc:
        raise PlanRefused(str(exc)) from exc
    except Unreachable as exc:
        raise PlanRefused([error(str(exc), "service")]) from exc


def manifest_to_restore(
    release: str | None, back: dict[str, Any], house: ServiceDir, target: Target
) -> Manifest | None:
    """The manifest of the release that comes back: of its artifact, if it is copied again."""
    if release is None:
        return None
    if back.get("copies", {}).get("release") == release:
        return artifact_manifest(back["copies"]["artifact"], target)
    return current_manifest(release, house)


def current_manifest(release: str, house: ServiceDir) -> Manifest:
    """The manifest kept of a release while it holds, else what is in its directory now."""
    kept = house.manifest_of(release)
    return house.scan(release) if release_fault(house, release, kept.digest) else kept


def refuse_if_changed_since(steps: dict[str, dict[str, Any]], house: ServiceDir) -> None:
    """Raise PlanRefused unless link and record are as the executed plan left them."""
    done = steps[RESTART]
    after, end = done["spec"]["after"], house.end()
    token = done["idempotency_key"] if after["release"] else None
    if end["current"] != after["current"] or not is_same_deployment(end, {**after, "token": token}):
        found = f"current points to {end['current'] or 'nothing'}, {end['release'] or 'nothing'} is run"
        raise PlanRefused(f"The service has been redeployed since ({found}). Propose the release that it should run.")
    switched = steps.get(SWITCH)
    if switched and after["current"] and (fault := release_fault(house, after["current"], switched["spec"]["digest"])):
        raise PlanRefused(f"{fault} It changed since, so this can no longer be undone.")


def undo_operations(steps: dict[str, dict[str, Any]], house: ServiceDir, target: Target) -> dict[str, Any]:
    """What undoing copies, removes, brings back or moves aside."""
    back: dict[str, Any] = {}
    for op, inverse in ((COPY, "discards"), (DISCARD, "copies")):
        if op in steps:
            back[inverse] = {name: steps[op]["spec"][name] for name in ("artifact", "release", "digest")}
    if "copies" in back:
        artifact = back["copies"]["artifact"]
        if artifact_manifest(artifact, target).digest != back["copies"]["digest"]:
            raise PlanRefused(f"The artifact {artifact} is another one now, so its release cannot be made again.")
    if PRUNE in steps:
        back["unprunes"] = steps[PRUNE]["spec"]["releases"]
        with open_subdirectory(house.control, DISCARDED, DISCARDED) as aside:
            gone = [name for name in back["unprunes"] if not exists(aside, name)]
        if gone:
            raise PlanRefused(f"The old releases {', '.join(gone)} were removed for good since.")
    if UNPRUNE in steps:
        back["prunes"] = steps[UNPRUNE]["spec"]["releases"]
    return back
