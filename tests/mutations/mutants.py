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
TRUST, CORPUS = "audit/verify/trust.py", "tests/audit/test_pack_corpus.py"
RECOVERY, RETRIES = "tests/recovery", "tests/recovery/test_retries.py"

SEALS, SEALER, WALK = "tests/audit/seals", "audit/seals/sealer.py", "audit/seals/walk.py"

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
    Mutant(
        "a step in doubt is tried again", "recovery", "actions/run/recovery.py",
        "    if probe not in (Probe.DONE, Probe.NOT_DONE):\n        return Decision(\"hold\", \"in_doubt\")\n", "",
        (f"{RECOVERY}/test_strategy.py",),
    ),
    Mutant(
        "what a type aborts can be loosened", "recovery", "actions/recovery.py",
        "elif strategy != \"abort\" and said.get(code) == \"abort\":", "elif False:",
        (f"{RECOVERY}/test_strategy.py",),
    ),
    Mutant(
        "a recovery policy is not in the digest", "recovery", "actions/preflight/planning.py",
        "    digest = digest_of(body)\n", "    digest = digest_of({**body, \"recovery\": 0})\n",
        (f"{RETRIES}::test_a_policy_is_part_of_what_is_approved",),
    ),
    Mutant(
        "a retry does not wait", "recovery", "actions/run/flights.py",
        "        if asked.delay_s > 0:", "        if asked.delay_s > 9_999:",
        (f"{RETRIES}::test_a_wait_holds_no_thread_and_nobody_else_up",),
    ),
    Mutant(
        "whoever takes a wait over begins at once", "recovery", "actions/run/steps.py",
        "again=is_due_later(case, step)", "again=False",
        (f"{RETRIES}::test_a_stopping_worker_hands_the_wait_over",),
    ),
    Mutant(
        "an action has retries without end", "recovery", "actions/run/failing.py",
        "case.ledger.retries() >= RETRIES or ", "",
        (f"{RETRIES}::test_the_retries_of_one_action_are_bounded_over_all_its_steps",),
    ),
    Mutant(
        "a target is tried again without end", "recovery", "actions/run/failing.py",
        " or not budget.take(case.action, step)", "",
        (f"{RETRIES}::test_the_retries_at_one_target_are_bounded_whoever_asks",),
    ),
    Mutant(
        "an open breaker stops nothing", "recovery", "actions/run/claim.py",
        "            AND {LETS}\n", "", (f"{RECOVERY}/test_breakers.py",),
    ),
    Mutant(
        "all are let through a half-open breaker", "recovery", "actions/run/breakers.py",
        "b.state <> 'closed'", "b.state = 'open'", (f"{RECOVERY}/test_breakers.py",),
    ),
    Mutant(
        "anybody who looks resets a breaker", "recovery", "actions/breakers.py",
        "if not access.can(\"operate\", found.environment_id):", "if False:",
        (f"{RECOVERY}/test_breakers.py::test_an_operator_resets_it_with_an_event_and_nobody_else",),
    ),
    Mutant(
        "a pack's signature is not looked at", "signature", TRUST,
        'if not key.signed(unbase64(entry["sig"], "attestation.json"), pae(payload)):', "if key.id == payload:",
        (f"{CORPUS}::test_a_pack_with_another_signature_is_refused",), essential=True,
    ),
    Mutant(
        "any key that signed is as good as ours", "signature", TRUST,
        "if trusted and sum(", "if least < 0 and sum(",
        (f"{CORPUS}::test_a_pack_that_another_key_signed_is_refused_by_whoever_has_ours",), essential=True,
    ),
    Mutant(
        "a key that signs twice counts twice", "signature", TRUST,
        " or len({key.public for key in by}) < len(by)", "",
        ("tests/audit/test_verify_pack.py::test_one_key_under_two_names_counts_once",),
    ),
    Mutant(
        "a proof need not lead to the signed root", "signature", "audit/verify/packs.py",
        '[bytes.fromhex(p) for p in parts]) != self.root:', '[bytes.fromhex(p) for p in parts]) == b"":',
        ("tests/audit/test_verify_pack.py",),
    ),
    Mutant(
        "two sealers take the same tree", "lock", SEALER,
        "rows = rows.select_for_update(skip_locked=True)", "rows = rows.all()",
        ("tests/races/test_sealing.py::test_two_sealers_at_once_never_cross",), POSTGRESQL, essential=True,
    ),
    Mutant(
        "the horizon does not wait for who may hold smaller ids", "lock", "audit/seals/unsealed.py",
        "if state.candidate is not None and not _still(state.holders):", "if state.candidate is not None:",
        ("tests/races/test_sealing.py::test_an_event_that_commits_late_is_sealed_when_it_comes",), POSTGRESQL,
    ),
    Mutant(
        "a head's signature is not looked at", "signature", "audit/seals/notes.py",
        "if not verifier.is_by(line.signature, note.text.encode()):", "if not line.signature:",
        (f"{SEALS}/test_notes.py",), essential=True,
    ),
    Mutant(
        "what a revoked key signs counts", "signature", "audit/seals/keys.py",
        "for end in (self.valid_until, self.revoked_at) if end", "for end in (self.valid_until,) if end",
        (f"{SEALS}/test_keys.py",),
    ),
    Mutant(
        "a key's row is not bound to its times", "signature", "audit/seals/keys.py",
        "bytes(row.public), times.encode()])", "bytes(row.public)])", (f"{SEALS}/test_keys.py",),
    ),
    Mutant(
        "a tree is sealed upon whatever it was signed with", "digest", SEALER,
        "if (head.size, head.root, head.said(\"number\")) != (row.size, frontier.root(), str(row.number)):",
        "if not head.root:", (f"{SEALS}/test_sealer.py",),
    ),
    Mutant(
        "an event is not held against its entry", "digest", WALK,
        "    if leaf_hash(bytes(event.body)) != wanted:\n", "    if not wanted:\n", (f"{SEALS}/test_tampering.py",),
    ),
    Mutant(
        "a head is not held against the entries", "digest", WALK,
        "if said.root != self.frontier.root():", "if not said.root:", (f"{SEALS}/test_tampering.py",), essential=True,
    ),
    Mutant(
        "a kept head is not held against the log", "digest", WALK,
        "self.kept.pop(size).root != self.frontier.root():", "not self.kept.pop(size).root:",
        (f"{SEALS}/test_tampering.py",),
    ),
    Mutant(
        "a consistency proof need not begin with the old root", "digest", "audit/seals/merkle.py",
        "return last == 0 and found1 == root1 and found2 == root2", "return last == 0 and found2 == root2",
        (f"{SEALS}/test_merkle.py",),
    ),
]  # fmt: skip
