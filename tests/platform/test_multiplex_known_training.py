"""What the multiplex network looks up in prediction is what its covariance says, condition by condition."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from pertcast.models.batch import ConditionBatch
from pertcast.models.multiplex_network.model import MultiplexNetwork
from pertcast.models.multiplex_network.response.covariance import SlotTables, covariance, own_variance
from pertcast.models.multiplex_network.response.likeness import Likeness
from pertcast.models.multiplex_network.response.tuning import noisy

TYPES = ("trt_sh", "trt_xpr", "trt_oe")
N_PERTURBED, N_UNSEEN, N_GENES, WIDTH = 40, 8, 20, 70
"""So many features that genes are viewed by 16, 32, 64 and all of them."""


def trained(toy: SimpleNamespace, n_contexts: int, max_slots: int) -> tuple[MultiplexNetwork, ConditionBatch]:
    """A solved model of several types, contexts and pairs, and conditions of all sorts to ask it about."""
    world = toy.world(
        n_perturbations=N_PERTURBED, n_unseen=N_UNSEEN, n_genes=N_GENES, n_contexts=n_contexts, n_groups=0,
        feature_width=WIDTH, max_slots=max_slots,
    )  # fmt: skip
    space = world.space.model_copy(update={"pert_types": TYPES, "measure": "response"})
    world = replace(world, space=space)
    generator = torch.Generator().manual_seed(2)

    def drawn(sets: list[list[int]], contexts: list[int]) -> ConditionBatch:
        found = world.conditions(sets, contexts)
        kind = torch.randint(0, len(TYPES), found.slot.shape, generator=generator)
        return replace(found, pert_type=torch.where(found.slot >= 0, kind, -1))

    pairs = [[gene, gene + 1] for gene in range(10)] if max_slots > 1 else []
    sets = [[gene] for gene in range(N_PERTURBED) for _ in range(3)] + pairs
    conditions = drawn(sets, [number % n_contexts for number in range(len(sets))])
    target = torch.randn(len(sets), N_GENES, generator=generator)
    target += conditions.summed_features() @ torch.randn(WIDTH, N_GENES, generator=generator)
    batch = toy.batch(conditions, torch.arange(len(sets)), target)
    model = toy.train("multiplex_network", world, conditions, batch, attention={"epochs": 0})
    asked = [[0], [N_PERTURBED], [], [5], [5], [N_PERTURBED + 3], *pairs[:3]]
    odd = drawn(asked, [0, 0, 0, -1, n_contexts - 1, -1, *([0] * len(pairs[:3]))])
    odd.pert_type[4] = -1
    features = odd.features.clone()
    features[odd.slot[5, 0], :20] = 0.0
    return model, odd.with_features(features)


@pytest.mark.parametrize(("n_contexts", "max_slots"), [(1, 1), (3, 1), (3, 2)])
def test_looked_up_scores_and_variances_are_those_of_the_covariance(
    toy: SimpleNamespace, n_contexts: int, max_slots: int
) -> None:
    """For seen and unseen genes, types and contexts, controls, combinations and genes without some views."""
    model, asked = trained(toy, n_contexts, max_slots)
    process = model.process
    for conditions in (asked, model._conditions):
        scores, variance = process.predict(conditions)
        expected = process.scores(conditions)
        assert float(expected.abs().max()) > 0.1
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        torch.testing.assert_close(variance, process.total_variance(conditions), rtol=1e-4, atol=1e-4)
    assert not process.predict(asked)[0][2].any()


def test_likeness_is_that_of_the_tables_and_nothing_is_like_a_gene_without_features(
    toy: SimpleNamespace,
) -> None:
    process = trained(toy, 1, 1)[0].process
    known, shape = process._training_slots(), process.shape
    table = known.table.clone()
    table[3], table[4, :20] = 0.0, 0.0
    with_gaps = replace(known, table=table)
    asked = replace(known, table=table[:10])
    found, own = Likeness(table, known.blocks, shape)(asked.table)
    torch.testing.assert_close(found.T, SlotTables.of(asked, with_gaps).alike(shape), rtol=1e-5, atol=1e-6)
    assert float(found[3].max()) == float(own[3]) == 0.0 and float(found[:, 3].max()) < 1e-12
    ones = torch.ones_like(shape.coupling)
    alone = replace(shape, coupling=ones, memory=torch.zeros_like(ones))
    first = with_gaps.take(torch.nonzero(known.row[:, 0] < 10).flatten())
    expected = own_variance(first, alone)
    torch.testing.assert_close(own[first.row[:, 0]], expected, rtol=1e-5, atol=1e-6)


def test_what_is_looked_up_follows_new_weights(toy: SimpleNamespace) -> None:
    model, asked = trained(toy, 1, 1)
    process = model.process
    before = process.predict(asked)[0]
    state = {
        name: value * (2.0 if name.endswith("weights") else 1) for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    torch.testing.assert_close(process.predict(asked)[0], 2 * before, rtol=1e-5, atol=1e-6)


def test_the_spread_is_that_of_the_process_solved_on_its_conditions(toy: SimpleNamespace) -> None:
    """Against the inverse written out: s k** - s^2 k*^T (s K + (1 - s) N)^-1 k* + (1 - s) n."""
    model, asked = trained(toy, 1, 1)
    spread, shape = model.process.spread, model.process.shape
    wide = torch.zeros((), dtype=torch.float64)
    known = model.process._training_slots().to(wide).take(spread.rows)
    slots, shape = model.process.slots(asked).to(wide), shape.to(wide)
    noise = spread.noise.double()
    common, near = covariance(known, known, shape), covariance(slots, known, shape)
    for number, signal in enumerate(spread.signal.double()):
        kernel = noisy(common, noise[known.last_kind()], signal)
        explained = signal.square() * (near * torch.linalg.solve(kernel, near.T).T).sum(dim=1)
        expected = signal * own_variance(slots, shape) - explained + (1 - signal) * noise[slots.last_kind()]
        found = model.process.total_variance(asked)[:, number].double()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
