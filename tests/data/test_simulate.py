"""The atlas: seeded to the byte, valid chemistry, known truth, and learnable as far as chemistry tells."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import anndata
import numpy as np
import polars as pl
import pytest
from pertcast_data.errors import ConfigError
from pertcast_data.simulate import (
    NOISE_LEVELS,
    REGIMES,
    SIZES,
    Atlas,
    AtlasConfig,
    AtlasFiles,
    atlas_config,
    generator_hash,
    get_regime,
    simulate_atlas,
    write_atlas,
)
from pertcast_data.simulate.chemistry import build_library
from pertcast_data.simulate.files import FILE_NAMES
from pertcast_data.simulate.fragments import SCAFFOLDS, SUBSTITUENTS
from pertcast_data.simulate.version import hash_of_sources
from pertcast_data.vocabulary import condition_id
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

SMALL = AtlasConfig(
    n_genes=80,
    n_compounds=12,
    n_unprofiled=20,
    n_contexts=2,
    n_plates=3,
    n_knockouts=10,
    n_pairs=4,
    n_cells=900,
    n_batches=2,
    n_signature_genes=30,
)


@pytest.fixture(scope="module")
def small() -> Atlas:
    return simulate_atlas(SMALL)


@pytest.fixture(scope="module")
def small_files(small: Atlas, tmp_path_factory: pytest.TempPathFactory) -> AtlasFiles:
    return write_atlas(small, tmp_path_factory.mktemp("atlas") / "small")


@pytest.fixture(scope="module", params=["linear", "saturating"])
def demo(request: pytest.FixtureRequest) -> Atlas:
    return simulate_atlas(AtlasConfig(regime=request.param, seed=1))


def digests(files: AtlasFiles) -> dict[str, str]:
    return {name: hashlib.sha256((files.directory / name).read_bytes()).hexdigest() for name in FILE_NAMES}


def truth_arrays(files: AtlasFiles) -> dict[str, np.ndarray]:
    with np.load(files.truth) as content:
        return dict(content)


def measured_well_responses(wells: pl.DataFrame, intensities: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Work out condition means minus the plate's vehicle mean from the tables alone."""
    names, sums, counts = [], {}, {}
    for plate in wells["plate"].unique(maintain_order=True):
        on_plate = (wells["plate"] == plate).to_numpy()
        is_vehicle = on_plate & (wells["pert_type"] == "ctl_vehicle").to_numpy()
        vehicle = intensities[is_vehicle].astype(np.float64).mean(axis=0)
        for row in np.flatnonzero(on_plate & ~is_vehicle):
            facts = wells.row(int(row), named=True)
            name = condition_id(
                facts["cell_iname"], "trt_cp", facts["pert_id"], facts["pert_dose"], facts["pert_time"]
            )
            sums[name] = sums.get(name, 0.0) + intensities[row] - vehicle
            counts[name] = counts.get(name, 0) + 1
    names = list(sums)
    return names, np.stack([sums[name] / counts[name] for name in names])


def test_the_same_configuration_gives_the_same_bytes_and_another_seed_others(
    small_files: AtlasFiles, tmp_path: Path
) -> None:
    again = write_atlas(simulate_atlas(SMALL), tmp_path / "again")
    assert digests(again) == digests(small_files)
    other = write_atlas(simulate_atlas(SMALL.model_copy(update={"seed": 1})), tmp_path / "other")
    assert not set(digests(other).values()) & set(digests(small_files).values())


def test_regimes_share_the_world_of_a_seed_and_differ_in_the_response(small: Atlas) -> None:
    other = simulate_atlas(SMALL.model_copy(update={"regime": "saturating"}))
    assert other.world.library.smiles == small.world.library.smiles
    assert np.array_equal(other.world.contexts.basal, small.world.contexts.basal)
    assert other.wells.equals(small.wells)
    assert not np.allclose(other.wells_truth.response, small.wells_truth.response, atol=0.1)


def test_every_scaffold_takes_every_substituent_at_every_place() -> None:
    for template in SCAFFOLDS.values():
        for place in range(3):
            for branch in SUBSTITUENTS.values():
                branches = ["F", "F", "F"]
                branches[place] = branch
                assert Chem.MolFromSmiles(template.format(*branches)) is not None, (template, branch)


