"""What a preparation does, step by step, before anything is fitted: a plain file's worth of settings.

Genes that a user names are settled here, so that a configuration means the same wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pertcast_data.errors import ConfigError, FormatError

Flavour = Literal["seurat_v3", "dispersion"]
FLAVOURS: Final[tuple[Flavour, ...]] = ("seurat_v3", "dispersion")


class LogNormalise(BaseModel):
    """Counts divided by their row's library size, times a target, log1p.

    Attributes
    ----------
    target_sum
        What every library is scaled to; "median" is the median library size of the training rows (empty rows
        left out).
    exclude_highly_expressed
        Leave genes out of library sizes that hold more than `max_fraction` of the counts of at least one
        training row (Weinreb et al., Bioinformatics 2018; scanpy's `normalize_total`). They are still scaled.
    max_fraction
        Between 0 and 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Literal["log_normalise"] = "log_normalise"
    target_sum: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["median"] = 1e4
    exclude_highly_expressed: bool = False
    max_fraction: float = Field(default=0.05, gt=0, lt=1)


class VariableGenes(BaseModel):
    """The genes that vary most among the training rows.

    Attributes
    ----------
    n_top
        How many are kept.
    flavour
        "seurat_v3": standardised variance of the counts. "dispersion": normalised dispersion of log1p values.
        See `pertcast_data.preparation.variability`.
    span
        Share of the genes that each local fit of the trend looks at ("seurat_v3").
    n_bins
        Bins of mean expression ("dispersion").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Literal["variable_genes"] = "variable_genes"
    n_top: int = Field(gt=0)
    flavour: Flavour = "seurat_v3"
    span: float = Field(default=0.3, gt=0, le=1)
    n_bins: int = Field(default=20, gt=1)


class GeneSubset(BaseModel):
    """Genes that are named beforehand (landmarks), in the store's order.

    Attributes
    ----------
    genes
        Names, symbols or ids.
    column
        Instead: a column of the gene table whose true (or 1) genes are kept.
    missing
        Whether genes that the store does not have are an error ("refuse") or left out ("omit").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Literal["gene_subset"] = "gene_subset"
    genes: tuple[str, ...] = ()
    column: str | None = None
    missing: Literal["refuse", "omit"] = "refuse"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.genes) == (self.column is not None):
            raise ValueError("gene_subset needs either `genes` or `column`, one of the two")
        return self


class RobustZ(BaseModel):
    """(x - median of the controls) / (1.4826 x MAD of the controls), plate by plate.

    Attributes
    ----------
    min_controls
        A plate with fewer controls takes the levels of its cell line's training controls.
    min_mad
        Smallest MAD that is divided by (cmapPy's `robust_zscore` has 0.1 too).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Literal["robust_z"] = "robust_z"
    min_controls: int = Field(default=4, ge=2)
    min_mad: float = Field(default=0.1, gt=0, allow_inf_nan=False)


Step = Annotated[LogNormalise | VariableGenes | GeneSubset | RobustZ, Field(discriminator="step")]


class PreparationConfig(BaseModel):
    """Steps in the order in which they are done; each kind at most once, `robust_z` last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sensible_order(self) -> Self:
        kinds = [step.step for step in self.steps]
        repeated = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if repeated:
            raise ValueError(f"steps are named twice: {', '.join(repeated)}")
        if "robust_z" in kinds[:-1]:
            raise ValueError("robust_z must be the last step: later steps would not know levels any more")
        return self


def preparation_config(steps: Iterable[BaseModel | Mapping[str, Any]]) -> PreparationConfig:
    """Return a configuration of `steps`, given as settings or as plain mappings with a key `step`.

    Raises
    ------
    ConfigError
        A step is not known, a value cannot be used, or the order makes no sense.
    """
    plain = [step.model_dump() if isinstance(step, BaseModel) else dict(step) for step in steps]
    try:
        return PreparationConfig.model_validate({"steps": plain})
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc'][1:])) or 'steps'}: {each['msg']}" for each in error.errors()
        )
        raise ConfigError(f"The preparation cannot be used: {told}. See docs/preparation.md.") from error


def read_gene_list(path: Path | str) -> tuple[str, ...]:
    """Read a text file of genes, one a line; empty lines and lines that begin with "#" say nothing.

    Raises
    ------
    FormatError
        The file cannot be read, names no gene, or a line holds several fields.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}). Bring a text file, one gene a line.") from error
    names: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if "\t" in name or "," in name:
            raise FormatError(
                f"{path}, line {number}: {name!r} holds several fields. Bring one gene a line, no header."
            )
        names[name] = None
    if not names:
        raise FormatError(f"{path}: names no gene. Bring a text file, one gene a line.")
    return tuple(names)
