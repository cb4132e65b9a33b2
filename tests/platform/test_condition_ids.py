"""Names of many conditions: the same as of each alone."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from pertcast.encoding.condition_ids import condition_ids
from pertcast_data.vocabulary import condition_id

TEXTS = st.one_of(st.none(), st.sampled_from(["A", "B+A", "(+)-JQ1", "(+)-JQ1+A", "x|y", "MIR-1", "+", "A+"]))
NUMBERS = st.one_of(st.none(), st.just(float("nan")), st.just(0.0), st.floats(min_value=1e-6, max_value=1e6))
ROWS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS, NUMBERS, NUMBERS), max_size=12)


@given(ROWS)
def test_names_of_a_table_are_those_of_its_rows(rows: list[tuple[str | None, ...]]) -> None:
    schema = {
        "cell_iname": pl.String,
        "pert_type": pl.String,
        "pert_id": pl.String,
        "pert_dose": pl.Float64,
        "pert_time": pl.Float64,
    }
    found = condition_ids(pl.DataFrame(rows, schema=schema, orient="row")).to_list()
    expected = [condition_id(c or "", k or "", n or "", d, t) for c, k, n, d, t in rows]  # type: ignore[arg-type]
    assert found == expected
