"""`pertcast data networks`: coverage of network files, and how held-out edges are ranked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.networks.examine import examine_networks
from pertcast_jobs.networks.held_out import LinkPlan, methods_named

Capture = pytest.CaptureFixture[str]


def write_communities(path: Path, seed: int, n_genes: int = 120, size: int = 12) -> Path:
    """Write edges of which nine in ten stay within communities of `size` genes."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_genes, 1200)
    inside = first // size * size + rng.integers(0, size, 1200)
    second = np.where(rng.random(1200) < 0.9, inside, rng.integers(0, n_genes, 1200))
    lines = [f"GENE{a}\tGENE{b}\t{rng.uniform(0.2, 1):.3f}" for a, b in zip(first, second, strict=True)]
    path.write_text("gene1\tgene2\tscore\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def two_files(tmp_path: Path) -> list[str]:
    return [str(write_communities(tmp_path / f"{name}.tsv", seed)) for seed, name in enumerate(("ppi", "co"))]


@pytest.fixture
def entrez_file(tmp_path: Path) -> Path:
    path = tmp_path / "entrez.tsv"
    path.write_text("gene1\tgene2\n7157\t4193\n4193\t595\n7157\t999999\n", encoding="utf-8")
    return path


def test_coverage_counts_rows_edges_genes_and_the_union(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "one.tsv").write_text("gene1\tgene2\nA\tB\nB\tA\nB\tC\nC\tC\n", encoding="utf-8")
    (tmp_path / "two.tsv").write_text("gene1\tgene2\nB\tC\nC\tD\nD\tE\n", encoding="utf-8")
    assert run(["data", "networks", str(tmp_path / "one.tsv"), str(tmp_path / "two.tsv")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "one: 4 rows, 1 self loops, 2 edges, 3 genes, 0 ids unknown",
        "two: 3 rows, 3 edges, 4 genes, 0 ids unknown",
        "union: 4 edges, 5 genes, 2 genes in more than one",
    ]


def test_ids_that_the_table_lacks_are_counted_and_named(
    entrez_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "names.tsv"
    table.write_text("entrez_id\tsymbol\n7157\tTP53\n4193\tMDM2\n595\tCCND1\n", encoding="utf-8")
    assert run(["data", "networks", str(entrez_file), "--gene-names", str(table), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (listed,) = told["networks"]
    assert (listed["rows"], listed["edges"], listed["genes"]) == (3, 2, 3)
    assert (listed["unknown_ids"], listed["examples_unknown"]) == (1, ["999999"])
    assert told["union"] == {"edges": 2, "genes": 3, "genes_in_more_than_one": 0}
    assert "links" not in told


def test_ids_without_a_table_are_refused_with_the_option_of_this_command(
    entrez_file: Path, capsys: Capture
) -> None:
    assert run(["data", "networks", str(entrez_file)]) == 1
    told = capsys.readouterr().err
    assert "7157" in told and "--gene-names TABLE" in told and "encoder." not in told


def test_a_least_score_leaves_weaker_edges_out(two_files: list[str], capsys: Capture) -> None:
    edges = []
    for words in ([], ["--score", "0.6"]):
        assert run(["data", "networks", two_files[0], *words, "--json"]) == 0
        edges.append(json.loads(capsys.readouterr().out)["networks"][0]["edges"])
    assert 0 < edges[1] < edges[0]
    assert run(["data", "networks", two_files[0], "--score", "5"]) == 1
    told = capsys.readouterr().err
    assert "Lower --score" in told and "encoder." not in told


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["absent.tsv"], 1, "absent.tsv"),
        (["FILE", "FILE"], 1, "given twice"),
        (["FILE", "--links", "--methods", "spectrel"], 2, "Did you mean spectral?"),
        (["FILE", "--links", "--methods", " , "], 2, "names no method"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(
    words: list[str], code: int, says: str, two_files: list[str], capsys: Capture
) -> None:
    assert run(["data", "networks", *(two_files[0] if word == "FILE" else word for word in words)]) == code
    assert says in capsys.readouterr().err


def links_of(words: list[str], capsys: Capture) -> dict[str, Any]:
    assert run(["data", "networks", *words, "--links", "--components", "16", "--json"]) == 0
    links: dict[str, Any] = json.loads(capsys.readouterr().out)["links"]
    return links


def test_held_out_edges_are_scored_by_every_method_beside_neighbours(
    two_files: list[str], capsys: Capture
) -> None:
    links = links_of([*two_files, "--methods", "union,random_walk"], capsys)
    seen = {(score["layer"], score["predictor"], score["negatives"]) for score in links["scores"]}
    predictors = {"union", "random_walk", "degree product", "common neighbours", "Adamic-Adar"}
    predictors.add("resource allocation")
    negatives = ("random", "degree-matched")
    assert seen == {
        (layer, each, kind) for layer in ("ppi", "co") for each in predictors for kind in negatives
    }
    matched = {each["predictor"]: each["auc_matched"] for each in links["methods_best_first"]}
    assert min(matched.values()) > 0.65 and max(matched.values()) > 0.85, "communities tell held-out edges"
    degrees = next(each for each in links["neighbours_best_first"] if each["predictor"] == "degree product")
    assert abs(degrees["auc_matched"] - 0.5) < 0.1, "degrees say nothing where negatives have the same"
    assert list(matched.values()) == sorted(matched.values(), reverse=True)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(
    two_files: list[str], capsys: Capture
) -> None:
    def aucs(*words: str) -> list[float]:
        return [
            score["auc"] for score in links_of([*two_files, "--methods", "union", *words], capsys)["scores"]
        ]

    assert aucs() == aucs("--seed", "0")
    assert aucs() != aucs("--seed", "1")


def test_the_verdict_names_the_best_method_and_what_chooses(two_files: list[str], capsys: Capture) -> None:
    words = ["--links", "--methods", "union,spectral", "--components", "16"]
    assert run(["data", "networks", *two_files, *words]) == 0
    out = capsys.readouterr().out
    report = examine_networks([Path(file) for file in two_files], plan=LinkPlan(("union", "spectral"), 16))
    assert report.links is not None
    best = report.links.ranking()[0][0]
    assert best.auc_matched == max(each.auc_matched for each in report.links.ranking()[0])
    assert f"Best at held-out edges: {best.predictor} (standard error 0.0" in out
    assert "by the validation of the response model" in out


def test_methods_that_do_the_same_are_not_told_apart(two_files: list[str], capsys: Capture) -> None:
    words = ["--links", "--components", "16", "--methods"]
    assert run(["data", "networks", *two_files, *words, "union,random_walk"]) == 0
    assert "not told apart" not in capsys.readouterr().out, "several standard errors lie between them"
    assert run(["data", "networks", two_files[0], *words, "spectral,union"]) == 0
    assert "; not told apart from it: " in capsys.readouterr().out, "of one network both have the same axes"


def test_a_network_too_small_to_judge_is_named_and_the_others_are_judged(
    two_files: list[str], tmp_path: Path, capsys: Capture
) -> None:
    small = tmp_path / "small.tsv"
    small.write_text("gene1\tgene2\nGENE1\tGENE2\nGENE2\tGENE3\n", encoding="utf-8")
    words = [two_files[0], str(small), "--methods", "union"]
    links = links_of(words, capsys)
    assert set(links["not_judged"]) == {"small"}
    assert {score["layer"] for score in links["scores"]} == {"ppi"}
    assert run(["data", "networks", str(small), "--links", "--methods", "union"]) == 0
    out = capsys.readouterr().out
    assert "small: not judged, " in out and "20 are the least" in out and "Best at" not in out


def test_progress_is_told_on_standard_error_alone(two_files: list[str], capsys: Capture) -> None:
    assert run(["data", "networks", *two_files, "--links", "--methods", "union", "--components", "8"]) == 0
    told = capsys.readouterr()
    assert "networks: 3/3 steps" in told.err and "3/3 steps" not in told.out


def test_methods_are_named_once_and_spelled_as_in_a_configuration() -> None:
    assert methods_named("union, random_walk,union") == ("union", "random_walk")
    with pytest.raises(ConfigError, match="There are union, spectral, random_walk, attention"):
        methods_named("bionic")


def test_help_shows_one_example_that_can_be_copied(capsys: Capture) -> None:
    assert run(["data", "networks", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example: pertcast data networks string.tsv reactome.gmt --links\n" in out


def test_real_complexes_of_entrez_ids_are_counted_and_judged(
    shared_data: Callable[[str], Path], capsys: Capture
) -> None:
    files = [str(shared_data(f"transcriptionnet/network_{name}.parquet")) for name in ("corum", "disease")]
    table = str(shared_data("transcriptionnet/gene_meta.parquet"))
    links = links_of([*files, "--gene-names", table, "--methods", "union"], capsys)
    n_edges = {
        score["layer"]: score["n_edges"] for score in links["scores"] if score["negatives"] == "random"
    }
    assert n_edges == {"network_corum": 4013, "network_disease": 398}
    assert links["methods_best_first"][0]["auc_matched"] > 0.75
    assert run(["data", "networks", files[0], "--gene-names", table, "--links", "--methods", "union"]) == 0
    out = capsys.readouterr().out
    assert " more held-out edges have no degree-matched pair" in out
