"""The report of a sweep: what was tried, what it was worth on the validation conditions, what it cost."""

from pertcast.report.sweep.content import SweepContent, SweepTrial
from pertcast.report.sweep.report import sweep_report

__all__ = ["SweepContent", "SweepTrial", "sweep_report"]
