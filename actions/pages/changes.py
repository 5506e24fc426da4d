"""The changes of a plan on a page: what each one is, and its diff in the one view that the reader remembers."""

from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from django.http import HttpRequest
from django.utils.safestring import SafeString

from actions.models import Action, Plan
from audit.changes.document import Change, parse_changes
from audit.changes.render import View, render_change
from audit.errors import NotFound
from audit.log.artifacts import read_artifact

PAGE = 20
INLINE_LINES = 600
"""A diff of more changed lines than this is fetched when it is opened."""
OPEN_AT_FIRST = 6
OPERATIONS = {
    "create": ("add", "+", "Created"),
    "modify": ("mod", "~", "Changed"),
    "delete": ("del", "−", "Deleted"),
    "replace": ("rep", "±", "Replaced"),
}


@dataclass(frozen=True)
class Shown:
    """A change with its place (from 1) in the plan."""

    n: int
    change: Change
    inline: bool
    open: bool

    @property
    def op(self) -> str:
        return OPERATIONS[self.change.operation][0]

    @property
    def sign(self) -> str:
        return OPERATIONS[self.change.operation][1]

    @property
    def word(self) -> str:
        return OPERATIONS[self.change.operation][2]

    @property
    def folder(self) -> str:
        return self.change.target.rpartition("/")[0] + "/" if "/" in self.change.target else ""

    @property
    def name(self) -> str:
        return self.change.target.rpartition("/")[2]

    @property
    def mode(self) -> str:
        """The file mode, if it changes."""
        before, after = self.change.before_mode, self.change.after_mode
        return f"{before} → {after}" if before and after and before != after else ""

    @property
    def size(self) -> int:
        return self.change.adds + self.change.dels


@lru_cache(maxsize=8)
def _loaded(tenant: UUID, digest: str) -> tuple[Change, ...]:
    """Content addressed, so it never goes stale; eight documents of at most a few MB each are kept per process."""
    return tuple(parse_changes(read_artifact(tenant, digest)))


@lru_cache(maxsize=48)
def _rendered(tenant: UUID, digest: str, n: int, view: View) -> SafeString:
    return render_change(_loaded(tenant, digest)[n - 1], view)


def changes_of(plan: Plan | None, tenant: UUID) -> list[Shown]:
    """All changes of a plan: what they are, without their diffs."""
    if plan is None:
        return []
    return shown(_loaded(tenant, plan.changes))


def shown(changes: tuple[Change, ...] | list[Change]) -> list[Shown]:
    out, lines = [], 0
    for n, change in enumerate(changes, 1):
        size = change.adds + change.dels
        inline = size <= INLINE_LINES and lines + size <= 3 * INLINE_LINES and n <= PAGE
        lines += size if inline else 0
        out.append(Shown(n, change, inline, inline and n <= OPEN_AT_FIRST))
    return out


def diff_of(plan: Plan, tenant: UUID, n: int, view: View) -> SafeString:
    """One diff of a plan. Raises NotFound beyond the last one."""
    if not 1 <= n <= len(_loaded(tenant, plan.changes)):
        raise NotFound
    return _rendered(tenant, plan.changes, n, view)


def plan_with(action: Action, digest: str) -> Plan:
    """The plan of an action with this digest, so that a page keeps showing what it began to show. Raises NotFound."""
    if action.plan is not None and digest in ("", action.plan.digest):
        return action.plan
    found = None if "\x00" in digest else action.plans.filter(digest=digest).order_by("-version").first()
    if found is None:
        raise NotFound
    return found


def view_of(request: HttpRequest) -> View:
    """Split or unified: what the reader chose last; a phone gets unified, because split does not fit."""
    phone = request.headers.get("Sec-CH-UA-Mobile") == "?1" or "Mobi" in request.headers.get("User-Agent", "")
    chosen = request.COOKIES.get("il-diff", "")
    return "unified" if phone or chosen == "unified" else "split"
