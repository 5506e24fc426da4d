"""Whose actions a worker carries, and by which queue it hears of them."""

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class Scope:
    """One node's actions or those of no node; `serves` limits it to `tenant/environment` pairs."""

    node: str = ""
    serves: tuple[str, ...] = ()

    def route(self, queue: str) -> str:
        """The queue on which this worker hears of work; `queue` itself for a worker that takes what comes."""
        if self.node:
            return of_node(queue, self.node)
        if self.serves:
            return f"{queue}.in.{sha256(' '.join(sorted(self.serves)).encode()).hexdigest()[:12]}"
        return queue


ANY = Scope()


def of_node(queue: str, node: str) -> str:
    """The queue of a node's own workers."""
    return f"{queue}.node.{node}"
