"""Regimes: each answers by its own rule, and by nothing else; sizes and layouts are what they declare."""

from __future__ import annotations

import numpy as np
import pytest
from pertcast_data.simulate import REGIMES, AtlasConfig
from pertcast_data.simulate import cells as cell_screen
from pertcast_data.simulate import wells as well_screen
from pertcast_data.simulate.genetics import KNOCKDOWN, KNOCKOUT, OVEREXPRESSION, GeneticConditions
from pertcast_data.simulate.genome import build_network
from pertcast_data.simulate.interplay import INTERPLAY_KINDS
from pertcast_data.simulate.regimes import (
    CompoundConditions,
    compound_response,
    genetic_response,
    get_regime,
)
from pertcast_data.simulate.regimes.epistatic import process_activity
from pertcast_data.simulate.streams import stream
from pertcast_data.simulate.world import World, build_world
from scipy import sparse
from scipy.sparse.csgraph import connected_components

DOSES, TIMES = (0.1, 1.0, 10.0), (6.0, 24.0)


def world_of(seed: int) -> World:
    return build_world(
        seed, n_genes=300, n_contexts=3, n_compounds=60, n_unprofiled=60, doses=DOSES, times=TIMES
    )


@pytest.fixture(scope="module", params=[0, 1, 2])
def world(request: pytest.FixtureRequest) -> World:
    return world_of(request.param)


def genetic(genes: np.ndarray, kind: int = KNOCKOUT, context: int = 0) -> GeneticConditions:
    """Return conditions of (N,) single genes or (N, 2) pairs."""
    genes = np.asarray(genes, dtype=np.int64)
    if genes.ndim == 1:
        genes = np.column_stack([genes, np.full(len(genes), -1)])
    return GeneticConditions(np.full(len(genes), context), genes, np.full(len(genes), kind))


def all_compounds(world: World) -> CompoundConditions:
    compound = np.arange(len(world.library))
    of = np.repeat(compound, len(DOSES))
    dose = np.tile(DOSES, len(compound))
    return CompoundConditions(np.zeros(len(of), dtype=np.int64), of, dose, np.full(len(of), 24.0))


def some_pairs(world: World, count: int = 150) -> np.ndarray:
    """Return (N, 2) pairs among regulators and members of modules."""
    in_modules = np.flatnonzero(np.diff(world.network.membership.tocsc().indptr) > 0)
    genes = np.unique(np.concatenate([world.network.regulators, in_modules[::10]]))
    first, second = np.triu_indices(len(genes), k=1)
    chosen = np.random.default_rng(0).choice(len(first), size=count, replace=False)
    return np.stack([genes[first[chosen]], genes[second[chosen]]], axis=1)


