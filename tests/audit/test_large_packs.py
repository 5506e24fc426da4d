"""A pack of very many events: built and verified in memory that does not grow with them."""

import resource
import threading
import time

import psutil
import pytest

from audit.database.clock import database_time, uuid7
from audit.evidence import jobs
from audit.evidence.pack import PackRequest, plan_pack
from audit.log.events import NewEvent, append_events, read_chain_heads
from audit.models.auditor import PackJob
from audit.seals.sealer import seal_all
from audit.verify import verify_file
from tests.audit.cast import TENANT, a_subject

MEMORY = 48 << 20


def many(count):
    """A subject with that many events, every tenth with a private value; all sealed."""
    subject, actor = a_subject("deed"), str(uuid7())
    for start in range(0, count, 5_000):
        entries = [
            NewEvent(
                TENANT,
                subject,
                "step.done" if n % 100 else "approval.granted",
                actor,
                facts={"n": n, "note": "x" * 200},
                private={"comment": f"number {n}"} if n % 10 == 0 else {},
            )
            for n in range(start, min(start + 5_000, count))
        ]
        append_events(entries, read_chain_heads([subject.id]), database_time())
    seal_all()
    return subject


def peak_of(do):
    """What it gives, by how many bytes this process grew at most meanwhile, and how long it took."""
    me, over = psutil.Process(), threading.Event()
    before = most = me.memory_info().rss

    def watch():
        nonlocal most
        while not over.wait(0.02):
            most = max(most, me.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    try:
        return do(), most - before, time.monotonic() - began
    finally:
        over.set()
        watcher.join()


def test_some_thousand_events(db, tmp_path):
    subject, file = many(2_500), tmp_path / "pack.zip"
    file.write_bytes(b"".join(plan_pack(TENANT, subject, PackRequest(report=False))))
    with file.open("rb") as pack:
        found = verify_file(pack)
    assert (found.seq, found.openings, found.sealed) == (2_500, 250, 2_500)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_events(transactional_db, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("audit.jobs.wakeup.current_app.send_task", lambda *names, **options: None)
    subject, file = many(100_000), tmp_path / "pack.zip"
    job = jobs.request_pack(TENANT, subject, "full", "zip", str(uuid7()))
    told = []
    monkeypatch.setattr(jobs, "_update", kept(told, jobs._update))
    _, built, build_s = peak_of(jobs.run_slice)
    job.refresh_from_db()
    assert job.state == PackJob.State.READY, job.why
    with file.open("wb") as out:
        for piece in jobs.read_content(job, 0, job.size):
            out.write(piece)
    with file.open("rb") as pack:
        found, verified, verify_s = peak_of(lambda: verify_file(pack))
    assert (found.seq, found.openings, found.sealed) == (100_000, 10_000, 100_000)
    with capsys.disabled():
        print(
            f"\n{job.size / 1e6:.0f} MB; built in {build_s:.0f} s, peak {built / 1e6:.0f} MB, {len(told)} tellings; "
            f"verified in {verify_s:.0f} s, peak {verified / 1e6:.0f} MB; "
            f"the typesetter apart, peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3:.0f} MB"
        )
    assert len(told) > 10 and built < MEMORY and verified < MEMORY


def kept(told, keep):
    def noted(job, **values):
        told.append(values)
        keep(job, **values)

    return noted
