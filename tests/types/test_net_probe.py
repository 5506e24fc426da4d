"""Probing services: timings, limits, and no packet to where nobody may look."""

import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from actions.types.conformance import target
from actions.types.protocol import StepContext
from actions.types.rerun_healthcheck.executor import RerunHealthcheck
from actions.types.shared.net_probe import BODY_LIMIT, probe, url_fault, url_request
from audit.outgoing.webhook import refusal_reason
from tests.types.services import Service

service = Service()
setup_module = service.start
teardown_module = service.stop

ANYWHERE = {"allow_private_targets": True}
NEVER = (
    "168.63.129.16 100.100.100.200 fd00:ec2::254 fd20:ce::254 "
    "0.0.0.0 0.1.2.3 169.254.169.254 192.0.0.8 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 "
    "239.255.255.250 240.0.0.1 255.255.255.255 :: ::127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:7f00:1 64:ff9b::7f00:1 "
    "64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1:: 3fff::1 5f00::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 "
    "nonsense"
)
PRIVATE = "127.0.0.1 127.255.0.1 10.1.2.3 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 ::1 fc00::1 fd12::1"
PUBLIC = "1.1.1.1 172.32.0.1 100.128.0.1 192.0.1.1 2606:4700:4700::1111 2a00:1450::1 ::ffff:8.8.8.8"


def ask(path: str = "/", **more: Any) -> Any:
    return probe(url_request(service.url(path), **{"allow_private": True, "timeout_s": 5, **more}))


@pytest.mark.parametrize("address", NEVER.split())
def test_an_address_with_no_business_being_probed_is_always_refused(address: str) -> None:
    assert refusal_reason(address, allow_private=False)
    assert refusal_reason(address, allow_private=True)


@pytest.mark.parametrize("address", [*PRIVATE.split(), "::ffff:127.0.0.1", "::ffff:10.0.0.1"])
def test_a_private_address_needs_the_environments_leave(address: str) -> None:
    assert "allow_private_targets" in refusal_reason(address, allow_private=False)
    assert refusal_reason(address, allow_private=True) == ""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_a_public_address_may_be_probed(address: str) -> None:
    assert refusal_reason(address, allow_private=False) == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0"])
def test_loopback_in_any_spelling_gets_no_packet_without_leave(host: str) -> None:
    before = service.connections
    answer = probe(url_request(service.url("/", host), timeout_s=5))
    assert (answer.ok, answer.code) == (False, "address_refused")
    assert service.connections == before


