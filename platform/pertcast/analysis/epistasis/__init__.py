"""Epistasis of pairs: what a pair does beyond the sum of its singles, measured and predicted."""

from pertcast.analysis.epistasis.agreement import (
    InteractionAgreement,
    finding_strongest,
    interaction_agreement,
)
from pertcast.analysis.epistasis.interactions import (
    PairInteractions,
    PairMembers,
    interactions_of_responses,
    pair_interactions,
)
from pertcast.analysis.epistasis.kinds import KINDS
from pertcast.analysis.epistasis.replicates import ReplicateBlocks
from pertcast.analysis.epistasis.result import PairEpistasis

__all__ = [
    "KINDS",
    "InteractionAgreement",
    "PairEpistasis",
    "PairInteractions",
    "PairMembers",
    "ReplicateBlocks",
    "finding_strongest",
    "interaction_agreement",
    "interactions_of_responses",
    "pair_interactions",
]
