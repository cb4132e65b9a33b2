"""Profiles sampled a second: beside bare matrix products, 1,000 ancestral steps, and the published network.

One core, float32, the shipped latent_diffusion over 978 genes. "products" are the network's own matrix
products into buffers that are there already, in the same run. The published network (Kim & Yoo 2026, as its
paper describes it: condition encoded anew at each of 50 steps) is rebuilt from its widths; only its speed is
compared.

    python benchmarks/bench_sampling.py [--genes 978] [--seconds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.latent_diffusion.config import LatentDiffusionConfig, SamplerConfig
from pertcast.models.latent_diffusion.generation import LatentSampler
from pertcast.models.latent_diffusion.model import LatentDiffusion
from pertcast.models.noise import KeyedNoise
from torch import Tensor, nn

FEATURES = 1024
PUBLISHED_STEPS = 50


def a_space(genes: int) -> ModelSpace:
    """Return the facts of a store of compounds."""
    return ModelSpace(
        genes=tuple(f"G{row}" for row in range(genes)), measure="expression", contexts=("A",),
        perturbations=("p",), pert_types=("trt_cp",), feature_width=FEATURES, n_conditions=1,
    )  # fmt: skip


def some_conditions(count: int) -> ConditionBatch:
    """Return conditions of one compound each."""
    generator = torch.Generator().manual_seed(0)
    slot = torch.arange(count).unsqueeze(1)
    none = torch.full_like(slot, -1)
    return ConditionBatch(
        context=torch.zeros(count, dtype=torch.int64), group=none[:, 0], perturbation=none, slot=slot,
        pert_type=torch.zeros_like(slot), own_gene=none, log_dose=torch.zeros(count, 1),
        log_time=torch.ones(count), key=torch.arange(count) * 7919 + 1,
        features=(torch.rand(count, FEATURES, generator=generator) < 0.05).float(),
    )  # fmt: skip


class Products:
    """The matrix products of one sampling, each into a buffer of its own.

    Parameters
    ----------
    model
        Whose widths are used.
    rows
        Profiles at a time.
    """

    def __init__(self, model: LatentDiffusion, rows: int) -> None:
        denoiser = model.denoiser
        self.once = [layer for layer in model.heads.modules() if isinstance(layer, nn.Linear)]
        self.once += [denoiser.condition[0], denoiser.condition_modulation]
        blocks = [layer for block in denoiser.blocks for layer in (block.inner, block.outer)]
        self.each = [denoiser.enter, *blocks, denoiser.leave]
        self.components = model.autoencoder.components
        self.steps = model.config.sampler.steps
        self.inputs = {layer: torch.randn(rows, layer.in_features) for layer in (*self.once, *self.each)}
        self.outputs = {layer: torch.empty(rows, layer.out_features) for layer in (*self.once, *self.each)}
        self.latent = torch.randn(rows, self.components.shape[0])
        self.profiles = torch.empty(rows, self.components.shape[1])

    def _multiply(self, layers: list[nn.Linear]) -> None:
        for layer in layers:
            torch.mm(self.inputs[layer], layer.weight.T, out=self.outputs[layer])

    def __call__(self) -> None:
        """Multiply everything once."""
        self._multiply(self.once)
        for _ in range(self.steps):
            self._multiply(self.each)
        torch.mm(self.latent, self.components, out=self.profiles)


class Published(nn.Module):
    """The published denoiser's widths: condition 576, encoded at each step, joined again at every layer."""

    def __init__(self, genes: int) -> None:
        super().__init__()
        self.compound = _perceptron([768, 512, 256, 256])
        self.basal = _perceptron([genes, 512, 512, 256, 256])
        self.amounts = nn.ModuleList(nn.Linear(1, 32) for _ in range(2))
        self.join = _perceptron([576, 512, 256, 256])
        self.enter = nn.Linear(256 + 64 + 256, 512)
        self.layers = nn.ModuleList(nn.Linear(512 + 256, 512) for _ in range(3))
        self.leave = nn.Linear(512, 512)
        self.decoder = _perceptron([256, 512, 512, 512, 512, 256, 512, genes])

    def forward(self, latent: Tensor, told: tuple[Tensor, ...]) -> Tensor:
        """Return the next latents."""
        compound, basal, dose, hours, level = told
        amounts = [layer(value) for layer, value in zip(self.amounts, (dose, hours), strict=True)]
        condition = self.join(torch.cat([self.compound(compound), self.basal(basal), *amounts], dim=1))
        hidden = torch.relu(self.enter(torch.cat([latent, level, condition], dim=1)))
        for layer in self.layers:
            hidden = torch.relu(layer(torch.cat([hidden, condition], dim=1)))
        found: Tensor = self.leave(hidden)[:, :256]
        return found


