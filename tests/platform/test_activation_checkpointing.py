"""Activation checkpointing: every network's blocks, recomputed, give the same numbers and hold less."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any

import engine_toys as toys
import pytest
import torch
from pertcast.models.layers.blocks import ResidualBlock
from pertcast.models.layers.modulated import ModulatedBlock
from pertcast.models.layers.recomputable import Recomputable, recompute_blocks
from pertcast.models.module_flow.attention import InducedAttention
from pertcast.models.multiplex_network.reference.config import FunDnnConfig, GenSanConfig
from pertcast.models.multiplex_network.reference.fundnn import FunDnn
from pertcast.models.multiplex_network.reference.gensan import GenSanBlock
from pertcast.models.noise import KeyedNoise
from pertcast.torch_threads import torch_threads
from torch import Tensor, nn

training_toys = toys.toys

ROWS, WIDTH = 24, 16
NOISE, KEYS = KeyedNoise(3, 7), torch.arange(ROWS)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def hidden(*shape: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


BLOCKS: dict[str, tuple[Callable[[], Recomputable], Callable[[], tuple[Any, ...]]]] = {
    "residual": (lambda: ResidualBlock(WIDTH, 0.3, 5), lambda: (hidden(WIDTH), NOISE, KEYS)),
    "modulated": (lambda: ModulatedBlock(WIDTH, 2), lambda: (hidden(WIDTH), hidden(3 * WIDTH))),
    "attention": (
        lambda: InducedAttention(WIDTH, 4, 3, 32, 0.2, 9),
        lambda: (hidden(6, WIDTH), torch.arange(6) < 5, NOISE, KEYS),
    ),
    "fundnn": (
        lambda: FunDnn(WIDTH, 11, FunDnnConfig(width=12, depth=3, dropout=0.3), 2),
        lambda: (hidden(WIDTH), NOISE, KEYS),
    ),
    "gensan": (lambda: GenSanBlock(WIDTH, GenSanConfig(feed_forward=20)), lambda: (hidden(3, WIDTH),)),
}


def outcome(block: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[Tensor], int]:
    """Return output and gradients, and the bytes kept for the backward pass beside parameters and inputs."""
    known = {value.untyped_storage().data_ptr() for value in block.parameters()}
    known |= {value.untyped_storage().data_ptr() for value in inputs if isinstance(value, Tensor)}
    kept: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        out = block(*inputs)
    out.square().sum().backward()
    asked = [value for value in inputs if isinstance(value, Tensor) and value.requires_grad]
    gradients = [value.grad for value in (*block.parameters(), *asked) if value.grad is not None]
    return [out.detach(), *gradients], sum(kept.values())


@pytest.mark.parametrize("name", BLOCKS)
def test_a_recomputed_block_gives_the_same_bits_and_keeps_nothing_inside(name: str) -> None:
    build, inputs = BLOCKS[name]
    torch.manual_seed(0)
    block = build().train()
    again = copy.deepcopy(block)
    assert recompute_blocks(again) == 1
    expected, kept = outcome(block, inputs())
    found, kept_again = outcome(again, inputs())
    assert len(found) == len(expected) > 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert kept > 0
    assert kept_again < 0.2 * kept


def test_without_gradients_nothing_is_recomputed() -> None:
    block = ResidualBlock(WIDTH, 0.0, 0)
    recompute_blocks(block)
    with torch.no_grad():
        assert not block(hidden(WIDTH), None, None).requires_grad


class Droplet(Recomputable):
    """A block with torch's own dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(7, 7), nn.Dropout(0.5), nn.SiLU())
        self.scale = nn.Parameter(torch.ones(7))

    def forward(self, values: Tensor) -> Tensor:
        """Return (N, 7)."""
        return values + self.scale * self.net(values)


def blocky_steps(name: str, **settings: Any) -> tuple[list[dict[str, float]], list[Tensor]]:
    """Return what `first_steps` returns, for a toy whose network has blocks."""
    model = training_toys.toy_model(dropout=0.0, hidden=7)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        layers = [*model.trained.net]
        model.trained.net = nn.Sequential(*layers[:2], Droplet(), Droplet(), ResidualBlockAlone(), layers[3])
        config = training_toys.toy_train_config(engine=toys.ENGINES[name], **settings)
        engine = toys.build_engine(model.stages()[1], config, 12, toys.CPU)
        torch.manual_seed(6)
        found = toys.take_steps(engine, 0, 4, settings.get("accumulate", 1))
    engine.export()
    engine.close()
    return found, [parameter.detach() for parameter in model.parameters()]


class ResidualBlockAlone(nn.Module):
    """A residual block that is given values only."""

    def __init__(self) -> None:
        super().__init__()
        self.block = ResidualBlock(7, 0.0, 0)

    def forward(self, values: Tensor) -> Tensor:
        """Return (N, 7)."""
        return self.block(values, None, None)


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16", "accumulate": 2}])
@pytest.mark.parametrize("name", toys.ENGINES)
def test_every_engine_trains_recomputed_blocks_to_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    expected, their_weights = blocky_steps(name, **settings)
    found, weights = blocky_steps(name, activation_checkpointing=True, **settings)
    assert found == expected
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(weights, their_weights, strict=True))


def test_the_module_that_is_validated_and_saved_recomputes_nothing() -> None:
    model, engine = toys.start_engine("torch", activation_checkpointing=True)
    del engine
    assert not any(getattr(part, "is_recomputed", False) for part in model.modules())


def test_a_stage_without_blocks_is_told_that_it_saves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        toys.start_engine("torch", activation_checkpointing=True)
    assert "no blocks to recompute" in caplog.text
