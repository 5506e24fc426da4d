"""What is taken away, and which tests must notice. A replacement is exact, and says so when the source moved on."""

from dataclasses import dataclass

SQLITE, POSTGRESQL = "sqlite", "postgresql"


@dataclass(frozen=True)
class Mutant:
    """`old` stands exactly once in `path`; with `new` in its place one of `tests` must fail on `database`.

    `law` is what is taken away. `essential` ones run with the suite, all of them by `python -m tests.mutations`.
    """

    name: str
    law: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
    database: str = SQLITE
    essential: bool = False


DECISIONS, TALLY = "approvals/decisions.py", "approvals/tally.py"
JUDGE, RULING, START = "approvals/judge.py", "approvals/policies/ruling.py", "actions/run/start.py"
TABLE, DECIDE = "tests/approvals/test_matrix_table.py", "tests/approvals/test_decide.py"
FIRST = f"{TABLE}::test_only_first_approvals_of_this_digest_by_distinct_outsiders_count"
TRAPS = "tests/traps/test_table.py::test_it_is_refused_and_nothing_changes"
AT_WORK = "tests/actions/test_policies_at_work.py"

MUTANTS = [
    Mutant(
        "no row lock while counting", "lock", DECISIONS,
        "found.select_for_update(of=(\"self\",)).select_related", "found.select_related",
        ("tests/races/test_fifty_votes.py",), POSTGRESQL, essential=True,
    ),
    Mutant(
        "any digest is approved", "digest", DECISIONS,
        "if digest != request.digest:", "if not digest:", (DECIDE,), essential=True,
    ),
    Mutant(
        "a decision on another digest counts", "digest", TALLY,
        "[d for d in decisions if d.approved and d.digest == request.digest]", "[d for d in decisions if d.approved]",
        ("tests/approvals/test_counting.py::test_a_decision_on_another_digest_fills_no_seat", FIRST), essential=True,
    ),
    Mutant(
        "drift is not looked for at the start", "digest", START,
        "drifted = new.plan.digest != case.plan.digest", "drifted = False",
        (f"{TRAPS}[the_plan_changed_after_approval-page]",),
    ),
    Mutant(
        "a draft may be reworded after its approval", "digest", "approvals/policies/publish.py",
        "if text_sha256 and text_digest(after) != text_sha256:", "if not after:",
        ("tests/types/test_config_change_words.py",),
    ),
    Mutant(
        "a second decision by the same person is taken", "distinct people", DECISIONS,
        "if request.decisions.filter(principal=access.principal.pk).exists():", "if not request.pk:", (DECIDE,),
        essential=True,
    ),
    Mutant(
        "two rows of one person fill two seats", "distinct people", TALLY,
        "first[d.principal_id] is d and str(d.principal_id) not in excluded", "str(d.principal_id) not in excluded",
        (FIRST,), essential=True,
    ),
    Mutant(
        "the requester counts", "distinct people", TALLY,
        "first[d.principal_id] is d and str(d.principal_id) not in excluded", "first[d.principal_id] is d", (TABLE,),
    ),
    Mutant(
        "the requester decides", "distinct people", "approvals/entitlement.py",
        "    related = _why_related(request, access)\n", "    related = \"\"\n", (DECIDE,),
    ),
    Mutant(
        "no matrix row asks nobody", "deny by default", JUDGE,
        "check_seats(matrix[tier]) if tier in matrix else None", "check_seats(matrix.get(tier, []))",
        ("tests/approvals/test_judge.py",), essential=True,
    ),
    Mutant(
        "a policy that errs only warns", "deny by default", RULING,
        "        return \"warn\" if softened else \"deny\"\n", "        return \"warn\"\n",
        ("tests/policies/test_ruling.py",), essential=True,
    ),
    Mutant(
        "a result that is not false is true", "deny by default", "approvals/policies/engine.py",
        "    if result.type() != T.BOOL:\n", "    if result is None:\n", ("tests/policies/test_cell.py",),
    ),
    Mutant(
        "a stricter verdict at the start is overlooked", "stricter of both", START,
        "tighter = stricter(new.verdict, old[\"seats\"], old[\"outcome\"])", "tighter = False",
        (AT_WORK,),
    ),
    Mutant(
        "a lapsed approval is overlooked at the start", "live quorum", START,
        "lapsed = bool(old[\"seats\"]) and", "lapsed = False and",
        (f"{TRAPS}[an_approver_was_removed_after_approving-api]",),
    ),
    Mutant(
        "an approval of another plan starts this one", "digest", START,
        "if request is None or request.digest != digest:", "if request is None:",
        ("tests/traps/test_start.py",),
    ),
    Mutant(
        "an agent accepts what it may only recommend", "autonomy", "approvals/entitlement.py",
        "if not access.is_person() and only_recommends(request.environment):", "if not request.pk:",
        ("tests/approvals/test_accept.py",),
    ),
    Mutant(
        "a resource hides behind a thousand others", "deny by default", "approvals/policies/schema.py",
        "    if len(found) > MOST_RESOURCES:\n        return {}\n", "    found = found[:MOST_RESOURCES]\n",
        ("tests/policies/test_many_resources.py",),
    ),
    Mutant(
        "a run is judged by the matrix of its plan", "stricter of both", "actions/case.py",
        "return {**facts, \"matrix\": matrix, \"weights\": weights} if facts else {}", "return dict(facts)",
        ("tests/actions/test_matrix_at_work.py",),
    ),
    Mutant(
        "a policy lands in a lenient environment", "who rules", "actions/types/config_change/rules.py",
        "    _refuse_lenient(target)\n", "", ("tests/policies/test_reach.py",),
    ),
    Mutant(
        "one environment's admin changes every environment's policy", "who rules", "actions/intake/submit.py",
        "    refuse_beyond_reach(access, s)\n", "", ("tests/policies/test_reach.py",),
    ),
    Mutant(
        "a role that was given later counts", "late roles", "approvals/people.py",
        "if since <= at}", "if since}", (f"{TRAPS}[the_role_was_given_after_the_request_opened-api]",),
    ),
]  # fmt: skip
