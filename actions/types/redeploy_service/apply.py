"""The steps of a redeploy: idempotent changes to a service's directories and process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from actions.types.protocol import StepContext
from actions.types.redeploy_service.probe import ServiceDir, ServiceState
from actions.types.redeploy_service.releases import (
    RELEASES,
    Manifest,
    copy_release,
    exists,
    find_difference,
    read_manifest,
    remove_tree,
    set_current,
    write_manifest,
)
from actions.types.redeploy_service.schema import parse_service, run_digest
from actions.types.redeploy_service.supervisor import DoesNotStart
from actions.types.shared.executor_base import StepRefused
from actions.types.shared.fs_state import ignore_missing, make_directory, open_directory, open_subdirectory
from actions.types.shared.safe_path import RESERVED_PREFIX, Unreachable

ARTIFACTS, DISCARDED = "artifacts", "discarded"
PROPOSE_AGAIN = " Nothing was touched. Propose it again."


def release_fault(house: ServiceDir, release: str, digest: str) -> str:
    """Say how a release differs from the manifest with this digest; empty when its planned files are as planned."""
    shown = f"{house.path}/{RELEASES}/{release}"
    kept = read_manifest(house.manifests, release) if house.manifests >= 0 else None
    try:
        if kept is None or kept.digest != digest:
            return "" if house.scan(release).digest == digest else f"{shown} is not as planned."
        with (
            open_subdirectory(house.home, RELEASES, RELEASES) as releases,
            open_subdirectory(releases, release, shown) as fd,
        ):
            return find_difference(fd, kept, shown)
    except Unreachable as exc:
        return str(exc)


def has_release(house: ServiceDir, release: str) -> bool:
    if not exists(house.home, RELEASES):
        return False
    with open_subdirectory(house.home, RELEASES, f"{house.path}/{RELEASES}") as releases:
        return exists(releases, release)


def make_release(ctx: StepContext, house: ServiceDir) -> bool:
    """Copy the artifact beside, compare its digest, and let it appear whole under the release's name."""
    spec = ctx.step["spec"]
    make_directory(house.home, RELEASES, 0o755)
    with open_subdirectory(house.home, RELEASES, f"{house.path}/{RELEASES}") as releases:
        if exists(releases, spec["release"]):
            if fault := release_fault(house, spec["release"], spec["digest"]):
                raise StepRefused("precondition", fault + PROPOSE_AGAIN)
            return False
        draft = f"{RESERVED_PREFIX}{ctx.step['idempotency_key'][:40]}"
        remove_tree(releases, draft)
        try:
            manifest = _copy_artifact(ctx, releases, draft)
            if manifest.digest != spec["digest"]:
                raise StepRefused(
                    "content", f"The artifact {spec['artifact']} has changed since this was planned." + PROPOSE_AGAIN
                )
            write_manifest(house.manifests, spec["release"], manifest)
            os.rename(draft, spec["release"], src_dir_fd=releases, dst_dir_fd=releases)
            os.fsync(releases)
        except BaseException:
            remove_tree(releases, draft)
            raise
    ctx.log(f"copied {len(manifest.lines)} files as release {spec['release']}")
    return True


def _copy_artifact(ctx: StepContext, releases: int, draft: str) -> Manifest:
    shown = f"{ARTIFACTS}/{ctx.step['spec']['artifact']}"
    os.mkdir(draft, 0o755, dir_fd=releases)
    with open_directory(ctx.target.root, shown) as source, open_subdirectory(releases, draft, draft) as to:
        return copy_release(source, to, shown)


