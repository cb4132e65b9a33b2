"""Choices of a condition as chips: types, cell lines, doses, times that the model knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pertcast.naming import kind_word

from pertcast_serve.page.views.asked import COMPOUND, Asked, types_for
from pertcast_serve.schemas.models import Vocabulary

MOST_CHIPS: Final = 5

Choice = tuple[str, str, bool]
"""Text, address, and whether it is chosen."""


@dataclass(frozen=True)
class ChipGroup:
    """Values of one field, one of them chosen.

    Attributes
    ----------
    label
        The field.
    shown
        Values side by side.
    every
        All values, for a menu; empty where all are shown.
    all_text
        What the menu is called.
    """

    label: str
    shown: list[Choice]
    every: list[Choice]
    all_text: str


def chip_groups(asked: Asked, vocabulary: Vocabulary) -> list[ChipGroup]:
    """Return the choices of type, cell line, dose (of compounds) and time."""
    groups = [
        _group("Type", "type", types_for(asked, vocabulary), asked, _type_text),
        _group("Cell line", "cell", vocabulary.cell_lines, asked, str),
        _group("Time", "time", vocabulary.times, asked, lambda time: f"{time:.4g} h"),
    ]
    if asked.pert_type == COMPOUND:
        groups.insert(2, _group("Dose", "dose", vocabulary.doses, asked, lambda dose: f"{dose:.4g} uM"))
    return [group for group in groups if group.shown]


def _type_text(pert_type: str) -> str:
    return kind_word(pert_type).capitalize()


def _group(
    label: str, parameter: str, known: Sequence[Any], asked: Asked, text: Callable[[Any], str]
) -> ChipGroup:
    chosen = asked.parameters[parameter]
    values = list(known) if chosen is None or chosen in known else [*known, chosen]
    choices = [(text(value), asked.link(**{parameter: value}), value == chosen) for value in values]
    if len(choices) <= MOST_CHIPS:
        return ChipGroup(label, choices, [], "")
    shown = choices[:MOST_CHIPS]
    if chosen is not None and not any(is_on for _, _, is_on in shown):
        shown[-1] = next(choice for choice in choices if choice[2])
    plural = {"cell": "lines", "type": "types", "dose": "doses", "time": "times"}[parameter]
    return ChipGroup(label, shown, choices, f"all {len(choices)} {plural}")