def test_library_molecules_are_valid_canonical_and_distinct(small_files: AtlasFiles, small: Atlas) -> None:
    library = pl.read_csv(small_files.library)
    assert library.columns == ["pert_id", "cmap_name", "pert_type", "canonical_smiles"]
    assert library.height == SMALL.n_compounds + SMALL.n_unprofiled
    molecules = [Chem.MolFromSmiles(smiles) for smiles in library["canonical_smiles"]]
    assert [Chem.MolToSmiles(molecule) for molecule in molecules] == library["canonical_smiles"].to_list()
    assert len({Chem.MolToInchiKey(molecule)[:14] for molecule in molecules}) == library.height
    profiled = set(small.wells.filter(pl.col("pert_type") == "trt_cp")["pert_id"])
    assert profiled == set(library["pert_id"][: SMALL.n_compounds])


def test_some_never_profiled_compounds_stand_on_new_scaffolds(small: Atlas) -> None:
    known = small.world.library.has_profiled_scaffold
    assert known[: SMALL.n_compounds].all()
    assert (~known[SMALL.n_compounds :]).sum() == 3


def test_each_plate_holds_one_line_one_time_and_its_vehicle_wells(small: Atlas) -> None:
    plates = small.wells.group_by("plate").agg(
        pl.col("cell_iname").n_unique().alias("lines"),
        pl.col("pert_time").n_unique().alias("times"),
        (pl.col("pert_type") == "ctl_vehicle").sum().alias("vehicles"),
        pl.len().alias("wells"),
        pl.col("rna_well").n_unique().alias("places"),
    )
    assert plates.select("lines", "times").unique().rows() == [(1, 1)]
    assert set(plates["vehicles"]) == {SMALL.dmso_per_plate}
    assert plates["wells"].equals(plates["places"].rename("wells"))
    replicates = small.wells.filter(pl.col("pert_type") == "trt_cp").group_by(
        "pert_id", "cell_iname", "pert_dose", "pert_time"
    )
    counted = replicates.agg(pl.len(), pl.col("plate").n_unique())
    assert counted.select("len", "plate").unique().rows() == [(SMALL.n_plates, SMALL.n_plates)]


def test_conditions_beyond_a_plate_fill_further_plate_maps() -> None:
    config = SMALL.model_copy(update={"wells_per_plate": 30, "dmso_per_plate": 4, "n_plates": 2})
    wells = simulate_atlas(config).wells
    assert wells.group_by("plate").len()["len"].max() <= 30
    assert wells["plate"].n_unique() == 2 * 2 * 2 * 2


def test_intensities_lie_where_l1000_intensities_lie(demo: Atlas) -> None:
    low, high = np.quantile(demo.intensities, [0.001, 0.999])
    assert low > 3.0 and high < 15.0 and demo.intensities.min() >= 0 and demo.intensities.max() < 17


def test_without_noise_the_wells_show_exactly_the_truth() -> None:
    atlas = simulate_atlas(SMALL.model_copy(update={"noise": 0.0}))
    names, measured = measured_well_responses(atlas.wells, atlas.intensities)
    truth = dict(zip(atlas.wells_truth.condition_ids, atlas.wells_truth.response, strict=True))
    assert set(names) == set(truth)
    assert np.allclose(measured, [truth[name] for name in names], atol=2e-4)
    assert atlas.wells_truth.explainable_share == pytest.approx(1.0, abs=1e-3)


def test_the_explainable_share_is_what_the_truth_explains_of_measured_means(demo: Atlas) -> None:
    names, measured = measured_well_responses(demo.wells, demo.intensities)
    truth = dict(zip(demo.wells_truth.condition_ids, demo.wells_truth.response, strict=True))
    true = np.stack([truth[name] for name in names])
    share = true.var(axis=0).sum() / measured.var(axis=0).sum()
    assert demo.wells_truth.explainable_share == pytest.approx(share, rel=1e-3)
    left = ((measured - true) ** 2).sum() / ((measured - measured.mean(axis=0)) ** 2).sum()
    assert demo.wells_truth.explainable_share == pytest.approx(1 - left, abs=0.02)


def test_more_noise_leaves_less_to_explain() -> None:
    shares = [
        simulate_atlas(SMALL.model_copy(update={"noise": noise})).wells_truth.explainable_share
        for noise in (0.5, 1.0, 2.0)
    ]
    assert shares[0] > shares[1] + 0.05 > shares[2] + 0.1


