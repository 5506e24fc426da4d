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


def build_draft(desired: DesiredState, house: ServiceDir) -> Draft:
    """Return the plan for a desired state, with what its rollback needs."""
    steps = build_steps(desired)
    for n, step in enumerate(steps):
        step["after"] = [steps[n - 1]["key"]] if n else []
    image = house.image()
    touching = {step["key"]: image for step in steps if step["spec"]["op"] in (SWITCH, RESTART, GATE)}
    return Draft(
        resources=[{"kind": "service", "name": f"{desired.target.environment}:{desired.service.name}"}],
        changes=build_changes(desired, house, {step["spec"]["op"]: step["key"] for step in steps}),
        steps=steps,
        preconditions=[step["precondition"] for step in steps if step["precondition"]],
        compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
        observations={
            "running": house.runs(desired.before["token"]),
            "passed": bool((house.record() or {}).get("passed")),
        },
        summary=summarize(desired),
        before_images=touching,
    )


def build_steps(desired: DesiredState) -> list[dict[str, Any]]:
    name, before, after = desired.service.name, desired.before["current"], desired.after["current"]
    back = describe_undo(desired)
    digest = desired.manifest.digest if desired.manifest else ""
    steps = []
    if desired.copies:
        title = f"Copy {desired.copies['artifact']} as release {desired.copies['release']}"
        gone = f"Remove the release {desired.copies['release']}"
        steps.append(_step(desired, COPY, title, gone, {"sha256": digest}, **desired.copies))
    if before != after:
        title = f"Point current of {name} to {after}" if after else f"Remove the link current of {name}"
        steps.append(_step(desired, SWITCH, title, back, {"current": before, "sha256": digest}, digest=digest))
    title = f"Restart {name} on release {after}" if after else f"Stop {name}"
    started = {"release": desired.before["release"], "token": desired.before["token"], "run": desired.before["run"]}
    steps.append(_step(desired, RESTART, title, back, started, restores=desired.restores))
    if after:
        gate = health_gate_terms(desired.service)
        title = f"Wait until {name} is healthy {gate['times']} times in a row"
        steps.append(_step(desired, GATE, title, back, {}, gate=gate))
    if desired.discards:
        title, again = f"Remove the release {desired.discards['release']}", f"Copy {desired.discards['artifact']} again"
        steps.append(_step(desired, DISCARD, title, again, {"sha256": desired.discards["digest"]}, **desired.discards))
    steps += _pruning_steps(desired)
    for n, step in enumerate(steps, 1):
        step["key"] = f"{n:03d}:{step['spec']['op']}{undo_suffix(desired)}"
    return steps


def _pruning_steps(desired: DesiredState) -> list[dict[str, Any]]:
    if desired.prunes:
        title = f"Move {len(desired.prunes)} old releases aside: {', '.join(desired.prunes)}"
        lost = f", but not {', '.join(desired.purges)}, moved aside earlier and removed now" if desired.purges else ""
        step = _step(desired, PRUNE, title, f"Bring them back{lost}", {}, releases=desired.prunes, purge=desired.purges)
        if lost:
            step["compensation"]["kind"] = "lossy"
        return [step]
    if desired.unprunes:
        title = f"Bring back the releases {', '.join(desired.unprunes)}"
        return [_step(desired, UNPRUNE, title, "Move them aside again", {}, releases=desired.unprunes, purge=[])]
    return []


def _step(
    desired: DesiredState, op: str, title: str, back: str, precondition: dict[str, Any], **spec: Any
) -> dict[str, Any]:
    return {
        "key": "",
        "title": title,
        "target": f"{desired.service.root}/{CURRENT}" if op == SWITCH else f"{op} {desired.service.name}",
        "operation": OPERATIONS.get(op, "modify"),
        "after": [],
        "precondition": {"service": desired.service.name, **precondition} if precondition else {},
        "compensation": {"kind": "reversible", "title": back},
        "spec": {
            "op": op,
            "service": desired.service.name,
            "path": desired.service.root,
            "before": desired.before,
            "after": desired.after,
            **spec,
        },
    }


