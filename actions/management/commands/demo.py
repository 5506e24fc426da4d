from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from actions.demo.scenes import play
from actions.demo.world import ENVIRONMENTS, PEOPLE, load_people, root_of, write_files, write_services

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


class Command(BaseCommand):
    help = (
        "Load the demo: people, environments on real directories, and real actions in every state. Safe to run twice."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.INTERLOCK.bind not in LOOPBACK:
            raise CommandError(
                f"The demo's passwords are public; it refuses to load while Interlock listens on "
                f"{settings.INTERLOCK.bind}. Set INTERLOCK_BIND=127.0.0.1, or use `manage.py bootstrap` instead."
            )
        world = load_people()
        for tenant in ("acme", "globex"):
            for n, environment in enumerate(ENVIRONMENTS, 1):
                write_files(root_of(tenant, environment), replicas=n)
        write_services(root_of("acme", "staging"))
        play(world, self.stdout.write)
        self.stdout.write(f"Sign in as {', '.join(PEOPLE)}; each password is the name followed by -demo.")
