"""The changes of a plan with their diffs and comments."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from actions.commands.review import comment_on, resolve_thread
from actions.lifecycle.allowed import find_action
from actions.models import Action, Plan
from actions.pages.decorators import redirect_to, require_member
from approvals.models import Comment
from approvals.requests.comments import threads_of
from audit.changes.document import Change, parse_changes
from audit.changes.render import View, render_change
from audit.errors import NotFound
from audit.log.artifacts import read_artifact
from audit.web import correlation_of
from tenants.access import access_of

PAGE_SIZE = 20
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
class ChangeView:
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
def _load_document(tenant: UUID, digest: str) -> tuple[Change, ...]:
    """Content addressed, so it never goes stale; eight documents of at most a few MB each are kept per process."""
    return tuple(parse_changes(read_artifact(tenant, digest)))


@lru_cache(maxsize=48)
def _render_change(tenant: UUID, digest: str, n: int, view: View) -> SafeString:
    return render_change(_load_document(tenant, digest)[n - 1], view)


def load_changes(plan: Plan | None, tenant: UUID) -> list[ChangeView]:
    """All changes of a plan: what they are, without their diffs."""
    if plan is None:
        return []
    return to_change_views(_load_document(tenant, plan.changes))


def to_change_views(changes: tuple[Change, ...] | list[Change]) -> list[ChangeView]:
    out, lines = [], 0
    for n, change in enumerate(changes, 1):
        size = change.adds + change.dels
        inline = size <= INLINE_LINES and lines + size <= 3 * INLINE_LINES and n <= PAGE_SIZE
        lines += size if inline else 0
        out.append(ChangeView(n, change, inline, inline and n <= OPEN_AT_FIRST))
    return out


def render_diff(plan: Plan, tenant: UUID, n: int, view: View) -> SafeString:
    """One diff of a plan. Raises NotFound beyond the last one."""
    if not 1 <= n <= len(_load_document(tenant, plan.changes)):
        raise NotFound
    return _render_change(tenant, plan.changes, n, view)


def find_plan(action: Action, digest: str) -> Plan:
    """The plan of an action with this digest, so that a page keeps showing what it began to show. Raises NotFound."""
    if action.plan is not None and digest in ("", action.plan.digest):
        return action.plan
    found = None if "\x00" in digest else action.plans.filter(digest=digest).order_by("-version").first()
    if found is None:
        raise NotFound
    return found


def diff_view(request: HttpRequest) -> View:
    """Split or unified: what the reader chose last; a phone gets unified, because split does not fit."""
    phone = request.headers.get("Sec-CH-UA-Mobile") == "?1" or "Mobi" in request.headers.get("User-Agent", "")
    chosen = request.COOKIES.get("il-diff", "")
    return "unified" if phone or chosen == "unified" else "split"


# Comments beside the changes: one form and its threads for each change, and one for the whole plan.


@require_POST
@require_member
def add_comment(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Say something; answers with the threads of that place."""
    sent = request.POST
    made = comment_on(
        access_of(request),
        action_id,
        sent.get("text", ""),
        digest=sent.get("digest", "")[:64],
        change=_number(sent.get("change", "")),
        line=_number(sent.get("line", "")),
        reply_to=_parse_id(sent.get("reply_to", "")),
        correlation_id=correlation_of(request),
    )
    return _render_thread(request, find_action(access_of(request), action_id), made)


@require_POST
@require_member
def resolve_comment_thread(request: HttpRequest, action_id: UUID, comment_id: UUID) -> HttpResponse:
    """Resolve a thread, or take it up again."""
    done = request.POST.get("resolved") != "no"
    action, found = resolve_thread(
        access_of(request), action_id, comment_id, done, correlation_id=correlation_of(request)
    )
    return _render_thread(request, action, found)


def comments_context(action: Action, digest: str) -> dict[str, Any]:
    """What stands beside the changes of one plan: {"talk": {n: [Thread]}, "open_threads": unresolved threads}."""
    talk = threads_of(action.tenant_id, "action", action.pk, digest)
    still = sum(not t.first.resolved_at for threads in talk.values() for t in threads)
    return {"talk": talk, "open_threads": still}


def _render_thread(request: HttpRequest, action: Action, about: Comment) -> HttpResponse:
    shown = request.POST.get("digest", "") or (action.plan.digest if action.plan else "")
    n = 0 if about.digest != shown else about.change or 0
    if request.headers.get("HX-Request") != "true":
        return redirect_to(request, f"/actions/{action.pk}/#talk-{n}")
    context = {"action": action, "plan": action.plan, "n": n, "digest": shown, **comments_context(action, shown)}
    return render(request, "actions/review/_comments.html", context | {"threads": context["talk"].get(n, [])})


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 and int(text) else None


def _parse_id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise NotFound from None
