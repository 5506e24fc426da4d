"""The registry of executors, loaded once from the entry point group ``interlock.executors``.

A broken executor does not take the others down, and does not vanish either: ``broken()`` lists it with the reason,
and asking for it raises ``ExecutorBroken``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from actions.types.protocol import RISK_CLASSES, SECURITY_LEVELS, Executor, Target
from actions.types.shared.recovery_policy import check_strategies
from audit.errors import Problem

GROUP = "interlock.executors"
ATTRIBUTES = {"name": str, "version": str, "title": str, "description": str, "schema": dict, "changes_something": bool}
METHODS = ("level_of", "validate", "plan", "plan_undo", "apply", "probe", "compensate", "probe_undo", "verify")

log = logging.getLogger(__name__)


class UnknownType(Problem):
    """This installation has no such action type."""

    status = 422
    code = "unknown_type"


class ExecutorBroken(Problem):
    """The executor of this action type could not be loaded."""

    status = 503
    code = "executor_broken"


@dataclass(frozen=True)
class BrokenExecutor:
    """An executor that could not be loaded: its entry point name, where it points, and why it failed."""

    name: str
    source: str
    reason: str


class _Registry:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.loaded: dict[str, Executor] | None = None
        self.broken: dict[str, BrokenExecutor] = {}

    def executors(self) -> dict[str, Executor]:
        if self.loaded is None:
            with self.lock:
                if self.loaded is None:
                    self.loaded, self.broken = load_all(tuple(entry_points(group=GROUP)))
        return self.loaded


_registry = _Registry()


def load_all(points: tuple[EntryPoint, ...]) -> tuple[dict[str, Executor], dict[str, BrokenExecutor]]:
    """Load entry points into (executors by name, broken by name). Raises nothing: what fails is reported by name."""
    good: dict[str, Executor] = {}
    bad: dict[str, BrokenExecutor] = {}
    for point in sorted(points, key=lambda p: (p.name, p.value)):
        try:
            executor = point.load()()
            faults = protocol_faults(executor, point.name)
            if point.name in good:
                faults.append("another installed package already provides this action type")
            if faults:
                raise TypeError("; ".join(faults))
        except Exception as exc:  # third-party code: whatever it raises at import must not stop the others
            log.error("executor %s (%s) cannot be used: %s: %s", point.name, point.value, type(exc).__name__, exc)
            bad[point.name] = BrokenExecutor(point.name, point.value, f"{type(exc).__name__}: {exc}")
            continue
        good[point.name] = executor
    return {name: it for name, it in good.items() if name not in bad}, bad


def protocol_faults(executor: object, name: str) -> list[str]:
    """Return what keeps an object from being the executor called ``name``; empty when it fits the protocol."""
    faults = [
        f"{attribute} must be a {kind.__name__}"
        for attribute, kind in ATTRIBUTES.items()
        if not isinstance(getattr(executor, attribute, None), kind)
    ]
    faults += [f"{verb}() is missing" for verb in METHODS if not callable(getattr(executor, verb, None))]
    if getattr(executor, "name", None) != name:
        faults.append(f"its name is {getattr(executor, 'name', None)!r}, but the entry point calls it {name!r}")
    if getattr(executor, "security_level", None) not in SECURITY_LEVELS:
        faults.append(f"security_level must be one of {', '.join(SECURITY_LEVELS)}")
    if getattr(executor, "risk_class", None) not in RISK_CLASSES:
        faults.append(f"risk_class must be one of {', '.join(RISK_CLASSES)}")
    faults += check_strategies(executor)
    return faults


def executors() -> dict[str, Executor]:
    """Return the executors by action type name, sorted. Loaded once per process; raises nothing."""
    return dict(sorted(_registry.executors().items()))


def get_executor(name: str) -> Executor:
    """Return the executor of an action type; raises UnknownType or ExecutorBroken, both naming it."""
    found = _registry.executors().get(name)
    if found is not None:
        return found
    if name in _registry.broken:
        raise ExecutorBroken(
            f"The executor of {name} could not be loaded: {_registry.broken[name].reason}",
            remedies=["Reinstall or update the package that provides it, then restart the server and the workers."],
        )
    raise UnknownType(
        f"There is no action type {name!r} here.",
        remedies=[f"Use one of: {', '.join(executors()) or 'none is installed'}.", "GET /api/action-types lists them."],
    )


def permission_for(name: str) -> str:
    """Return the permission it takes to propose an action of this type; a type that is not here asks the usual one."""
    return str(getattr(_registry.executors().get(name), "permission", "propose"))


def fetch_choices(executor: Executor, parameters: dict[str, Any], target: Target) -> dict[str, list[tuple[str, str]]]:
    """Return what the parameters of a type can be as things stand; empty where that cannot be told. Raises nothing."""
    ask = getattr(executor, "choices", None)
    try:
        return dict(ask(parameters, target)) if ask else {}
    except Exception as exc:  # third-party code that reads a target: without it, the parameters are typed
        log.warning("choices of %s cannot be told: %s: %s", executor.name, type(exc).__name__, exc)
        return {}


def broken_executors() -> list[BrokenExecutor]:
    """Return the executors that could not be loaded, by name."""
    _registry.executors()
    return [_registry.broken[name] for name in sorted(_registry.broken)]


@contextmanager
def register_executor(executor: Executor) -> Iterator[Executor]:
    """Add (or replace) an executor for the length of a ``with`` block, for tests and benchmarks. All threads see it."""
    faults = protocol_faults(executor, executor.name)
    if faults:
        raise TypeError("; ".join(faults))
    with _registry.lock:
        previous = _registry.executors().get(executor.name)
        _registry.loaded = {**_registry.executors(), executor.name: executor}
    try:
        yield executor
    finally:
        with _registry.lock:
            rest = {name: it for name, it in _registry.executors().items() if name != executor.name}
            _registry.loaded = rest if previous is None else {**rest, executor.name: previous}


def forget_executors() -> None:
    """Drop what was loaded; the next question loads again."""
    with _registry.lock:
        _registry.loaded, _registry.broken = None, {}
