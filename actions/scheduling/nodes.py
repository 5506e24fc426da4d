"""
Nodes: machines that carry their own actions, each by a worker of its own.

A node is known from the moment its first worker starts. A name that no worker ever had is only a label: any worker
carries such an action, as where nobody uses nodes.
"""

from typing import Any

from django.db.models.functions import Now

from actions.models import Action, Node
from actions.states import LIVE


def node_of(target: dict[str, Any]) -> str:
    """The node that an action with this target has to wait for; empty for any. No query where none is named."""
    name = target.get("node") or ""
    return name if name and Node.objects.filter(pk=name).exists() else ""


def introduce(name: str) -> None:
    """Make a node known, by its own worker; what waits for its name becomes its own. One query once it is known."""
    if Node.objects.filter(pk=name).update(seen_at=Now()):
        return
    Node.objects.get_or_create(pk=name)
    Action.objects.filter(target__node=name, state__in=LIVE, lease=None).update(node=name)
