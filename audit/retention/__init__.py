"""How long the log is kept: holds, archives that verify on their own, pruning of what is archived, and erasure."""
