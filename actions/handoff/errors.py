"""What can go wrong with a ticket; each docstring is its default message."""

from audit.errors import Conflict


class TicketMoved(Conflict):
    """Somebody else did something with this ticket meanwhile. Look at it again."""

    code = "ticket_moved"
