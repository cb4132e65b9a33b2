"""The one look of every report: colours, style sheet and Plotly layout.

Colour means something or is absent; every colour that carries text has a contrast of at least 4.5
on the ground it is used on.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final, Literal

import plotly.graph_objects as go

Tone = Literal["plain", "good", "care", "bad"]

INK: Final = "#16202a"
MUTED: Final = "#5c6975"
LINE: Final = "#e2e7ec"
WASH: Final = "#f6f8fa"
WHITE: Final = "#ffffff"
ACCENT: Final = "#0b6e8f"
UP: Final = "#b8432f"
DOWN: Final = "#2a66b0"
GOOD: Final = "#2d7a4b"
CARE: Final = "#a86a12"
BAD: Final = UP

TONE_COLOURS: Final = MappingProxyType({"plain": ACCENT, "good": GOOD, "care": CARE, "bad": BAD})
TONE_TEXTS: Final = MappingProxyType(
    {"plain": "#0a5f7b", "good": "#24663e", "care": "#7d4e0c", "bad": "#9a3525"}
)
TONE_GROUNDS: Final = MappingProxyType(
    {"plain": "#e4f0f4", "good": "#e4f2e9", "care": "#f7eddc", "bad": "#f8e6e2"}
)
CURVE_COLOURS: Final = (ACCENT, UP, DOWN, CARE, INK, MUTED)
"""Of lines in one figure, in order."""

DIVERGING: Final = ((0.0, DOWN), (0.5, WHITE), (1.0, UP))
"""Blue-white-red scale for heatmaps of signed values; centre it on zero."""

FONT: Final = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_TONES_CSS: Final = "\n".join(
    f".tone-{tone} {{ --tone: {colour}; --tone-text: {TONE_TEXTS[tone]}; "
    f"--tone-ground: {TONE_GROUNDS[tone]}; }}"
    for tone, colour in TONE_COLOURS.items()
)

STYLE_SHEET: Final = f"""
:root {{ --ink: {INK}; --muted: {MUTED}; --line: {LINE}; --wash: {WASH}; --accent: {ACCENT};
  --up: {UP}; --down: {DOWN}; --good: {GOOD}; --care: {CARE}; }}
* {{ box-sizing: border-box; }}
html {{ color-scheme: light; }}
body {{ margin: 0; background: var(--wash); color: var(--ink); font: 14px/1.5 {FONT};
  font-variant-numeric: tabular-nums; font-feature-settings: "tnum"; }}
main {{ max-width: 1480px; margin: 0 auto; padding: 24px 32px 48px; }}
h1 {{ font-size: 22px; line-height: 1.3; margin: 0; font-weight: 650; }}
.provenance {{ color: var(--muted); margin: 2px 0 18px; overflow-wrap: anywhere; }}
.grid {{ display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 18px; }}
.card {{ background: {WHITE}; border: 1px solid var(--line); border-radius: 6px; padding: 18px 20px;
  min-width: 0; }}
.card.full {{ grid-column: 1 / -1; }}
.card.half {{ grid-column: span 6; }}
.card.wide {{ grid-column: span 7; }}
.card.narrow {{ grid-column: span 5; }}
.part {{ grid-column: 1 / -1; margin-top: 14px; padding-top: 14px; border-top: 1px solid var(--line); }}
.part h2 {{ font-size: 17px; font-weight: 650; margin: 0; }}
.part h2 .subtitle {{ font-size: 14px; font-weight: 400; color: var(--muted); margin-left: 6px; }}
.part p, .part ul {{ margin: 6px 0 0; max-width: 100ch; }}
.card.marked {{ border-left: 4px solid var(--tone); }}
.card h2 {{ font-size: 13px; font-weight: 650; margin: 0 0 10px; }}
.card h2 .subtitle {{ font-weight: 400; color: var(--muted); }}
.card p {{ margin: 0 0 8px; max-width: 100ch; }}
.card p:last-child {{ margin-bottom: 0; }}
.card ul {{ margin: 0; padding-left: 18px; max-width: 100ch; }}
.muted {{ color: var(--muted); }}
.lead {{ font-size: 16px; }}
.badge {{ display: inline-block; padding: 2px 10px; border-radius: 4px; font-weight: 650;
  background: var(--tone-ground); color: var(--tone-text); }}
.table-box {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
.card p.caption {{ color: var(--muted); margin-top: 8px; max-width: none; }}
th, td {{ text-align: left; padding: 5px 8px; border-bottom: 1px solid var(--line); }}
th {{ font-weight: 500; color: var(--muted); vertical-align: bottom; }}
th.number, td.number {{ text-align: right; }}
td.number {{ white-space: nowrap; }}
th.number {{ width: 1%; }}
td.text:first-child {{ min-width: 20ch; }}
td .badge {{ white-space: nowrap; }}
td.text {{ overflow-wrap: break-word; text-wrap: pretty; }}
th:first-child, td:first-child {{ padding-left: 0; }}
th:last-child, td:last-child {{ padding-right: 0; }}
tr.strong td {{ font-weight: 650; }}
tr.muted td, td.muted {{ color: var(--muted); }}
a {{ color: var(--accent); }}
.download {{ display: inline-block; margin-top: 8px; padding: 3px 10px; border: 1px solid var(--line);
  border-radius: 4px; color: var(--ink); text-decoration: none; }}
.card .download + ul, .card .download + p {{ margin-top: 12px; }}
.card .figure + p, .card .figure + .table-box {{ margin-top: 12px; }}
.download:hover, .download:focus {{ border-color: var(--accent); }}
.figure {{ width: 100%; min-width: 0; }}
.figure .modebar {{ opacity: 0 !important; }}
.figure:hover .modebar {{ opacity: 1 !important; }}
.footer {{ color: var(--muted); margin-top: 18px; overflow-wrap: anywhere; }}
{_TONES_CSS}
@media (max-width: 860px) {{
  main {{ padding: 16px 12px 32px; }}
  .grid {{ grid-template-columns: minmax(0, 1fr); gap: 12px; }}
  .grid .card {{ grid-column: 1 / -1; }}
  .card {{ padding: 14px 12px; }}
  td .badge {{ white-space: normal; }}
}}
@media print {{ body {{ background: {WHITE}; }} .download {{ display: none; }} }}
"""


def figure_layout() -> dict[str, Any]:
    """Return the Plotly layout that every figure shares."""
    axis = {
        "gridcolor": LINE,
        "zerolinecolor": "#b4bec8",
        "linecolor": LINE,
        "tickfont": {"size": 12, "color": MUTED},
        "title": {"font": {"size": 12, "color": MUTED}},
        "automargin": True,
    }
    return {
        "template": "none",
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": WHITE,
        "plot_bgcolor": WHITE,
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
        "showlegend": False,
        "hoverlabel": {"bgcolor": WHITE, "bordercolor": LINE, "font": {"family": FONT, "color": INK}},
        "xaxis": axis,
        "yaxis": axis,
    }


def apply_theme(figure: go.Figure) -> go.Figure:
    """Give `figure` the shared layout in place, keeping what it has already set, and return it."""
    own = figure.layout.to_plotly_json()
    own.pop("template", None)
    shared = figure_layout()
    figure.update_layout(shared)
    figure.update_xaxes(shared["xaxis"])
    figure.update_yaxes(shared["yaxis"])
    figure.update_layout(own)
    return figure