def test_cell_truth_is_the_expectation_of_the_normalised_counts() -> None:
    config = SMALL.model_copy(update={"n_cells": 12_000, "n_knockouts": 6, "n_pairs": 2, "n_contexts": 1})
    atlas = simulate_atlas(config)
    counts = atlas.counts.toarray()
    profiles = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    is_control = (atlas.cells["pert_type"] == "ctl_vector").to_numpy()
    control = profiles[is_control].mean(axis=0)
    for name, expected in zip(atlas.cells_truth.condition_ids, atlas.cells_truth.response, strict=True):
        chosen = (atlas.cells["pert_id"] == name.split("|")[2]).to_numpy() & ~is_control
        measured = profiles[chosen].mean(axis=0) - control
        assert np.corrcoef(measured, expected)[0, 1] > 0.97
        assert np.polyfit(expected, measured, 1)[0] == pytest.approx(1.0, abs=0.08)
    assert 0.9 < atlas.cells_truth.explainable_share <= 1.02


def test_cells_are_whole_counts_with_losses_batches_controls_and_pairs(small: Atlas) -> None:
    counts = small.counts
    assert np.array_equal(counts.data, np.round(counts.data)) and counts.data.min() > 0
    assert 0.1 < 1 - counts.nnz / np.prod(counts.shape) < 0.9
    depth = np.asarray(counts.sum(axis=1)).ravel()
    assert np.std(np.log(depth)) > 0.3
    by_condition = small.cells.group_by("pert_id").agg(pl.len(), pl.col("batch").n_unique())
    assert set(by_condition["batch"]) == {SMALL.n_batches}
    assert by_condition.filter(pl.col("pert_id").str.contains("+", literal=True)).height == SMALL.n_pairs
    assert by_condition.height == SMALL.n_knockouts + SMALL.n_pairs + 1
    controls = small.cells.filter(pl.col("pert_type") == "ctl_vector")
    assert controls.height == 90 and controls["targets"].null_count() == 90


def test_a_knocked_out_gene_falls_and_is_a_gene_of_the_genome(small: Atlas) -> None:
    genes = {symbol: place for place, symbol in enumerate(small.world.network.gene_symbols)}
    for name, change in zip(small.cells_truth.condition_ids, small.knockout_log2_change, strict=True):
        for symbol in name.split("|")[2].split("+"):
            assert change[genes[symbol]] < -1.0


def test_linear_is_additive_in_genes_and_in_structure_dose_time_and_line(small: Atlas) -> None:
    truth = dict(zip(small.cells_truth.condition_ids, small.knockout_log2_change, strict=True))
    by_name = {name.split("|")[2]: change for name, change in truth.items()}
    for name, change in by_name.items():
        if "+" in name:
            first, second = name.split("+")
            assert np.allclose(change, by_name[first] + by_name[second], atol=1e-4)
    shape = (SMALL.n_contexts, SMALL.n_compounds, len(SMALL.doses), len(SMALL.times), SMALL.n_genes)
    response = small.wells_truth.response.reshape(shape).astype(np.float64)
    mean = response.mean(axis=(0, 1, 2, 3), keepdims=True)
    additive = sum(
        response.mean(axis=tuple(other for other in range(4) if other != axis), keepdims=True) - mean
        for axis in range(4)
    )
    assert np.allclose(response, mean + additive, atol=1e-4)
    steps = np.diff(response, axis=2)
    assert np.allclose(steps[:, :, 0], steps[:, :, 1], atol=1e-4)


def test_saturating_flattens_at_high_doses_and_pairs_are_not_sums() -> None:
    config = SMALL.model_copy(update={"regime": "saturating", "doses": (0.001, 1.0, 1000.0, 1e6)})
    atlas = simulate_atlas(config)
    shape = (SMALL.n_contexts, SMALL.n_compounds, 4, len(SMALL.times), SMALL.n_genes)
    strength = np.sqrt((atlas.wells_truth.response.reshape(shape) ** 2).mean(axis=(0, 1, 3, 4)))
    assert strength[0] < 0.1 * strength[3] and strength[2] > 0.95 * strength[3]
    by_name = {
        name.split("|")[2]: change
        for name, change in zip(atlas.cells_truth.condition_ids, atlas.knockout_log2_change, strict=True)
    }
    pairs = [name for name in by_name if "+" in name]
    sums = np.stack([sum(by_name[gene] for gene in name.split("+")) for name in pairs])
    assert np.abs(sums - np.stack([by_name[name] for name in pairs])).max() > 0.2


