"""The leakage auditor: small checks in a registry, one report; errors refuse, warnings are told."""

from pertcast_data.splits.audit.auditing import audit, audit_folds
from pertcast_data.splits.audit.registry import CHECKS, PROFILE_CHECKS, Check, ProfileCheck
from pertcast_data.splits.audit.report import AuditReport, Finding
from pertcast_data.splits.audit.twins import Twins, find_twins

__all__ = [
    "CHECKS",
    "PROFILE_CHECKS",
    "AuditReport",
    "Check",
    "Finding",
    "ProfileCheck",
    "Twins",
    "audit",
    "audit_folds",
    "find_twins",
]
