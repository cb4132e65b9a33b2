"""What is wrong with a row of a table: collected row by row, or raised as the typed error it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pertcast_data.errors import (
    PertcastError,
    SchemaError,
    UnitError,
    UnknownCompound,
    UnknownContext,
    UnknownGene,
    nearest_known,
)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row cannot be predicted.

    Attributes
    ----------
    row
        Row of the table, from 0.
    field
        Column at fault.
    value
        What stands there.
    message
        What happened and what to do, without the suggestions.
    suggestions
        Nearest known names, best first.
    """

    row: int
    field: str
    value: str
    message: str
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem before it has a row: the type of error, the field and value, the remedy.

    `known` are the names that would have been accepted; they are searched only when it is reported.
    """

    error: type[PertcastError]
    field: str
    value: str
    remedy: str
    known: Sequence[str] = ()

    def describe(self) -> str:
        """Say what happened and what to do."""
        kind = getattr(self.error, "kind", None)
        what = f"Unknown {kind} {self.value!r}." if kind else f"{self.field} is {self.value!r}."
        return f"{what} {self.remedy}"

    def exception(self, row: int) -> PertcastError:
        """Return the typed error, with the place and the nearest known names."""
        if self.error in (UnknownGene, UnknownCompound, UnknownContext):
            return self.error(self.value, self.known, f"{self.field} of row {row}", self.remedy)  # type: ignore[call-arg]
        return self.error(f"Row {row}: {self.describe()}")


_SUGGESTIONS_FOR = 32
"""Problems that get suggestions: searching names for thousands of bad rows would take minutes."""


def report(faults: Iterable[tuple[int, Fault]]) -> list[RowProblem]:
    """Return problems sorted by row; equal faults share one search for suggestions."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    problems = []
    for row, fault in sorted(faults, key=lambda pair: pair[0]):
        key = (fault.field, fault.value)
        if key not in found:
            search = len(found) < _SUGGESTIONS_FOR
            found[key] = tuple(nearest_known(fault.value, fault.known)) if search else ()
        problems.append(RowProblem(row, fault.field, fault.value, fault.describe(), found[key]))
    return problems


def missing_value(field: str) -> Fault:
    """Return the fault of an empty cell that must not be empty."""
    return Fault(SchemaError, field, "", f"Fill in {field}.")


def unknown_unit(field: str, value: str, known: Sequence[str]) -> Fault:
    """Return the fault of a dose or time unit that is not known."""
    return Fault(UnitError, field, value, f"Use one of {', '.join(known)}.", known)
