"""Whether stated uncertainties are true: intervals calibrated on the validation part, judged on the test.

Coverage is of measured responses: over genes within a condition, then over conditions, with intervals by
perturbation. Folds and training seeds are pooled by stacking what was judged in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from scipy.stats import norm

from pertcast.evaluation.bootstrap import N_DRAWS, estimates
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.parts import Calibration, Coverage
from pertcast.evaluation.uncertainty.conformal import Conformal
from pertcast.evaluation.uncertainty.risk import risk_coverage

NOMINAL: Final = (0.5, 0.8, 0.95)

NOT_EXCHANGEABLE: Final = (
    "Validation and test conditions were not dealt by one rule: the calibrated intervals promise nothing."
)
STOPPED_EARLY: Final = (
    "The training that was kept is the one with the smallest validation error, so that residuals of that "
    "part are slightly too small and the calibrated intervals slightly too narrow."
)
_FEW: Final = (
    "Too few perturbations calibrated the intervals ({least} at the least) for the level of {levels} %: they "
    "would have to be infinite."
)


@dataclass(frozen=True)
class Forecasted:
    """Measured and predicted responses of one part of a split.

    Attributes
    ----------
    truth, mean
        (N, G) measured and predicted responses.
    sd
        (N, G) standard deviation of a measured response around its prediction, as the model states it, or
        None.
    cluster
        (N,) the perturbation of each condition, by a name that means the same in every fold and seed.
    distance
        (N,) distance to training, or None.
    """

    truth: FloatArray
    mean: FloatArray
    sd: FloatArray | None
    cluster: NDArray[Any]
    distance: FloatArray | None = None

    def __post_init__(self) -> None:
        shapes = [self.mean.shape] + ([] if self.sd is None else [self.sd.shape])
        if any(shape != self.truth.shape for shape in shapes) or len(self.cluster) != len(self.truth):
            raise SchemaError(
                f"Forecasted has truth of shape {self.truth.shape}, others {shapes} and {len(self.cluster)} "
                "labels; give all over the same conditions and genes."
            )

    @property
    def error(self) -> FloatArray:
        """(N,) root mean square error over genes."""
        error: FloatArray = np.sqrt(np.square(self.truth - self.mean, dtype=np.float64).mean(axis=1))
        return error


@dataclass(frozen=True)
class Judged:
    """Test conditions of one fold and training seed, each with its share of genes inside every interval.

    Attributes
    ----------
    gaussian, conformal
        (N, 3) shares by level of `NOMINAL`; NaN where the model states no sd, where the interval is infinite.
    error
        (N,) root mean square errors.
    sd, distance
        (N,) root mean square stated sd, and distance to training; NaN where unknown.
    cluster
        (N,) names of the perturbations.
    n_calibration
        Conditions that calibrated.
    n_calibration_clusters
        Their perturbations.
    """

    gaussian: FloatArray
    conformal: FloatArray
    error: FloatArray
    sd: FloatArray
    distance: FloatArray
    cluster: NDArray[Any]
    n_calibration: int
    n_calibration_clusters: int


def _inside(test: Forecasted, half_width: FloatArray) -> FloatArray:
    share: FloatArray = (np.abs(test.truth - test.mean) <= half_width).mean(axis=1)
    return share


def _conformal_shares(fitted: Conformal, test: Forecasted) -> FloatArray:
    columns = []
    for level in NOMINAL:
        width = fitted.half_width(test.sd, level)
        finite = np.isfinite(width).all()
        columns.append(_inside(test, width) if finite else np.full(len(test.truth), np.nan))
    return np.stack(columns, axis=1)


def _gaussian_shares(test: Forecasted) -> FloatArray:
    if test.sd is None:
        return np.full((len(test.truth), len(NOMINAL)), np.nan)
    return np.stack([_inside(test, norm.ppf((1 + level) / 2) * test.sd) for level in NOMINAL], axis=1)


def fit_conformal(validation: Forecasted) -> Conformal:
    """Calibrate intervals on the validation part."""
    return Conformal.fit(validation.truth - validation.mean, validation.sd, validation.cluster)


def judge(validation: Forecasted, test: Forecasted) -> Judged:
    """Calibrate on the validation part and see where the test part's measured responses lie.

    Raises
    ------
    ConfigError
        Only one of the two has stated standard deviations.
    SchemaError
        The validation part is empty or not finite.
    """
    fitted = fit_conformal(validation)
    n = len(test.truth)
    unknown = np.full(n, np.nan)
    return Judged(
        gaussian=_gaussian_shares(test),
        conformal=_conformal_shares(fitted, test),
        error=test.error,
        sd=unknown if test.sd is None else np.sqrt(np.square(test.sd, dtype=np.float64).mean(axis=1)),
        distance=unknown if test.distance is None else test.distance.astype(np.float64),
        cluster=np.asarray(test.cluster),
        n_calibration=len(validation.truth),
        n_calibration_clusters=fitted.n_clusters,
    )


def _coverage(judged: Sequence[Judged], n_draws: int, seed: int) -> tuple[Coverage, ...]:
    shares = np.concatenate([np.hstack([part.gaussian, part.conformal]) for part in judged])
    cluster = np.unique(np.concatenate([part.cluster for part in judged]), return_inverse=True)[1]
    found = estimates(shares, cluster.astype(np.int64), n_draws, seed)
    return tuple(
        Coverage(level, gaussian, conformal)
        for level, gaussian, conformal in zip(
            NOMINAL, found[: len(NOMINAL)], found[len(NOMINAL) :], strict=True
        )
    )


def _infinite_levels(judged: Sequence[Judged]) -> str:
    conformal = np.concatenate([part.conformal for part in judged])
    missing = [
        f"{100 * level:g}"
        for level, column in zip(NOMINAL, conformal.T, strict=True)
        if np.isnan(column).any()
    ]
    if not missing:
        return ""
    least = min(part.n_calibration_clusters for part in judged)
    return _FEW.format(least=least, levels=", ".join(missing))


def pool_calibrations(
    judged: Sequence[Judged],
    *,
    exchangeable: bool = True,
    remarks: Sequence[str] = (),
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Calibration:
    """Summarise what was judged in one or several folds and training seeds.

    Parameters
    ----------
    judged
        One a fold and seed; conditions of one perturbation are resampled together across all of them.
    exchangeable
        Whether validation and test parts were dealt by one rule.
    remarks
        Further sentences for the reader, such as `STOPPED_EARLY`.
    n_draws, seed
        Of the bootstrap.

    Raises
    ------
    SchemaError
        Nothing was judged.
    """
    if not judged:
        raise SchemaError("No calibration to pool: judge at least one fold.")
    error, sd, distance = (
        np.concatenate([getattr(part, name) for part in judged]) for name in ("error", "sd", "distance")
    )
    refused = risk_coverage(error, sd, "sd") or risk_coverage(error, distance, "nn_train_dist")
    said = [*remarks, _infinite_levels(judged)] if exchangeable else [NOT_EXCHANGEABLE, *remarks]
    return Calibration(
        coverage=_coverage(judged, n_draws, seed),
        risk_coverage=refused,
        n_calibration=sum(part.n_calibration for part in judged),
        n_test=len(error),
        exchangeable=exchangeable,
        remark=" ".join(sentence for sentence in said if sentence),
    )


def calibrate(
    validation: Forecasted,
    test: Forecasted,
    *,
    exchangeable: bool = True,
    remarks: Sequence[str] = (),
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Calibration:
    """Calibrate and judge one fold and training seed: `pool_calibrations` of its `judge`."""
    judged = [judge(validation, test)]
    return pool_calibrations(judged, exchangeable=exchangeable, remarks=remarks, n_draws=n_draws, seed=seed)
