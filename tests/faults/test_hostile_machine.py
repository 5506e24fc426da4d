"""The disk of the target is full, the clock of a worker steps back an hour: clear outcomes, nothing half done."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.models import Action, JournalEntry, Lease
from audit.database.clock import database_time
from audit.models import Event
from tests.actions.factory import edit, propose, root_of
from tests.faults.invariants import (
    all_ended,
    assert_each_effect_once,
    assert_sound,
    ledger_actions,
    wait_until_completed,
)
from tests.support.ledger_executor import read_ledger
from tests.support.processes import WITH_LEDGER, wait_for, worker

ROOM = 12


@pytest.fixture
def small_disk(committed_cast) -> Iterator[Path]:
    """Room for a handful of files, mounted where dev's files are; how much room, a plan can see, how many it cannot."""
    root = root_of(committed_cast.dev)
    options = f"size=1m,nr_inodes={ROOM}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "interlock-test", root], check=True)
    yield root
    subprocess.run(["umount", "-l", root], check=True)


@pytest.mark.mount
def test_a_full_disk_undoes_what_was_begun_and_spares_the_worker(
    committed_cast, product_environment, redis_client, small_disk, tmp_path
):
    log = tmp_path / "worker.log"
    (small_disk / "app.conf").write_text("before\n")
    changes = edit("app.conf")["changes"]
    for n in range(ROOM):
        changes += edit(f"new-{n}.conf", operation="create")["changes"]
    with worker(product_environment, log) as only:
        action = propose(committed_cast, parameters={"changes": changes}, accept=True)
        wait_for(all_ended([action]), 30, "the way back", log)
        assert [p.name for p in small_disk.iterdir()] == ["app.conf"], "nothing half written is left"
        assert (small_disk / "app.conf").read_text() == "before\n"
        small = propose(committed_cast, parameters=edit("app.conf"), accept=True)
        wait_until_completed([small], 20, log)
        assert only.process.poll() is None
    now = Action.objects.get(pk=action.pk)
    assert (now.state, "No space left on device" in now.error["message"]) == ("rolled_back", True), now.error
    assert JournalEntry.objects.filter(action=action, kind="receipt").count() >= 2, "the disk was full too early"
    assert_sound([action, small])


class Clock:
    """What the processes of one environment take for the time of day. Their monotonic clock runs on, as a real one."""

    def __init__(self, directory: Path) -> None:
        source, self.library, self.file = directory / "clock.c", directory / "clock.so", directory / "clock"
        source.write_text(STEPPED)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source], check=True)
        self.step(0)

    def step(self, seconds: int) -> None:
        new = self.file.with_suffix(".new")
        new.write_bytes(seconds.to_bytes(8, "little", signed=True))
        new.replace(self.file)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "STEPPED_CLOCK": str(self.file)}


STEPPED = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    long seconds = 0;
    const char *path = getenv("STEPPED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        if (read(file, &seconds, sizeof seconds) != sizeof seconds) seconds = 0;
        close(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *also) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (also) *also = precise.tv_sec;
    return precise.tv_sec;
}
"""


@pytest.mark.postgresql
@pytest.mark.compiler
def test_a_clock_that_steps_back_an_hour_ends_no_lease_and_stops_no_sweep(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    log, ledger, clock = tmp_path / "worker.log", root_of(committed_cast.dev) / ".ledger", Clock(tmp_path)
    began = database_time()
    with worker({**product_environment, **clock.environment}, log, WITH_LEDGER) as only:
        actions = ledger_actions(committed_cast, 2, sleep_ms=700)
        wait_for(lambda: len(read_ledger(ledger)) >= 2, 30, "the first effects", log)
        clock.step(-3600)
        wait_until_completed(actions, 30, log)
        redis_client.set("interlock:wake_up:decide", 1, px=1500)  # as if a nudge were under way; it never arrives
        unheard = ledger_actions(committed_cast, 1)
        wait_until_completed(unheard, 20, log)
        assert only.process.poll() is None
    assert not Event.objects.filter(verb="lease.lost").exists()
    assert not Lease.objects.filter(ended_why="not renewed in time").exists()
    times = list(Event.objects.filter(subject_kind="action").order_by("id").values_list("at", flat=True))
    assert began <= min(times) and max(times) <= database_time(), "every event has the database's time"
    assert_each_effect_once(actions + unheard, ledger)
    assert_sound(actions + unheard)
