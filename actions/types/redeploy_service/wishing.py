"""What a plan is to bring about: worked out from parameters, or from an executed plan that is to be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actions.types.durable import directory, inner
from actions.types.outcomes import Refused
from actions.types.protocol import Draft, PlanRefused, Target, error
from actions.types.redeploy_service import planning
from actions.types.redeploy_service.carrying import ARTIFACTS, DISCARDED, fault_of, has_release, image_of, same
from actions.types.redeploy_service.releases import Manifest, exists, scan
from actions.types.redeploy_service.rules import Service, declared, run_digest
from actions.types.redeploy_service.standing import House, seen
from actions.types.tree import Unreachable


def planned(parameters: dict[str, Any], target: Target) -> Draft:
    """Plan a redeployment. Raises PlanRefused."""
    service = service_of(parameters["service"], target)
    name = "release" if "release" in parameters else "artifact"
    try:
        with seen(target, service.root) as house:
            release, manifest, copies = offered(parameters, target, house)
            after = {"current": release, "release": release, "token": None, "run": run_digest(service.run())}
            before = house.end()
            used = (before["current"], before["release"], release)
            prunes, purges = planning.surplus(house, service.keep_releases, used)
            wish = planning.Wish(
                service, target, before, after, service.run(), manifest, copies=copies, prunes=prunes, purges=purges
            )
            return planning.draft(wish, house)
    except Unreachable as exc:
        raise PlanRefused([error(str(exc), name)]) from exc


def offered(parameters: dict[str, Any], target: Target, house: House) -> tuple[str, Manifest, dict[str, str] | None]:
    """Return the release, its manifest, and what is copied to make it. The same artifact is copied only once."""
    if "release" in parameters:
        return parameters["release"], manifest_now(parameters["release"], house), None
    artifact = parameters["artifact"]
    manifest = artifact_manifest(artifact, target)
    release = release_name(artifact, manifest)
    if not has_release(house, release):
        return release, manifest, {"artifact": artifact, "release": release, "digest": manifest.digest}
    if fault := fault_of(house, release, manifest.digest):
        words = f"{fault} An operator removes that release, or puts its files back."
        raise PlanRefused([error(words, "artifact")])
    return release, manifest, None


def artifact_manifest(artifact: str, target: Target) -> Manifest:
    shown = f"{ARTIFACTS}/{artifact}"
    with directory(target.root, shown) as fd:
        return scan(fd, shown)


def release_name(artifact: str, manifest: Manifest) -> str:
    """The artifact's last name, made plain, and the start of its digest: one content, one release."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in artifact.rpartition("/")[2])
    return f"{plain.lstrip('._-')[:80] or 'release'}-{manifest.digest[:12]}"


def service_of(name: str, target: Target) -> Service:
    service, issues = declared(name, target)
    if service is None:
        raise PlanRefused(issues)
    return service


def undoing(plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]) -> Draft:
    """Plan the way back to how the service stood before a plan. Raises PlanRefused where it has moved on since."""
    steps = {step["spec"]["op"]: step for step in plan_steps}
    done = steps[planning.RESTART]
    spec = done["spec"]
    service = service_of(spec["service"], target)
    if service.root != spec["path"]:
        raise PlanRefused(f"{service.name} has moved to {service.root} since, so this can no longer be undone.")
    try:
        with seen(target, service.root) as house:
            refuse_if_moved_on(steps, house)
            record = image_of(before_image(done["key"]))["record"]
            before = spec["before"]
            back = ways_back(steps, house, target)
            manifest = manifest_again(before["current"], back, house, target)
            wish = planning.Wish(
                service, target, house.end(), {**before, "token": None}, record, manifest, restores=done["key"], **back
            )
            return planning.draft(wish, house)
    except Refused as exc:
        raise PlanRefused(str(exc)) from exc
    except Unreachable as exc:
        raise PlanRefused([error(str(exc), "service")]) from exc


def manifest_again(release: str | None, back: dict[str, Any], house: House, target: Target) -> Manifest | None:
    """The manifest of the release that comes back: of its artifact, if it is copied again."""
    if release is None:
        return None
    if back.get("copies", {}).get("release") == release:
        return artifact_manifest(back["copies"]["artifact"], target)
    return manifest_now(release, house)


def manifest_now(release: str, house: House) -> Manifest:
    """The manifest kept of a release while it holds, else what is in its directory now."""
    kept = house.manifest_of(release)
    return house.scan(release) if fault_of(house, release, kept.digest) else kept


def refuse_if_moved_on(steps: dict[str, dict[str, Any]], house: House) -> None:
    """Raise PlanRefused unless link and record are as the executed plan left them."""
    done = steps[planning.RESTART]
    after, end = done["spec"]["after"], house.end()
    token = done["idempotency_key"] if after["release"] else None
    if end["current"] != after["current"] or not same(end, {**after, "token": token}):
        found = f"current points to {end['current'] or 'nothing'}, {end['release'] or 'nothing'} is run"
        raise PlanRefused(f"The service has been redeployed since ({found}). Propose the release that it should run.")
    switched = steps.get(planning.SWITCH)
    if switched and after["current"] and (fault := fault_of(house, after["current"], switched["spec"]["digest"])):
        raise PlanRefused(f"{fault} Somebody changed it since, so this can no longer be undone.")


def ways_back(steps: dict[str, dict[str, Any]], house: House, target: Target) -> dict[str, Any]:
    """What undoing copies, removes, brings back or moves aside."""
    back: dict[str, Any] = {}
    for op, inverse in ((planning.COPY, "discards"), (planning.DISCARD, "copies")):
        if op in steps:
            back[inverse] = {name: steps[op]["spec"][name] for name in ("artifact", "release", "digest")}
    if "copies" in back:
        artifact = back["copies"]["artifact"]
        if artifact_manifest(artifact, target).digest != back["copies"]["digest"]:
            raise PlanRefused(f"The artifact {artifact} is another one now, so its release cannot be made again.")
    if planning.PRUNE in steps:
        back["unprunes"] = steps[planning.PRUNE]["spec"]["releases"]
        with inner(house.control, DISCARDED, DISCARDED) as aside:
            gone = [name for name in back["unprunes"] if not exists(aside, name)]
        if gone:
            raise PlanRefused(f"The old releases {', '.join(gone)} were removed for good since.")
    if planning.UNPRUNE in steps:
        back["prunes"] = steps[planning.UNPRUNE]["spec"]["releases"]
    return back
