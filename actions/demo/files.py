"""The files that the demo's environments start with: small, plausible, and without secrets."""

from pathlib import Path

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


def lay_out(root: Path, replicas: int) -> None:
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
