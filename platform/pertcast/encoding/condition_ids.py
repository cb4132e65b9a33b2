"""Names of many conditions at once: equal to `condition_id` of each row, at the speed of a column.

Tables of a whole genome have a hundred thousand rows, but few doses and times, and hardly any combination.
"""

from __future__ import annotations

import polars as pl
from pertcast_data.vocabulary import CONDITION_COLUMNS, PAIR_SEPARATOR, condition_id, split_perturbation


def condition_ids(table: pl.DataFrame) -> pl.Series:
    """Return the name of each row's condition, e.g. ``HT115|trt_cp|BRD-K123|10|6``.

    Parameters
    ----------
    table
        `CONDITION_COLUMNS`: cell line, type, perturbations (joined by "+"), dose in uM and time in hours;
        null where there is none.

    Returns
    -------
    Series
        "sig_id", one text a row, as `pertcast_data.vocabulary.condition_id` writes it.
    """
    is_combined = table["pert_id"].str.contains(PAIR_SEPARATOR, literal=True)
    members = {
        name: PAIR_SEPARATOR.join(split_perturbation(name)) for name in table["pert_id"].filter(is_combined)
    }
    written = table.with_columns(pl.col("cell_iname", "pert_type", "pert_id").fill_null("")).with_columns(
        pl.col("pert_id").replace(members), _amounts(table["pert_dose"]), _amounts(table["pert_time"])
    )
    return written.select(sig_id=pl.concat_str(CONDITION_COLUMNS, separator="|")).to_series()


def _amounts(values: pl.Series) -> pl.Series:
    """Write each distinct number once, as `condition_id` writes it; what is missing stays empty."""
    numbers = values.cast(pl.Float64).fill_nan(None)
    texts = {
        value: condition_id("", "", "", value, None).strip("|") for value in numbers.unique().drop_nulls()
    }
    return numbers.replace_strict(texts, default="", return_dtype=pl.String)
