"""Drug-target matching: a drug that inhibits a protein resembles the loss of its gene."""

from pertcast.analysis.drug_targets.drugs import DrugProfiles
from pertcast.analysis.drug_targets.known import KnownPairs
from pertcast.analysis.drug_targets.library import GeneLibrary
from pertcast.analysis.drug_targets.match import MatchOptions, match_drug_targets
from pertcast.analysis.drug_targets.recovery import TOP_SHARES, Recovery
from pertcast.analysis.drug_targets.result import TargetMatch

__all__ = [
    "TOP_SHARES",
    "DrugProfiles",
    "GeneLibrary",
    "KnownPairs",
    "MatchOptions",
    "Recovery",
    "TargetMatch",
    "match_drug_targets",
]
