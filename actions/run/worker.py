"""One runner per process and queue, made at first use and let go of when the process stops."""

from actions.run.runner import Runner

_runners: dict[str, Runner] = {}


def runner_of(queue: str) -> Runner:
    if queue not in _runners:
        _runners[queue] = Runner(queue)
    return _runners[queue]


def let_go() -> None:
    """End every lease of this process, so that what it held can be taken up elsewhere at once."""
    while _runners:
        _runners.popitem()[1].stop()