def test_a_name_is_resolved_once_and_the_judged_address_is_the_one_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the first answer is public, every later one is loopback."""
    answers = iter(["203.0.114.1"])
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **kw: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers, "127.0.0.1"), port))]

    def connect(self: socket.socket, address: Any) -> None:
        asked.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect)
    before = service.connections
    assert probe(url_request(f"http://rebind.example:{service.port}/", timeout_s=2)).code == "connection"
    assert asked == ["203.0.114.1"]
    assert service.connections == before


def test_of_a_names_addresses_only_the_allowed_ones_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", (address, service.port)) for address in ("169.254.169.254", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: found)
    answer = probe(url_request(f"http://two.example:{service.port}/", allow_private=True, timeout_s=2))
    assert (answer.ok, answer.address) == (True, "127.0.0.1")


def test_a_healthy_service_is_timed_phase_by_phase() -> None:
    answer = ask()
    assert (answer.ok, answer.status, answer.body_bytes) == (True, 200, len("all is well"))
    assert answer.timings_us.keys() == {"dns", "connect", "first_byte", "total"}
    assert sum(answer.timings_us[phase] for phase in ("dns", "connect", "first_byte")) <= answer.timings_us["total"]
    assert service.asked[-1] == ("GET", "/", f"127.0.0.1:{service.port}")


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    assert ask("/elsewhere").status == 302
    assert ask("/elsewhere", expected=(200,)).code == "status"
    assert "/followed" not in [path for _, path, _ in service.asked]


def test_status_body_and_method_count() -> None:
    assert ask("/down").code == "status"
    assert ask("/down", expected=(503,)).ok
    assert ask("/", body_contains="well").ok
    assert ask("/", body_contains="unwell").code == "body"
    assert ask("/", method="HEAD").body_bytes == 0
    assert service.asked[-1][0] == "HEAD"


def test_a_large_body_is_read_up_to_the_limit_only() -> None:
    answer = ask("/large")
    assert (answer.ok, answer.body_bytes) == (True, BODY_LIMIT)


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_a_service_that_takes_its_time_is_cut_off_at_the_timeout(path: str) -> None:
    started = time.monotonic()
    answer = ask(path, timeout_s=0.5)
    assert (answer.ok, answer.code) == (False, "timeout")
    assert time.monotonic() - started < 2


def test_a_name_server_that_does_not_answer_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: Any, **kw: Any) -> list[Any]:
        time.sleep(1)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert probe(url_request("http://slow.example/", timeout_s=0.2)).code == "timeout"


def test_a_closed_port_and_an_unknown_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert probe(url_request(f"http://127.0.0.1:{port}/", allow_private=True)).code == "connection"

    def unknown(*args: Any, **kw: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert probe(url_request("http://unknown.example/")).code == "dns"


def test_a_certificate_is_checked_and_the_environments_own_authority_counts(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout {key} -out {cert}"
    names = ["-subj", "/CN=shop.test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    secure = Service()
    secure.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    secure.server.socket = context.wrap_socket(secure.server.socket, server_side=True)
    secure.server.handle_error = lambda *args: None  # type: ignore[method-assign]  # refused handshakes are the point
    url = secure.url().replace("http:", "https:")
    try:
        assert probe(url_request(url, allow_private=True)).code == "certificate"
        assert secure.asked == []
        answer = probe(url_request(url, allow_private=True, ca_file=str(cert)))
        assert (answer.ok, "tls" in answer.timings_us) == (True, True)
    finally:
        secure.stop()


BAD_URLS = [
    "ftp://example.com/",
    "file:///etc/passwd",
    "http:///nohost",
    "http://user:secret@example.com/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://exa mple.com/",
    "http://example.com/\r\nX-Evil: 1",
    "http://example.com/#part",
    "http://①②⑦.0.0.1/",
    "http://[::1/",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_means_something_else_is_refused(url: str) -> None:
    assert url_fault(url)


def context(parameters: dict[str, Any], **settings: Any) -> StepContext:
    where = target(None, **ANYWHERE, **settings)
    (step,) = RerunHealthcheck().plan(parameters, where).steps
    return StepContext(where, step, parameters, "key")


def test_an_unhealthy_service_fails_the_action_and_tells_every_try() -> None:
    outcome = RerunHealthcheck().apply(context({"url": service.url("/down"), "repeat": 3, "interval_s": 0}))
    assert (outcome.ok, outcome.code) == (False, "unhealthy")
    assert "status 503" in outcome.message
    assert [attempt["status"] for attempt in outcome.facts["tries"]] == [503, 503, 503]


def test_a_query_may_hold_a_key_and_is_shown_nowhere() -> None:
    ctx = context({"url": service.url("/?key=hidden-value")})
    outcome = RerunHealthcheck().apply(ctx)
    assert outcome.ok
    assert "hidden-value" not in repr(outcome) + ctx.step["title"] + ctx.step["target"]


def test_an_abort_ends_the_waiting_between_tries() -> None:
    ctx = context({"host": "127.0.0.1", "port": service.port, "repeat": 20, "interval_s": 60})
    started = time.monotonic()
    ctx.stopping = lambda: time.monotonic() > started + 0.3
    outcome = RerunHealthcheck().apply(ctx)
    assert (outcome.ok, outcome.code, outcome.facts["passed"]) == (False, "stopped", 1)
    assert time.monotonic() - started < 5


def test_a_healthcheck_that_an_admin_wrote_wrong_is_told_not_raised() -> None:
    for wrong in ("http://x/", {"host": "x"}, {"url": 5}, {"url": "gopher://x/"}, {"host": "x", "port": "80"}):
        (issue,) = RerunHealthcheck().validate({"check": "shop"}, target(None, healthchecks={"shop": wrong}))
        assert "An admin corrects it" in issue.message, wrong
