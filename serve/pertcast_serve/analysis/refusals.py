"""Why a question is not answered, as problems: what was wrong, the nearest known names, what to do.

Files of the server are named as the interface names them; where they lie is nobody's business outside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pertcast.analysis.connectivity import MappingReport, TooFewGenes
from pertcast.errors import PertcastError
from pertcast_data.errors import CorruptStore, FormatError, StorageError, UnknownName, nearest_sentence

from pertcast_serve.places import in_names
from pertcast_serve.problems import Refused, unknown_name
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import ItemError

log = logging.getLogger(__name__)

TITLE: Final = "Question cannot be answered"
_SHOWN_NAMES: Final = 20
_FILES: Final = (CorruptStore, FormatError, StorageError, OSError)
"""What is wrong with files of the server is for its log: who asked can only choose others."""


def refused(detail: str, status: int = 422, errors: Iterable[dict[str, Any]] = ()) -> Refused:
    """Return the refusal of a question, to be raised."""
    return Refused(Problem(title=TITLE, status=status, detail=detail, errors=list(errors)))


def unknown(kind: str, name: str, known: Iterable[str], remedy: str) -> Refused:
    """Return the refusal of a name that this server does not know, with the nearest that it does."""
    return Refused(unknown_name(kind, name, known, remedy))


def condition_refused(error: ItemError) -> Refused:
    """Return the refusal of a condition that the model cannot predict."""
    is_said = any(name in error.message for name in error.suggestions[:1])
    said = "" if is_said else nearest_sentence(error.suggestions)
    return refused(f"condition.{error.field}: {error.message}{said}", 422, [error.model_dump()])


def problem_of(error: PertcastError | OSError, places: Mapping[str, Path]) -> Problem:
    """Return the problem of an error of the platform.

    Parameters
    ----------
    error
        What was raised.
    places
        Name of each library and collection -> where it lies.
    """
    if isinstance(error, _FILES):
        log.error("files of a question cannot be read", exc_info=error)
        detail = (
            "The files of this library or collection cannot be read; the server's log says why. Ask whoever "
            "runs it, or choose another (/v1/libraries, /v1/gene_sets)."
        )
        return Problem(title=TITLE, status=422, detail=detail)
    detail = in_names(str(error), {str(place): name for name, place in places.items()})
    errors = _mapping_errors(error.report) if isinstance(error, TooFewGenes) else []
    return Problem(
        title=TITLE, status=404 if isinstance(error, UnknownName) else 422, detail=detail, errors=errors
    )


def _mapping_errors(report: MappingReport) -> list[dict[str, Any]]:
    return [
        {
            "list": each.label,
            "n_named": each.n_named,
            "n_used": len(each.column),
            "not_measured": list(each.not_measured[:_SHOWN_NAMES]),
            "invalid": list(each.invalid[:_SHOWN_NAMES]),
        }
        for each in report.lists
    ]