def fingerprints(smiles: tuple[str, ...]) -> np.ndarray:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    return np.stack([generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(text)) for text in smiles]).astype(
        float
    )


def held_out_r2(
    features: np.ndarray, target: np.ndarray, compound: np.ndarray, is_held_out: np.ndarray
) -> float:
    train, test = ~is_held_out[compound], is_held_out[compound]
    mean_x, mean_y = features[train].mean(axis=0), target[train].mean(axis=0)
    centred = features[train] - mean_x
    gram = centred.T @ centred + 3.0 * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (target[train] - mean_y))
    left = ((features[test] - mean_x) @ weights + mean_y - target[test]) ** 2
    return float(1 - left.sum() / ((target[test] - mean_y) ** 2).sum())


def test_chemistry_tells_of_unseen_compounds_and_shuffled_chemistry_does_not(demo: Atlas) -> None:
    names, measured = measured_well_responses(demo.wells, demo.intensities)
    library = demo.world.library
    facts = [name.split("|") for name in names]
    compound = np.array([library.pert_ids.index(fact[2]) for fact in facts])
    line = np.array([fact[0] for fact in facts])
    rest = np.column_stack(
        [np.log10([float(fact[3]) for fact in facts]), np.log2([float(fact[4]) for fact in facts])]
        + [(line == name).astype(float) for name in demo.world.contexts.names]
    )
    random = np.random.default_rng(0)
    bits = fingerprints(library.smiles[: library.n_profiled]) / 5
    held_out = random.permutation(library.n_profiled) % 4 == 0
    honest = held_out_r2(np.hstack([bits[compound], rest]), measured, compound, held_out)
    shuffled_bits = bits[random.permutation(library.n_profiled)]
    shuffled = held_out_r2(np.hstack([shuffled_bits[compound], rest]), measured, compound, held_out)
    ceiling = demo.wells_truth.explainable_share
    if demo.config.regime == "linear":
        assert honest > 0.85 * ceiling and honest > shuffled + 0.3
    else:
        assert shuffled + 0.1 < honest < 0.85 * ceiling
    assert honest < ceiling


def test_gene_sets_are_the_modules_and_their_regulators(small_files: AtlasFiles, small: Atlas) -> None:
    network = small.world.network
    lines = [line.split("\t") for line in small_files.gene_sets.read_text().splitlines()]
    assert len(lines) == network.n_modules
    for number, (name, description, *members) in enumerate(lines):
        assert name == f"SIM_MODULE_{number + 1:03d}"
        assert members == [network.gene_symbols[gene] for gene in network.module_genes(number)]
        assert set(description.removeprefix("regulated by ").split(", ")) <= set(members)


def test_a_larger_genome_has_more_modules_of_at_most_300_genes() -> None:
    config = AtlasConfig(
        n_genes=5000, n_compounds=8, n_unprofiled=0, n_contexts=1, doses=(1.0,), times=(24.0,), n_plates=1,
        n_knockouts=4, n_pairs=1, n_cells=100,
    )  # fmt: skip
    network = simulate_atlas(config).world.network
    sizes = np.diff(network.membership.indptr)
    assert network.n_modules > 60 and sizes.min() >= 10 and sizes.max() <= 310
    assert sizes.sum() > 1.4 * 5000
    assert np.abs(network.crosstalk).sum(axis=0).max() < 1


def test_files_carry_the_generator_hash_and_the_configuration(small_files: AtlasFiles) -> None:
    facts = json.loads(small_files.atlas.read_text())
    assert facts["generator_hash"] == generator_hash() and len(generator_hash()) == 64
    assert AtlasConfig.model_validate(facts["config"]) == SMALL
    for path in (small_files.wells, small_files.cells, small_files.signatures):
        tag = anndata.read_h5ad(path).uns["pertcast_atlas"]
        assert tag["generator_hash"] == generator_hash() and tag["regime"] == "linear"
        assert json.loads(str(tag["config"])) == facts["config"]


