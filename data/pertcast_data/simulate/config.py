"""The size, seed, regime and noise of a simulated atlas: one frozen configuration.

Every number of the atlas follows from it, so it is saved beside the data. Defaults are the demo's size.
Noise levels have names too (`NOISE_LEVELS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.simulate.regimes import get_regime

NOISE_LEVELS: Final[Mapping[str, float]] = MappingProxyType({"quiet": 0.5, "usual": 1.0, "hard": 2.0})
"""Name -> factor on all noise. `hard`: replicate wells agree as little as real ones do (docs/atlas.md)."""


class AtlasConfig(BaseModel):
    """What to simulate; raises ConfigError for an unknown regime or sizes that do not fit together.

    Attributes
    ----------
    regime
        How genes answer a perturbation; a name of `REGIMES`.
    seed
        Seed of everything drawn; genome, compounds and cell lines are then the same in every regime.
    n_genes
        Genes measured in wells and in cells (50 to 26,945 and beyond).
    n_contexts
        Cell lines, each with its own basal expression and sensitivity.
    n_compounds
        Compounds profiled in wells.
    n_unprofiled
        Further compounds of the library that are never profiled.
    doses
        Doses of every compound, uM.
    times
        Times of every compound, hours.
    n_plates
        Replicate plates: each compound condition has one well on each of so many plates.
    wells_per_plate
        Wells of a plate that are used, vehicle wells included (at most 384).
    dmso_per_plate
        Vehicle (DMSO) wells of each plate.
    n_knockouts
        Single gene knock-outs in the single-cell screen.
    n_pairs
        Double knock-outs, drawn among the knocked-out genes.
    n_cell_contexts
        Cell lines of the single-cell screen (the first ones).
    n_cells
        Cells in all, about; a tenth of them are controls.
    n_batches
        Batches (lanes) that every condition's cells are dealt to.
    n_signature_genes
        Genes that are perturbed one by one for genetic signatures (all genes where there are fewer).
    knockdown_share, knockout_share, overexpression_share
        Share of those genes that have a signature of the kind, each drawn by itself; every gene has one.
    n_signature_contexts
        Cell lines of the genetic signatures (the first ones).
    n_landmarks
        Genes that signatures measure (all genes where there are fewer).
    type_coupling
        Correlation of what a knock-down or an over-expression does to the network with what the same gene's
        knock-out does, 0 to 1, beside the effect on the own transcript. At 0 each acts as an accidental gene
        would, so that one type says nothing of another. None: as the regime declares (.85 and .8, in
        `network` .95 and .9).
    noise
        Factor on plate effects, well noise, batch effects, overdispersion, the noise of signatures and of
        IC50 and the errors of networks; a number or a name of `NOISE_LEVELS`. At 0 wells are exact; counts
        keep their Poisson sampling.
    effect_size
        Factor on every response, log2 units a unit of module activity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    regime: str = "linear"
    seed: int = Field(default=0, ge=0)
    n_genes: int = Field(default=300, ge=50, le=60_000)
    n_contexts: int = Field(default=3, ge=1, le=99)
    n_compounds: int = Field(default=60, ge=8, le=40_000)
    n_unprofiled: int = Field(default=200, ge=0, le=40_000)
    doses: tuple[float, ...] = (0.1, 1.0, 10.0)
    times: tuple[float, ...] = (6.0, 24.0)
    n_plates: int = Field(default=5, ge=1, le=99)
    wells_per_plate: int = Field(default=384, ge=4, le=384)
    dmso_per_plate: int = Field(default=20, ge=2)
    n_knockouts: int = Field(default=40, ge=2)
    n_pairs: int = Field(default=10, ge=0)
    n_cell_contexts: int = Field(default=1, ge=1)
    n_cells: int = Field(default=5000, ge=100)
    n_batches: int = Field(default=4, ge=1, le=99)
    n_signature_genes: int = Field(default=200, ge=1, le=60_000)
    knockdown_share: float = Field(default=0.7, ge=0.0, le=1.0)
    knockout_share: float = Field(default=0.8, ge=0.0, le=1.0)
    overexpression_share: float = Field(default=0.55, ge=0.0, le=1.0)
    n_signature_contexts: int = Field(default=1, ge=1)
    n_landmarks: int = Field(default=978, ge=20, le=60_000)
    type_coupling: float | None = Field(default=None, ge=0.0, le=1.0)
    noise: float = Field(default=1.0, ge=0.0, le=10.0)
    effect_size: float = Field(default=1.0, gt=0.0, le=10.0)

    @field_validator("regime")
    @classmethod
    def _known_regime(cls, name: str) -> str:
        return get_regime(name).name

    @field_validator("noise", mode="before")
    @classmethod
    def _noise_by_name(cls, level: Any) -> Any:
        """Turn a named level, or a number written as text, into the factor."""
        if not isinstance(level, str):
            return level
        if level in NOISE_LEVELS:
            return NOISE_LEVELS[level]
        try:
            return float(level)
        except ValueError:
            known = " or ".join(nearest_known(level, NOISE_LEVELS) or NOISE_LEVELS)
            raise ConfigError(f"Unknown noise level {level!r}. Name {known}, or a factor from 0.") from None

    @field_validator("doses", "times")
    @classmethod
    def _positive_and_distinct(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values or min(values) <= 0 or len(set(values)) != len(values):
            raise ConfigError(f"Doses and times must be positive and distinct, got {values}.")
        return tuple(sorted(values))

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        all_pairs = self.n_knockouts * (self.n_knockouts - 1) // 2
        limits = (
            ("n_knockouts", self.n_knockouts, self.n_genes // 2, "half of n_genes"),
            ("n_pairs", self.n_pairs, all_pairs, "all pairs of n_knockouts"),
            ("n_cell_contexts", self.n_cell_contexts, self.n_contexts, "n_contexts"),
            ("n_signature_contexts", self.n_signature_contexts, self.n_contexts, "n_contexts"),
            ("dmso_per_plate", self.dmso_per_plate, self.wells_per_plate - 1, "wells_per_plate - 1"),
            ("cells' conditions", 2 * self.n_cell_conditions, self.n_cells, "n_cells / 2: two cells each"),
        )
        if not self.knockdown_share + self.knockout_share + self.overexpression_share:
            raise ConfigError("No kind of signature has a share; raise knockout_share above 0.")
        for name, value, limit, meaning in limits:
            if value > limit:
                raise ConfigError(f"{name} is {value}, more than {limit} ({meaning}); make one of them fit.")
        return self

    @property
    def n_cell_conditions(self) -> int:
        """Knock-out conditions of the single-cell screen: singles and pairs in each of its cell lines."""
        return (self.n_knockouts + self.n_pairs) * self.n_cell_contexts
