"""Splits as manifests: what is trained on, validated and tested, checked against the data it was made for."""

from pertcast_data.splits.kinds import SPLIT_KINDS, ConditionStore, SplitKind, get_split_kind
from pertcast_data.splits.making import make_split
from pertcast_data.splits.split import PARTS, Fold, Part, Split

__all__ = [
    "PARTS",
    "SPLIT_KINDS",
    "ConditionStore",
    "Fold",
    "Part",
    "Split",
    "SplitKind",
    "get_split_kind",
    "make_split",
]