def discard_release(ctx: StepContext, house: ServiceDir) -> bool:
    """Remove a release that a step made, unless it is in use or somebody changed it since."""
    spec, end = ctx.step["spec"], house.end()
    release = spec["release"]
    draft = f"{RESERVED_PREFIX}{ctx.step['idempotency_key'][:40]}"
    if not exists(house.home, RELEASES):
        return False
    with open_subdirectory(house.home, RELEASES, f"{house.path}/{RELEASES}") as releases:
        remove_tree(releases, draft)
        if not exists(releases, release):
            return False
        if release in (end["current"], end["release"]):
            raise StepRefused("precondition", f"The release {release} is in use, so it is not removed.")
        if fault := release_fault(house, release, spec["digest"]):
            raise StepRefused("precondition", f"{fault} It is not removed.")
        os.rename(release, draft, src_dir_fd=releases, dst_dir_fd=releases)
        remove_tree(releases, draft)
        ignore_missing(lambda: os.unlink(f"{release}.txt", dir_fd=house.manifests))
    ctx.log(f"removed the release {release}")
    return True


def switch_current(ctx: StepContext, house: ServiceDir) -> bool:
    spec = ctx.step["spec"]
    found, before, after = house.end()["current"], spec["before"]["current"], spec["after"]["current"]
    if found not in (before, after):
        raise StepRefused(
            "precondition", f"current points to {found or 'nothing'} now, not to {before or 'nothing'}." + PROPOSE_AGAIN
        )
    if after is not None:
        if fault := release_fault(house, after, spec["digest"]):
            raise StepRefused("precondition", fault + PROPOSE_AGAIN)
        if read_manifest(house.manifests, after) is None:
            write_manifest(house.manifests, after, house.scan(after))
    if found == after:
        return False
    set_current(house.home, after)
    ctx.log(f"current: {before or 'nothing'} → {after or 'nothing'}")
    return True


def restart_service(ctx: StepContext, house: ServiceDir) -> bool:
    """Write the record with this step's token, and have the supervisor run it: at most one start for one token."""
    spec, key, end = ctx.step["spec"], ctx.step["idempotency_key"], house.end()
    before, after = spec["before"], spec["after"]
    if end["current"] != after["current"]:
        raise StepRefused("precondition", f"current points to {end['current'] or 'nothing'}, so nothing was restarted.")
    if after["release"] is None:
        return stop_service(ctx, house, before)
    if end["token"] != key and not is_same_deployment(end, before):
        raise StepRefused("precondition", "Someone else redeployed this service meanwhile." + PROPOSE_AGAIN)
    run = run_settings(ctx)
    if run_digest(run) != after["run"]:
        raise StepRefused("settings", "How the service is run was changed since this was planned." + PROPOSE_AGAIN)
    if end["token"] != key:
        kept = {name: run[name] for name in ("command", "environment", "grace_s")}
        house.write_record({**kept, "release": after["release"], "token": key, "passed": False})
    elif house.supervisor.running(key) is not None:
        return False
    house.supervisor.start(run["grace_s"], key)
    ctx.log(f"release {after['release']} runs as process {house.supervisor.running(key)}")
    return True


def stop_service(ctx: StepContext, house: ServiceDir, before: ServiceState) -> bool:
    end = house.end()
    if end["token"] is not None and not is_same_deployment(end, before):
        raise StepRefused("precondition", "Someone else redeployed this service meanwhile." + PROPOSE_AGAIN)
    if end["token"] is None and house.runs(None):
        return False
    house.supervisor.stop()
    house.write_record(None)
    ctx.log("stopped the service and its supervisor")
    return True


def run_settings(ctx: StepContext) -> dict[str, Any]:
    """How the service is to be run: as the environment says, or as the record kept of the undone action said."""
    spec = ctx.step["spec"]
    if not spec["restores"]:
        service, issues = parse_service(spec["service"], ctx.target)
        if service is None:
            raise StepRefused("settings", issues[0].message)
        return service.run()
    image = parse_image(ctx.undone(spec["restores"]))
    if image["record"] is None:
        raise StepRefused("no_image", "How the service was run before is not kept any more.")
    return dict(image["record"])


