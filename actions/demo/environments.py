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


def write_services(root: Path) -> None:
    """Write releases, an artifact that is not well, and the deployment's state where they are missing."""
    files = {f"services/greeter/releases/{name}/serve.py": service_source(*said) for name, said in RELEASES.items()}
    files["artifacts/greeter/1.2/serve.py"] = service_source(*BROKEN)
    files["deployments/shop/stage.py"] = "import sys\nimport time\n\ntime.sleep(2)\nprint(sys.argv[1], 'done')\n"
    files["deployments/shop/state.json"] = json.dumps(STATE, indent=1) + "\n"
    for name, text in files.items():
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def service_source(greeting: str, status: int) -> str:
    return GREETER.format(greeting=greeting, status=status)


# The files that the demo's environments start with: small, plausible, and without secrets.


CHECKOUT = """\
# checkout: takes carts to orders
service: checkout
replicas: {replicas}
image: registry.example/checkout:2026.11.2
env:
  LOG_LEVEL: info
  PAYMENT_TIMEOUT_S: 8
  CART_TTL_MIN: 30
health:
  path: /healthz
  interval_s: 10
limits:
  cpu: "2"
  memory: 1Gi
"""
ORDERS = """\
service: orders
replicas: {replicas}
image: registry.example/orders:2026.11.0
env:
  LOG_LEVEL: info
  DB_POOL: 20
"""
DATABASE = """\
# orders-db
max_connections = 200
shared_buffers = 2GB
work_mem = 16MB
wal_level = replica
log_min_duration_statement = 500
"""
FLAGS = """\
{
  "checkout_v3": false,
  "new_search": true,
  "express_shipping": false
}
"""
FIREWALL = """\
allow tcp 10.20.0.0/16 -> api:443
allow tcp 10.30.0.0/16 -> vault:8200
deny  any any
"""


def write_files(root: Path, replicas: int) -> None:
    """Write the starting files of one environment where they are missing."""
    for name, text in {
        "services/checkout.yaml": CHECKOUT.format(replicas=replicas),
        "services/orders.yaml": ORDERS.format(replicas=replicas),
        "db/orders-db.conf": DATABASE,
        "flags.json": FLAGS,
        "edge/firewall.rules": FIREWALL,
        "legacy/ingress.conf": "# retired, kept for reference\nlisten 8081\n",
    }.items():
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
