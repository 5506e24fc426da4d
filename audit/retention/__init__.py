"""How long the log is kept: legal holds, archives that verify on their own, pruning, erasure."""