def parse_image(data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise StepRefused(
            "no_image", "The previous version of the service is no longer stored, so it cannot be restored."
        )
    return dict(json.loads(data))


def is_same_deployment(one: ServiceState, other: ServiceState) -> bool:
    return all(one[name] == other[name] for name in ("release", "token", "run"))


def is_between_states(end: ServiceState, spec: dict[str, Any]) -> bool:
    """Whether this plan alone changed the service so far: a rollback then overwrites no other change."""
    at_after = all(end[name] == spec["after"][name] for name in ("release", "run"))
    on_the_way = end["current"] in (spec["before"]["current"], spec["after"]["current"])
    return on_the_way and (at_after or is_same_deployment(end, spec["before"]))


def restore_service(ctx: StepContext, house: ServiceDir) -> bool:
    """Bring link, record and process back to how they stood before the plan, from wherever it stopped."""
    spec, image, end = ctx.step["spec"], parse_image(ctx.before_image()), house.end()
    before, record = spec["before"], image["record"]
    if not is_between_states(end, spec):
        raise StepRefused("precondition", "Someone else redeployed this service since; it is left unchanged.")
    if (record or {}).get("token") != before["token"]:
        raise StepRefused("no_image", "What was kept of the service is not what this plan began with.")
    relinked = end["current"] != before["current"]
    if relinked:
        set_current(house.home, before["current"])
        ctx.log(f"current: {end['current'] or 'nothing'} → {before['current'] or 'nothing'}")
    return restore_process(ctx, house, image) or relinked


def restore_process(ctx: StepContext, house: ServiceDir, image: dict[str, Any]) -> bool:
    record, found = image["record"], house.record()
    if record is None:
        if found is None and house.runs(None):
            return False
        house.supervisor.stop()
        house.write_record(None)
        ctx.log("stopped the service, which did not run before")
        return True
    rewrite = found != record
    if rewrite:
        house.write_record(record)
    if not rewrite and (house.runs(record["token"]) or not image["runs"]):
        return False
    try:
        house.supervisor.start(record["grace_s"], record["token"])
        ctx.log(f"release {record['release']} runs again")
    except DoesNotStart:
        if image["runs"]:
            raise
        ctx.log(f"release {record['release']} does not start, as it did not before")
    return True


@contextmanager
def open_releases_and_discarded(house: ServiceDir) -> Iterator[tuple[int, int]]:
    """Open the releases, and where old ones are set aside."""
    with ExitStack() as stack:
        releases = stack.enter_context(open_subdirectory(house.home, RELEASES, RELEASES))
        yield releases, stack.enter_context(open_subdirectory(house.control, DISCARDED, DISCARDED, make=0o700))


def prune_releases(ctx: StepContext, house: ServiceDir) -> bool:
    """Move old releases aside, where they stay until the next time; what was there from before is removed for good."""
    spec = ctx.step["spec"]
    used = house.end()
    with open_releases_and_discarded(house) as (releases, to):
        for name in spec["purge"]:
            remove_tree(to, name)
        moved = [n for n in spec["releases"] if exists(releases, n) and n not in (used["current"], used["release"])]
        for name in moved:
            os.rename(name, name, src_dir_fd=releases, dst_dir_fd=to)
        os.fsync(releases)
        os.fsync(to)
    if moved:
        ctx.log(f"moved aside: {', '.join(moved)}")
    return bool(moved)


def unprune_releases(ctx: StepContext, house: ServiceDir) -> bool:
    spec = ctx.step["spec"]
    with open_releases_and_discarded(house) as (releases, aside):
        moved = [n for n in spec["releases"] if exists(aside, n) and not exists(releases, n)]
        for name in moved:
            os.rename(name, name, src_dir_fd=aside, dst_dir_fd=releases)
        os.fsync(releases)
        os.fsync(aside)
    if moved:
        ctx.log(f"brought back: {', '.join(moved)}")
    return bool(moved)
