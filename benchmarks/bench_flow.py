"""The flow beside its limits: trajectories against bare matrix products, training against a bare step.

One core, float32, the shipped module_flow over cells of an invented screen (no file is read). "products" are
the velocity network's own matrix products into buffers that are there already; "bare step" is forward,
backward and AdamW of the velocity network alone on as many rows. Works are taken in turn, medians compared.

    python benchmarks/bench_flow.py [--genes 2000] [--seconds 4]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import psutil
import torch
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import GradientStage
from pertcast.models.module_flow.config import IntegratorConfig, ModuleFlowConfig
from pertcast.models.module_flow.flow_loss import FlowLoss
from pertcast.models.module_flow.integrators import integrate
from pertcast.models.module_flow.model import ModuleFlow
from pertcast.models.module_flow.pairing import pair_by_transport
from pertcast.models.module_flow.velocity import VelocityNetwork
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors
from torch import Tensor, nn
from torch.nn import functional

PERTURBED, CELLS, STEPS = 100, 64, 10
FEATURES = 64
BATCH = 512


def conditions_of(sets: list[tuple[int, ...]], features: Tensor) -> ConditionBatch:
    """Return conditions of one context."""
    width = max(map(len, sets))
    slot = torch.tensor([[*each, *([-1] * (width - len(each)))] for each in sets])
    nothing = torch.full((len(sets),), torch.nan)
    return ConditionBatch(
        context=torch.zeros(len(sets), dtype=torch.int64), group=torch.full((len(sets),), -1),
        perturbation=slot, slot=slot, pert_type=torch.where(slot < 0, -1, 0), own_gene=slot,
        log_dose=torch.full(slot.shape, torch.nan), log_time=nothing, key=torch.arange(len(sets)) * 7919 + 1,
        features=features,
    )  # fmt: skip


class Screen:
    """Single perturbations and fifty pairs of an invented screen; a model whose closed parts are solved."""

    def __init__(self, genes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(PERTURBED, FEATURES, generator=generator)
        pairs = list(combinations(range(PERTURBED), 2))
        sets = [*((number,) for number in range(PERTURBED)), *pairs[:: len(pairs) // 50]]
        self.conditions = conditions_of(sets, features)
        self.pairs = conditions_of(pairs, features)
        space = ModelSpace(
            genes=tuple(f"G{row}" for row in range(genes)), measure="expression", contexts=("A",),
            perturbations=tuple(f"G{row}" for row in range(PERTURBED)), pert_types=("trt_xpr",),
            feature_width=FEATURES, own_genes=True, n_conditions=len(sets), max_slots=2,
        )  # fmt: skip
        index = torch.arange(len(sets)).repeat_interleave(CELLS)
        effect = torch.randn(len(sets), 8, generator=generator) @ torch.randn(8, genes, generator=generator)
        target = 0.1 * effect[index] + torch.randn(len(index), genes, generator=generator)
        self.batch = Batch(
            self.conditions.take(index), target, torch.ones_like(target), index, torch.arange(len(index))
        )
        torch.manual_seed(0)
        self.model = ModuleFlow(ModuleFlowConfig(), space, self.conditions)
        controls = torch.randn(512, genes, generator=generator)
        priors = replace(
            TrainingPriors.empty(genes),
            controls=controls,
            control_context=torch.zeros(512, dtype=torch.int64),
        )
        self.model.take_up(priors)
        self.flow = self._solve()

    def _solve(self) -> FlowLoss:
        for stage in self.model.stages():
            if isinstance(stage, GradientStage):
                assert isinstance(stage.module, FlowLoss)
                return stage.module
            sums = stage.start()
            stage.update(sums, self.batch)
            stage.finish(sums)
        raise AssertionError("module_flow has no gradient stage")

    def groups(self, step: int) -> Batch:
        """Return a batch of whole groups."""
        size = self.model.config.flow.cells_per_condition
        chosen = (torch.arange(BATCH // size) + step) % len(self.conditions)
        rows = (chosen.unsqueeze(1) * CELLS + torch.arange(size)).flatten()
        return self.batch.take(rows)


def seconds_of(works: dict[str, Callable[[], object]], budget: float) -> dict[str, float]:
    """Return the median seconds of each work, all taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in times.items()}


def products_of(network: VelocityNetwork, rows: int, evaluations: int) -> Callable[[], None]:
    """Return the matrix products of the network's state branch, as often as a trajectory needs them."""
    layers = [network.enter, *(part for block in network.blocks for part in (block.inner, block.outer))]
    layers.append(network.leave)
    inputs = [torch.randn(rows, layer.in_features) for layer in layers]
    outputs = [torch.empty(rows, layer.out_features) for layer in layers]

    def run() -> None:
        for _ in range(evaluations):
            for layer, given, found in zip(layers, inputs, outputs, strict=True):
                torch.mm(given, layer.weight.T, out=found)

    return run


