"""Dose and time response, measured and generated: log-logistic curves, EC50, drift of the effect."""

from pertcast.analysis.dose_response.analyse import dose_response
from pertcast.analysis.dose_response.curves import DenseResponses
from pertcast.analysis.dose_response.fitted import LogLogisticFit, NoiseLevel
from pertcast.analysis.dose_response.log_logistic import fit_log_logistic
from pertcast.analysis.dose_response.result import MEASURED, DoseResponse

__all__ = [
    "MEASURED",
    "DenseResponses",
    "DoseResponse",
    "LogLogisticFit",
    "NoiseLevel",
    "dose_response",
    "fit_log_logistic",
]
