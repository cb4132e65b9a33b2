"""Which rows and files reach the priors: controls and training rows alone, sets of a useful size alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.encoding import ConditionEncoder, EncoderSpec
from pertcast.encoding.priors import training_priors
from pertcast.models.priors import TrainingPriors
from pertcast_data.errors import ConfigError
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore, create_store

N_GENES = 20


def spec_of(**options: Any) -> EncoderSpec:
    return EncoderSpec.model_validate({"gene_components": 4, **options})


def store_of(path: Path, obs: pl.DataFrame, values: np.ndarray) -> ExpressionStore:
    return create_store(
        path,
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"G{i}" for i in range(values.shape[1])]}),
        batches=[values],
        measure="expression",
        normalisation="log2_intensity",
    )


def priors_of(store: ExpressionStore, split: Split, spec: EncoderSpec, **options: Any) -> TrainingPriors:
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"), spec)
    return training_priors(store, split, 0, encoder, store.reader(), spec=spec, **options)


@pytest.fixture(scope="module")
def obs() -> pl.DataFrame:
    """Cells of four lines with six controls each; a knock-out of each of twelve genes, twice a line."""
    kinds = [("ctl_vector", "NTC")] * 6 + [("trt_xpr", f"G{i}") for i in range(12)] * 2
    cells = pl.DataFrame(
        [
            {"cell_iname": line, "batch_id": f"{line}-1", "pert_type": kind, "pert_id": name}
            for line in ("A375", "HT29", "K562", "RPE1")
            for kind, name in kinds
        ]
    )
    # A store has an order of its own: this tells which row of `values` a row of it is.
    return cells.with_row_index("given_row")


@pytest.fixture(scope="module")
def values(obs: pl.DataFrame) -> np.ndarray:
    return np.random.default_rng(7).normal(8.0, 1.0, (obs.height, N_GENES)).astype(np.float32)


def shifted(values: np.ndarray, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return profiles of which these rows are others, each by a draw of its own."""
    changed = values.copy()
    changed[rows] += np.random.default_rng(8).normal(0, 100, (len(rows), values.shape[1])).astype(np.float32)
    return changed


def part_rows(store: ExpressionStore, split: Split, part: str) -> np.ndarray:
    tested = store.obs["cell_iname"].gather(split.rows(store, 0, "test")).unique()
    found: dict[str, np.ndarray] = {
        "test": split.rows(store, 0, "test"),
        "validation": split.rows(store, 0, "validation"),
        "treated": np.flatnonzero(~store.is_control),
        "controls of tested lines": np.flatnonzero(
            store.is_control & store.obs["cell_iname"].is_in(tested.implode()).to_numpy()
        ),
    }
    return found[part]


def both(
    folder: Path, obs: pl.DataFrame, values: np.ndarray, part: str, kind: str, controls: Any
) -> tuple[TrainingPriors, TrainingPriors]:
    """Return the priors before and after the profiles of a part were changed."""
    store = store_of(folder / "before", obs, values)
    split = make_split(store, kind, 2, seed=0, controls=controls)
    rows = part_rows(store, split, part)
    assert 0 < len(rows) < store.n_rows
    given = store.obs["given_row"].gather(rows).to_numpy()
    changed = store_of(folder / "after", obs, shifted(values, given))
    again = make_split(changed, kind, 2, seed=0, controls=controls)
    assert again.folds == split.folds
    profiles = [each.reader().dense(np.arange(each.n_rows)) for each in (store, changed)]
    differs = (profiles[0] != profiles[1]).any(axis=1)
    assert np.flatnonzero(differs).tolist() == sorted(rows.tolist()), "exactly the part was changed"
    return priors_of(store, split, spec_of()), priors_of(changed, again, spec_of())


@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize("kind", ["unseen_perturbation", "unseen_context"])
def test_held_out_profiles_change_nothing(
    part: str, kind: str, obs: pl.DataFrame, values: np.ndarray, tmp_path: Path
) -> None:
    before, after = both(tmp_path, obs, values, part, kind, "shared")
    assert torch.equal(before.controls, after.controls) and len(before.controls) == 24
    assert torch.equal(before.gene_embedding, after.gene_embedding) and before.gene_embedding.any()


def test_treated_profiles_reach_the_embedding_and_never_the_controls(
    obs: pl.DataFrame, values: np.ndarray, tmp_path: Path
) -> None:
    before, after = both(tmp_path, obs, values, "treated", "unseen_perturbation", "shared")
    assert torch.equal(before.controls, after.controls)
    assert not torch.allclose(before.gene_embedding, after.gene_embedding, atol=1e-3)


@pytest.mark.parametrize("controls", ["separate", "shared"])
def test_controls_of_tested_lines_count_only_where_they_are_shared(
    controls: str, obs: pl.DataFrame, values: np.ndarray, tmp_path: Path
) -> None:
    part = "controls of tested lines"
    before, after = both(tmp_path, obs, values, part, "unseen_context", controls)
    assert torch.equal(before.controls, after.controls) == (controls == "separate")
    assert len(before.controls) == (12 if controls == "separate" else 24)


