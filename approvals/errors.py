"""What can be wrong with a decision. Each message says why and what to do next."""

from audit.errors import Conflict, Forbidden, Invalid


class StaleDigest(Conflict):
    """The plan changed since you looked. Look at it again, then decide; `current_digest` is what is asked for now."""

    code = "stale_digest"


class RequestClosed(Conflict):
    """This request is settled; nothing is waiting for a decision any more."""

    code = "settled"


class AlreadyDecided(Conflict):
    """You have already decided on this request. Each person decides once."""

    code = "already_decided"


class ChangesAlreadyRequested(Conflict):
    """You have already asked for changes here. Withdraw that first, to say it in other words."""

    code = "changes_already_requested"


class NothingToWithdraw(Conflict):
    """You have said nothing here that could be taken back."""

    code = "nothing_to_withdraw"


class AlreadyStarted(Conflict):
    """It has begun or ended meanwhile; an approval can be taken back only before that."""

    code = "already_started"


class TooManyComments(Conflict):
    """There are a thousand comments on this already. Go on talking elsewhere, and link to it."""

    code = "too_many_comments"


class RequestExpired(Conflict):
    """The time to decide on this request is over, and silence is never consent."""

    code = "request_expired"


class WrongRequestKind(Conflict):
    """This request is not decided that way."""

    code = "wrong_kind"


class NotEligible(Forbidden):
    """You cannot decide on this request."""

    code = "not_eligible"


class CommentNeeded(Invalid):
    """Say why you reject: the requester needs it to do better."""

    code = "comment_needed"


class DigestNeeded(Invalid):
    """Say which plan you approve: send the `digest` that its page or `GET …/plan` showed you."""

    code = "digest_needed"


class RulesChanged(Conflict):
    """The rules changed since this was looked at. Look at what is in force now, then propose it again."""

    code = "rules_changed"


class NotADraft(Conflict):
    """This is no draft any more, and what was published never changes. Draft the next version."""

    code = "not_a_draft"


class DraftChanged(Conflict):
    """Somebody else changed this draft since you opened it. Compare the two, then save what should stand."""

    code = "draft_changed"


class NotInForce(Conflict):
    """This policy is not in force, so there is nothing to take out of force."""

    code = "not_in_force"


class MayNotChangeRules(Forbidden):
    """Only people who administer the tenant change its rules."""

    code = "may_not_change_rules"
