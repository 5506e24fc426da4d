"""What a runner looks after about once a second while effects are in the air."""

import time
from uuid import UUID

from actions.models import Action
from actions.run import tallies
from actions.run.flights import Carried, Flights
from actions.run.live_log import speak
from actions.run.stopping import WISH, take_wish

EVERY_S = 1.0


class EverySecond:
    """Tell long effects of a stop that somebody asked for, and let people read what they write meanwhile."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def look(self, carried: dict[UUID, Carried], flights: Flights) -> None:
        if not flights or time.monotonic() - self.last < EVERY_S:
            return
        self.last = time.monotonic()
        asked = Action.objects.filter(pk__in=list(carried), stop_requested_at__isnull=False)
        for wish in asked.only(*WISH):
            take_wish(carried[wish.pk].case.action, wish)
        speak(c.case for c in carried.values())
        tallies.tell()
