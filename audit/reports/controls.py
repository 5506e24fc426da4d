"""Controls of four frameworks, and what of each Interlock's records show: a reading aid, not a certificate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """`asks` is our short reading of the control; `shows` and `shows_not` what the records here say about it."""

    id: str
    framework: str
    title: str
    asks: str
    shows: str
    shows_not: str


CONTROLS = (
    Control(
        "CC8.1", "SOC 2 (Trust Services Criteria 2017)", "Change management",
        "Changes are authorised, designed, tested, approved and documented before they are put in place.",
        "For each change: who asked, what exactly was to change, what the rules said, who approved these very bytes, "
        "how it ran, what was verified afterwards. And each case in which that went otherwise.",
        "Changes that were made around Interlock; how changes were designed and tested before they were proposed.",
    ),
    Control(
        "A.8.32", "ISO/IEC 27001:2022, Annex A", "Change management",
        "Changes to information processing facilities and systems follow change management procedures.",
        "The procedure as it was in force (policies and matrix, with every change of them) and each change under it, "
        "with its assessed risk, its approval, its way back and its verification.",
        "Whether the procedure fits the organisation; systems that Interlock does not reach.",
    ),
    Control(
        "CM-3", "NIST SP 800-53 Rev. 5", "Configuration change control",
        "Configuration-controlled changes are reviewed, approved with their impact considered, documented, retained "
        "and monitored.",
        "Blast radius and verdict of every plan, the decisions on exactly that plan, and the retained, sealed record.",
        "Membership and meetings of a change board outside Interlock.",
    ),
    Control(
        "6.5", "PCI DSS 4.0", "Changes to all system components are managed securely",
        "Changes have a reason, a documented impact, an approval by authorised parties, a test and a way back (6.5.1); "
        "roles are separated (6.5.4).",
        "Reason, impact, approvals, verification and rollback of each change; any overlap of requester, approver and "
        "who stepped in, also through the owner of an agent.",
        "Whether a component is in scope of PCI DSS; separation of test and production networks (6.5.3); use of live "
        "card numbers (6.5.5).",
    ),
)  # fmt: skip
KNOWN = {control.id: control for control in CONTROLS}
