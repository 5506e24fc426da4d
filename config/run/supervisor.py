"""Talk to supervisord over its unix socket."""

import http.client
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, ServerProxy

from supervisor.states import ProcessStates
from supervisor.xmlrpc import SupervisorTransport

RPC_ERRORS = (OSError, Error, http.client.HTTPException)


class Supervisor:
    """What the launcher asks supervisord. No answer is not an error here: it may be starting."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.secret = secrets.token_urlsafe()

    @property
    def _rpc(self) -> Any:
        transport = SupervisorTransport("interlock", self.secret, f"unix://{self._socket}")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def states(self) -> dict[str, int]:
        with suppress(*RPC_ERRORS):
            return {info["name"]: info["state"] for info in self._rpc.getAllProcessInfo()}
        return {}

    def answers(self) -> bool:
        return bool(self.states())

    def is_running(self, name: str) -> bool:
        return self.states().get(name) == ProcessStates.RUNNING

    def given_up(self) -> str:
        """A process that supervisord no longer restarts, or an empty string."""
        return next((name for name, state in self.states().items() if state == ProcessStates.FATAL), "")

    def start(self, name: str) -> None:
        with suppress(*RPC_ERRORS):
            self._rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        with suppress(*RPC_ERRORS):
            self._rpc.stopProcess(name, False)

    def kill_all(self) -> None:
        with suppress(*RPC_ERRORS):
            self._rpc.signalAllProcesses("KILL")
