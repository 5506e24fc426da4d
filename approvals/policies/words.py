"""What a policy does, in words: the same on every page, in the API and in a rehearsal. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from approvals.judge import words
from approvals.policies.wording import Wording

TITLES = {
    "deny": "Deny",
    "require": "Ask for people",
    "warn": "Warn",
    "allow_autonomous": "Let run unattended",
}
MEANINGS = {
    "deny": "The action is denied, whoever would approve it.",
    "require": "These people have to approve as well, besides those that the matrix asks.",
    "warn": "Everybody who decides reads the message. Nothing is stopped.",
    "allow_autonomous": "A safe, confident proposal runs without anybody, where the environment lets agents act.",
}
MODES = {
    "enforce": "It counts.",
    "shadow": "It is evaluated and noted on every action, and changes nothing: to try a policy before it counts.",
}


def does(effect: str, seats: Sequence[Mapping[str, Any]]) -> str:
    """`denies the action`: what it does where it is true."""
    asks = f"asks for {words(seats)} besides" if seats else "asks for people besides"
    return {
        "deny": "denies the action",
        "require": asks,
        "warn": "warns and stops nothing",
        "allow_autonomous": "lets a safe, confident proposal run unattended",
    }.get(effect, effect)


def would(effect: str, seats: Sequence[Mapping[str, Any]]) -> str:
    """`would have denied the action`: what a shadow one would have done."""
    asked = f"asked for {words(seats)} besides" if seats else "asked for people besides"
    done = {
        "deny": "denied the action",
        "require": asked,
        "warn": "warned",
        "allow_autonomous": "let it run unattended",
    }.get(effect, effect)
    return f"would have {done}"


def sentence(wording: Wording) -> str:
    """The whole policy but its expression: what it does where that is true, whether it counts, who may pass it."""
    if wording.mode == "shadow":
        said = f"In shadow: where this is true, it only notes that it {would(wording.effect, wording.seats)}."
    else:
        said = f"Where this is true, it {does(wording.effect, wording.seats)}."
    return f"{said} {hardness(wording.effect, wording.overridable)[1]}".strip()


def hardness(effect: str, overridable: bool) -> tuple[str, str]:
    """A word and a sentence on whether it can be passed. What can be overridden is never called hard."""
    if effect not in ("deny", "require"):
        return "", ""
    if overridable:
        return "Overridable", "It can be overridden: break-glass may pass it."
    return "Hard", "It cannot be overridden: nobody passes it, break-glass neither."
