"""What to mend first: problems of the data in order of harm, each with the line for the mapping file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertcast_data.quality.report import EffectSummary, QualityReport, TargetSummary
from pertcast_data.text import listed

_MUCH: Final = 0.01
_SMALL: Final = 0.25
_ENOUGH: Final = 10
_CHANCE: Final = 0.05
_WIDE_Z: Final = (0.3, 10.0)
_FAR_Z: Final = 3.0
_MANY_VALUES: Final = 10_000


@dataclass(frozen=True)
class Mending:
    """One problem.

    Attributes
    ----------
    problem
        What was found, with its numbers.
    remedy
        The lines to write in the mapping file, or what to bring.
    """

    problem: str
    remedy: str


def mend_first(report: QualityReport) -> tuple[Mending, ...]:
    """Return what is wrong, the most harmful first; empty where nothing is."""
    found = [
        *_scale(report),
        *_controls(report),
        *_copies(report),
        *_missing(report),
        *_targets(report),
        *_sizes(report),
        *_agreement(report),
    ]
    return tuple(found)


def _scale(report: QualityReport) -> list[Mending]:
    values = report.values
    found = []
    if values.n_fractional:
        found.append(
            Mending(
                f"{values.n_fractional:,} of the declared counts are not whole numbers",
                "normalisation: log1p_cpm   # or bring the raw counts",
            )
        )
    if values.n_out_of_scale:
        low, high = values.expected_low, values.expected_high
        span = f"{low:g} to {high:g}" if low is not None and high is not None else f"from {low:g}"
        found.append(
            Mending(
                f"{values.n_out_of_scale:,} values lie outside what {report.normalisation} can give "
                f"({span}): {values.smallest:g} to {values.largest:g}",
                "normalisation: ...   # what the values are: counts, log1p_cpm, log2_intensity, z_score or "
                "log_fold_change",
            )
        )
    is_z = report.normalisation == "z_score" and report.measure == "response"
    if is_z and values.smallest is not None and values.largest is not None and not _looks_like_z(report):
        found.append(
            Mending(
                f"the values are taken for z-scores, but have a standard deviation of {values.deviation:.3g} "
                f"and go from {values.smallest:.3g} to {values.largest:.3g}: they are scaled in another way, "
                "and thresholds such as |z| >= 2 mean nothing on them",
                "normalisation: log_fold_change   # if that is what they are; else bring z-scores",
            )
        )
    return found


def _looks_like_z(report: QualityReport) -> bool:
    values = report.values
    furthest = max(abs(values.smallest or 0), abs(values.largest or 0))
    is_many = report.n_rows * report.n_genes >= _MANY_VALUES
    return _WIDE_Z[0] <= values.deviation <= _WIDE_Z[1] and (furthest > _FAR_Z or not is_many)


def _controls(report: QualityReport) -> list[Mending]:
    found = report.conditions
    if found.coverage is None or not found.coverage["none"]:
        return []
    n, where = found.coverage["none"], listed(found.contexts_without_controls)
    if not found.n_control_rows:
        return [
            Mending(
                f"no row is a control: none of {n:,} treated profiles has anything to be compared with",
                "controls: {column: ..., values: [...]}   # the column and its values that mark controls",
            )
        ]
    names = ", ".join(found.contexts_without_controls)
    return [
        Mending(
            f"{n:,} treated profiles are in cell lines without a control: {where}",
            f"exclude: {{cell_iname: [{names}]}}   # the file's own column; or bring their controls",
        )
    ]


def _copies(report: QualityReport) -> list[Mending]:
    copies = report.duplicates
    if not copies.n_rows:
        return []
    across = (
        f", {copies.n_rows_across:,} of them under different conditions (one profile under two names)"
        if copies.n_rows_across
        else ""
    )
    return [Mending(f"{copies.n_rows:,} profiles equal another{across}", "quality: {drop_duplicates: true}")]


def _missing(report: QualityReport) -> list[Mending]:
    values = report.values
    found = []
    if values.n_rows_with_missing:
        n = values.n_missing + values.n_infinite
        found.append(
            Mending(
                f"{n:,} values are missing or infinite, in {values.n_rows_with_missing:,} profiles",
                "quality: {drop_rows_with_missing: true}",
            )
        )
    if values.n_zero_rows > _MUCH * report.n_rows:
        found.append(
            Mending(
                f"{values.n_zero_rows:,} profiles hold zeros only",
                "keep or exclude them by a column of the file: exclude: {...: [...]}",
            )
        )
    return found


def _targets(report: QualityReport) -> list[Mending]:
    return [_target(each) for each in report.targets if _misses(each)]


def _misses(each: TargetSummary) -> bool:
    if not each.n_testable or each.share_expected is None:
        return False
    chance = each.others_expected if each.others_expected is not None else 0.5
    return each.share_expected < max(chance, 0.5) + (1 - max(chance, 0.5)) / 2


def _target(each: TargetSummary) -> Mending:
    found, n = each.share_expected or 0, each.n_testable
    told = f"{each.kind}: the target's own gene goes {each.expected} in {found:.0%} of {n:,} conditions"
    if found < 0.5 and n >= _ENOUGH and (each.share_seen or 0) <= 2 * (each.others_seen or 0):
        return Mending(
            f"{told}; the kind of perturbation may be declared wrongly",
            "pert_type: {column: ..., values: {...: trt_act}}   # trt_sh, trt_xpr down; trt_act, trt_oe up",
        )
    if (each.share_seen or 0) < _SMALL:
        return Mending(
            f"{told}, but by |z| >= 2 in only {each.share_seen or 0:.0%}: there are too few profiles a "
            "condition to see it, or names and profiles do not belong together",
            "quality: {min_profiles_per_condition: 10}   # or another number; or check pert_type and targets",
        )
    names = listed(example.gene for example in each.worst)
    return Mending(f"{told} (least in {names})", "quality: {require_target_change: true}")


def _sizes(report: QualityReport) -> list[Mending]:
    found = report.conditions
    alone = found.below.get(2, 0)
    if report.measure == "response" or alone <= _SMALL * max(found.n_treated, 1):
        return []
    return [
        Mending(
            f"{alone:,} of {found.n_treated:,} treated conditions have one profile: no replicate tells "
            "whether it is an effect",
            "quality: {min_profiles_per_condition: 2}",
        )
    ]


def _agreement(report: QualityReport) -> list[Mending]:
    kinds = () if report.effects is None else report.effects.kinds
    return [_too_weak(each, each.share_beyond_null) for each in kinds if _agrees_by_chance(each)]


def _agrees_by_chance(each: EffectSummary) -> bool:
    if each.share_beyond_null is None:
        return False
    few = min(each.measured.correlation.n, each.null.correlation.n)
    return few >= _ENOUGH and each.share_beyond_null < 2 * _CHANCE


def _too_weak(each: EffectSummary, beyond: float | None) -> Mending:
    limit = max(each.null.correlation.at(0.95) or 0, 0)
    return Mending(
        f"{each.kind}: replicates agree no more than reassigned rows do: {beyond or 0:.0%} of "
        f"{each.measured.correlation.n:,} conditions are beyond the null's 95th percentile, where chance "
        "puts 5 %. Effects are too weak to be seen, or names and profiles do not belong together",
        f"quality: {{min_replicate_correlation: {limit:.2g}}}   # keeps what is beyond chance",
    )