def test_drawn_controls_are_rows_of_the_store_minus_the_mean_of_all_of_their_group(
    obs: pl.DataFrame, values: np.ndarray, tmp_path: Path
) -> None:
    store = store_of(tmp_path / "store", obs, values)
    priors = priors_of(store, make_split(store, "random", 2), spec_of(), controls_per_context=2)
    is_control = obs["pert_type"].eq("ctl_vector").to_numpy()
    expected = []
    for line in ("A375", "HT29", "K562", "RPE1"):
        group = values[is_control & obs["cell_iname"].eq(line).to_numpy()]
        expected.append(group - group.mean(axis=0))
    assert priors.control_context.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for context, found in zip(priors.control_context.tolist(), priors.controls.numpy(), strict=True):
        assert np.abs(expected[context] - found).max(axis=1).min() < 1e-4


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> ExpressionStore:
    """A store of 310 genes."""
    kinds = [("ctl_vector", "NTC")] * 4 + [("trt_xpr", f"G{i}") for i in range(8)] * 2
    rows = [
        {"cell_iname": "K562", "batch_id": "1", "pert_type": kind, "pert_id": name} for kind, name in kinds
    ]
    profiles = np.random.default_rng(0).normal(8.0, 1.0, (len(rows), 310)).astype(np.float32)
    return store_of(tmp_path_factory.mktemp("wide") / "store", pl.DataFrame(rows), profiles)


def test_sets_of_ten_to_three_hundred_genes_of_the_store_are_kept_however_many_they_list(
    wide: ExpressionStore, tmp_path: Path
) -> None:
    def line(name: str, n_known: int, *others: str) -> str:
        return "\t".join([name, "", *(f"g{i}" for i in range(n_known)), *others]) + "\n"

    foreign = [f"ABSENT{i}" for i in range(400)]
    path = tmp_path / "sets.gmt"
    path.write_text(
        line("nine", 9, "G8", *foreign) + line("ten", 10) + line("most", 300, *foreign) + line("all", 301)
    )
    priors = priors_of(wide, make_split(wide, "random", 2), spec_of(gene_sets=path))
    assert priors.pathway_names == ("ten", "most")
    assert priors.pathways.sum(dim=1).tolist() == [10, 300] and priors.pathways[:, :10].all()


def test_edges_are_unique_and_sorted_whatever_the_order_of_the_genes_of_file_and_store(
    wide: ExpressionStore, tmp_path: Path
) -> None:
    generator = np.random.default_rng(5)
    ends = generator.integers(0, 320, (2_000, 2))
    path = tmp_path / "network.tsv"
    path.write_text("".join(f"G{a}\tg{b}\t{1 + (a + b) % 7}\n" for a, b in ends.tolist()))
    priors = priors_of(wide, make_split(wide, "random", 2), spec_of(gene_network=path))
    expected = sorted({(min(a, b), max(a, b)) for a, b in ends.tolist() if a != b and max(a, b) < 310})
    assert list(map(tuple, priors.edges.tolist())) == expected
    ratio = priors.edge_weight.numpy() / np.array([1 + (a + b) % 7 for a, b in expected])
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert ratio[0] > 0


def test_edges_serve_also_where_the_network_is_no_feature(wide: ExpressionStore, tmp_path: Path) -> None:
    path = tmp_path / "network.tsv"
    path.write_text("G1\tG2\nG2\tG3\n")
    spec = spec_of(gene_network=path, gene_network_components=0)
    priors = priors_of(wide, make_split(wide, "random", 2), spec)
    assert priors.edges.tolist() == [[1, 2], [2, 3]] and priors.gene_embedding.shape == (310, 4)


FILES = {
    "gene_network": "G1\tG2\t1\nG2\tG3\t1\n",
    "gene_embedding": "gene,a\nG1,1\nG2,2\nG3,4\nG4,1\nG5,3\n",
    "gene_sets": "SET\t\t" + "\t".join(f"G{i}" for i in range(12)) + "\n",
}


@pytest.mark.parametrize("option", FILES)
def test_a_run_with_a_file_needs_its_spec_and_one_without_does_not(
    option: str, stores: SimpleNamespace, tmp_path: Path
) -> None:
    store = stores.genes
    split = make_split(store, "random", 2, seed=0)
    rows = split.rows(store, 0, "train")
    (tmp_path / "file.txt").write_text(FILES[option])
    encoder = ConditionEncoder.fit(store, rows, spec_of(**{option: tmp_path / "file.txt"}))
    with pytest.raises(ConfigError, match=r"\(file\.txt\).*Give training_priors.*spec=config\.encoder"):
        training_priors(store, split, 0, encoder, store.reader())
    plain = ConditionEncoder.fit(store, rows, spec_of())
    unasked = training_priors(store, split, 0, plain, store.reader())
    asked = training_priors(store, split, 0, plain, store.reader(), spec=spec_of())
    assert torch.equal(unasked.controls, asked.controls) and len(asked.controls) == 8
    assert torch.equal(unasked.gene_embedding, asked.gene_embedding)
