"""Gene sets of one profile: equal to the platform's and to gseapy's, with running sums that can be drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import analysis_toys as toys
import httpx
import numpy as np
import pytest
from pertcast.analysis.enrichment import (
    SizeMatchedNull,
    enrichment_scores,
    prerank,
    running_sum,
)
from pertcast.analysis.gene_sets import GeneSets, index_sets

G = toys.G
PLANTED = toys.PLANTED
GENES = toys.GENES
profiles = toys.profiles
asked = toys.asked
refused = toys.refused
folder, call, bare = toys.folder, toys.call, toys.bare

Call = Callable[..., httpx.Response]


def gmt_sets(folder: Path) -> GeneSets:
    members = {}
    for line in (folder / "sets.gmt").read_text().splitlines():
        name, _, *genes = line.split("\t")
        members[name] = tuple(genes)
    return GeneSets(members)


def test_size_matched_enrichment_equals_the_platforms(call: Call, folder: Path) -> None:
    sets = index_sets(gmt_sets(folder), GENES, 5)
    profile = profiles()[PLANTED][None, :]
    scores = enrichment_scores(profile, sets)
    null = SizeMatchedNull.of(sets, 0).normalise(profile, scores)
    found = asked(call, "enrichment", stored={"library": "first", "sig_id": f"S{PLANTED}"})
    rows = {row["term"]: row for row in found["rows"]}
    for number, term in enumerate(sets.names):
        assert rows[term]["es"] == scores[0, number] and rows[term]["nes"] == null.nes[0, number]
        assert rows[term]["pval"] == null.pval[0, number] and rows[term]["fdr"] == null.fdr[0, number]
    strengths = [abs(row["nes"]) for row in found["rows"]]
    assert strengths == sorted(strengths, reverse=True) and len(strengths) == 22
    assert found["dropped"] == [{"term": "TINY", "reason": "fewer than 5 genes (2 of 2)"}]
    assert found["n_genes"] == G and rows["UP"]["size"] == 6
    assert any("sets are seen in part" in remark for remark in found["remarks"])


def test_prerank_and_its_leading_edges_are_gseapys(call: Call, folder: Path) -> None:
    sets = index_sets(gmt_sets(folder), GENES, 5)
    expected = prerank(profiles()[PLANTED], GENES, sets, 1000, 0)
    stored = {"library": "first", "sig_id": f"S{PLANTED}"}
    rows = {row["term"]: row for row in asked(call, "enrichment", stored=stored, method="prerank")["rows"]}
    assert any(es < 0 for es in expected["es"]) and any(es > 0 for es in expected["es"])
    for row in expected.iter_rows(named=True):
        assert rows[row["term"]]["es"] == row["es"] and rows[row["term"]]["fdr"] == row["fdr"]
        assert ";".join(rows[row["term"]]["lead_genes"]) == row["lead_genes"]


def test_a_curve_keeps_ends_and_extreme_in_400_points_and_all_places_of_its_genes(call: Call) -> None:
    random = np.random.default_rng(5)
    genes = [f"X{number}" for number in range(5000)]
    values = random.standard_normal(5000).astype(np.float32)
    members = random.permutation(5000)[:60]
    own = {"mine": [genes[gene] for gene in members], "gone": ["ABSENT"]}
    body = {"profile": {"genes": genes, "values": values.tolist()}, "sets": own}
    found = asked(call, "enrichment", **body, curves=["mine", "gone"])
    (curve,) = found["curves"]
    whole = running_sum(values, members)
    assert len(curve["position"]) <= 400 and curve["position"][0] == 0 and curve["position"][-1] == 4999
    assert curve["running_sum"] == whole[curve["position"]].tolist()
    extreme = max(curve["running_sum"], key=abs)
    assert extreme == whole[np.abs(whole).argmax()] == pytest.approx(found["rows"][0]["es"])
    order = np.argsort(-values, kind="stable")
    assert curve["hits"] == np.flatnonzero(np.isin(order, members)).tolist()
    assert found["gene_sets"] == "own sets" and found["dropped"][0]["term"] == "gone"
    problem = refused(call, "enrichment", 404, **body, curves=["mime"])
    assert "Nearest known: mine" in problem["detail"]


def test_a_set_of_zeros_is_dropped_and_a_set_elsewhere_refused(call: Call) -> None:
    values = [0.0] * 10 + [float(number) for number in range(1, 51)]
    profile = {"genes": GENES, "values": values}
    own = {"flat": GENES[:6], "high": GENES[40:50]}
    found = asked(call, "enrichment", profile=profile, sets=own)
    assert [row["term"] for row in found["rows"]] == ["high"]
    assert found["dropped"] == [{"term": "flat", "reason": "all its genes are exactly 0"}]
    permuted = asked(call, "enrichment", profile=profile, sets=own, method="prerank")
    assert [row["term"] for row in permuted["rows"]] == ["high"] and permuted["dropped"] == found["dropped"]
    problem = refused(call, "enrichment", profile=profile, sets={"flat": ["A", "B", "C", "D", "E"]})
    assert "None of the 1 gene sets" in problem["detail"]


def test_gene_sets_that_are_not_there_are_refused_with_the_way_out(call: Call, bare: Call) -> None:
    profile = {"genes": GENES, "values": [float(number) for number in range(G)]}
    assert (
        "Nearest known: own" in refused(call, "enrichment", 404, profile=profile, gene_sets="owl")["detail"]
    )
    problem = refused(bare, "enrichment", profile=profile)
    assert "`sets`" in problem["detail"] and "gene_sets: {hallmark: hallmark.gmt}" in problem["detail"]
    assert bare("GET", "/v1/gene_sets").json() == []


def test_a_permutation_test_that_would_outlast_a_request_is_refused(call: Call) -> None:
    genes = [f"X{number}" for number in range(30_000)]
    profile = {"genes": genes, "values": list(range(30_000))}
    profile["values"] = [float(value) for value in range(30_000)]
    sets = {f"S{number}": genes[number : number + 5] for number in range(200)}
    problem = refused(call, "enrichment", profile=profile, sets=sets, method="prerank")
    assert "size_matched" in problem["detail"] and "at most 83 sets" in problem["detail"]


@pytest.mark.parametrize(
    ("genes", "said"),
    [(["G1", "G2", "G1 "], "'G1' stands there 2 times"), (["G1", "  ", "G2"], "name 2 is blank")],
)
def test_a_given_profile_names_each_gene_once(call: Call, genes: list[str], said: str) -> None:
    profile = {"genes": genes, "values": [1.0, 2.0, 3.0]}
    for subject in ("enrichment", "neighbors"):
        assert said in refused(call, subject, profile=profile)["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"profile": {"genes": ["A"], "values": [NaN]}}',
        b'{"profile": {"genes": ["A"], "values": [1e999]}}',
        b'{"profile": {"genes": ["\\ud800"], "values": [1]}}',
        b'{"profile": {"genes": [""], "values": [1]}}',
        b'{"profile": {"genes": ["A", "B"], "values": [1]}}',
        b'{"stored": {"library": "first", "sig_id": "S1"}, "profile": {"genes": ["A"], "values": [1]}}',
        b"{}",
        b"[" * 5000,
    ],
)
def test_what_is_no_question_is_refused_as_a_problem(call: Call, content: bytes) -> None:
    for subject in ("enrichment", "neighbors", "connectivity"):
        answer = call("POST", f"/v1/{subject}", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
