"""What a bundle was trained on, as a screen's defaults: cell lines, doses, times, perturbations.

A default screen stays where the model has seen data; whoever wants more names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from pertcast.encoding.perturbations import Perturbations
from pertcast.predictor import Predictor
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.vocabulary import GENETIC_TYPES, split_perturbation

from pertcast_jobs.screen.library import TYPES_OF_KIND, Library, ScreenKind, library_of
from pertcast_jobs.screen.pairs import pairs_of

MOST_DOSES = 6
MOST_TIMES = 3


@dataclass(frozen=True, slots=True)
class BundleKnowledge:
    """Training conditions in the field's units.

    Attributes
    ----------
    contexts
        Cell lines.
    conditions
        One row a training condition and single perturbation: pert_id, pert_type, pert_dose (uM),
        pert_time (h); null where there is none.
    compounds
        pert_id, cmap_name, canonical_smiles and inchi_key of the training compounds.
    genes
        Every gene that has features: perturbed in training, of the profiles, of networks and tables.
    compound_names
        Names and aliases of the training compounds.
    """

    contexts: tuple[str, ...]
    conditions: pl.DataFrame
    compounds: pl.DataFrame
    genes: tuple[str, ...]
    compound_names: frozenset[str]

    def types(self, kind: ScreenKind) -> tuple[str, ...]:
        """Return the genetic types (for compounds: trt_cp) seen in training; all where none was."""
        possible = TYPES_OF_KIND["compounds" if kind == "compounds" else "genes"]
        seen = set(self.conditions["pert_type"].drop_nulls())
        return tuple(name for name in possible if name in seen) or possible

    def doses(self, pert_type: str) -> tuple[float | None, ...]:
        """Return up to six training doses in uM, at even quantiles; (None,) where there are none."""
        return _spread(self._values(pert_type, "pert_dose"), MOST_DOSES)

    def times(self, pert_type: str) -> tuple[float | None, ...]:
        """Return up to three training times in h; (None,) where there are none."""
        return _spread(self._values(pert_type, "pert_time"), MOST_TIMES)

    def _values(self, pert_type: str, column: str) -> list[float]:
        """Return what training used with a type; with any genetic one for a genetic type without data."""
        own = self.conditions.filter(pert_type=pert_type)
        if own.is_empty() and pert_type in GENETIC_TYPES:
            own = self.conditions.filter(pl.col("pert_type").is_in(GENETIC_TYPES))
        return own[column].drop_nulls().to_list()

    def is_compound(self, name: str) -> bool:
        """Whether a name, or all parts of a combination, are compounds of the training."""
        return all(part in self.compound_names for part in split_perturbation(name))

    def default_library(self, kind: ScreenKind) -> Library:
        """Return what a bundle knows: its training compounds, every gene with features, or pairs of singles.

        Empty where the bundle was trained on no perturbation of this kind.
        """
        trained = self.conditions.filter(pl.col("pert_type").is_in(TYPES_OF_KIND[kind]))
        names = trained["pert_id"].unique()
        if kind == "pairs":
            types = (
                trained.select("pert_id", pert_type=_compound_type()).unique(subset="pert_id").sort("pert_id")
            )
            singles = library_of(types, "pairs of what training perturbed")
            return pairs_of(singles) if len(names) > 1 else singles
        if kind == "genes" and len(names):
            names = pl.Series("pert_id", self.genes, dtype=pl.String)
        frame = pl.DataFrame({"pert_id": names.sort()})
        if kind == "compounds":
            known = self.compounds.select("pert_id", "cmap_name", "canonical_smiles", "inchi_key")
            frame = frame.join(known, on="pert_id", how="left", maintain_order="left")
            return library_of(frame.with_columns(pert_type=pl.lit("trt_cp")), "the training compounds")
        return library_of(frame, "every gene the bundle knows")


def knowledge_of(predictor: Predictor) -> BundleKnowledge:
    """Read a bundle's training conditions back from its tensors."""
    space, conditions = predictor.space, predictor.encoder.training_conditions
    perturbation = conditions.perturbation.cpu().numpy()
    pert_type = conditions.pert_type.cpu().numpy()
    dose = conditions.log_dose.cpu().numpy()
    time = np.broadcast_to(conditions.log_time.cpu().numpy()[:, None], dose.shape)
    filled = (perturbation >= 0) & (pert_type >= 0)
    table = pl.DataFrame(
        {
            "pert_id": [space.perturbations[index] for index in perturbation[filled]],
            "pert_type": [space.pert_types[index] for index in pert_type[filled]],
            "pert_dose": _from_log(dose[filled]),
            "pert_time": _from_log(time[filled]),
        },
        schema={
            "pert_id": pl.String,
            "pert_type": pl.String,
            "pert_dose": pl.Float64,
            "pert_time": pl.Float64,
        },
    )
    known = predictor.encoder.perturbations
    names = frozenset((*known.compound_index, *known.aliases))
    return BundleKnowledge(space.contexts, table, _compounds(known), genes_of(known), names)


def _compound_type() -> pl.Expr:
    """Keep trt_cp; leave genetic types open."""
    return pl.when(pl.col("pert_type") == "trt_cp").then(pl.lit("trt_cp"))


def genes_of(known: Perturbations) -> tuple[str, ...]:
    """Return every gene that has features, each once however it is spelled, as training calls it first."""
    listed = (gene for block in known.gene_blocks for gene in block.genes)
    named: dict[str, str] = {}
    for gene in (*known.gene_index, *known.genes, *listed):
        if (name := known.known_gene(gene)) is not None:
            named.setdefault(fold_gene(name), name)
    return tuple(named.values())


def _compounds(known: Perturbations) -> pl.DataFrame:
    name_of = {index: name for name, index in reversed(list(known.aliases.items()))}
    rows = [index for index, is_compound in enumerate(known.is_compound) if is_compound]
    return pl.DataFrame(
        {
            "pert_id": [known.names[index] for index in rows],
            "cmap_name": [name_of.get(index) for index in rows],
            "canonical_smiles": [known.smiles[index] for index in rows],
            "inchi_key": [known.inchi_keys[index] for index in rows],
        },
        schema=dict.fromkeys(("pert_id", "cmap_name", "canonical_smiles", "inchi_key"), pl.String),
    )


def _from_log(values: np.ndarray) -> list[float | None]:
    """Undo a float32 log10; six digits are what survives it."""
    return [None if np.isnan(value) else float(f"{10.0 ** float(value):.6g}") for value in values]


def _spread(values: Sequence[float], most: int) -> tuple[float | None, ...]:
    """Return the distinct values, or `most` of them at even quantiles of how often they occur."""
    distinct = np.unique(np.asarray(values, dtype=np.float64))
    if len(distinct) == 0:
        return (None,)
    if len(distinct) <= most:
        return tuple(float(value) for value in distinct)
    picked = np.quantile(np.sort(values), np.linspace(0, 1, most), method="nearest")
    return tuple(float(value) for value in np.unique(picked))
