"""Verify a tenant's signed log in its order: every event, entry, tile and signed head against one another.

It can stop after any batch and resume elsewhere from its `state`. Memory holds one batch, and the entries
of one head.
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Subquery

from audit.models import Event
from audit.models.seals import TILE, Leaf, SignedTreeHead, Tile, Tree
from audit.seals import keys
from audit.seals.installation_key import Undecryptable
from audit.seals.tree import StoredNodes, split_hashes
from audit.verification import diagnose
from audit.verification.chain import ChainReport, Contents, archived_upto, are_archived, check_event
from audit.verify import Broken
from audit.verify.merkle import MAX_SIZE, Frontier, leaf_hash
from audit.verify.signatures import InvalidNote, TreeHead, digest_of_note

BATCH = 2 * TILE
MAX_PENDING = 50_000
LEAF = ("event_id", "tenant", "log_index", "subject_id", "seq", "hash")


class LogVerifier:
    """From `start` (its nodes are taken from storage, and count once a signed head has confirmed them) to the end, or
    to the first head that covers `upto` entries. `external_heads` were kept elsewhere: the log must pass through them.
    """

    def __init__(
        self, tenant: UUID, start: int = 0, upto: int | None = None, external_heads: list[TreeHead] | None = None
    ) -> None:
        self.tenant = tenant
        self.report = ChainReport()
        self.heads = self.number = 0
        self.contents = Contents(self.report)
        self.keys = known_keys(tenant)
        self.external_heads = {head.size: head for head in external_heads or []}
        self.frontier, self.base, self.previous = Frontier(), Frontier(), ""
        self.pending: list[Leaf] = []
        self.is_done = False
        self.end = _first_head_covering(tenant, upto)
        self.archived = archived_upto(tenant)
        if start:
            self._begin_at(start)

    def _begin_at(self, start: int) -> None:
        try:
            self.frontier = Frontier.at(start, StoredNodes(self.tenant))
        except LookupError:
            raise diagnose.missing_entry(self.tenant, start - 1, self.signed) from None
        self.base = self.frontier.copy()
        before = SignedTreeHead.objects.filter(tenant=self.tenant, size__lte=start).order_by("-number").first()
        if before is not None:
            self.number, self.previous = before.number, before.note

    @property
    def signed(self) -> int:
        """How many entries heads, or the tree, say that there are."""
        sizes = SignedTreeHead.objects.filter(tenant=self.tenant).order_by("-number").values_list("size", flat=True)[:1]
        trees = Tree.objects.filter(tenant=self.tenant).values_list("size", flat=True)
        return max([*sizes, *trees, 0])

    def run(self, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Go on until the end, or until `is_enough` where a head was just passed; whether it is done. Raises Broken."""
        while not self.is_done:
            self._batch()
            if not self.pending and is_enough():
                break
        return self.is_done

    def _batch(self) -> None:
        start = self.frontier.size
        end = min(start - start % BATCH + BATCH, self.end)
        leaves = list(Leaf.objects.filter(tenant=self.tenant, log_index__range=(start, end - 1)).order_by("log_index"))
        heads = self._heads(end if len(leaves) == end - start else start + len(leaves))
        head = next(heads, None)
        tiles = self._tiles(start, end)
        head = self._pass(head, heads)  # over what was there before: silence
        for leaf, event in self._events(leaves):
            self._check(leaf, event, tiles)
            self.frontier.append(bytes(leaf.hash))
            self.pending.append(leaf)
            head = self._pass(head, heads)
        if head is not None:
            raise Broken("edited", f"head #{head.number}", f"it has {head.size} entries, fewer than the one before it")
        if len(leaves) < end - start:
            self._finish()
        self.is_done = self.is_done or self.frontier.size >= self.end
        if len(self.pending) > MAX_PENDING:
            raise Broken(
                "deleted", f"head #{self.number + 1}", f"no tree head covers entry {self.pending[0].log_index}"
            )

    def _heads(self, upto: int) -> Iterator[SignedTreeHead]:
        """The heads after the last that was passed; a page at a time, as silence may have signed many of one size."""
        after, page = self.number, None
        while page is None or len(page) == BATCH:
            found = SignedTreeHead.objects.filter(tenant=self.tenant, number__gt=after, size__lte=upto)
            page = list(found.order_by("number")[:BATCH])
            yield from page
            after = page[-1].number if page else after

    def _tiles(self, start: int, end: int) -> dict[int, list[bytes]]:
        rows = Tile.objects.filter(tenant=self.tenant, level=0, n__range=(start // TILE, (end - 1) // TILE))
        return {n: split_hashes(bytes(hashes)) for n, hashes in rows.values_list("n", "hashes")}

    def _events(self, leaves: list[Leaf]) -> Iterator[tuple[Leaf, Event | None]]:
        before = Event.objects.filter(subject_id=OuterRef("subject_id"), seq=OuterRef("seq") - 1).order_by("id")
        wanted = Event.objects.annotate(before=Subquery(before.values("hash")[:1]))
        events = wanted.in_bulk([leaf.event_id for leaf in leaves])
        checked: list[tuple[Event, dict[str, Any]]] = []
        for leaf in leaves:
            event = events.get(leaf.event_id)
            yield leaf, event
            if event is not None:  # nothing was raised: it is what was sealed
                checked.append((event, check_link(event, self.archived)))
        self.contents.check(checked)

    def _check(self, leaf: Leaf, event: Event | None, tiles: dict[int, list[bytes]]) -> None:
        """One entry against its place, its tile and its event. Raises Broken."""
        if leaf.log_index != self.frontier.size:
            raise diagnose.missing_entry(self.tenant, self.frontier.size, self.signed)
        check_entry(
            leaf,
            event,
            tiles[leaf.log_index // TILE][leaf.log_index % TILE]
            if leaf.log_index // TILE in tiles
            else bytes(leaf.hash),
            self.archived,
        )
        self.report.events += event is not None

    def _pass(self, head: SignedTreeHead | None, heads: Iterator[SignedTreeHead]) -> SignedTreeHead | None:
        """Pass the heads that stand for just as many entries as were verified; return the one after."""
        size = self.frontier.size
        if size in self.external_heads and self.external_heads.pop(size).root != self.frontier.root():
            raise forked_at(size)
        while head is not None and head.size == size:
            self._check_head(head)
            head = next(heads, None)
        return head

    def _check_head(self, head: SignedTreeHead) -> None:
        name = f"head #{head.number}"
        if head.number != self.number + 1:
            raise Broken("deleted", f"head #{self.number + 1}", f"{name} is there")
        try:
            said = keys.verify_head(head.note, self.keys)
        except InvalidNote as bad:
            raise Broken("edited", name, str(bad)) from bad
        if said.root != self.frontier.root():
            raise diagnose.wrong_root(head, said.root, self.pending, self.base)
        stored = (head.size, bytes(head.root), str(head.number), keys.format_time(head.at))
        if stored != (said.size, said.root, said.extension("number"), said.extension("at")):
            raise Broken("edited", name, "its columns differ from the signed text")
        if self.number and said.extension("previous") != digest_of_note(self.previous):
            raise Broken("edited", f"head #{self.number}", f"{name} names another head as the previous one")
        self.number, self.previous = head.number, head.note
        self.heads += 1
        self.pending.clear()
        self.base = self.frontier.copy()

    def _finish(self) -> None:
        """All entries were seen: what was signed and not seen is missing, what was seen and not signed too much."""
        signed, size = self.signed, self.frontier.size
        if signed > size:
            raise diagnose.missing_entry(self.tenant, size, signed)
        if Tree.objects.filter(tenant=self.tenant, number__gt=self.number).exists():
            raise Broken(
                "truncated", f"head #{self.number + 1}", "it was signed, but it and all later ones are missing"
            )
        if self.pending:
            raise Broken("inserted", f"entry {self.pending[0].log_index} of the log", "no tree head covers it")
        if self.external_heads:
            most = max(self.external_heads)
            detail = f"the tree head that was kept has {most} entries; the log has {size}"
            raise Broken("truncated", f"entry {size} of the log", detail)
        self.is_done = True

    def state(self) -> dict[str, Any]:
        """The position after `run`, to be stored as JSON; `resume` continues from it."""
        return {
            "size": self.frontier.size,
            "heads": self.heads,
            "events": self.report.events,
            "artifacts": self.report.artifacts,
            "openings": self.report.openings,
        }

    @classmethod
    def resume(
        cls, tenant: UUID, state: dict[str, Any], upto: int | None, external_heads: list[TreeHead]
    ) -> "LogVerifier":
        """A verifier that continues from `state`. Heads that it had passed by then are checked against it once more."""
        verifier = cls(tenant, state["size"], upto)
        for name in ("events", "artifacts", "openings"):
            setattr(verifier.report, name, state[name])
        verifier.heads = state["heads"]
        verifier.external_heads = {head.size: head for head in external_heads if head.size > state["size"]}
        return verifier


def check_entry(leaf: Leaf, event: Event | None, wanted: bytes, archived: int = 0) -> None:
    """
    One sealed entry against the event that is stored, and the hash that the tree has for it. Raises Broken.

    Below the index `archived`, the event may have left the database: its archive has it.
    """
    if bytes(leaf.hash) != wanted:
        raise diagnose.wrong_entry(leaf, event, wanted)
    if event is None:
        if leaf.log_index < archived:
            return
        raise diagnose.event_gone(leaf)
    if (event.tenant, event.subject_id, event.seq) != (leaf.tenant, leaf.subject_id, leaf.seq):
        raise diagnose.event_moved(leaf, event)
    if leaf_hash(bytes(event.body)) != wanted:
        raise diagnose.event_changed(leaf, event, wanted)


def check_link(event: Event, archived: int = 0) -> dict[str, Any]:
    """
    The envelope of an event that was read with the hash `before` it, once it and its link are checked.

    The one before may have left the database, if anything was `archived`.
    """
    envelope, before = check_event(event), getattr(event, "before", None)
    is_cut = before is None and archived > 0 and event.seq > 1
    if is_cut and are_archived(event.tenant, event.subject_id, 1, event.seq - 1, archived):
        return envelope
    if envelope["prev"] != (bytes(before).hex() if before else ""):
        name = f"event #{event.seq - 1} of {event.subject_kind} {event.subject_id}"
        raise Broken("edited", name, f"its hash is not the one that #{event.seq} was chained to")
    return envelope


def known_keys(tenant: UUID) -> list[keys.PublicKey]:
    """The tenant's keys. Raises Broken when one is not what was stored, MissingKey when this process cannot tell."""
    try:
        return keys.verifiers(tenant)
    except Undecryptable as error:
        detail = "the stored key is not the one that was wrapped under the installation's key"
        raise Broken("edited", "a signing key", detail) from error


def _first_head_covering(tenant: UUID, upto: int | None) -> int:
    """How many entries the first head has that covers as many as these; beyond any log where there is none."""
    if upto is None:
        return MAX_SIZE
    covering = SignedTreeHead.objects.filter(tenant=tenant, size__gte=upto).order_by("number")
    return covering.values_list("size", flat=True).first() or MAX_SIZE


def forked_at(size: int) -> Broken:
    return Broken(
        "forked",
        f"entry {size - 1} of the log",
        f"it, or an earlier one, differs from the tree head that was kept: those {size} entries had another root",
    )
