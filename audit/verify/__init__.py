"""Verify evidence packs and archives offline: `python -m audit.verify FILE`. Needs `cryptography`, but no Django.

A pack is a ZIP in one canonical encoding, so that no byte of it is without meaning. A signed statement names every file
by its SHA-256. Its events are the canonical bytes that were hashed, each naming the hash of the one before; they name
their artifacts and commit to private values; what follows from them is derived again; proofs lead from them to a signed
head of the whole log. So whatever single byte is changed, something here no longer fits. Who can rewrite everything can
still make another pack that fits, signed by another key: whom to believe is known only to whoever brings a key.

The folder needs nothing else of ours; `manage.py export_verifier FILE` makes one file of it to hand over.
"""

from audit.verify.events import Broken, canonical_bytes, check_chain, commitments_of, opening_line, opens, read_event
from audit.verify.packs import Summary, verify_file
from audit.verify.signatures import CannotCheck, ExternalHeads, Verifier, read_key

__all__ = [
    "Broken",
    "CannotCheck",
    "ExternalHeads",
    "Summary",
    "Verifier",
    "check_chain",
    "commitments_of",
    "opening_line",
    "opens",
    "canonical_bytes",
    "read_event",
    "read_key",
    "verify_file",
]
