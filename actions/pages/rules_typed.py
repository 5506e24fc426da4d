"""What was typed into the editor of a policy: kept as typed, read as a wording, and given back beside what is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from approvals.errors import DraftChanged
from approvals.models import Policy, PolicyVersion
from approvals.policies.policy_text import PolicyText, as_yaml, describe_policy, issue
from audit.changes.visible import visible
from audit.errors import Invalid
from tenants.models import Tenant

APPROVAL = "required approval:"
AROUND = 60
"""How much of a line is shown on either side of a fault."""


@dataclass
class Typed:
    """`counts` are texts by role; only those that are filled count. `seen` names the wording it started from."""

    slug: str = ""
    expression: str = ""
    effect: str = "deny"
    message: str = ""
    mode: str = "shadow"
    overridable: bool = False
    everywhere: bool = False
    counts: dict[str, str] = field(default_factory=dict)
    seen: str = ""

    def required_approvals(self) -> list[dict[str, Any]]:
        """The required approvals, for `require` only; a count that is no number is 0, which is refused later."""
        if self.effect != "require":
            return []
        asked = {role: text.strip() for role, text in self.counts.items() if text.strip() not in ("", "0")}
        return [{"role": role, "count": number(text)} for role, text in asked.items()]

    def policy_text(self) -> PolicyText:
        return PolicyText(
            self.expression, self.effect, self.message, self.required_approvals(), self.overridable, self.mode
        )

    def rows(self, roles: Iterable[str]) -> list[dict[str, str]]:
        """One row per role that may approve, and per role that was typed all the same."""
        names = [*sorted(roles), *sorted(set(self.counts) - set(roles))]
        return [{"role": role, "count": self.counts.get(role, "")} for role in names if role]


def number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0


def typed(post: QueryDict) -> Typed:
    """What the form holds. Line ends are those of Unix, so that lines and columns are the reader's."""
    said = {key: _text(post.get(key)) for key in ("slug", "expression", "effect", "message", "mode", "seen")}
    counts = {key.removeprefix(APPROVAL)[:64]: _text(post.get(key)) for key in post if key.startswith(APPROVAL)}
    if extra := _text(post.get("role_new")).strip():
        counts[extra[:64]] = _text(post.get("count_new"))
    return Typed(
        **said, counts=counts, overridable=post.get("overridable") == "on", everywhere=post.get("everywhere") == "on"
    )


def typed_from(policy_text: PolicyText, **more: Any) -> Typed:
    counts = {required["role"]: str(required["count"]) for required in policy_text.required_approvals}
    return Typed(
        expression=policy_text.expression,
        effect=policy_text.effect,
        message=policy_text.message,
        mode=policy_text.mode,
        overridable=policy_text.overridable,
        counts=counts,
        **more,
    )


def tried(verb: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[dict[str, Any]], bool]:
    """Call a verb; return what it gave, or every issue that it refused for, or that the draft moved meanwhile."""
    try:
        return verb(*args, **kwargs), [], False
    except DraftChanged:
        return None, [], True
    except Invalid as refused:
        return None, refused.extra.get("issues") or [issue(refused.detail, "")], False


def excerpts(issues: Iterable[dict[str, Any]], texts: dict[str, str]) -> list[dict[str, Any]]:
    """Issues with the line that each is about, cut around its column: {"before", "at", "after", "caret"}."""
    return [{**it, **_excerpt(texts.get(it["field"], ""), it)} if "line" in it else it for it in issues]


def _excerpt(text: str, it: dict[str, Any]) -> dict[str, str]:
    lines = text.splitlines() or [""]
    line = lines[min(max(it["line"], 1), len(lines)) - 1].replace("\t", " ")
    column = min(max(it["column"], 1), len(line) + 1) - 1
    start = max(0, column - AROUND)
    before = ("…" if start else "") + visible(line[start:column])
    after = line[column + 1 : column + AROUND]
    more = "…" if len(line) > column + AROUND else ""
    at = visible(line[column : column + 1])
    return {"before": before, "at": at, "after": visible(after) + more, "caret": " " * len(before) + "^"}


def preview(it: Typed, home: Tenant, version: int = 1) -> dict[str, str]:
    """What reviewers would read: the sentence, and the text that they compare. Stores nothing."""
    policy = Policy(slug=it.slug or "…", home=home, tenant=None if it.everywhere else home)
    said = it.policy_text()
    unsaved = PolicyVersion(
        policy=policy,
        version=version,
        expression=said.expression,
        effect=said.effect,
        message=said.message,
        required_approvals=said.required_approvals,
        overridable=said.overridable,
        mode=said.mode,
    )
    return {"sentence": describe_policy(said), "yaml": visible(as_yaml(unsaved))}


def _text(value: Any) -> str:
    plain = str(value or "").replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    return plain.encode("utf-8", "replace").decode()
