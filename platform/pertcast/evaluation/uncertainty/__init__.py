"""Whether stated uncertainties are true: conformal intervals, coverage, refusal, error by distance."""
