"""Splits as manifests: what is trained on, validated and tested, checked against the data it was made for."""

from pertcast_data.splits.alias_table import read_aliases
from pertcast_data.splits.audit import AuditReport, Finding, audit, audit_folds
from pertcast_data.splits.drawing import Holdout, TestAmong
from pertcast_data.splits.identity import ConditionStore
from pertcast_data.splits.kinds import SPLIT_KINDS, SplitKind, get_split_kind
from pertcast_data.splits.making import make_split
from pertcast_data.splits.options import split_rule
from pertcast_data.splits.provenance import FittedOn, Provenance, row_hash
from pertcast_data.splits.split import PARTS, Controls, Fold, Part, Split

__all__ = [
    "PARTS",
    "SPLIT_KINDS",
    "AuditReport",
    "ConditionStore",
    "Controls",
    "Finding",
    "FittedOn",
    "Fold",
    "Holdout",
    "Part",
    "Provenance",
    "Split",
    "SplitKind",
    "TestAmong",
    "audit",
    "audit_folds",
    "get_split_kind",
    "make_split",
    "read_aliases",
    "row_hash",
    "split_rule",
]
