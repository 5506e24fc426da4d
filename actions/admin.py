"""What of actions is governed in the admin site."""

from actions.handoff.admin import register as register_handoff

register_handoff()
