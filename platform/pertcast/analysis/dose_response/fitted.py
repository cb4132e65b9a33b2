"""A fitted log-logistic curve: its parameters, and what may be said of its half-maximal dose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from pertcast.analysis.association import FloatArray, plain_number

State = Literal["identified", "open", "above", "below", "flat"]

_STEEPEST: Final = 300.0


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """The error of a response at one dose, from elsewhere (replicates, or many curves together).

    Attributes
    ----------
    variance
        Of one response.
    degrees
        Degrees of freedom behind it.
    """

    variance: float
    degrees: int


@dataclass(frozen=True, slots=True)
class LogLogisticFit:
    """E(d) = bottom + (top - bottom) / (1 + (ec50 / d)^slope), fitted.

    Attributes
    ----------
    bottom, top
        Response without the compound, and at endless dose. `top` is extrapolated unless the state is
        "identified".
    ec50
        Dose half way between the two, in the doses' unit; a best guess unless the state is "identified".
    slope
        Hill slope; the given one where it was fixed.
    low, high
        Profile-likelihood 95 % interval of `ec50`; 0 or infinite where it is open, NaN where the error of the
        responses is not known.
    state
        "identified": inside the tested doses with a closed interval (or none known); "open": inside, but the
        interval has no end on one side; "above", "below": outside the tested doses; "flat": the responses
        are not distinguishable from no response.
    sum_of_squares
        Of the residuals.
    lowest_dose, highest_dose
        The tested range.
    """

    bottom: float
    top: float
    ec50: float
    slope: float
    low: float
    high: float
    state: State
    sum_of_squares: float
    lowest_dose: float
    highest_dose: float

    @property
    def is_identified(self) -> bool:
        """Whether the half-maximal dose may be stated as a number."""
        return self.state == "identified"

    def response(self, doses: FloatArray) -> FloatArray:
        """Return the fitted curve at doses of any shape."""
        basis: FloatArray = saturation(doses, math.log10(self.ec50), self.slope)
        return self.bottom + (self.top - self.bottom) * basis

    def words(self) -> str:
        """Say the half-maximal dose, or what can be said instead of it."""
        if self.state == "flat":
            return "flat"
        if self.state == "above":
            return f"> {self.highest_dose:.3g} (top dose)"
        if self.state == "below":
            return f"< {self.lowest_dose:.3g} (lowest dose)"
        if self.state == "open":
            return self._open_words()
        if math.isnan(self.low):
            return f"{self.ec50:.3g}"
        return f"{self.ec50:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def _open_words(self) -> str:
        if self.low > 0:
            return f"> {self.low:.3g}"
        return f"< {self.high:.3g}" if math.isfinite(self.high) else "not determined"

    def agrees_with(self, ec50: float, factor: float = 2.0) -> bool:
        """Whether what is said of the half-maximal dose holds within a factor.

        A number must lie within the factor; "above the top dose" is right from top dose / factor on, "below
        the lowest" up to lowest dose x factor; "flat" is never right of a curve that has a half-maximal dose.
        """
        if self.state == "flat":
            return False
        if self.state == "above":
            return ec50 >= self.highest_dose / factor
        if self.state == "below":
            return ec50 <= self.lowest_dose * factor
        return abs(math.log(self.ec50 / ec50)) <= math.log(factor)

    def to_json(self) -> dict[str, Any]:
        """Return the state in words and plain numbers; levels and doses are None where not determined."""
        known = self.is_identified
        return {
            "state": self.state,
            "words": self.words(),
            "ec50": plain_number(self.ec50) if known else None,
            "low": plain_number(self.low),
            "high": plain_number(self.high),
            "bottom": plain_number(self.bottom),
            "top": plain_number(self.top) if known else None,
            "slope": plain_number(self.slope),
            "sum_of_squares": plain_number(self.sum_of_squares),
        }


def saturation(doses: FloatArray, log_ec50: FloatArray | float, slope: FloatArray | float) -> FloatArray:
    """Return 1 / (1 + (EC50 / d)^slope); `log_ec50` is log10, arrays broadcast; 0 at dose 0."""
    with np.errstate(divide="ignore"):
        exponent = np.log(10.0) * slope * (log_ec50 - np.log10(doses))
    result: FloatArray = 1.0 / (1.0 + np.exp(np.minimum(exponent, _STEEPEST)))
    return result
