"""What of actions is governed in the admin site."""

from actions.handoff.admin import register as register_handoff
from actions.scheduling.admin import register as register_caps

register_handoff()
register_caps()
