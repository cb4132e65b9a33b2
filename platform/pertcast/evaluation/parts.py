"""What a trust report holds beside its table: skill, calibration, error curves, gene structure, function.

Each part is a small frozen record, computed by the module of the same name; None where it does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.held_out import FloatArray


@dataclass(frozen=True)
class Skill:
    """(model - best baseline) / (ceiling - best baseline) of one metric, on means over conditions.

    Attributes
    ----------
    value, low, high
        0 as good as the strongest baseline, 1 as good as the ceiling; bounds of the paired 95 % interval over
        held-out perturbations (and training seeds where there are several). NaN where undefined.
    baseline, ceiling
        Names of the contenders that stand at 0 and at 1.
    reason
        Why it is undefined (no ceiling, ceiling below the baseline); "" where it is defined.
    """

    value: float
    low: float
    high: float
    baseline: str
    ceiling: str
    reason: str = ""


@dataclass(frozen=True)
class Coverage:
    """How often the measured response lies inside the interval of a nominal level.

    Attributes
    ----------
    nominal
        0.5, 0.8 or 0.95.
    gaussian
        Share covered by mean +- z sd of the model; NaN where it predicts no sd.
    conformal
        Share covered by the interval that was calibrated on the validation part; NaN where there is none.
    """

    nominal: float
    gaussian: Estimate
    conformal: Estimate


@dataclass(frozen=True)
class RiskCoverage:
    """Error of the conditions that remain when the least certain ones are refused.

    Attributes
    ----------
    kept
        (K,) shares kept, descending from 1.
    error
        (K,) mean error (root mean square over genes) of those kept.
    oracle
        (K,) the same if conditions were refused by their true error: the best possible order.
    ordered_by
        "sd" or "nn_train_dist".
    """

    kept: FloatArray
    error: FloatArray
    oracle: FloatArray
    ordered_by: str


@dataclass(frozen=True)
class Calibration:
    """Whether the stated uncertainties are true.

    Attributes
    ----------
    coverage
        One entry a nominal level.
    risk_coverage
        None where nothing orders the conditions.
    n_calibration, n_test
        Conditions (times seeds) that calibrated, and that were judged.
    exchangeable
        Whether calibration and test conditions were dealt by one rule; otherwise no coverage is promised.
    remark
        A sentence for the reader, or "".
    """

    coverage: tuple[Coverage, ...]
    risk_coverage: RiskCoverage | None
    n_calibration: int
    n_test: int
    exchangeable: bool
    remark: str = ""


@dataclass(frozen=True)
class ErrorCurve:
    """Error against distance to training: what the applicability score is worth.

    Attributes
    ----------
    edges
        (B + 1,) bounds of the bins of nn_train_dist.
    model, baseline
        B estimates of the primary metric each; NaN for empty bins.
    counts
        (B,) conditions a bin.
    spearman
        Rank correlation over conditions of distance and error (root mean square), with interval.
    """

    edges: FloatArray
    model: tuple[Estimate, ...]
    baseline: tuple[Estimate, ...]
    counts: tuple[int, ...]
    spearman: Estimate


@dataclass(frozen=True)
class GeneCorrelation:
    """Gene-gene correlation over held-out conditions, within context, on residuals from the context's mean.

    Attributes
    ----------
    genes
        g shown genes, in an order that puts correlated ones side by side.
    matrices
        "truth", the model's and the strongest baseline's name -> (g, g).
    agreement
        Contender (and "split_half") -> Pearson of upper triangles with the truth's over all tested genes.
    n_conditions, n_genes
        What the agreement is made of.
    """

    genes: tuple[str, ...]
    matrices: Mapping[str, FloatArray]
    agreement: Mapping[str, Estimate]
    n_conditions: int
    n_genes: int


@dataclass(frozen=True)
class CoMembership:
    """Whether perturbations of one complex or pathway get similar predicted profiles.

    Attributes
    ----------
    source
        Where the gene sets come from.
    rows
        "predicted", "measured", "network", "degree", "features"... -> area under the ROC curve over pairs of
        perturbed genes, with an interval by resampling genes; 0.5 is chance.
    precision
        The same rows -> average precision; chance is `share_positive`.
    n_genes, n_pairs, share_positive
        What was ranked.
    """

    source: str
    rows: Mapping[str, Estimate]
    precision: Mapping[str, Estimate]
    n_genes: int
    n_pairs: int
    share_positive: float


@dataclass(frozen=True)
class ShownCondition:
    """A held-out condition drawn gene by gene: among the best or the worst of the model.

    Attributes
    ----------
    condition_id, name
        Its id, and its name for people.
    rank
        "best" or "worst".
    truth, model, baseline
        (G,) responses: measured, predicted, and the strongest baseline's.
    scores
        Primary metric of model and baseline.
    """

    condition_id: str
    name: str
    rank: str
    truth: FloatArray
    model: FloatArray
    baseline: FloatArray
    scores: Mapping[str, float]


@dataclass(frozen=True)
class ControlHits:
    """Control wells or cells tested as if they were a perturbation: what is called is called falsely.

    Attributes
    ----------
    method
        The test.
    n_tests, n_called
        Control-against-control comparisons of a gene, and those called at BH < 0.05.
    """

    method: str
    n_tests: int
    n_called: int


@dataclass(frozen=True)
class HeldOutCounts:
    """What was held out.

    Attributes
    ----------
    parts
        "train", "validation", "test" -> counts by "profiles", "conditions", "perturbations", "contexts".
    examples
        Names of some held-out perturbations.
    new_in_test
        "perturbations", "contexts", "pairs", "doses", "times" -> how many test conditions have one that
        training never saw.
    """

    parts: Mapping[str, Mapping[str, int]]
    examples: tuple[str, ...]
    new_in_test: Mapping[str, int]


@dataclass(frozen=True)
class SeedSpread:
    """The primary metric of trainings that differ in their seed alone.

    Attributes
    ----------
    seeds
        S training seeds.
    means
        Contender -> (S,) means over conditions; only contenders that depend on the seed.
    """

    seeds: tuple[int, ...]
    means: Mapping[str, FloatArray]


@dataclass(frozen=True)
class EnsembleGain:
    """What an ensemble gains over its members.

    Attributes
    ----------
    metric
        What is compared.
    members
        Member -> its own score.
    gain
        The ensemble minus the mean of its members, positive where the ensemble is better; the interval covers
        held-out perturbations and the choice of members.
    """

    metric: str
    members: Mapping[str, Estimate]
    gain: Estimate


@dataclass(frozen=True)
class TrustParts:
    """Everything of a trust report beside the table.

    Attributes
    ----------
    skill
        Metric -> skill.
    genes
        Names of the G genes that `shown` is over.
    """

    skill: Mapping[str, Skill] = field(default_factory=dict)
    calibration: Calibration | None = None
    error_curve: ErrorCurve | None = None
    correlation: GeneCorrelation | None = None
    function: CoMembership | None = None
    genes: tuple[str, ...] = ()
    shown: tuple[ShownCondition, ...] = ()
    control_hits: ControlHits | None = None
    held_out: HeldOutCounts | None = None
    seeds: SeedSpread | None = None
    ensemble: EnsembleGain | None = None
