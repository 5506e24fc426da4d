"""Hand-off: what happens when an action fails or cannot go on. Tickets, diagnostics, next steps, who is told."""
