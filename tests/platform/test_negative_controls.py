"""Permuted labels leave what any prediction gets; controls tested as perturbations are hardly ever called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.evaluation.from_store.control_hits import control_cell_hits, control_hits, count_hits
from pertcast.evaluation.held_out import GeneTests, HeldOut
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.scores.negative_controls import permutation, permuted_labels
from pertcast.evaluation.scores.score_board import score_conditions
from pertcast.evaluation.units import Units, lay_out_units
from pertcast_data.loading import ControlPairing, pair_controls
from pertcast_data.store import create_store

N, G = 60, 30
WELL_GENES = 200


def held_out(cluster: np.ndarray, pool: np.ndarray) -> HeldOut:
    generator = np.random.default_rng(0)
    n = len(cluster)
    shared = generator.normal(0, 1, (2, G)).astype(np.float32)
    own = generator.normal(0, 1, (int(cluster.max()) + 1, G))[cluster]
    return HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(n)]}),
        genes=tuple(f"g{i}" for i in range(G)),
        truth=(shared[pool] + own).astype(np.float32),
        control=np.zeros((n, G), dtype=np.float32),
        train_perturbed_mean=shared,
        train_mean_index=pool,
        pool=pool,
        cluster=cluster,
        own_gene=np.full((n, 1), -1),
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_condition_is_given_another_perturbations_prediction_of_its_own_context(seed: int) -> None:
    held = held_out(np.arange(N) // 3, np.arange(N) % 2)
    source = permutation(held, seed)
    assert sorted(source) == list(range(N))
    assert (held.pool[source] == held.pool).all()
    assert (held.cluster[source] != held.cluster).all()


def test_permuted_labels_keep_the_shared_response_and_lose_the_perturbation() -> None:
    held = held_out(np.arange(N) // 3, np.arange(N) % 2)
    metrics = [get_metric(name) for name in ("pearson_delta", "pearson_delta_pert", "centroid_accuracy")]
    perfect = score_conditions(held.truth, held, metrics=metrics)
    permuted = score_conditions(permuted_labels(held.truth, held), held, metrics=metrics)
    assert perfect["pearson_delta_pert"].mean() == pytest.approx(1)
    assert permuted["pearson_delta"].mean() > 0.3
    assert abs(permuted["pearson_delta_pert"].mean()) < 0.15
    assert permuted["centroid_accuracy"].mean() == pytest.approx(0.5, abs=0.15)


def test_no_prediction_of_the_own_perturbation_slips_through() -> None:
    cluster = np.array([0, 0, 0, 0, 0, 1, 2, 3, 3])
    pool = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1])
    held = held_out(cluster, pool)
    marked = np.repeat(cluster[:, None] * 100.0 + 500, G, axis=1)
    dealt = permuted_labels(marked, held)
    own = np.isclose(dealt, marked).all(axis=1)
    assert not own.any()
    assert dealt[7:] == pytest.approx(held.train_means(slice(7, 9)))


def test_another_seed_deals_anew_and_the_same_seed_alike() -> None:
    held = held_out(np.arange(N) // 3, np.arange(N) % 2)
    assert np.array_equal(permutation(held, 1), permutation(held, 1))
    assert not np.array_equal(permutation(held, 1), permutation(held, 2))


def wells(path: Path, n_controls: int = 30) -> tuple[Units, Any, ControlPairing]:
    """Six plates of two cell lines; treated wells are controls in all but name."""
    generator = np.random.default_rng(1)
    plates = [(f"P{plate}", "A" if plate < 3 else "B") for plate in range(6)]
    rows = [(*plate, name) for plate in plates for name in (*["DMSO"] * n_controls, *"XYZ")]
    obs = pl.DataFrame(
        {
            "batch_id": [row[0] for row in rows],
            "cell_iname": [row[1] for row in rows],
            "pert_type": ["ctl_vehicle" if row[2] == "DMSO" else "trt_cp" for row in rows],
            "pert_id": [row[2] for row in rows],
            "pert_dose": [None if row[2] == "DMSO" else 10.0 for row in rows],
            "pert_time": [24.0] * len(rows),
        }
    )
    values = 8 + generator.normal(0, 1, (len(rows), WELL_GENES))
    values += np.repeat(generator.normal(0, 2, (6, WELL_GENES)), n_controls + 3, axis=0)
    store = create_store(
        path, obs=obs, var=pl.DataFrame({"gene_id": [f"g{i}" for i in range(WELL_GENES)]}),
        batches=[values.astype(np.float32)], measure="expression", normalisation="log2_intensity",
    )  # fmt: skip
    pairing = pair_controls(store)
    units = lay_out_units(store, np.flatnonzero(~store.is_control), pairing)
    return units, store.reader(), pairing


def test_control_wells_tested_as_perturbations_are_hardly_ever_called(tmp_path: Path) -> None:
    units, reader, pairing = wells(tmp_path / "s")
    found = control_hits(units, reader, pairing, WELL_GENES)
    assert found is not None
    assert found.n_tests == 20 * WELL_GENES
    assert found.n_called / found.n_tests < 0.01
    assert "moderated t" in found.method


class Shifted:
    """Reads profiles with twenty genes of some rows moved far away."""

    is_in_memory = True

    def __init__(self, reader: Any, rows: Any) -> None:
        self._reader, self._rows = reader, rows

    def dense(self, rows: Any) -> Any:
        profiles = self._reader.dense(rows).copy()
        profiles[np.isin(rows, self._rows), :20] += 8
        return profiles


def spied(units: Units, reader: Any, pairing: ControlPairing) -> tuple[Units, ControlPairing]:
    """Return the pseudo-conditions, and the controls that they are tested against."""
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pertcast.evaluation.from_store.control_hits.replicate_tests",
            lambda pseudo, _reader, rest, *_: seen.append((pseudo, rest)),
        )
        control_hits(units, reader, pairing, WELL_GENES)
    pseudo, rest = seen[0]
    return pseudo, rest


def test_set_aside_controls_are_not_tested_against_themselves(tmp_path: Path) -> None:
    units, reader, pairing = wells(tmp_path / "s")
    pseudo, rest = spied(units, reader, pairing)
    assert pairing.is_control[pseudo.rows].all()
    assert not np.isin(pseudo.rows, rest.control_rows).any()
    assert len(rest.control_rows) + len(pseudo.rows) == len(pairing.control_rows)
    assert np.bincount(pseudo.condition, pseudo.n_rows).tolist() == [3.0] * pseudo.n_conditions
    own = pairing.group_of_row[pseudo.rows]
    assert np.array_equal(pseudo.control_group[pseudo.unit_of_row], own)


def test_what_truly_differs_in_set_aside_controls_is_called(tmp_path: Path) -> None:
    units, reader, pairing = wells(tmp_path / "s")
    pseudo, _ = spied(units, reader, pairing)
    moved: Any = Shifted(reader, pseudo.rows)
    found = control_hits(units, moved, pairing, WELL_GENES)
    assert found is not None
    assert found.n_called >= 20 * pseudo.n_conditions


def test_too_few_controls_or_single_profiles_give_no_count(tmp_path: Path) -> None:
    units, reader, pairing = wells(tmp_path / "few", n_controls=2)
    assert control_hits(units, reader, pairing, WELL_GENES) is None
    assert control_hits(units, reader, None, WELL_GENES) is None


class Cells:
    """Normal cells of three conditions and two groups of controls."""

    genes = tuple(f"g{i}" for i in range(50))
    control_group = np.array([0, 0, 1])
    conditions = pl.DataFrame({"condition_id": ["a", "b", "c"]})

    def __init__(self, n_controls: int = 300) -> None:
        self.n_controls = n_controls

    def cells(self, condition: int) -> Any:
        return np.random.default_rng(condition).normal(3, 1, (80, 50)).astype(np.float32)

    def controls(self, group: int) -> Any:
        return np.random.default_rng(10 + group).normal(group, 1, (self.n_controls, 50)).astype(np.float32)


def test_control_cells_tested_as_a_perturbation_are_hardly_ever_called() -> None:
    calls = [control_cell_hits(Cells(), seed) for seed in range(5)]
    assert all(found is not None and found.n_tests == 100 for found in calls)
    assert sum(found.n_called for found in calls if found is not None) <= 5
    assert control_cell_hits(Cells(n_controls=20)) is None


def test_genes_that_differ_between_controls_and_pseudo_conditions_are_counted() -> None:
    q_value = np.array([[0.01, 0.2, np.nan], [0.04, 0.05, 1.0]])
    found = count_hits(GeneTests(np.zeros((2, 3)), q_value, "a test"))
    assert (found.method, found.n_tests, found.n_called) == ("a test", 5, 2)
