"""Dose response of compound screens: log-logistic curves of all predicted conditions, fitted at once."""

from pertcast.analysis.screened_doses.batched import DoseFits, fit_log_logistic_curves
from pertcast.analysis.screened_doses.projected import ProjectedCurves, project_curves
from pertcast.analysis.screened_doses.screened import (
    SCREENED_DOSES_SCHEMA,
    STATES,
    fit_screened_doses,
    half_maximal_words,
)
from pertcast.analysis.screened_doses.stream import stream_screened_doses

__all__ = [
    "SCREENED_DOSES_SCHEMA",
    "STATES",
    "DoseFits",
    "ProjectedCurves",
    "fit_log_logistic_curves",
    "fit_screened_doses",
    "half_maximal_words",
    "project_curves",
    "stream_screened_doses",
]