def test_the_written_files_hold_what_was_simulated(small_files: AtlasFiles, small: Atlas) -> None:
    wells, cells = anndata.read_h5ad(small_files.wells), anndata.read_h5ad(small_files.cells)
    assert np.array_equal(wells.X, small.intensities) and (small.counts != cells.X).nnz == 0
    assert wells.obs_names.tolist() == small.wells["sig_id"].to_list()
    vehicles = wells.obs[wells.obs["pert_type"] == "ctl_vehicle"]
    assert vehicles["pert_dose"].isna().all() and vehicles["pert_dose_unit"].isna().all()
    assert wells.var["gene_symbol"].is_unique and wells.var_names.is_unique
    truth = truth_arrays(small_files)
    assert truth["wells_condition_id"].tolist() == list(small.wells_truth.condition_ids)
    assert np.array_equal(truth["cells_response"], small.cells_truth.response)
    assert truth["library_response"].shape == (2 * 32, SMALL.n_genes)
    shared = dict(zip(truth["wells_condition_id"], truth["wells_response"], strict=True))
    for name, response in zip(truth["library_condition_id"], truth["library_response"], strict=True):
        if name in shared:
            assert np.allclose(shared[name], response, atol=1e-5)


def test_an_older_atlas_is_replaced_and_nothing_else_is_left(small: Atlas, tmp_path: Path) -> None:
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "wells.h5ad").write_text("old")
    write_atlas(small, tmp_path / "atlas")
    written = [path for path in (tmp_path / "atlas").rglob("*") if path.is_file()]
    names = sorted(path.relative_to(tmp_path / "atlas").as_posix() for path in written)
    assert names == sorted(FILE_NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["atlas"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        write_atlas(small, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_atlas_that_cannot_be_written_leaves_the_older_one_as_it_was(
    small: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = digests(write_atlas(small, tmp_path / "atlas"))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pertcast_data.simulate.files.write_network", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atlas(simulate_atlas(SMALL.model_copy(update={"seed": 1})), tmp_path / "atlas")
    assert {
        name: hashlib.sha256((tmp_path / "atlas" / name).read_bytes()).hexdigest() for name in older
    } == older
    assert [path.name for path in tmp_path.iterdir()] == ["atlas"]


def test_every_source_file_counts_in_the_generator_hash(tmp_path: Path) -> None:
    (tmp_path / "regimes").mkdir()
    (tmp_path / "regimes" / "one.py").write_text("x = 1")
    before = hash_of_sources(tmp_path)
    (tmp_path / "regimes" / "one.py").write_text("x = 2")
    after = hash_of_sources(tmp_path)
    (tmp_path / "regimes" / "one.py").rename(tmp_path / "regimes" / "two.py")
    assert len({before, after, hash_of_sources(tmp_path)}) == 3


def test_an_unknown_regime_and_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="saturating"):
        AtlasConfig(regime="saturated")
    with pytest.raises(ConfigError, match="null"):
        get_regime("nul")
    for wrong in (
        {"n_pairs": 1000},
        {"n_knockouts": 151},
        {"n_cell_contexts": 4},
        {"n_signature_contexts": 4},
        {"dmso_per_plate": 384},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            AtlasConfig.model_validate(wrong)
    kinds = ("knockdown_share", "knockout_share", "overexpression_share")
    with pytest.raises(ConfigError, match="knockout_share"):
        AtlasConfig.model_validate(dict.fromkeys(kinds, 0.0))
    with pytest.raises(ConfigError, match="distinct"):
        AtlasConfig(doses=(1.0, 1.0))
    with pytest.raises(TypeError):
        REGIMES["mine"] = get_regime("linear")  # type: ignore[index]


def test_sizes_noise_levels_and_settings_are_understood_or_refused_with_the_known_ones() -> None:
    config = atlas_config("genome", ["n_pairs=3", "doses=[1, 10]"], {"noise": "hard", "regime": "null"})
    assert (config.n_genes, config.n_pairs, config.doses, config.regime) == (26945, 3, (1.0, 10.0), "null")
    assert (
        config.noise == NOISE_LEVELS["hard"] and AtlasConfig.model_validate({"noise": "0.25"}).noise == 0.25
    )
    assert atlas_config() == AtlasConfig()
    for size in SIZES:
        atlas_config(size)
    refused = {"n_pair=3": "n_pairs", "noise=loud": "quiet", "n_pairs": "key=value", "n_pairs=x": "n_pairs"}
    for setting, hint in refused.items():
        with pytest.raises(ConfigError, match=hint):
            atlas_config("small", [setting])
    with pytest.raises(ConfigError, match="small, usual, genome"):
        atlas_config("smal")


def test_more_compounds_than_the_fragments_give_are_refused() -> None:
    with pytest.raises(ConfigError, match="ask for fewer compounds"):
        build_library(8, 4000, np.random.default_rng(0))
