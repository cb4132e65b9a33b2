"""The inputs of a match: gene library, drug profiles (mean response a drug and cell line), known targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast.analysis.drug_targets import DrugProfiles, GeneLibrary
from pertcast_data.errors import ConfigError, SchemaError, nearest_known
from pertcast_data.loading import pair_controls
from pertcast_data.progress import ProgressCallback
from pertcast_data.vocabulary import GENETIC_TYPES, PAIR_SEPARATOR

from pertcast_jobs.targets.profiles import ColumnReader, OpenProfiles, in_lines

COMPOUND: Final = "trt_cp"
_READ_ROWS: Final = 2048


def gene_library(
    opened: OpenProfiles, genes: tuple[str, ...], types: Sequence[str] | None, cells: Sequence[str] | None
) -> tuple[GeneLibrary, tuple[str, ...]]:
    """Return the library of single gene perturbations, and remarks on what was left out.

    Parameters
    ----------
    opened
        A screen or a store of responses.
    genes
        Genes to compare.
    types
        CMap codes; all genetic types that there are where None.
    cells
        Cell lines; all where None.

    Raises
    ------
    SchemaError
        It holds levels and not responses, or no profile of a wanted type.
    ConfigError
        A type is not known.
    """
    if not opened.is_response:
        raise SchemaError(
            f"{opened.path} holds expression levels; a library needs responses. Name a finished screen of "
            "genes, or ingest signatures (measure response)."
        )
    for code in types or ():
        if code not in GENETIC_TYPES:
            near = nearest_known(code, GENETIC_TYPES) or list(GENETIC_TYPES)
            raise ConfigError(f"Unknown type of gene perturbation {code!r}. Use {' or '.join(near)}.")
    wanted = tuple(types or GENETIC_TYPES)
    table = in_lines(opened, cells)
    _require_types(opened, table, wanted)
    symbol = pl.coalesce(*(pl.col(name).replace("", None) for name in ("targets", "cmap_name", "pert_id")))
    rows = table.filter(pl.col("pert_type").is_in(wanted)).with_columns(symbol.alias("gene"))
    single = rows.filter(~pl.col("gene").str.contains(PAIR_SEPARATOR, literal=True))
    n_left_out = rows.height - single.height
    remarks = (f"{n_left_out:,} profiles of {opened.path.name} perturb several genes: left out.",)
    library = GeneLibrary(
        rows=single.select("row", "gene", "pert_type", "cell_iname"),
        genes=genes,
        read=ColumnReader(opened, genes),
        source=opened.path.name,
    )
    return library, remarks if n_left_out else ()


def _require_types(opened: OpenProfiles, table: pl.DataFrame, wanted: tuple[str, ...]) -> None:
    held = sorted(table["pert_type"].drop_nulls().unique())
    missing = [code for code in wanted if code not in held]
    if len(missing) < len(wanted) and (wanted == GENETIC_TYPES or not missing):
        return
    raise SchemaError(
        f"{opened.path} holds no profile of type {' or '.join(missing)} in the cell lines asked for; it has "
        f"{', '.join(held) or 'no treated profile'}. Choose other --types or --cells, or another library."
    )


def drug_profiles(
    opened: OpenProfiles, genes: tuple[str, ...], cells: Sequence[str] | None, progress: ProgressCallback
) -> tuple[DrugProfiles, dict[str, str]]:
    """Return the mean response of every drug and cell line, and the drug by each of its names.

    Conditions (doses, times) weigh alike, whatever their number of replicates. Levels are taken minus the
    mean of their matched controls.

    Parameters
    ----------
    opened
        A store or a screen of compounds.
    genes
        Genes to compare.
    cells
        Cell lines; all where None.
    progress
        Told of profiles read.

    Returns
    -------
    drugs
        Named by cmap_name, else by pert_id.
    names
        cmap_name and pert_id in lower case -> drug.

    Raises
    ------
    SchemaError
        No compound is there.
    ControlsMissing
        Levels have no controls in their context.
    """
    table = in_lines(opened, cells).filter(pl.col("pert_type") == COMPOUND)
    name = pl.coalesce(pl.col("cmap_name").replace("", None), pl.col("pert_id"))
    table = table.with_columns(name.alias("drug")).filter(pl.col("drug").is_not_null())
    if not table.height:
        held = sorted(opened.table["pert_type"].drop_nulls().unique())
        raise SchemaError(
            f"{opened.path} holds no compound ({COMPOUND}) in the cell lines asked for; it has types "
            f"{', '.join(held)}. Name a store or a screen of compounds with --drugs, or other --cells."
        )
    keys = ["drug", "cell_iname"]
    table = table.with_columns(condition=pl.coalesce(pl.col("condition_id"), pl.col("row").cast(pl.String)))
    units = table.group_by(keys).agg(pl.col("condition").n_unique().alias("n_conditions")).sort(keys)
    numbered = units.with_row_index("unit").select("unit", *keys, "n_conditions")
    rows = table.join(numbered, on=keys, how="left").sort("row")
    weight = 1.0 / (rows["n_conditions"] * rows.select(pl.len().over("unit", "condition")).to_series())
    means = _weighted_means(opened, genes, rows, weight.to_numpy(), units.height, progress)
    names = {
        str(alias).casefold(): drug
        for column in ("pert_id", "cmap_name")
        for alias, drug in rows.select(column, pl.col("drug").alias("name")).unique().iter_rows()
        if alias
    }
    return DrugProfiles(units, means, opened.path.name), names


def _weighted_means(
    opened: OpenProfiles,
    genes: tuple[str, ...],
    rows: pl.DataFrame,
    weight: NDArray[np.float64],
    n_units: int,
    progress: ProgressCallback,
) -> NDArray[np.float32]:
    """Return (units, G) weighted sums of the rows' responses, read a block at a time."""
    read = ColumnReader(opened, genes)
    row, unit = rows["row"].to_numpy().astype(np.int64), rows["unit"].to_numpy()
    sums = np.zeros((n_units, len(genes)))
    group, controls = _controls(opened, row, genes)
    for start in range(0, len(row), _READ_ROWS):
        part = slice(start, start + _READ_ROWS)
        values = read(row[part]).astype(np.float64)
        if controls is not None:
            values -= controls[group[row[part]]]
        places = (weight[part], (unit[part], np.arange(len(values))))
        sums += sparse.csr_matrix(places, shape=(n_units, len(values))) @ values
        progress(min(start + _READ_ROWS, len(row)), len(row), "drug profiles")
    return sums.astype(np.float32)


def _controls(
    opened: OpenProfiles, rows: NDArray[np.int64], genes: tuple[str, ...]
) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
    """Return each row's group of controls and the groups' mean profiles; none for responses."""
    if opened.is_response or opened.store is None or opened.reader is None:
        return np.empty(0, dtype=np.int32), None
    pairing = pair_controls(opened.store)
    pairing.require(rows)
    position = {gene: index for index, gene in enumerate(opened.genes)}
    columns = np.array([position[gene] for gene in genes], dtype=np.int64)
    return pairing.group_of_row, pairing.means(opened.reader)[:, columns]
