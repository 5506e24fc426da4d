"""`determine_strategy` and the back-off, as properties: whatever the policy says, some things never happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.run.retry import determine_strategy, longest_wait_s, random_wait_s
from actions.types.protocol import Probe
from actions.types.shared.recovery_policy import (
    DEFAULT_POLICY,
    INTERLOCK_CODES,
    STRATEGIES,
    check_strategies,
    describe_policy,
    merge_policy,
    recovery_issues,
)
from tests.support.ledger_executor import LedgerExecutor

CODES = st.sampled_from(["busy", "io", "odd", *sorted(INTERLOCK_CODES)])
POLICIES = st.fixed_dictionaries(
    {
        "max_attempts": st.integers(1, 10),
        "backoff": st.sampled_from(["linear", "exponential"]),
        "delay_s": st.floats(0, 60),
        "max_delay_s": st.floats(0, 3600),
        "strategies": st.dictionaries(CODES, st.sampled_from(STRATEGIES), max_size=6),
        "fallback": st.none() | st.just({"type": "ledger"}),
    }
)
ASKED = st.fixed_dictionaries(
    {
        "code": CODES,
        "retryable": st.booleans(),
        "probe": st.sampled_from([None, *Probe]),
        "attempts": st.integers(1, 12),
        "can_fall_back": st.booleans(),
        "may_skip": st.booleans(),
        "stopping": st.booleans(),
    }
)


@given(POLICIES, ASKED)
def test_nothing_goes_on_unless_the_probe_says_that_nothing_was_done(policy, asked):
    chosen = determine_strategy(policy, **asked).strategy
    if asked["probe"] in (None, Probe.UNKNOWN):
        assert chosen == "hold"
    elif asked["probe"] == Probe.DONE:
        assert chosen == "abort"


@given(POLICIES, ASKED)
def test_nothing_goes_on_against_a_stop_or_a_code_of_interlock_itself(policy, asked):
    chosen = determine_strategy(policy, **asked).strategy
    if asked["stopping"] or asked["code"] in INTERLOCK_CODES:
        assert chosen in ("abort", "hold")


@given(POLICIES, ASKED)
def test_what_is_chosen_is_what_the_policy_says_where_it_is_to_be_had_and_abort_where_not(policy, asked):
    asked |= {"probe": Probe.NOT_DONE, "stopping": False}
    chosen = determine_strategy(policy, **asked)
    if asked["code"] in INTERLOCK_CODES:
        return
    wanted = policy["strategies"].get(asked["code"]) or ("retry" if asked["retryable"] else "abort")
    is_there = {
        "retry": asked["attempts"] < policy["max_attempts"],
        "fallback": asked["can_fall_back"],
        "skip": asked["may_skip"],
        "abort": True,
    }[wanted]
    assert chosen.strategy == (wanted if is_there else "abort")


def test_the_default_tries_again_what_may_help_and_gives_up_the_rest():
    asked = {"code": "x", "probe": Probe.NOT_DONE}
    assert determine_strategy({}, retryable=True, attempts=2, **asked).strategy == "retry"
    assert determine_strategy({}, retryable=True, attempts=3, **asked).strategy == "abort"
    assert determine_strategy({}, retryable=False, attempts=1, **asked).strategy == "abort"


@given(POLICIES, st.integers(1, 10))
def test_a_wait_is_anything_up_to_the_longest_which_grows_and_is_bounded(policy, attempts):
    longest = longest_wait_s(policy, attempts)
    assert 0 <= random_wait_s(policy, attempts) <= longest <= policy["max_delay_s"]
    assert longest_wait_s(policy, attempts + 1) >= longest


def test_linear_grows_by_the_first_wait_and_exponential_doubles():
    some = {**DEFAULT_POLICY, "delay_s": 2, "max_delay_s": 100}
    assert [longest_wait_s({**some, "backoff": "linear"}, n) for n in (1, 2, 3, 60)] == [2, 4, 6, 100]
    assert [longest_wait_s({**some, "backoff": "exponential"}, n) for n in (1, 2, 3, 60)] == [2, 4, 8, 100]


def test_many_that_fail_together_do_not_return_together():
    waits = [random_wait_s({**DEFAULT_POLICY, "delay_s": 10, "max_delay_s": 10}, 1) for _ in range(200)]
    assert min(waits) < 2 and max(waits) > 8


class Strict(LedgerExecutor):
    error_strategies = {"busy": "retry", "broken": "abort", "odd": "skip"}
    recovery = {"max_attempts": 5, "delay_s": 1}


def test_a_policy_is_what_is_asked_for_else_what_the_type_says_else_ours():
    policy = merge_policy(Strict(), {"delay_s": 2, "strategies": {"busy": "abort"}})
    assert policy == {
        **DEFAULT_POLICY,
        "max_attempts": 5,
        "delay_s": 2,
        "strategies": {"broken": "abort", "busy": "abort", "odd": "skip"},
    }
    assert merge_policy(LedgerExecutor(), {}) == DEFAULT_POLICY
    assert describe_policy(policy) and describe_policy({}) == []


@given(st.dictionaries(st.sampled_from(["busy", "broken", "odd", "new", "policy"]), st.sampled_from(STRATEGIES)))
def test_a_person_may_be_stricter_anywhere_and_looser_only_where_the_type_leaves_it_open(asked):
    errors = {i.field for i in recovery_issues(Strict(), {"strategies": asked}) if i.severity == "error"}
    too_loose = {"broken"} if asked.get("broken", "abort") != "abort" else set()
    assert errors == {f"recovery.strategies.{code}" for code in too_loose | (asked.keys() & {"policy"})}


@pytest.mark.parametrize(
    ("said", "fault"),
    [({"error_strategies": {"x": "pray"}}, "error_strategies"), ({"recovery": {"tries": 3}}, "recovery")],
)
def test_a_type_that_says_nonsense_is_told(said, fault):
    broken = type("Broken", (LedgerExecutor,), said)()
    assert [f for f in check_strategies(broken) if f.startswith(fault)]
    assert check_strategies(LedgerExecutor()) == []