def additive_excess(world: World, name: str, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return joint responses and what they have beyond the sum of their singles; perturbed genes are 0."""
    regime = get_regime(name)
    joint = genetic_response(regime, world, genetic(pairs))
    singles = [genetic_response(regime, world, genetic(pairs[:, place])) for place in (0, 1)]
    excess = joint - singles[0] - singles[1]
    for values in (joint, excess):
        values[np.arange(len(pairs))[:, None], pairs] = 0.0
    return joint, excess


def size(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def test_there_are_six_regimes_and_nobody_can_change_them() -> None:
    assert list(REGIMES) == ["null", "linear", "saturating", "epistatic", "network", "adversarial"]
    with pytest.raises(TypeError):
        REGIMES["null"] = REGIMES["linear"]  # type: ignore[index]


def test_in_null_nothing_does_anything_own_genes_included(world: World) -> None:
    regime = get_regime("null")
    for kind in (KNOCKOUT, KNOCKDOWN, OVEREXPRESSION):
        assert not genetic_response(regime, world, genetic(some_pairs(world), kind)).any()
    assert not compound_response(regime, world, all_compounds(world)).any()


@pytest.mark.parametrize("name", [name for name in REGIMES if name != "null"])
def test_genes_fall_fully_or_in_part_or_rise_by_kind(world: World, name: str) -> None:
    genes = np.flatnonzero(np.diff(world.network.membership.tocsc().indptr) == 0)
    regime = get_regime(name)
    own = {
        kind: genetic_response(regime, world, genetic(genes, kind))[np.arange(len(genes)), genes]
        for kind in (KNOCKOUT, KNOCKDOWN, OVEREXPRESSION)
    }
    assert np.all(own[KNOCKOUT] < own[KNOCKDOWN] - 0.5)
    assert np.all(own[KNOCKDOWN] < -0.5) and np.all(own[OVEREXPRESSION] > 0.5)


@pytest.mark.parametrize("name", ["linear", "saturating", "epistatic", "network"])
def test_a_knock_down_is_a_weaker_knock_out_and_over_expression_a_weaker_opposite(
    world: World, name: str
) -> None:
    regime = get_regime(name)
    genes = world.network.regulators
    length = [
        np.linalg.norm(regime.genetic_drive(world, genetic(genes, kind)), axis=1).mean() for kind in range(3)
    ]
    assert length[KNOCKDOWN] < 0.8 * length[KNOCKOUT] and length[OVEREXPRESSION] < 0.8 * length[KNOCKOUT]
    change = [genetic_response(regime, world, genetic(genes, kind)) for kind in range(3)]
    for values in change:
        values[np.arange(len(genes)), genes] = 0.0
    out, down, over = (values.ravel() for values in change)
    assert np.corrcoef(out, down)[0, 1] > 0.6 and np.corrcoef(out, over)[0, 1] < -0.4


def test_kinds_are_coupled_more_closely_where_the_response_follows_the_network(world: World) -> None:
    genes = np.setdiff1d(np.flatnonzero(world.network.interactome.pathway >= 0), world.network.regulators)

    def coupling(name: str) -> float:
        out, down = (
            get_regime(name).genetic_drive(world, genetic(genes, kind)).ravel()
            for kind in (KNOCKOUT, KNOCKDOWN)
        )
        return float(np.corrcoef(out, down)[0, 1])

    assert coupling("network") > coupling("linear") > 0.5


def test_linear_pairs_add_up_exactly(world: World) -> None:
    joint, excess = additive_excess(world, "linear", some_pairs(world))
    assert size(joint) > 0.2 and np.abs(excess).max() < 1e-9


def test_epistatic_pairs_are_half_beyond_additive_and_of_all_three_kinds(world: World) -> None:
    pairs = some_pairs(world, 300)
    joint, excess = additive_excess(world, "epistatic", pairs)
    assert 1 - (excess**2).sum() / ((joint - joint.mean(axis=0)) ** 2).sum() < 0.65
    drive = [get_regime("epistatic").genetic_drive(world, genetic(pairs[:, place])) for place in (0, 1)]
    one, other = (process_activity(world, alone) for alone in drive)
    both = one[:, :, None] * other[:, None, :]
    ratio = {}
    for number, kind in enumerate(INTERPLAY_KINDS):
        rows = (both * (world.interplay.kind == number)).sum(axis=(1, 2)) > 0.8
        assert rows.sum() >= 10, kind
        added = joint[rows] - excess[rows]
        ratio[kind] = size(joint[rows]) / size(added)
        share_of_excess = size(excess[rows]) / size(joint[rows])
        assert share_of_excess > 0.4, kind
        if kind == "neomorphic":
            along = (excess[rows] * added).sum(axis=1) / (added**2).sum(axis=1)
            left = excess[rows] - along[:, None] * added
            assert size(left) > 0.7 * size(excess[rows])
    assert ratio["synergy"] > 1.5 and ratio["suppression"] < 0.7


def test_interactions_are_of_one_kind_between_two_processes_and_dealt_evenly(world: World) -> None:
    kind = world.interplay.kind
    assert np.array_equal(kind, kind.T)
    assert np.bincount(kind[np.triu_indices(len(kind))], minlength=3).min() == 3


def rewired(edges: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Exchange the ends of edges, so that every gene keeps its number of partners."""
    return np.stack([edges[:, 0], random.permutation(edges[:, 1])], axis=1)


def roughness(values: np.ndarray, edges: np.ndarray) -> float:
    """Mean squared difference of standardised rows over edges."""
    rows = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return float(((rows[edges[:, 0]] - rows[edges[:, 1]]) ** 2).sum(axis=1).mean())


def test_network_responses_are_smooth_over_the_interactome_and_those_of_linear_are_not(world: World) -> None:
    upper = sparse.coo_matrix(sparse.triu(world.network.interactome.interactions, k=1))
    edges = np.stack([upper.row, upper.col], axis=1)
    mixed = rewired(edges, np.random.default_rng(0))
    genes = np.arange(300)
    ratio = {}
    for name in ("network", "linear"):
        change = genetic_response(get_regime(name), world, genetic(genes))
        change[genes, genes] = 0.0
        ratio[name] = roughness(change, edges) / roughness(change, mixed)
    assert ratio["network"] < 0.5
    assert ratio["linear"] > 0.85


def test_an_orphan_of_the_interactome_does_little_in_network(world: World) -> None:
    pathway = world.network.interactome.pathway
    drive = get_regime("network").genetic_drive(world, genetic(np.arange(300)))
    length = np.linalg.norm(drive, axis=1)
    assert length[pathway < 0].max() < 0.5 * np.median(length[pathway >= 0])


def test_in_adversarial_one_shared_shift_explains_most_of_every_response(world: World) -> None:
    regime = get_regime("adversarial")
    profiled = np.arange(len(world.library)) < world.library.n_profiled
    conditions = all_compounds(world)
    change = compound_response(regime, world, conditions)[profiled[conditions.compound]]
    knocked = genetic_response(regime, world, genetic(some_pairs(world)[:, 0]))
    for values in (change, knocked):
        assert (values.mean(axis=0) ** 2).sum() > 0.5 * (values**2).sum(axis=1).mean()
    assert np.corrcoef(change.mean(axis=0), knocked.mean(axis=0))[0, 1] > 0.8


def test_in_adversarial_unseen_compounds_act_on_targets_that_no_profiled_compound_has(world: World) -> None:
    drive = get_regime("adversarial").compound_drive(world, all_compounds(world))
    stress = world.adversity.stress_axis
    along = np.outer(drive @ stress / (stress @ stress), stress)
    profiled = all_compounds(world).compound < world.library.n_profiled
    reserved, unstressed = world.adversity.is_reserved, stress == 0
    own = np.abs(drive - along)
    assert own[np.ix_(profiled, reserved & unstressed)].max(initial=0.0) == 0.0
    assert own[np.ix_(~profiled, ~reserved & unstressed)].max(initial=0.0) == 0.0
    assert own[np.ix_(~profiled, reserved)].max() > 0.5


@pytest.fixture(scope="module")
def adversarial() -> AtlasConfig:
    return AtlasConfig(regime="adversarial", n_genes=80, n_knockouts=10, n_pairs=4, n_cells=1200)


def test_adversarial_plates_hold_their_own_compounds_and_balanced_plates_all(
    adversarial: AtlasConfig,
) -> None:
    conditions = well_screen.plan_conditions(adversarial)
    maps_of_a_compound = {}
    for regime in ("linear", "adversarial"):
        config = adversarial.model_copy(update={"regime": regime})
        plan = well_screen.plan_wells(config, conditions, ("A", "B", "C"))
        treated = plan.condition >= 0
        key = np.stack(
            [conditions.compound[plan.condition[treated]], plan.plate_map[plan.plate[treated]]], axis=1
        )
        maps_of_a_compound[regime] = len(np.unique(key, axis=0)) / adversarial.n_compounds
        n_maps = plan.plate_map.max() + 1
        assert n_maps == (6 if regime == "linear" else 24)
    assert maps_of_a_compound["linear"] == 6
    assert maps_of_a_compound["adversarial"] < 6.5


def test_adversarial_treated_wells_carry_a_shift_of_their_plate_that_vehicles_lack(
    adversarial: AtlasConfig,
) -> None:
    world = world_of(0)
    config = adversarial.model_copy(update={"n_genes": 300, "n_plates": 4})
    conditions = well_screen.plan_conditions(config)
    plan = well_screen.plan_wells(config, conditions, world.contexts.names)
    nothing = np.zeros((len(conditions), 300), dtype=np.float32)
    intensities = well_screen.measure_wells(config, world, plan, nothing, lambda *_: None)
    measured = well_screen.measured_responses(plan, intensities, len(conditions))
    map_of = np.zeros(len(conditions), dtype=np.int64)
    treated = plan.condition >= 0
    map_of[plan.condition[treated]] = plan.plate_map[plan.plate[treated]]
    means = np.stack([measured[map_of == number].mean(axis=0) for number in range(map_of.max() + 1)])
    assert size(means) == pytest.approx(0.2, abs=0.05)
    noiseless = config.model_copy(update={"noise": 0.0})
    exact = well_screen.measure_wells(noiseless, world, plan, nothing, lambda *_: None)
    assert np.abs(well_screen.measured_responses(plan, exact, len(conditions))).max() < 1e-3


def test_adversarial_conditions_keep_to_a_home_batch_and_balanced_ones_do_not(
    adversarial: AtlasConfig,
) -> None:
    conditions = cell_screen.plan_knockouts(adversarial, world_of(0))
    largest = {}
    for regime in ("linear", "adversarial"):
        plan = cell_screen.plan_cells(adversarial.model_copy(update={"regime": regime}), conditions)
        treated = plan.condition >= 0
        counts = np.zeros((len(conditions), adversarial.n_batches))
        np.add.at(counts, (plan.condition[treated], plan.batch[treated]), 1)
        largest[regime] = (counts.max(axis=1) / counts.sum(axis=1)).min()
        controls = np.bincount(plan.batch[~treated], minlength=adversarial.n_batches)
        assert controls.max() - controls.min() <= 1
    assert largest["linear"] < 0.3 and largest["adversarial"] > 0.75


AS_THEY_WERE = {
    "linear": (0.483191259, 0.424128269, -20.447446079, -8.7178954),
    "saturating": (0.374083756, 0.570479627, -13.177226024, 13.786595946),
}
"""Generator 1.0 at seed 0: sizes of compound and knock-out responses, sums of one response each."""


@pytest.mark.parametrize("name", AS_THEY_WERE)
def test_linear_and_saturating_answer_as_in_generator_1(name: str) -> None:
    world, regime = world_of(0), get_regime(name)
    compounds = compound_response(regime, world, all_compounds(world))
    knocked = genetic_response(regime, world, genetic(world.network.regulators))
    figures = (size(compounds), size(knocked), compounds[-1].sum(), knocked[3].sum())
    assert figures == pytest.approx(AS_THEY_WERE[name], rel=1e-6)


@pytest.mark.parametrize("n_genes", [50, 300, 2000, 26_945])
def test_modules_and_pathways_are_sized_from_a_tiny_to_a_whole_genome(n_genes: int) -> None:
    network = build_network(n_genes, stream(0, "network"))
    sizes = np.diff(network.membership.indptr)
    assert sizes.min() >= 10 and sizes.max() <= 310
    assert sizes.sum() > 1.4 * n_genes
    spread = np.log(sizes).std()
    assert spread > 0.1 if n_genes < 300 else 0.4 < spread < 0.9
    interactome = network.interactome
    assert np.bincount(interactome.pathway[network.regulators]).min() >= 1
    assert (interactome.pathway[network.regulators] >= 0).all()
    interactions = interactome.interactions
    assert abs(interactions - interactions.T).max() == 0 and not interactions.diagonal().any()
    n_parts, _ = connected_components(interactions, directed=False)
    assert n_parts <= 1 + (interactome.pathway < 0).sum() + len(interactome.hubs)
    assert interactome.degree[interactome.hubs].mean() > 1.5 * interactome.degree.mean()


def test_a_whole_genome_answers_in_every_regime() -> None:
    world = build_world(
        0, n_genes=26_945, n_contexts=1, n_compounds=8, n_unprofiled=2, doses=(1.0,), times=(24.0,)
    )
    genes = world.network.regulators[:3]
    for regime in REGIMES.values():
        change = genetic_response(regime, world, genetic(np.stack([genes, genes + 1], axis=1)))
        assert change.shape == (3, 26_945) and np.isfinite(change).all()