def trajectories(screen: Screen, budget: float) -> None:
    """Print trajectories a second at ten midpoint steps, and the distance to the adaptive integrator."""
    model, network = screen.model, screen.model.networks.velocity
    with torch.no_grad():
        for parameter in network.leave.parameters():
            nn.init.normal_(parameter, std=0.02)
        for rows, cells in ((16, 32), (64, 32)):
            asked = screen.pairs.take(torch.arange(rows) * 7)
            field = model._field(asked, torch.ones(rows, model.space.n_genes))
            start = model._start(asked, cells)
            works: dict[str, Callable[[], object]] = {
                "flow": lambda field=field, start=start: model._follow(field, start),  # type: ignore[misc]
                "products": products_of(network, rows * cells, 2 * STEPS),
            }
            found = seconds_of(works, budget)
            rate, share = rows * cells / found["flow"], found["products"] / found["flow"]
            print(
                f"{rows * cells:>6,} trajectories: {rate:8,.0f}/s, {share:.2f} of the bare products' rate "
                "(bar .60)"
            )
        fixed = model._follow(field, start)
        exact = integrate(field, start, IntegratorConfig(kind="adaptive", tolerance=1e-6))
        print(f"       midpoint from adaptive: {float((fixed - exact).abs().max()):.1e} (bar 1e-3)")


def bare_step(network: VelocityNetwork, rows: int) -> Callable[[], None]:
    """Return one optimiser step of the velocity network alone."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    latent, wanted = torch.randn(rows, 50), torch.randn(rows, 50)
    told, time_of = torch.randn(rows // 32, 128), torch.rand(rows)

    def run() -> None:
        optimiser.zero_grad()
        by_row = network.condition_part(told).repeat_interleave(32, dim=0)
        found = network.outputs(latent, by_row + network.level_part(time_of))
        functional.mse_loss(found, wanted).backward()
        optimiser.step()

    return run


def whole_step(screen: Screen) -> Callable[[], None]:
    """Return one step of the flow stage: controls, pairing, set encoder, losses over populations."""
    loss = screen.flow.train()
    optimiser = torch.optim.AdamW(loss.parameters(), lr=1e-4)
    batches = [screen.groups(16 * number) for number in range(9)]
    state = {"step": 0}

    def run() -> None:
        state["step"] += 1
        batch = batches[state["step"] % len(batches)]
        optimiser.zero_grad()
        loss(batch, KeyedNoise(0, state["step"]))["loss"].backward()
        optimiser.step()

    return run


def training(screen: Screen, budget: float) -> None:
    """Print the step's rate beside a bare step's, and the share of pairing and of the population losses."""
    config = screen.model.config
    size, every = config.flow.cells_per_condition, config.alignment.every
    velocity = VelocityNetwork(50, config.condition.width, config.flow)
    step = whole_step(screen)
    for _ in range(2 * every):
        step()
    start, end = (torch.randn(BATCH // size, size, 50) for _ in range(2))
    uniform = torch.rand(BATCH // size, size)
    terms = screen.flow._outside[4]

    def populations() -> None:
        batch, noise = screen.groups(0), KeyedNoise(0, 0)
        found = terms(screen.flow.networks, screen.flow.groups(batch, noise), batch, noise)
        terms.weighted(found).backward()

    found = seconds_of(
        {
            "step": step,
            "bare": bare_step(velocity, BATCH),
            "pairing": lambda: pair_by_transport(start, end, uniform, config.flow.epsilon),
            "populations": populations,
        },
        2 * budget,
    )
    amortised = found["step"] + found["populations"] / every
    print(f"{BATCH:>6,} rows a step: {1e3 * found['step']:.1f} ms, bare {1e3 * found['bare']:.1f} ms")
    print(f"       {found['bare'] / found['step']:.2f} of a bare step's rate (bar .85)")
    print(f"       {found['bare'] / amortised:.2f} with the population losses, one step in {every}")
    print(
        f"       pairing {found['pairing'] / found['step']:.0%} of a step; population losses "
        f"{1e3 * found['populations']:.0f} ms, {found['populations'] / every / amortised:.0%} of the time"
    )


def screening(screen: Screen) -> None:
    """Predict all pairs of 100 genes with 32 cells each, and print what memory did."""
    model, pairs = screen.model.eval(), screen.pairs
    process, grown = psutil.Process(), []
    began = time.perf_counter()
    for part in torch.split(torch.arange(len(pairs)), 64):
        basal = torch.ones(len(part), model.space.n_genes)
        model.predict(pairs.take(part), basal, n_samples=32)
        grown.append(process.memory_info().rss)
    seconds = time.perf_counter() - began
    first, last = max(grown[: len(grown) // 4]), max(grown[-len(grown) // 4 :])
    print(
        f"{len(pairs):>6,} pairs x 32 cells: {seconds:.1f} s, {len(pairs) / seconds:,.0f} pairs/s; resident "
        f"memory at most {first / 2**20:,.0f} MiB in the first quarter, {last / 2**20:,.0f} MiB in the last"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"       peak of the process {peak:,.0f} MiB")


def main() -> None:
    """Run the three parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    screen = Screen(asked.genes)
    trajectories(screen, asked.seconds)
    training(screen, asked.seconds)
    screening(screen)


if __name__ == "__main__":
    main()
