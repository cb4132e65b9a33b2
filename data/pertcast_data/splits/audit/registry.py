"""The checks of the auditor, each registered once, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pertcast_data.splits.audit.copies import exact_copies, near_copies
from pertcast_data.splits.audit.drawn import drawn_groups
from pertcast_data.splits.audit.fitted import (
    fitted_check,
    stated_rows,
    trained_conditions,
    undeclared_selection,
)
from pertcast_data.splits.audit.lists import condition_lists, empty_part, store_hash
from pertcast_data.splits.audit.names import LIKENESSES, likeness_check
from pertcast_data.splits.audit.plates import separate_controls, shared_group
from pertcast_data.splits.audit.report import Finding
from pertcast_data.splits.audit.subject import Subject
from pertcast_data.splits.audit.twins import Twins


@dataclass(frozen=True, slots=True)
class Check:
    """A check of lists and tables: cheap, part of every training and evaluation."""

    name: str
    summary: str
    run: Callable[[Subject], list[Finding]]


@dataclass(frozen=True, slots=True)
class ProfileCheck:
    """A check that has to read the profiles: part of `data split` and `data audit`."""

    name: str
    summary: str
    run: Callable[[Subject, Twins], list[Finding]]


_CHECKS: Final = (
    Check("store_hash", "the manifest was made for this very data", store_hash),
    Check("empty_part", "no part is empty", empty_part),
    Check("condition_lists", "every treated condition is in exactly one part", condition_lists),
    *(
        Check(name, f"nothing held out is trained on {how}".removesuffix(" as well"), likeness_check(name))
        for name, how in LIKENESSES.items()
    ),
    Check("drawn_groups", "groups drawn for testing are tested only, and nothing else is", drawn_groups),
    Check("shared_group", "in a split by a column, no value of it is on both sides", shared_group),
    Check("separate_controls", "controls declared separate stay out of training", separate_controls),
    Check(
        "gene_selection",
        "genes were not selected on held-out rows",
        fitted_check("gene_selection", ("gene_selection",)),
    ),
    Check("scaler", "no scaler was fitted on held-out rows", fitted_check("scaler", ("scaler",))),
    Check(
        "features",
        "no feature or weight was fitted on held-out rows",
        fitted_check("features", ("features", "basal", "weights", "early_stopping")),
    ),
    Check(
        "trained_conditions",
        "a model was trained on conditions of the fold's training part",
        trained_conditions,
    ),
    Check("stated_rows", "a model says what it was fitted on", stated_rows),
    Check(
        "undeclared_selection",
        "a selection of genes that shows in the store is declared",
        undeclared_selection,
    ),
)

CHECKS: Final[Mapping[str, Check]] = MappingProxyType({check.name: check for check in _CHECKS})
"""Name -> check of lists and tables."""

PROFILE_CHECKS: Final[Mapping[str, ProfileCheck]] = MappingProxyType(
    {
        check.name: check
        for check in (
            ProfileCheck(
                "exact_copies", "no held-out profile holds a training profile's values", exact_copies
            ),
            ProfileCheck("near_copies", "none is nearer to one than replicates are", near_copies),
        )
    }
)
"""Name -> check that reads profiles."""
