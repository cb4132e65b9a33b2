"""The cards of the report of a sweep."""

from __future__ import annotations

import math
from html import escape
from typing import Any, Final

import polars as pl

from pertcast.report.page import Section, badge_html, figure_html, list_html, paragraph_html, table_html
from pertcast.report.sweep import figures
from pertcast.report.sweep.content import SweepContent, SweepTrial, short_key
from pertcast.report.sweep.importance import FEWEST_TRIALS, Importance, importance
from pertcast.report.tables import fixed, format_number
from pertcast.report.theme import Tone

FEWEST_PERTURBATIONS: Final = 6
"""Below this many validation perturbations resampling them cannot support any claim."""

_BADGES: Final = {"good": "above every baseline", "care": "not distinguishable", "bad": "below a baseline"}


def verdict(content: SweepContent) -> Section:
    """Return the answer: the best trial beside the best baseline, and what that is worth."""
    best, tone = content.best, _tone(content)
    n_done, n_all = len(content.done), len(content.trials)
    trials = f"{n_done} trials" if n_done == n_all else f"{n_done} finished trials of {n_all}"
    chosen = (
        f"It is the best of {trials} chosen on these very conditions, so this score is too good by an "
        f"unknown amount: what counts is the test evaluation, {content.evaluate}."
    )
    few = (
        f" Only {content.n_perturbations} perturbations are held out for validation: too few to tell."
        if content.n_perturbations < FEWEST_PERTURBATIONS
        else ""
    )
    badge = badge_html(_BADGES[tone], tone) if tone in _BADGES else ""
    html = f'<p class="lead">{badge} {escape(_sentence(content, best))}</p>'
    return Section("", html + paragraph_html(chosen + few), tone=tone)


def _tone(content: SweepContent) -> Tone:
    if not math.isfinite(content.best.metric("advantage")):
        return "plain"
    low, high = content.best.metric("advantage_low"), content.best.metric("advantage_high")
    if content.n_perturbations < FEWEST_PERTURBATIONS:
        return "care"
    return "good" if low > 0 else "bad" if high < 0 else "care"


def _sentence(content: SweepContent, best: SweepTrial) -> str:
    text = f"Trial {best.name} is the best"
    if not math.isfinite(best.metric("advantage")):
        metric = content.objectives[0][0]
        return f"{text}: {content.axis(metric)} {format_number(best.metric(metric))}."
    advantage, low, high = (best.metric(name) for name in ("advantage", "advantage_low", "advantage_high"))
    return (
        f"{text}: {content.scored_by} {best.metric('score'):.3f} on {best.metric('n_conditions'):,.0f} "
        f"validation conditions, {advantage:+.3f} [{low:+.3f}, {high:+.3f}] against {content.best_baseline} "
        f"({best.metric('baseline_score'):.3f})."
    )


def progress(content: SweepContent) -> Section:
    """Return the first objective by trial."""
    metric = content.objectives[0][0]
    compared = "; bars 95 % over resampled perturbations, hollow: not distinguishable from the baseline"
    return Section(
        "Trials",
        figure_html(figures.by_trial(content), 340, f"{metric} by trial"),
        f"{metric} by trial; line: best so far{compared if metric == 'advantage' else ''}",
        width="half",
    )


def trade_off(content: SweepContent) -> list[Section]:
    """Return the first objective against the second, where there are two."""
    if len(content.objectives) < 2:
        return []
    (first, _), (second, _) = content.objectives[:2]
    n_front = sum(trial.is_on_front for trial in content.trials)
    return [
        Section(
            f"{first.capitalize()} against {second}",
            figure_html(figures.trade_off(content), 340, f"{first} against {second}, with the front"),
            f"labelled: the front, {n_front} of {len(content.done)}, which no other beats in every objective",
            width="half",
        )
    ]


def parameters(content: SweepContent) -> list[Section]:
    """Return the objective against each parameter, and how strongly it goes with each."""
    metric = content.objectives[0][0]
    done = content.done
    found = importance([trial.values for trial in done], [trial.metric(metric) for trial in done])
    keys = [*(found.strength if found else ()), *content.parameters]
    shown = list(dict.fromkeys(keys))[: figures.MOST_PARAMETERS]
    left_out = len(content.parameters) - len(shown)
    rest = f"; {left_out} of {len(content.parameters)} not drawn" if left_out else ""
    return [
        Section(
            "What was tried",
            figure_html(
                figures.by_parameter(content, shown), 90 + 220 * math.ceil(len(shown) / 4), "by parameter"
            ),
            f"{metric} of the {len(done)} finished trials against each value; dark: the best trial{rest}",
        ),
        _importance(content, found),
    ]


