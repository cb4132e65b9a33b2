"""Drug-target matching as a job: inputs read, genes ranked, tables and report written."""

from pertcast_jobs.targets.request import TargetRequest
from pertcast_jobs.targets.run import match_targets

__all__ = ["TargetRequest", "match_targets"]
