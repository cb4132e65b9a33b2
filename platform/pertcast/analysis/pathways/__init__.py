"""Whether generated profiles show the pathway responses that were measured (gseapy's NES, set by set)."""

from pertcast.analysis.pathways.agree import MOST_CONDITIONS, pathway_agreement
from pertcast.analysis.pathways.result import ContenderPathways, PathwayAgreement

__all__ = ["MOST_CONDITIONS", "ContenderPathways", "PathwayAgreement", "pathway_agreement"]
