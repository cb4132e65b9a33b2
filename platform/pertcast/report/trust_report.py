"""The trust report: verdict first, the table beside where the gain lies, then what it does not show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from types import MappingProxyType
from typing import Final

from pertcast.evaluation.trust.lines import provenance
from pertcast.evaluation.trust.table import TrustTable
from pertcast.report import trust_conditions as conditions
from pertcast.report import trust_parts as parts
from pertcast.report import trust_tables as tables
from pertcast.report.page import Section, badge_html, list_html, paragraph_html, render_page
from pertcast.report.theme import Tone

_TONES: Final[MappingProxyType[str, Tone]] = MappingProxyType(
    {"better": "good", "not distinguishable": "care", "worse": "bad"}
)
_BADGES: Final = MappingProxyType({"better": "better than every baseline", "worse": "worse than a baseline"})


def _verdict(trust: TrustTable) -> Section:
    tone, outcome = _TONES[trust.verdict.outcome], trust.verdict.outcome
    sentence = f"{trust.facts.title} is {trust.verdict.text}."
    html = f'<p class="lead">{badge_html(_BADGES.get(outcome, outcome), tone)} {escape(sentence)}</p>'
    explained = _explained(trust)
    return Section("", html + (paragraph_html(explained) if explained else ""), tone=tone)


def _explained(trust: TrustTable) -> str:
    """Say which share of what is left to win the model takes; "" where there is no ceiling to say it by."""
    skill = trust.parts.skill.get(trust.primary)
    if skill is None:
        return ""
    titles = {c.name: c.title for c in trust.order}
    baseline, ceiling = titles.get(skill.baseline, skill.baseline), titles.get(skill.ceiling, skill.ceiling)
    if math.isnan(skill.value):
        return f"Skill is undefined: {skill.reason}."
    return (
        f"Of what lies between {baseline} (0) and the ceiling, {ceiling} (1), it takes {skill.value:.2f} "
        f"(95 % interval {skill.low:.2f} to {skill.high:.2f})."
    )


def trust_report(trust: TrustTable, command: str = "", further: Sequence[Section] = ()) -> str:
    """Return the trust report as one self-contained HTML document.

    Parameters
    ----------
    trust
        The result of an evaluation.
    command
        The command that reproduces it, for the last line.
    further
        Cards of what was analysed beside the table, before the definitions of the metrics.
    """
    sections = [
        _verdict(trust),
        tables.main_table(trust),
        conditions.gain_by_stratum(trust),
        conditions.by_members(trust),
        conditions.by_type(trust),
        Section("What this does not show", list_html(trust.not_shown), tone="care"),
        conditions.every_condition(trust),
        conditions.extremes(trust),
        conditions.error_by_distance(trust),
        *parts.calibration(trust),
        parts.held_out(trust),
        conditions.gene_by_gene(trust),
        parts.gene_structure(trust),
        parts.gene_function(trust),
        parts.seeds(trust),
        parts.ensemble(trust),
        parts.control_hits(trust),
        tables.metric_reliability(trust),
        tables.strength_of_effects(trust),
        tables.absolute_profiles(trust),
        Section("Notes", list_html(trust.notes), width="half") if trust.notes else None,
        *further,
        Section("How to read the table", "", is_heading=True) if further else None,
        tables.definitions(trust),
    ]
    return render_page(
        title=f"Trust report: {trust.facts.title}",
        provenance=provenance(trust),
        sections=[section for section in sections if section is not None],
        footer=command,
    )
