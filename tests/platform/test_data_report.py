"""The data report holds the numbers of its reports, its figures, and the lines to write."""

from __future__ import annotations

import importlib
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quality_worlds as worlds
from pertcast.report.data_report import write_data_report
from pertcast_data.errors import StorageError
from pertcast_data.ingest.report import ColumnReport, IngestReport, SourceReport


def ingest_report(**changes: Any) -> IngestReport:
    source = SourceReport(
        path="/data/screen <1>.h5ad",
        format="h5ad",
        n_rows=1_020,
        n_genes=120,
        layout="csr",
        columns=(
            ColumnReport(canonical="cell_iname", source="Cell Line", how="guessed"),
            ColumnReport(canonical="pert_time", source="= 96", how="given"),
        ),
        converted=("guides of 13 names were read as genes",),
        dropped=("dose 1+1 has no unit",),
        warnings=("3 rows are odd",),
    )
    facts: dict[str, Any] = {
        "out": None,
        "measure": "expression",
        "normalisation": "counts",
        "n_rows": 1_020,
        "n_genes": 120,
        "n_conditions": 14,
        "n_control_rows": 240,
        "contexts": ("K562",),
        "sources": (source,),
        "warnings": ("no times",),
        "estimated_bytes": 5_000_000,
        "estimated_memory_bytes": 400_000_000,
    }
    return IngestReport(**{**facts, **changes})


def text_of(html: str) -> str:
    body = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    return unescape(re.sub(r"<[^>]+>", " ", body))


def figures_of(html: str) -> list[dict[str, Any]]:
    found = re.findall(
        r'<script type="application/json" class="figure-spec">(.*?)</script>', html, flags=re.S
    )
    return [json.loads(each) for each in found]


@pytest.fixture(scope="module")
def spoilt() -> Any:
    cells = worlds.knockdowns()
    rows = np.flatnonzero((cells.obs["pert_id"] == "GENE1").to_numpy())
    other = np.flatnonzero((cells.obs["pert_id"] == "GENE2").to_numpy())[0]
    cells.values[rows[0]] = cells.values[other]
    return cells.quality()


def test_the_page_holds_the_numbers_of_both_reports_and_the_lines_to_write(
    tmp_path: Path, spoilt: Any
) -> None:
    path = write_data_report(tmp_path / "data.html", ingest_report(), spoilt.report, spoilt.per_condition)
    html = path.read_text(encoding="utf-8")
    text = " ".join(text_of(html).split())
    assert "Data report: screen <1>.h5ad" in text
    assert "screen <1>" not in html, "names of files are escaped"
    for told in (
        "1,020 profiles x 120 genes",
        "Cell Line",
        "guides of 13 names were read as genes",
        "dose 1+1 has no unit",
        "3 rows are odd",
        "no times",
        "quality: {drop_duplicates: true}",
        "2 profiles equal another, 2 of them under different conditions",
        "K562|trt_sh|GENE3||",
    ):
        assert told in text, told
    assert text.index("What to mend first") < text.index("What is in it") < text.index("Column by column")


def test_the_figures_draw_the_measured_distributions_their_null_and_each_target(
    tmp_path: Path, spoilt: Any
) -> None:
    path = write_data_report(tmp_path / "data.html", ingest_report(), spoilt.report, spoilt.per_condition)
    sizes, coverage, correlation, activity, targets = figures_of(path.read_text(encoding="utf-8"))
    drawn = dict(zip(sizes["data"][0]["x"], sizes["data"][0]["y"], strict=True))
    assert (drawn["50-99"], sum(drawn.values())) == (13, 13)
    assert coverage["data"][0]["customdata"] == [780, 0, 0, 0]
    (kind,) = spoilt.report.effects.kinds
    assert [trace["x"] for trace in correlation["data"]] == [
        pytest.approx(kind.measured.correlation.values),
        pytest.approx(kind.null.correlation.values),
    ]
    assert correlation["data"][1]["line"]["dash"] == "dot"
    assert activity["data"][0]["x"] == pytest.approx(kind.measured.activity.values)
    (points,) = targets["data"]
    assert len(points["y"]) == 12
    assert points["marker"]["color"].count("#ffffff") == 1, "the guide that does nothing is hollow"


def test_what_a_file_s_report_says_more_is_shown_too(tmp_path: Path) -> None:
    report = ingest_report()
    if "genes" not in SourceReport.model_fields:
        pytest.skip("the report of a file holds nothing more")
    records = importlib.import_module("pertcast_data.ingest.genes.records")
    record = records.GeneRecord(
        namespace=records.Namespace(name="symbol", share=0.9, counts={"symbol": 108, "ensembl": 12}),
        table="genes.tsv",
        gene_counts={"identical": 119, "unknown": 1},
        genes=(records.GeneResolution(name="FOO7", resolved=None, how="unknown"),),
    )
    source = report.sources[0].model_copy(update={"genes": record})
    report = report.model_copy(update={"sources": (source,)})
    text = text_of(write_data_report(tmp_path / "data.html", report, None, None).read_text(encoding="utf-8"))
    assert "108 symbols, 12 Ensembl gene ids" in text
    assert "FOO7" in text


def test_without_measurements_the_page_says_so_and_draws_nothing(tmp_path: Path) -> None:
    path = write_data_report(tmp_path / "data.html", ingest_report(), None, None)
    html = path.read_text(encoding="utf-8")
    assert "The values were not measured" in text_of(html)
    assert figures_of(html) == []
    assert len(html) < 100_000, "no Plotly where nothing is drawn"


def test_responses_and_single_profiles_give_a_page_without_replicates(tmp_path: Path) -> None:
    profiles = worlds.bulk(n_replicates=1, n_controls=0)
    profiles.measure, profiles.normalisation = "response", "z_score"
    quality = profiles.quality()
    report = ingest_report(measure="response", normalisation="z_score")
    path = write_data_report(tmp_path / "data.html", report, quality.report, quality.per_condition)
    text = text_of(path.read_text(encoding="utf-8"))
    assert "No treated condition has two profiles." in text
    assert "Responses are relative already" in text


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/data\.html: the data report cannot be written"):
        write_data_report(tmp_path / "nowhere" / "data.html", ingest_report(), None, None)
