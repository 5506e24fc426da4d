"""What is taken away, and which tests must notice.

A mutant names its place by symbol: the module, the function, method or constant in it, and an expression that stands
there exactly once. So it survives every move and most renames, and says so when the expression is gone.
"""

from dataclasses import dataclass

SQLITE, POSTGRESQL = "sqlite", "postgresql"


@dataclass(frozen=True)
class Mutant:
    """`old` stands exactly once in `symbol`; with `new` in its place one of `tests` must fail on `database`.

    `symbol` is `module:qualified.name`. `old` and `new` are expressions in which `_1`, `_2` … stand for any expression;
    an empty `old` is the whole of what the symbol returns, or is. With `in_text` they are parts of its string instead.
    `law` is what is taken away.
    """

    name: str
    law: str
    symbol: str
    old: str
    new: str
    tests: tuple[str, ...]
    database: str = SQLITE
    in_text: bool = False

    @property
    def module(self) -> str:
        return self.symbol.partition(":")[0]

    @property
    def qualified_name(self) -> str:
        return self.symbol.partition(":")[2]


TABLE, DECIDE = "tests/approvals/test_matrix_table.py", "tests/approvals/test_decide.py"
FIRST = f"{TABLE}::test_only_first_approvals_of_this_digest_by_distinct_outsiders_count"
TRAPS = "tests/traps/test_table.py::test_it_is_refused_and_nothing_changes"
AT_WORK = "tests/actions/test_policies_at_work.py"
CORPUS = "tests/audit/test_pack_corpus.py"
RETRIES = "tests/run/test_retry.py"
SEALS = "tests/audit/seals"

