"""What runs in the demo's staging: a small HTTP service with two releases, and a deployment with a failed stage."""

import json
import os
import sys
from pathlib import Path
from typing import Any

GREETER = """\
import http.server
import sys


class Greeter(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"{greeting}\\n"
        self.send_response({status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Greeter).serve_forever()
"""
RELEASES = {"1.0": ("hello", 200), "1.1": ("good day", 200)}
BROKEN = ("out of order", 503)
STATE = {
    "format": "interlock.deployment/1",
    "stages": {"build": {"result": "succeeded"}, "migrate": {"result": "failed", "exit_code": 1}},
}


def settings() -> dict[str, Any]:
    """The services and deployments of an environment that `lay_out_services` has laid out."""
    port = int(os.environ.get("PORT", "8000")) + 713
    python = [sys.executable, "-I"]
    stages = [
        {"name": "build", "command": [*python, "stage.py", "build"]},
        {"name": "migrate", "command": [*python, "stage.py", "migrate"], "undo": [*python, "stage.py", "migrate back"]},
        {"name": "publish", "command": [*python, "stage.py", "publish"]},
    ]
    greeter = {
        "root": "services/greeter",
        "command": [*python, "serve.py", str(port)],
        "health": {"url": f"http://127.0.0.1:{port}/"},
        "health_deadline_s": 15,
        "keep_releases": 5,
    }
    return {"services": {"greeter": greeter}, "deployments": {"shop": {"stages": stages}}}


def lay_out_services(root: Path) -> None:
    """Write releases, an artifact that is not well, and the deployment's state where they are missing."""
    files = {f"services/greeter/releases/{name}/serve.py": greeter(*said) for name, said in RELEASES.items()}
    files["artifacts/greeter/1.2/serve.py"] = greeter(*BROKEN)
    files["deployments/shop/stage.py"] = "import sys\nimport time\n\ntime.sleep(2)\nprint(sys.argv[1], 'done')\n"
    files["deployments/shop/state.json"] = json.dumps(STATE, indent=1) + "\n"
    for name, text in files.items():
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def greeter(greeting: str, status: int) -> str:
    return GREETER.format(greeting=greeting, status=status)
