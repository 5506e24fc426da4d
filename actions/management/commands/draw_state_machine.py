from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from actions.lifecycle.transitions import render_page


class Command(BaseCommand):
    help = "Write docs/state_machine.md from the table of moves."

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.BASE_DIR / "docs" / "state_machine.md"
        path.write_text(render_page())
        self.stdout.write(f"wrote {path}")
