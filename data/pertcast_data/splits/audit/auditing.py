"""Run the checks: the cheap ones before every training and evaluation, all of them on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits.audit.registry import CHECKS, PROFILE_CHECKS
from pertcast_data.splits.audit.report import AuditReport
from pertcast_data.splits.audit.residuals import ProfileStore
from pertcast_data.splits.audit.subject import Subject
from pertcast_data.splits.audit.twins import Twins, find_twins
from pertcast_data.splits.identity import ConditionStore, Identity
from pertcast_data.splits.provenance import Provenance

if TYPE_CHECKING:
    from pertcast_data.splits.split import Split

_NOT_READ: Final = "reads every profile: `pertcast data audit` does it"
_OTHER_STORE: Final = "the lists are of other data"


def audit(
    split: Split,
    store: ConditionStore,
    fold: int,
    provenance: Provenance | None = None,
    twins: Twins | None = None,
    identity: Identity | None = None,
) -> AuditReport:
    """Audit one fold of a split against a store.

    Parameters
    ----------
    split, fold
        The manifest and the number of the fold.
    store
        What is about to be trained on or judged.
    provenance
        What a model says it was fitted on.
    twins
        Copies among the store's profiles (`find_twins`); where None, the checks of profiles are left out.

    identity
        Who is who in the store; made where None.

    Returns
    -------
    AuditReport
        Every finding; nothing is raised for a leak (`AuditReport.require_clean` does).

    Raises
    ------
    ConfigError
        There is no such fold or kind.
    """
    split.fold(fold)
    subject = Subject(split, fold, store, identity or Identity.of(store, split.aliases), provenance)
    checks = list(CHECKS.values())
    findings = checks[0].run(subject)
    if findings:
        left_out = tuple((name, _OTHER_STORE) for name in [*CHECKS, *PROFILE_CHECKS][1:])
        return AuditReport(subject.where, tuple(findings), (checks[0].name,), left_out)
    for check in checks[1:]:
        findings += check.run(subject)
    checked = tuple(CHECKS)
    if twins is None:
        return AuditReport(
            subject.where, tuple(findings), checked, tuple((n, _NOT_READ) for n in PROFILE_CHECKS)
        )
    for profile_check in PROFILE_CHECKS.values():
        findings += profile_check.run(subject, twins)
    if twins.likeness is None:
        left_out = tuple((name, twins.note) for name in PROFILE_CHECKS)
        return AuditReport(subject.where, tuple(findings), checked, left_out)
    partly = (("near_copies", twins.note),) if twins.note else ()
    return AuditReport(subject.where, tuple(findings), (*checked, *PROFILE_CHECKS), partly)


def audit_folds(
    split: Split, store: ProfileStore, progress: ProgressCallback = no_progress
) -> tuple[AuditReport, ...]:
    """Audit every fold of a split, profiles included; they are read once for all folds.

    Where the manifest is of other data, profiles are not read.
    """
    twins = find_twins(store, progress) if split.data_hash == store.data_hash else None
    identity = Identity.of(store, split.aliases)
    return tuple(
        audit(split, store, fold, twins=twins, identity=identity) for fold in range(len(split.folds))
    )
