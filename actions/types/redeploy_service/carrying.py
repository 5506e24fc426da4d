"""What the steps do to a service's directories and process. Each is idempotent and says whether anything was done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from actions.types.durable import directory, inner, make_directory, with_missing_ok
from actions.types.outcomes import Refused
from actions.types.protocol import StepContext
from actions.types.redeploy_service.releases import (
    RELEASES,
    Manifest,
    copy,
    differs,
    exists,
    keep_manifest,
    kept_manifest,
    remove_tree,
    set_current,
)
from actions.types.redeploy_service.rules import declared, run_digest
from actions.types.redeploy_service.standing import End, House
from actions.types.redeploy_service.supervising import DoesNotStart
from actions.types.tree import RESERVED_PREFIX, Unreachable

ARTIFACTS, DISCARDED = "artifacts", "discarded"
ANEW = " Nothing was touched. Propose it again."


def fault_of(house: House, release: str, digest: str) -> str:
    """Say how a release differs from the manifest with this digest; empty when its planned files are as planned."""
    shown = f"{house.path}/{RELEASES}/{release}"
    kept = kept_manifest(house.manifests, release) if house.manifests >= 0 else None
    try:
        if kept is None or kept.digest != digest:
            return "" if house.scan(release).digest == digest else f"{shown} is not as planned."
        with inner(house.home, RELEASES, RELEASES) as releases, inner(releases, release, shown) as fd:
            return differs(fd, kept, shown)
    except Unreachable as exc:
        return str(exc)


def has_release(house: House, release: str) -> bool:
    if not exists(house.home, RELEASES):
        return False
    with inner(house.home, RELEASES, f"{house.path}/{RELEASES}") as releases:
        return exists(releases, release)


def make_release(ctx: StepContext, house: House) -> bool:
    """Copy the artifact beside, compare its digest, and let it appear whole under the release's name."""
    spec = ctx.step["spec"]
    make_directory(house.home, RELEASES, 0o755)
    with inner(house.home, RELEASES, f"{house.path}/{RELEASES}") as releases:
        if exists(releases, spec["release"]):
            if fault := fault_of(house, spec["release"], spec["digest"]):
                raise Refused("precondition", fault + ANEW)
            return False
        draft = f"{RESERVED_PREFIX}{ctx.step['idempotency_key'][:40]}"
        remove_tree(releases, draft)
        try:
            manifest = _copied(ctx, releases, draft)
            if manifest.digest != spec["digest"]:
                raise Refused("content", f"The artifact {spec['artifact']} has changed since this was planned." + ANEW)
            keep_manifest(house.manifests, spec["release"], manifest)
            os.rename(draft, spec["release"], src_dir_fd=releases, dst_dir_fd=releases)
            os.fsync(releases)
        except BaseException:
            remove_tree(releases, draft)
            raise
    ctx.log(f"copied {len(manifest.lines)} files as release {spec['release']}")
    return True


def _copied(ctx: StepContext, releases: int, draft: str) -> Manifest:
    shown = f"{ARTIFACTS}/{ctx.step['spec']['artifact']}"
    os.mkdir(draft, 0o755, dir_fd=releases)
    with directory(ctx.target.root, shown) as source, inner(releases, draft, draft) as to:
        return copy(source, to, shown)


def discard_release(ctx: StepContext, house: House) -> bool:
    """Remove a release that a step made, unless it is in use or somebody changed it since."""
    spec, end = ctx.step["spec"], house.end()
    release = spec["release"]
    draft = f"{RESERVED_PREFIX}{ctx.step['idempotency_key'][:40]}"
    if not exists(house.home, RELEASES):
        return False
    with inner(house.home, RELEASES, f"{house.path}/{RELEASES}") as releases:
        remove_tree(releases, draft)
        if not exists(releases, release):
            return False
        if release in (end["current"], end["release"]):
            raise Refused("precondition", f"The release {release} is in use, so it is not removed.")
        if fault := fault_of(house, release, spec["digest"]):
            raise Refused("precondition", f"{fault} It is not removed.")
        os.rename(release, draft, src_dir_fd=releases, dst_dir_fd=releases)
        remove_tree(releases, draft)
        with_missing_ok(lambda: os.unlink(f"{release}.txt", dir_fd=house.manifests))
    ctx.log(f"removed the release {release}")
    return True


def switch(ctx: StepContext, house: House) -> bool:
    spec = ctx.step["spec"]
    found, before, after = house.end()["current"], spec["before"]["current"], spec["after"]["current"]
    if found not in (before, after):
        raise Refused(
            "precondition", f"current points to {found or 'nothing'} now, not to {before or 'nothing'}." + ANEW
        )
    if after is not None:
        if fault := fault_of(house, after, spec["digest"]):
            raise Refused("precondition", fault + ANEW)
        if kept_manifest(house.manifests, after) is None:
            keep_manifest(house.manifests, after, house.scan(after))
    if found == after:
        return False
    set_current(house.home, after)
    ctx.log(f"current: {before or 'nothing'} → {after or 'nothing'}")
    return True