def _importance(content: SweepContent, found: Importance | None) -> Section:
    title, n_done = "Which values mattered", len(content.done)
    if found is None:
        text = (
            f"{n_done} finished trials do not say: at least {FEWEST_TRIALS} that differ are needed."
            if n_done < FEWEST_TRIALS
            else "The finished trials do not differ in a value that all of them have."
        )
        return Section(title, paragraph_html(text), width="half")
    above = [short_key(key) for key, size in found.strength.items() if size > found.chance]
    text = (
        f"Beyond chance: {', '.join(above)}. Values drawn at random may still go together."
        if above
        else f"None is beyond what chance alone does with {found.n_trials} trials."
    )
    figure = figures.importance_bars(found)
    height = 100 + 34 * len(found.strength)
    return Section(
        title,
        figure_html(figure, height, "rank correlation of each parameter with the objective")
        + paragraph_html(text, muted=True),
        "dotted: the strongest by chance in 1 of 20 sweeps in which nothing matters",
        width="half",
    )


def curves(content: SweepContent) -> list[Section]:
    """Return the learning curves, where trials have any."""
    n_curves = sum(bool(trial.curve) for trial in content.trials)
    if not n_curves:
        return []
    return [
        Section(
            "Learning curves",
            figure_html(figures.learning_curves(content), 340, "held-out loss by epoch"),
            f"held-out loss of {n_curves} trials; blue: the best trial, dotted: not trained to the end",
            width="half",
        )
    ]


def baselines(content: SweepContent) -> Section:
    """Return the baselines' scores, the best first."""
    best = content.best_baseline
    order = sorted(content.baselines, key=lambda title: (title != best, -content.baselines[title]))
    frame = pl.DataFrame({"baseline": order, "score": [content.baselines[title] for title in order]})
    table = table_html(
        frame,
        headers={"baseline": "Baseline", "score": content.scored_by},
        formats={"score": fixed(3)},
        row_classes=["strong" if title == best else "" for title in order],
        caption="Fitted once, on the training rows; mean over the validation conditions. Advantage is the "
        f"model's {content.scored_by} minus that of the first.",
        download="baselines.csv",
    )
    return Section("Baselines", table, width="half")


def table(content: SweepContent) -> Section:
    """Return every trial with its configuration and how it ended."""
    names = list(dict.fromkeys([*(name for name, _ in content.objectives), "advantage", "score", "cost"]))
    names += [name for name in ("validation_loss", "parameters", "seconds", "epoch") if name not in names]
    rows = [_row(trial, names, content) for trial in content.trials]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    tried = {f"={key}": short_key(key) for key in content.parameters}
    titles = {"cost": "cost (FLOP)", "seconds": "time (s)", "epoch": "epochs", "score": content.scored_by}
    titles |= {"validation_loss": "held-out loss"}
    html = table_html(
        frame.drop([name for name in names if frame[name].is_null().all()]),
        headers={**titles, **tried},
        formats={"advantage": _signed, "cost": _power, "parameters": _whole, "epoch": _whole},
        row_classes=[_row_class(trial, content) for trial in content.trials],
        caption="Best first. Metrics of a stopped trial are those of its last validation.",
        download="trials.csv",
    )
    return Section("All trials", html, "* on the front")


def _row(trial: SweepTrial, names: list[str], content: SweepContent) -> dict[str, Any]:
    ended = f"{trial.status}: {trial.reason}" if trial.reason else trial.status
    return {
        "trial": f"{trial.name}{' *' if trial.is_on_front else ''}",
        "ended": ended,
        **{name: trial.metrics.get(name) for name in names},
        **{f"={key}": _tried(trial.values.get(key)) for key in content.parameters},
    }


def _tried(value: Any) -> str | None:
    return None if value is None else format_number(value) if isinstance(value, float) else str(value)


def _row_class(trial: SweepTrial, content: SweepContent) -> str:
    return "strong" if trial.name == content.best.name else "" if trial.is_done else "muted"


def _signed(value: float | None) -> str:
    return fixed(3)(value) if value is None or math.isnan(value) else f"{value:+.3f}"


def _power(value: float | None) -> str:
    return format_number(value) if value is None else f"{value:.2e}"


def _whole(value: float | None) -> str:
    return format_number(None if value is None else int(value))


def limits(content: SweepContent) -> Section:
    """Return what the sweep does not show."""
    items = [
        "How good the best trial is on conditions that nobody chose by: see the test evaluation.",
        "Whether trials whose intervals overlap differ: they share conditions, and each was trained with one "
        "seed.",
        "Anything outside the space that was searched.",
    ]
    if any(trial.metric("cost_is_counted") == 0 for trial in content.done):
        items.append("Operations could not be counted: cost is 6 x parameters x rows trained on.")
    html = list_html(items) + paragraph_html(content.search, muted=True)
    return Section("What this does not show", html, width="half")
