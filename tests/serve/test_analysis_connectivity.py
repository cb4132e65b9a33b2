"""Signatures that libraries are searched with: equal to `pertcast query`, refused with the nearest names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_toys as toys
import httpx
import polars as pl
import pytest
from pertcast.analysis.connectivity.significance import random_scores
from pertcast_jobs.query import QueryRequest, ask
from pertcast_serve.analysis import random_queries

G = toys.G
PLANTED = toys.PLANTED
GENES = toys.GENES
SETS = toys.SETS
asked = toys.asked
refused = toys.refused
folder, call, bare = toys.folder, toys.call, toys.bare

Call = Callable[..., httpx.Response]


@pytest.mark.parametrize("library", ["first", "l1000"])
@pytest.mark.parametrize("score", [None, "cosine", "XSum"])
def test_connectivity_equals_pertcast_query(
    call: Call, folder: Path, library: str, score: str | None
) -> None:
    place: dict[str, Any] = (
        {"screen": folder / "screen"} if library == "first" else {"store": folder / "store"}
    )
    files: dict[str, Any] = {"up": folder / "up.txt", "down": folder / "down.txt"}
    expected = ask(QueryRequest(**place, **files, score=score and score.lower(), cells=("A549",)))
    found = asked(call, "connectivity", library=library, score=score, cell_iname=["A549"], **SETS)
    tails = pl.concat([expected.tail("mimics"), expected.tail("reverses")])
    assert len(found["rows"]) == tails.height > 20 and found["n_searched"] == 64
    for name in (
        "sig_id",
        "word",
        "rank",
        "pert_id",
        "pert_dose",
        "raw_cs",
        "norm_cs",
        "tau",
        "fdr_q_nlog10",
    ):
        assert [row[name] for row in found["rows"]] == tails[name].to_list(), name
    assert found["score"] == expected.score and found["significance"] == expected.significance
    assert found["library_kind"] == ("predicted" if library == "first" else "measured")
    assert f"{folder}" not in json.dumps(found)


def test_a_stored_profile_asks_its_own_library_as_pertcast_query_does_and_is_left_out(
    call: Call, folder: Path
) -> None:
    expected = ask(QueryRequest(screen=folder / "screen", sig_id=f"S{PLANTED}"))
    stored = {"library": "first", "sig_id": f"S{PLANTED}"}
    found = asked(call, "connectivity", library="first", stored=stored)
    assert [row["sig_id"] for row in found["rows"][:25]] == expected.tail("mimics")["sig_id"].to_list()
    assert f"S{PLANTED}" not in [row["sig_id"] for row in found["rows"]] and found["mapping"] == []
    across = asked(call, "connectivity", library="l1000", stored=stored)
    assert across["rows"][0]["sig_id"] == f"S{PLANTED}" and across["library_kind"] == "measured"
    assert across["mapping"][0]["n_named"] == G


def test_a_row_a_perturbation_is_the_querys_summary(call: Call, folder: Path) -> None:
    files: dict[str, Any] = {"up": folder / "up.txt", "down": folder / "down.txt"}
    expected = ask(QueryRequest(screen=folder / "screen", **files)).summary().tail("mimics")
    found = asked(call, "connectivity", by_perturbation=True, per_tail=25, **SETS)
    mimics = [row for row in found["rows"] if row["word"] == "mimics"]
    assert [row["pert_id"] for row in mimics] == expected["pert_id"].to_list()
    assert [row["norm_cs"] for row in mimics] == expected["norm_cs"].to_list()
    assert [row["n_profiles"] for row in mimics] == expected["n_profiles"].to_list()
    assert mimics[0]["sig_id"] is None and mimics[0]["tau"] is None


def test_the_mapping_says_what_was_used_and_names_what_is_near(call: Call) -> None:
    found = asked(call, "connectivity", **{**SETS, "up": [*SETS["up"], "g0", "γ\u202e"]})
    up, down = found["mapping"]
    assert up["used"] == GENES[:6] and up["not_measured"] == ["G999"] and "1-Mar" in up["invalid"]
    assert down["used"] == GENES[6:12] and down["invalid"] == []
    told = " ".join(found["remarks"])
    assert "G999 (nearest: " in told and "1 name of a gene that stands there before counted once" in told


def test_random_queries_of_sets_are_drawn_once_for_each_number_of_genes(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def counting(*given: Any) -> Any:
        drawn.append(given)
        return random_scores(*given)

    monkeypatch.setattr(random_queries, "random_scores", counting)
    body = {"score": "xsum", "cell_iname": ["MCF7"], "library": "first"}
    first = asked(call, "connectivity", up=GENES[:7], down=GENES[7:13], **body)
    asked(call, "connectivity", up=GENES[20:27], down=GENES[7:13], **body)
    assert asked(call, "connectivity", up=GENES[:7], down=GENES[7:13], **body) == first
    assert len(drawn) == 1
    asked(call, "connectivity", up=GENES[:8], down=GENES[8:13], **body)
    assert len(drawn) == 2


def test_too_few_genes_are_refused_with_their_mapping(call: Call) -> None:
    problem = refused(call, "connectivity", up=["G0", "G1", "TP53"], down=GENES[6:12])
    assert "2 of its 3 genes" in problem["detail"]
    assert problem["errors"][0] == {
        "list": "up",
        "n_named": 3,
        "n_used": 2,
        "not_measured": ["TP53"],
        "invalid": [],
    }


@pytest.mark.parametrize(
    ("status", "said", "body"),
    [
        (404, "Nearest known: first", {"library": "frist"}),
        (404, "no library '../../etc/passwd'", {"library": "../../etc/passwd"}),
        (422, "Use A549", {"cell_iname": ["A54"]}),
        (422, "Use trt_cp", {"pert_type": ["trt_cq"]}),
        (422, "Use wtcs", {"score": "wtc"}),
    ],
)
def test_unknown_words_are_refused_with_the_nearest(
    call: Call, status: int, said: str, body: dict[str, Any]
) -> None:
    assert said in refused(call, "connectivity", status, **SETS, **body)["detail"]


def test_an_unknown_sig_id_is_refused_with_the_nearest(call: Call) -> None:
    for subject in ("connectivity", "neighbors", "enrichment"):
        problem = refused(call, subject, 404, stored={"library": "first", "sig_id": "S2000"})
        assert "Nearest known: S20" in problem["detail"] and "predicted (first)" in problem["detail"]


def test_values_that_cannot_be_compared_are_refused(call: Call) -> None:
    huge = {"genes": GENES[:6], "values": [1e300] * 6}
    zeros = {"genes": GENES, "values": [0.0] * G}
    assert "too large to be compared" in refused(call, "connectivity", signature=huge)["detail"]
    assert "Give values with signs" in refused(call, "connectivity", signature=zeros)["detail"]
    same = {"genes": GENES, "values": [1.0] * G}
    assert "how values differ" in refused(call, "connectivity", signature=same, score="pearson")["detail"]
    for subject, said in (("enrichment", "ranks no gene"), ("neighbors", "nothing resembles it")):
        assert said in refused(call, subject, profile=zeros)["detail"]
        assert "too large" in refused(call, subject, profile=huge)["detail"]
