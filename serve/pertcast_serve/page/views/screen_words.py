"""How a screen's state is told on the page: badge, progress in words, time, provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from markupsafe import Markup
from pertcast.report.theme import Tone

from pertcast_serve.page.html import badge
from pertcast_serve.schemas.screens import Screen

GOING_ON: Final = frozenset({"queued", "running"})
_TONES: Final[MappingProxyType[str, Tone]] = MappingProxyType(
    {"finished": "good", "failed": "bad", "cancelled": "care"}
)


@dataclass(frozen=True)
class ShownScreen:
    """A screen as the page shows it.

    Attributes
    ----------
    id, title, kind, model, state, by, message
        Of the screen; a title is made where none was given.
    submitted_at, when
        ISO 8601, and for people; UTC.
    n_profiles
        None before it is planned.
    percent
        Of its profiles that are written; None where none is shown.
    words
        How far it is.
    badge, tone
        Its state.
    is_going_on
        Whether it is queued or running.
    """

    id: str
    title: str
    kind: str
    model: str
    state: str
    by: str
    message: str
    submitted_at: str
    when: str
    n_profiles: int | None
    percent: int | None
    words: str
    badge: Markup
    tone: Tone
    is_going_on: bool

    @property
    def provenance(self) -> str:
        """Kind, model, who and when."""
        return f"{self.kind} · {self.model} · started {self.when} UTC by {self.by}"


def shown_screen(screen: Screen) -> ShownScreen:
    """Return what the page shows of a screen."""
    tone = _TONES.get(screen.state, "plain")
    return ShownScreen(
        id=screen.id,
        title=screen.title or f"Screen of {'a table' if screen.kind == 'table' else screen.kind}",
        kind=screen.kind,
        model=screen.model,
        state=screen.state,
        by=screen.submitted_by,
        message=screen.message,
        submitted_at=screen.submitted_at,
        when=_when(screen.submitted_at),
        n_profiles=screen.n_profiles,
        percent=_percent(screen),
        words=_words(screen),
        badge=badge(screen.state, tone),
        tone=tone,
        is_going_on=screen.state in GOING_ON,
    )


def _percent(screen: Screen) -> int | None:
    if screen.state not in GOING_ON:
        return None
    return math.floor(100 * screen.n_done / screen.n_profiles) if screen.n_profiles else 0


def _words(screen: Screen) -> str:
    if screen.state == "queued":
        return "waiting for a worker"
    if screen.state != "running":
        return "" if screen.state == "finished" else f"{screen.n_done:,} profiles written"
    if screen.n_profiles is None:
        return "checking the library"
    if screen.n_done >= screen.n_profiles:
        return "writing tables and report"
    words = [f"{screen.n_done:,} of {screen.n_profiles:,} profiles"]
    if screen.profiles_per_s:
        words.append(f"{screen.profiles_per_s:,.0f} profiles/s")
    if screen.eta_s is not None:
        words.append(f"{duration(screen.eta_s)} left")
    return " · ".join(words)


def duration(seconds: float) -> str:
    """Write a time that remains, for people."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def _when(submitted_at: str) -> str:
    """Return date and minute in UTC; the text itself where it is no time."""
    try:
        moment = datetime.fromisoformat(submitted_at)
    except ValueError:
        return submitted_at
    moment = moment if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M}"


def file_size(count: int) -> str:
    """Write a number of bytes for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