def _perceptron(widths: list[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.LeakyReLU(0.01)]
    return nn.Sequential(*parts[:-1])


def published_sampling(genes: int, rows: int) -> Callable[[], None]:
    """Return 50 steps of the published network."""
    network = Published(genes).eval()
    told = (torch.randn(rows, 768), torch.randn(rows, genes), torch.randn(rows, 1), torch.randn(rows, 1),
            torch.randn(rows, 64))  # fmt: skip

    def run() -> None:
        latent = torch.randn(rows, 256)
        for _ in range(PUBLISHED_STEPS):
            latent = network(latent, told)
        network.decoder(latent)

    return run


def seconds_of(works: dict[str, Callable[[], object]], budget: float) -> dict[str, float]:
    """Return the median seconds of each work, all taken in turn so that a noisy machine is fair to them."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in _rounds(budget):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken[1:] or taken) for name, taken in times.items()}


def _rounds(budget: float) -> Iterator[int]:
    end, done = time.perf_counter() + budget, 0
    while done < 4 or time.perf_counter() < end:
        yield done
        done += 1


@torch.inference_mode()
def measure(model: LatentDiffusion, rows: int, budget: float) -> None:
    """Print one line for a batch of `rows` conditions, one sample each."""
    genes = model.space.n_genes
    conditions, basal = some_conditions(rows), torch.randn(rows, genes)
    long = SamplerConfig(kind="ancestral", steps=1000)
    slow = LatentSampler(model.denoiser, long, model.config.denoiser.schedule)
    few = min(rows, 64)

    def thousand() -> None:
        found = model.heads(conditions.take(torch.arange(few)), basal[:few])
        model.autoencoder.decode(slow.draw(found, conditions.key[:few], 1, KeyedNoise(0)).flatten(0, 1))

    def decoded() -> None:
        found = model.heads(conditions, basal)
        model.autoencoder.decode(model.sampler.draw(found, conditions.key, 1, KeyedNoise(0)).flatten(0, 1))

    works: dict[str, Callable[[], object]] = {
        "sampler": decoded,
        "with gene noise": lambda: model.predict(conditions, basal, n_samples=1),
        "products": Products(model, rows),
        "published": published_sampling(genes, rows),
    }
    taken = seconds_of(works, budget)
    taken["thousand"] = seconds_of({"thousand": thousand}, 0.0)["thousand"] * rows / few
    rate = {name: rows / value for name, value in taken.items()}
    own = rate["sampler"]
    against = f"({own / rate['published']:.1f}x)"
    parts = (
        f"batch {rows:>5}: {own:8,.0f} profiles/s ({rate['with gene noise']:,.0f} with the noise of genes)",
        f"bare products {rate['products']:,.0f}/s, share {own / rate['products']:.2f}",
        f"1,000 ancestral steps {rate['thousand']:,.1f}/s ({own / rate['thousand']:.0f}x)",
        f"published network, {PUBLISHED_STEPS} steps {rate['published']:,.0f}/s {against}",
    )
    print("; ".join(parts), flush=True)


def main() -> None:
    """Measure batches of 256 and 2,048."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each batch size")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LatentDiffusion(LatentDiffusionConfig(), a_space(asked.genes), some_conditions(1)).eval()
    settings = model.config
    print(
        f"{settings.sampler.kind}, {settings.sampler.steps} steps, {settings.autoencoder.latent_dim} latents"
    )
    for rows in (256, 2048):
        measure(model, rows, asked.seconds)


if __name__ == "__main__":
    main()
