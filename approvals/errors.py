"""Errors of this floor. Each message says why and what to do next."""

from audit.errors import Conflict, Forbidden, Invalid


class StaleDigest(Conflict):
    """The plan changed. Review the new plan, then decide; `current_digest` names it."""

    code = "stale_digest"


class RequestClosed(Conflict):
    """This request is closed; no decision is pending."""

    code = "settled"


class AlreadyDecided(Conflict):
    """You have already decided on this request. Each person decides once."""

    code = "already_decided"


class ChangesAlreadyRequested(Conflict):
    """You already requested changes. Withdraw that request first."""

    code = "changes_already_requested"


class NothingToWithdraw(Conflict):
    """You have nothing to withdraw here."""

    code = "nothing_to_withdraw"


class AlreadyStarted(Conflict):
    """The run has started or ended; an approval can be withdrawn only before that."""

    code = "already_started"


class TooManyComments(Conflict):
    """The limit of 1,000 comments is reached. Continue elsewhere and link to it."""

    code = "too_many_comments"


class RequestExpired(Conflict):
    """This request expired. Propose the action again."""

    code = "request_expired"


class WrongRequestKind(Conflict):
    """This request needs a different kind of decision."""

    code = "wrong_kind"


class NotEligible(Forbidden):
    """You cannot decide on this request."""

    code = "not_eligible"


class CommentNeeded(Invalid):
    """Give a reason for the rejection."""

    code = "comment_needed"


class DigestNeeded(Invalid):
    """Name the plan you approve: send the `digest` from its page or `GET …/plan`."""

    code = "digest_needed"


class RulesChanged(Conflict):
    """The policies changed. Review the published ones, then propose again."""

    code = "rules_changed"


class NotADraft(Conflict):
    """No longer a draft; a published version never changes. Draft the next version."""

    code = "not_a_draft"


class DraftChanged(Conflict):
    """Someone else changed this draft. Compare both, then save."""

    code = "draft_changed"


class NotInForce(Conflict):
    """This policy is not in force; there is nothing to retire."""

    code = "not_in_force"


class MayNotChangeRules(Forbidden):
    """Only admins of the tenant change its policies."""

    code = "may_not_change_rules"
