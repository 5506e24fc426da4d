"""What steps took and used, by action type, as Prometheus reads it; counted by the workers (`actions.run.tallies`)."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from redis import RedisError

from actions.run.tallies import BOUNDS_S, INF, known

BUCKETS = [*map(str, BOUNDS_S), INF]


class StepTallies:
    """A histogram of durations and counters of use. Of no tenant: types are the installation's."""

    def describe(self) -> list[Any]:
        return []  # registering must not ask Redis

    def collect(self) -> Iterator[Any]:
        try:
            found = known()
        except (RedisError, OSError):
            return  # the process's own metrics are worth having while Redis is away
        yield durations(found["took"], found["sum"])
        cpu = CounterMetricFamily("interlock_step_cpu_seconds", "Processor time of steps", labels=["type"])
        moved = CounterMetricFamily(
            "interlock_step_bytes", "Bytes that steps read and wrote", labels=["type", "direction"]
        )
        for (type_name, what, _), value in sorted(found["used"].items()):
            if what == "cpu":
                cpu.add_metric([type_name], value)
            else:
                moved.add_metric([type_name, what], value)
        yield cpu
        yield moved


def durations(
    took: dict[tuple[str, str, str], float], sums: dict[tuple[str, str, str], float]
) -> HistogramMetricFamily:
    """The histogram: how many attempts took up to each bound, cumulative as Prometheus wants it."""
    family = HistogramMetricFamily(
        "interlock_step_duration_seconds", "How long attempts at steps took, by how they ended", labels=["type", "end"]
    )
    for type_name, end in sorted({(name, end) for name, end, _ in took}):
        running, buckets = 0.0, []
        for bound in BUCKETS:
            running += took.get((type_name, end, bound), 0)
            buckets.append((bound, running))
        family.add_metric([type_name, end], buckets, sums.get((type_name, end, "s"), 0.0))
    return family