def restart(ctx: StepContext, house: House) -> bool:
    """Write the record with this step's token, and have the supervisor run it: at most one start for one token."""
    spec, key, end = ctx.step["spec"], ctx.step["idempotency_key"], house.end()
    before, after = spec["before"], spec["after"]
    if end["current"] != after["current"]:
        raise Refused("precondition", f"current points to {end['current'] or 'nothing'}, so nothing was restarted.")
    if after["release"] is None:
        return stop(ctx, house, before)
    if end["token"] != key and not same(end, before):
        raise Refused("precondition", "Somebody else has redeployed this service meanwhile." + ANEW)
    run = run_of(ctx)
    if run_digest(run) != after["run"]:
        raise Refused("settings", "How the service is run was changed since this was planned." + ANEW)
    if end["token"] != key:
        kept = {name: run[name] for name in ("command", "environment", "grace_s")}
        house.write_record({**kept, "release": after["release"], "token": key, "passed": False})
    elif house.supervisor.running(key) is not None:
        return False
    house.supervisor.start(run["grace_s"], key)
    ctx.log(f"release {after['release']} runs as process {house.supervisor.running(key)}")
    return True


def stop(ctx: StepContext, house: House, before: End) -> bool:
    end = house.end()
    if end["token"] is not None and not same(end, before):
        raise Refused("precondition", "Somebody else has redeployed this service meanwhile." + ANEW)
    if end["token"] is None and house.runs(None):
        return False
    house.supervisor.stop()
    house.write_record(None)
    ctx.log("stopped the service and its supervisor")
    return True


def run_of(ctx: StepContext) -> dict[str, Any]:
    """How the service is to be run: as the environment says, or as the record kept of the undone action said."""
    spec = ctx.step["spec"]
    if not spec["restores"]:
        service, issues = declared(spec["service"], ctx.target)
        if service is None:
            raise Refused("settings", issues[0].message)
        return service.run()
    image = image_of(ctx.undone(spec["restores"]))
    if image["record"] is None:
        raise Refused("no_image", "How the service was run before is not kept any more.")
    return dict(image["record"])


def image_of(data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise Refused("no_image", "What the service ran before is not kept any more, so it cannot be restored.")
    return dict(json.loads(data))


def same(one: End, other: End) -> bool:
    return all(one[name] == other[name] for name in ("release", "token", "run"))


def ours(end: End, spec: dict[str, Any]) -> bool:
    """Whether the service stands between this plan's two ends, so that going back overwrites nobody's work."""
    at_after = all(end[name] == spec["after"][name] for name in ("release", "run"))
    on_the_way = end["current"] in (spec["before"]["current"], spec["after"]["current"])
    return on_the_way and (at_after or same(end, spec["before"]))


def restore(ctx: StepContext, house: House) -> bool:
    """Bring link, record and process back to how they stood before the plan, from wherever it stopped."""
    spec, image, end = ctx.step["spec"], image_of(ctx.before_image()), house.end()
    before, record = spec["before"], image["record"]
    if not ours(end, spec):
        raise Refused("precondition", "Somebody else has redeployed this service since, so it is left as it is.")
    if (record or {}).get("token") != before["token"]:
        raise Refused("no_image", "What was kept of the service is not what this plan began with.")
    relinked = end["current"] != before["current"]
    if relinked:
        set_current(house.home, before["current"])
        ctx.log(f"current: {end['current'] or 'nothing'} → {before['current'] or 'nothing'}")
    return restore_process(ctx, house, image) or relinked


def restore_process(ctx: StepContext, house: House, image: dict[str, Any]) -> bool:
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
def both(house: House) -> Iterator[tuple[int, int]]:
    """Open the releases, and where old ones are set aside."""
    with ExitStack() as stack:
        releases = stack.enter_context(inner(house.home, RELEASES, RELEASES))
        yield releases, stack.enter_context(inner(house.control, DISCARDED, DISCARDED, make=0o700))


def prune(ctx: StepContext, house: House) -> bool:
    """Move old releases aside, where they stay until the next time; what was there from before is removed for good."""
    spec = ctx.step["spec"]
    used = house.end()
    with both(house) as (releases, to):
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


def unprune(ctx: StepContext, house: House) -> bool:
    spec = ctx.step["spec"]
    with both(house) as (releases, aside):
        moved = [n for n in spec["releases"] if exists(aside, n) and not exists(releases, n)]
        for name in moved:
            os.rename(name, name, src_dir_fd=aside, dst_dir_fd=releases)
        os.fsync(releases)
        os.fsync(aside)
    if moved:
        ctx.log(f"brought back: {', '.join(moved)}")
    return bool(moved)
