"""Quality of profiles: what a user should know of data before anything is written, and what to leave out."""

from pertcast_data.quality.lines import report_lines
from pertcast_data.quality.measure import Quality, measure_quality
from pertcast_data.quality.mending import Mending, mend_first
from pertcast_data.quality.report import QualityReport
from pertcast_data.quality.rule import QualityRule, kept_rows

__all__ = [
    "Mending",
    "Quality",
    "QualityReport",
    "QualityRule",
    "kept_rows",
    "measure_quality",
    "mend_first",
    "report_lines",
]