def undo_suffix(desired: DesiredState) -> str:
    """Plan and undo plan alternate, so that no step of one is ever taken for the other's."""
    return "-back" if desired.restores and not desired.restores.endswith("-back") else ""


def describe_undo(desired: DesiredState) -> str:
    if desired.before["release"]:
        return (
            f"Point current back to {desired.before['current'] or 'nothing'} and run {desired.before['release']} again"
        )
    return f"Stop {desired.service.name} and point current back to {desired.before['current'] or 'nothing'}"


def summarize(desired: DesiredState) -> str:
    where, before, after = (
        f"{desired.service.name} in {desired.target.environment}",
        desired.before["current"],
        desired.after["current"],
    )
    if after is None:
        return f"Stop {where} (it runs {before})"
    if before == after:
        return f"Restart {where} on release {after}"
    return f"Redeploy {where}: {before or 'nothing'} → {after}"


def build_changes(desired: DesiredState, house: ServiceDir, keys: dict[str, str]) -> list[Change]:
    """The releases' file lists before and after, what is run before and after, and what is taken away."""
    changes = [_process_change(desired, house, keys[RESTART])]
    if SWITCH in keys:
        changes.insert(0, _files_change(desired, house, keys[SWITCH]))
    for op, gone in ((PRUNE, desired.prunes), (PRUNE, desired.purges)):
        for name in gone:
            where = RELEASES if gone is desired.prunes else f"{CONTROL}/{DISCARDED}"
            text = f"{desired.service.root}/{where}/{name}\n"
            note = "moved aside" if gone is desired.prunes else "removed for good"
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


def _files_change(desired: DesiredState, house: ServiceDir, key: str) -> Change:
    before, after = desired.before["current"], desired.after["current"]
    old = None
    if before:
        try:
            old = f"release: {before}\n" + house.manifest_of(before).text
        except Unreachable as exc:
            old = f"release: {before}\n({exc})\n"
    new = f"release: {after}\n{desired.manifest.text}" if desired.manifest else None
    return Change(
        key,
        f"{desired.service.root}/{CURRENT}",
        "release",
        _operation(old, new),
        old,
        new,
        before_digest=sha256_hex(before) if before else None,
        after_digest=desired.manifest.digest if desired.manifest else None,
        note="One line per file: SHA-256, mode, path.",
    )


def _process_change(desired: DesiredState, house: ServiceDir, key: str) -> Change:
    record = house.record()
    old = process_text(desired, record, record["release"], record["token"][:8]) if record else None
    new = process_text(desired, desired.run, desired.after["release"], "this action's") if desired.run else None
    return Change(
        key,
        f"service {desired.service.name}",
        "service",
        _operation(old, new),
        old,
        new,
        before_digest=sha256_hex(f"{record['token']}:{desired.before['run']}") if record else None,
        after_digest=sha256_hex(f"{desired.after['release']}:{desired.after['run']}") if desired.run else None,
        language="yaml",
    )


def process_text(desired: DesiredState, run: dict[str, Any], release: str, deployment: str) -> str:
    """What runs, as the reviewer reads it; values that look like secrets are masked."""
    lines = [f"service: {desired.service.name}", f"release: {release}", f"deployment: {deployment}", "command:"]
    lines += [f"  - {part}" for part in run["command"]]
    lines += ["environment:"] if run["environment"] else []
    lines += [f"  {name}: {value}" for name, value in sorted(run["environment"].items())]
    return mask("\n".join([*lines, f"grace_s: {run['grace_s']}", ""]), desired.target.mask_key)


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
            desired = DesiredState(
                service, target, before, after, service.run(), manifest, copies=copies, prunes=prunes, purges=purges
            )
            return build_draft(desired, house)
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
    """Plan the return of the service to its state before a plan. Raises PlanRefused if it changed since."""
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
            desired = DesiredState(
                service, target, house.end(), {**before, "token": None}, record, manifest, restores=done["key"], **back
            )
            return build_draft(desired, house)
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