MUTANTS = [
    Mutant(
        "no row lock while counting",
        "lock",
        "approvals.requests.decisions:lock_open_request",
        '_1.select_for_update(of=("self",))',
        "_1",
        ("tests/races/test_fifty_votes.py",),
        database=POSTGRESQL,
    ),
    Mutant(
        "any digest is approved",
        "digest",
        "approvals.requests.decisions:_require_same_digest",
        "_1 != _2.digest",
        "not _1",
        (DECIDE,),
    ),
    Mutant(
        "a decision on another digest counts",
        "digest",
        "approvals.quorum.count:count_approvals",
        "_1 and _2.digest == _3.digest",
        "_1",
        ("tests/approvals/test_eligibility.py::test_a_decision_on_another_digest_fills_no_approval", FIRST),
    ),
    Mutant(
        "drift is not looked for at the start",
        "digest",
        "actions.run.workflow:start",
        "_1.plan.digest != _2.plan.digest",
        "False",
        (f"{TRAPS}[the_plan_changed_after_approval-page]",),
    ),
    Mutant(
        "a draft may be reworded after its approval",
        "digest",
        "approvals.policies.publish:_publish_version",
        "_1 and _2(_3) != _1",
        "False",
        ("tests/types/test_config_change_texts.py",),
    ),
    Mutant(
        "a second decision by the same person is taken",
        "distinct people",
        "approvals.requests.decisions:lock_open_request",
        "_1.decisions.filter(principal=_2).exists()",
        "False",
        (DECIDE,),
    ),
    Mutant(
        "two rows of one person fill two required approvals",
        "distinct people",
        "approvals.quorum.count:count_approvals",
        "_1[_2] is _3 and _4",
        "_4",
        (FIRST,),
    ),
    Mutant(
        "the requester counts",
        "distinct people",
        "approvals.quorum.count:count_approvals",
        "_1[_2] is _3 and _4",
        "_1[_2] is _3",
        (TABLE,),
    ),
    Mutant(
        "the requester decides",
        "distinct people",
        "approvals.quorum.eligibility:_describe_relation",
        "",
        '""',
        (DECIDE,),
    ),
    Mutant(
        "no matrix row asks nobody",
        "deny by default",
        "approvals.verdict:_required_by_matrix",
        "_1(_2[_3]) if _3 in _2 else None",
        "_1(_2.get(_3, []))",
        ("tests/approvals/test_verdict.py",),
    ),
    Mutant(
        "a policy that errs only warns",
        "deny by default",
        "approvals.policies.apply:_effect_of",
        '"warn" if _1 else "deny"',
        '"warn"',
        ("tests/policies/test_apply.py",),
    ),
    Mutant(
        "a result that is not false is true",
        "deny by default",
        "approvals.policies.sandbox.worker:is_true",
        "_1.type() != _2.BOOL",
        "_1 is None",
        ("tests/policies/test_sandbox.py",),
    ),
    Mutant(
        "a stricter verdict at the start is overlooked",
        "stricter of both",
        "actions.run.workflow:start",
        "_1(_2.verdict, _3[_4], _3[_5])",
        "False",
        (AT_WORK,),
    ),
    Mutant(
        "a lapsed approval is overlooked at the start",
        "live quorum",
        "actions.run.workflow:start",
        "bool(_1) and _2 and _3",
        "False",
        (f"{TRAPS}[an_approver_was_removed_after_approving-api]",),
    ),
    Mutant(
        "an approval of another plan starts this one",
        "digest",
        "actions.run.workflow:is_quorum_valid",
        "_1 is None or _2 != _3",
        "_1 is None",
        ("tests/traps/test_start.py",),
    ),
    Mutant(
        "an agent accepts what it may only recommend",
        "autonomy",
        "approvals.quorum.eligibility:ineligible_to_accept",
        "not _1.is_person() and _2",
        "False",
        ("tests/approvals/test_accept.py",),
    ),
    Mutant(
        "a resource hides behind a thousand others",
        "deny by default",
        "approvals.policies.fact_schema:_resources",
        "len(_1) > _2",
        "_1.__delitem__(slice(_2, None))",
        ("tests/policies/test_many_resources.py",),
    ),
    Mutant(
        "a run is judged by the matrix of its plan",
        "stricter of both",
        "actions.engine.dequeue:with_current_rules",
        '{**_1, "matrix": _2, "weights": _3} if _1 else {}',
        "dict(_1)",
        ("tests/actions/test_matrix_at_work.py",),
    ),
    Mutant(
        "a policy lands in a lenient environment",
        "who rules",
        "actions.types.config_change.rule_targets:_require_landing_environment",
        "",
        "None",
        ("tests/policies/test_reach.py",),
    ),
    Mutant(
        "one environment's admin changes every environment's policy",
        "who rules",
        "actions.intake.submit:require_policy_scope",
        "",
        "None",
        ("tests/policies/test_reach.py",),
    ),
    Mutant(
        "a role that was given later counts",
        "late roles",
        "approvals.quorum.role_holders:holders_at",
        "_1 <= _2",
        "_1",
        (f"{TRAPS}[the_role_was_given_after_the_request_opened-api]",),
    ),
    Mutant(
        "a step in doubt is tried again",
        "recovery",
        "actions.run.retry:determine_strategy",
        "_1 not in (Probe.DONE, Probe.NOT_DONE)",
        "False",
        ("tests/run/test_retry_policy.py",),
    ),
    Mutant(
        "what a type aborts can be loosened",
        "recovery",
        "actions.types.shared.recovery_policy:recovery_issues",
        '_1 != "abort" and _2 == "abort"',
        "False",
        ("tests/run/test_retry_policy.py",),
    ),
    Mutant(
        "a recovery policy is not in the digest",
        "recovery",
        "actions.preflight.plan:build_plan",
        "digest_of(_1)",
        'digest_of({**_1, "recovery": 0})',
        (f"{RETRIES}::test_a_policy_is_part_of_what_is_approved",),
    ),
    Mutant(
        "a retry does not wait",
        "recovery",
        "actions.engine.effects:EffectPool.submit",
        "_1.delay_s > 0",
        "_1.delay_s > 9_999",
        (f"{RETRIES}::test_a_wait_holds_no_thread_and_nobody_else_up",),
    ),
    Mutant(
        "whoever takes a wait over begins at once",
        "recovery",
        "actions.run.steps:run_steps",
        "is_due_later(_1, _2)",
        "False",
        (f"{RETRIES}::test_a_stopping_worker_hands_the_wait_over",),
    ),
    Mutant(
        "an action has retries without end",
        "recovery",
        "actions.run.retry:_decide",
        "_1.retries() >= _2 or _3",
        "_3",
        (f"{RETRIES}::test_the_retries_of_one_action_are_bounded_over_all_its_steps",),
    ),
    Mutant(
        "a target is tried again without end",
        "recovery",
        "actions.run.retry:_decide",
        "_1 or not _2(_3, _4)",
        "_1",
        (f"{RETRIES}::test_the_retries_at_one_target_are_bounded_whoever_asks",),
    ),
    Mutant(
        "an open breaker stops nothing",
        "recovery",
        "actions.controls.sql:PASSES_BREAKER",
        "",
        '"TRUE"',
        ("tests/controls/test_circuit_breakers.py",),
    ),
    Mutant(
        "all are let through a half-open breaker",
        "recovery",
        "actions.controls.sql:PASSES_BREAKER",
        "b.state <> 'closed'",
        "b.state = 'open'",
        ("tests/controls/test_circuit_breakers.py",),
        in_text=True,
    ),
    Mutant(
        "anybody who looks resets a breaker",
        "recovery",
        "actions.controls.circuit_breaker:reset_breaker",
        'not _1.can("operate", _2)',
        "False",
        ("tests/controls/test_circuit_breakers.py::test_an_operator_resets_it_with_an_event_and_nobody_else",),
    ),
    Mutant(
        "a pack's signature is not looked at",
        "signature",
        "audit.verify.signatures:check_signatures",
        "not _1.is_by(_2, _3)",
        "False",
        (f"{CORPUS}::test_a_pack_with_another_signature_is_refused",),
    ),
    Mutant(
        "any key that signed is as good as ours",
        "signature",
        "audit.verify.signatures:check_signatures",
        "_1 and sum(_2) < _3",
        "False",
        (f"{CORPUS}::test_a_pack_that_another_key_signed_is_refused_by_whoever_has_ours",),
    ),
    Mutant(
        "a key that signs twice counts twice",
        "signature",
        "audit.verify.signatures:check_signatures",
        "_1 or _2 or len(_3) < len(_4)",
        "_1 or _2",
        ("tests/audit/test_verify_pack.py::test_one_key_under_two_names_counts_once",),
    ),
    Mutant(
        "a proof need not lead to the signed root",
        "signature",
        "audit.verify.packs:_Proofs.check",
        "not verify_inclusion(_1, _2, _3, _4, _5)",
        "False",
        ("tests/audit/test_verify_pack.py",),
    ),
    Mutant(
        "two sealers take the same tree",
        "lock",
        "audit.seals.sealer:_lock_trees",
        "_1.select_for_update(skip_locked=True)",
        "_1.all()",
        ("tests/races/test_sealing.py::test_two_sealers_at_once_never_cross",),
        database=POSTGRESQL,
    ),
    Mutant(
        "the horizon does not wait for who may hold smaller ids",
        "lock",
        "audit.seals.sealer:advance_horizon",
        "_1 is not None and not _2(_3.holders)",
        "_1 is not None",
        ("tests/races/test_sealing.py::test_an_event_that_commits_late_is_sealed_when_it_comes",),
        database=POSTGRESQL,
    ),
    Mutant(
        "a head's signature is not looked at",
        "signature",
        "audit.verify.signatures:verify_note",
        "not _1.is_by(_2, _3)",
        "not _2",
        (f"{SEALS}/test_signed_note.py",),
    ),
    Mutant(
        "what a revoked key signs counts",
        "signature",
        "audit.seals.keys:PublicKey.counts_at",
        "(self.valid_until, self.revoked_at)",
        "(self.valid_until,)",
        (f"{SEALS}/test_keys.py",),
    ),
    Mutant(
        "a key's row is not bound to its times",
        "signature",
        "audit.seals.keys:_wrapping_context",
        "[_1, _2, _3, _4, _5]",
        "[_1, _2, _3, _4]",
        (f"{SEALS}/test_keys.py",),
    ),
    Mutant(
        "a tree is sealed upon whatever it was signed with",
        "digest",
        "audit.seals.sealer:_check_tree",
        "(_1, _2.root, _3) != (_4, _5, _6)",
        "not _2.root",
        (f"{SEALS}/test_sealer.py",),
    ),
    Mutant(
        "an event is not held against its entry",
        "digest",
        "audit.verification.log_verifier:check_entry",
        "_1(bytes(_2.body)) != _3",
        "not _3",
        (f"{SEALS}/test_tampering.py",),
    ),
    Mutant(
        "a head is not held against the entries",
        "digest",
        "audit.verification.log_verifier:LogVerifier._check_head",
        "_1.root != self.frontier.root()",
        "not _1.root",
        (f"{SEALS}/test_tampering.py",),
    ),
    Mutant(
        "a kept head is not held against the log",
        "digest",
        "audit.verification.log_verifier:LogVerifier._pass",
        "_1 in _2 and _2.pop(_1).root != _3",
        "_1 in _2 and not _2.pop(_1).root",
        (f"{SEALS}/test_tampering.py",),
    ),
    Mutant(
        "a consistency proof need not begin with the old root",
        "digest",
        "audit.verify.merkle:verify_consistency",
        "_1 == 0 and _2 == _3 and _4 == _5",
        "_1 == 0 and _4 == _5",
        (f"{SEALS}/test_merkle.py",),
    ),
]
