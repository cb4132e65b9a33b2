"""Conformal p-values of predicted scores against held-out conditions that were measured inactive.

A p-value says how often a perturbation that does nothing measurable is predicted to do at least as much.
Saved with a bundle as one safetensors file; it is no part of what the model is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import polars as pl
import safetensors.numpy
from numpy.typing import NDArray
from pertcast_data.errors import CorruptBundle, SchemaError
from safetensors import SafetensorError

from pertcast.evaluation.hit_calibration.strata import (
    Level,
    Stratum,
    StratumLevels,
    distinct_rows,
    keys_of,
    levels_by_stratum,
    missing_stratum,
)

COLUMNS: Final = (
    "effect_size",
    "cell_iname",
    "pert_type",
    "pert_id",
    "targets",
    "seen_pert",
    "is_in_domain",
    "pert_dose",
    "pert_time",
)
"""Columns of a screened condition that its p-value depends on; doses in uM, times in hours."""

FORMAT_VERSION: Final = 1
NOT_IN_DOMAIN: Final = "none: far from training"
NOTHING_KNOWN: Final = "none: whether training knows it is not known"
_TEXTS: Final = ("cell_iname", "pert_type", "pert_id", "targets")
_NUMBERS: Final = ("pert_dose", "pert_time", "effect_size")
_FLAGS: Final = ("seen_pert", "is_inactive")
SCHEMA: Final = {
    "cluster": pl.Int64,
    **dict.fromkeys(_TEXTS, pl.String),
    **dict.fromkeys(_NUMBERS, pl.Float64),
    **dict.fromkeys(_FLAGS, pl.Boolean),
}
"""Columns of the conditions that calibrate."""


@dataclass(frozen=True)
class HitCalibration:
    """Held-out conditions, which of them were measured inactive, and what a model predicted for them.

    Attributes
    ----------
    conditions
        M labelled conditions inside the domain: cluster (int, the perturbation), is_inactive, and `COLUMNS`
        but is_in_domain. The inactive ones give p-values, all together say which doses and times they cover.
    facts
        How they were labelled and how many were looked at, as plain JSON.
    reason
        Why there is no calibration at all, "" where there is one.
    """

    conditions: pl.DataFrame
    facts: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    columns = COLUMNS

    @classmethod
    def none(cls, reason: str, facts: Mapping[str, Any] | None = None) -> Self:
        """Return the calibration that calibrates nothing, and says why."""
        return cls(pl.DataFrame(schema=SCHEMA), dict(facts or {}), reason)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the saved form: changes when any p-value could."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @cached_property
    def strata(self) -> Mapping[Stratum, StratumLevels]:
        """What calibrates each stratum."""
        held = self.conditions.select("cluster", "is_inactive", score="effect_size")
        return levels_by_stratum(pl.concat([keys_of(self.conditions), held], how="horizontal"))

    @property
    def n_strata(self) -> int:
        """Strata with enough inactive perturbations for a p-value."""
        return sum(each.is_calibrated for each in self.strata.values())

    def p_values(self, table: pl.DataFrame) -> NDArray[np.float64]:
        """Return (N,) float64 p-values of screened conditions; NaN where nothing calibrates one.

        With K inactive calibration perturbations of the condition's stratum, p = (1 + sum over them of the
        share of their inactive conditions whose score is at least as large) / (K + 1). A draw of a
        perturbation and of one of its inactive conditions then has p <= a with probability at most a
        (conformal p-values with exchangeable groups: Bates et al. 2023; Dunn, Wasserman and Ramdas 2023).

        Parameters
        ----------
        table
            N rows with `COLUMNS`.

        Raises
        ------
        SchemaError
            A column is missing.
        """
        return self.significance(table)[0]

    def significance(self, table: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (N,) p-values and (N,) shares of inactive perturbations among those that calibrate; or NaN.

        p times share is the conformal p-value of Jin and Candes (2023): of all n labelled perturbations, not
        of the inactive ones alone. Benjamini-Hochberg over it keeps the false-discovery rate where screened
        and calibrating perturbations are drawn alike, inactive ones as often. The share is (K + 1) / (n + 1).

        Parameters
        ----------
        table
            As in `p_values`.
        """
        place, choices = self._choose(table)
        scores = table["effect_size"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        p_value, share = np.full(table.height, np.nan), np.full(table.height, np.nan)
        levels = {id(choice): choice for choice in choices if isinstance(choice, Level)}
        numbers = {key: number for number, key in enumerate(levels)}
        of_choice = np.array([numbers.get(id(choice), -1) for choice in choices], dtype=np.int64)
        of_row = of_choice[place] if len(choices) else np.empty(0, dtype=np.int64)
        for number, level in enumerate(levels.values()):
            rows = np.flatnonzero(of_row == number)
            p_value[rows], share[rows] = level.p_values(scores[rows]), level.share
        return p_value, share

    def stratum_text(self, table: pl.DataFrame) -> pl.Series:
        """Return (N,) in words what calibrates each condition, or why nothing does ("none: ...")."""
        place, choices = self._choose(table)
        texts = [choice.text if isinstance(choice, Level) else choice for choice in choices]
        return pl.Series("calibration", texts, dtype=pl.String).gather(place)

    def _choose(self, table: pl.DataFrame) -> tuple[NDArray[np.int64], list[Level | str]]:
        """Return (N,) the number of each row's choice, and the choices."""
        for name in COLUMNS:
            if name not in table.columns:
                raise SchemaError(
                    f"The screened conditions have no column {name!r}; p-values need {', '.join(COLUMNS)}."
                )
        asked = keys_of(table).with_columns(is_in_domain=table["is_in_domain"].cast(pl.Boolean))
        distinct, place = distinct_rows(asked)
        return place, [self._choice(*row) for row in distinct.iter_rows()]

    def _choice(
        self,
        cell_iname: str | None,
        pert_type: str | None,
        is_seen: bool | None,
        is_combination: bool,
        dose: float | None,
        time: float | None,
        is_in_domain: bool | None,
    ) -> Level | str:
        if self.reason:
            return f"none: {self.reason}"
        if is_in_domain is None or is_seen is None:
            return NOTHING_KNOWN
        if not is_in_domain:
            return NOT_IN_DOMAIN
        stratum = Stratum(cell_iname, pert_type, is_seen, is_combination)
        levels = self.strata.get(stratum)
        return missing_stratum(stratum, self.strata) if levels is None else levels.choose(dose, time)

    def to_bytes(self) -> bytes:
        """Return the bytes of a safetensors file; the same content gives the same bytes."""
        table = self.conditions
        arrays: dict[str, NDArray[Any]] = {
            "cluster": table["cluster"].to_numpy().astype(np.int64),
            **{name: table[name].to_numpy().astype(np.bool_) for name in _FLAGS},
        }
        for name in _NUMBERS:
            arrays[name] = table[name].fill_null(float("nan")).to_numpy().astype(np.float64)
        words: dict[str, list[str]] = {}
        for name in _TEXTS:
            words[name] = table[name].drop_nulls().unique().sort().to_list()
            codes = table[name].replace_strict(words[name], range(len(words[name])), default=None)
            arrays[name] = codes.cast(pl.Int64).fill_null(-1).to_numpy()
        facts = {
            "format_version": FORMAT_VERSION,
            "facts": dict(self.facts),
            "reason": self.reason,
            "words": words,
        }
        text = json.dumps(facts, sort_keys=True, allow_nan=False)
        return bytes(safetensors.numpy.save(arrays, {"calibration": text}))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote; raises CorruptBundle where it is something else."""
        try:
            arrays = safetensors.numpy.load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            facts = json.loads(header["__metadata__"]["calibration"])
            if facts["format_version"] != FORMAT_VERSION:
                raise CorruptBundle(
                    f"The hit calibration has format version {facts['format_version']}; this Pertcast reads "
                    f"{FORMAT_VERSION}. Calibrate anew with `pertcast evaluate RUN`."
                )
            columns: dict[str, pl.Series] = {
                name: pl.Series(name, arrays[name]).fill_nan(None) for name in _NUMBERS
            }
            for name in _TEXTS:
                known = pl.Series(name, [*facts["words"][name], None], dtype=pl.String)
                codes = arrays[name]
                columns[name] = known.gather(np.where(codes < 0, len(known) - 1, codes))
            table = pl.DataFrame(
                {**columns, "cluster": arrays["cluster"], **{name: arrays[name] for name in _FLAGS}},
                schema_overrides=dict.fromkeys(_FLAGS, pl.Boolean),
            ).select(list(SCHEMA))
            return cls(table, facts["facts"], facts["reason"])
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CorruptBundle(
                f"The hit calibration cannot be read ({error}); calibrate anew with `pertcast evaluate RUN`."
            ) from error
