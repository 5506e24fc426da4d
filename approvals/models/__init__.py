from approvals.models.notification import Notification, NotificationRule
from approvals.models.request import ChangeRequest, Comment, Decision, GrantSince, MemberSince, PlanView, Request
from approvals.models.rules import (
    TIERS,
    ApprovalSettings,
    BlastWeights,
    MatrixDraft,
    MatrixRow,
    Policy,
    PolicyVersion,
    RuleEpoch,
)

__all__ = [
    "TIERS",
    "ApprovalSettings",
    "BlastWeights",
    "ChangeRequest",
    "Comment",
    "Decision",
    "GrantSince",
    "MatrixDraft",
    "MatrixRow",
    "MemberSince",
    "Notification",
    "NotificationRule",
    "PlanView",
    "Policy",
    "PolicyVersion",
    "Request",
    "RuleEpoch",
]
