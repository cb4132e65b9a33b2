"""The loop's small parts: the moving average, the window of steps, reading ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
import training_toys as toys
from pertcast.models.contract import GradientStage, OptimiserConfig
from pertcast.training.ema import MovingAverage
from pertcast.training.prefetch import Prefetcher
from pertcast.training.statistics import collect_sums
from pertcast.training.validation import validate
from pertcast.training.window import StepWindow
from pertcast_data.errors import ConfigError, FormatError

CPU = torch.device("cpu")


def test_the_moving_average_is_its_formula() -> None:
    live, averaged = [torch.randn(5), torch.randn(2, 3)], [torch.zeros(5), torch.ones(2, 3)]
    expected = [tensor.double().clone() for tensor in averaged]
    average = MovingAverage(averaged, live, decay=0.5)
    for n in range(30):
        for tensor in live:
            tensor.add_(torch.randn(tensor.shape))
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = [decay * a + (1 - decay) * w.double() for a, w in zip(expected, live, strict=True)]
    for ours, theirs in zip(averaged, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)


def test_a_decay_of_zero_copies_the_weights() -> None:
    live, averaged = [torch.randn(4)], [torch.zeros(4)]
    MovingAverage(averaged, live, decay=0.0).update()
    assert torch.equal(averaged[0], live[0])


def test_a_window_gives_means_rows_and_the_waiting_share() -> None:
    window, rows = StepWindow("s", CPU), toys.toy_rows(10)
    window.begin_step()
    for loss in (1.0, 3.0):
        window.add({"loss": torch.tensor(loss), "kl": torch.tensor(2 * loss)}, [rows, rows], 2.0, 0.5)
    summary = window.close(0, 2)
    assert summary.losses == {"loss": 2.0, "kl": 4.0}
    assert summary.rows == 40
    assert summary.seconds == pytest.approx(4, rel=0.1)
    assert summary.wait_seconds == pytest.approx(1)
    assert len(summary.step_seconds) == 2


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_reading_ahead_keeps_order_and_passes_errors_on(depth: int) -> None:
    def batches() -> Iterator[object]:
        yield from toys.toy_data(8).train.batches(0)
        raise FormatError("row 7 of wells.h5ad is broken")

    seen = []
    with Prefetcher(batches(), CPU, depth) as prefetcher, pytest.raises(FormatError, match="row 7"):
        for batch in prefetcher:
            seen += batch.sample_id.tolist()
    assert seen == [i for batch in toys.toy_data(8).train.batches(0) for i in batch.sample_id.tolist()]
    assert not [t for t in threading.enumerate() if t.name.startswith("pertcast-prefetch")]


@pytest.mark.parametrize("depth", [0, 2])
def test_reading_ahead_ends_with_the_source(depth: int) -> None:
    with Prefetcher(toys.toy_data(8).train.batches(0), CPU, depth) as prefetcher:
        assert sum(len(batch) for batch in prefetcher) == 96


def test_validation_weighs_rows_not_batches() -> None:
    model = toys.toy_model(dropout=0.0)
    stage = GradientStage("linear", model.trained, OptimiserConfig(), 1)
    rows = toys.toy_rows(21)
    by_parts = validate(stage, toys.ArraySource(rows, 8, shuffle=False), ["loss"], 0, CPU)
    at_once = validate(stage, toys.ArraySource(rows, 21, shuffle=False), ["loss"], 0, CPU)
    assert by_parts["loss"] == pytest.approx(at_once["loss"], rel=1e-6)


def test_validation_names_a_missing_loss_term_and_empty_data() -> None:
    stage = GradientStage("linear", toys.toy_model().trained, OptimiserConfig(), 1)
    with pytest.raises(ConfigError, match="'linear' returns no 'kl'"):
        validate(stage, toys.ArraySource(toys.toy_rows(4), 4, shuffle=False), ["kl"], 0, CPU)
    with pytest.raises(ConfigError, match="without rows"):
        validate(stage, toys.ArraySource(toys.toy_rows(0), 4, shuffle=False), ["loss"], 0, CPU)


def test_sums_do_not_depend_on_the_batches() -> None:
    stage, rows = toys.MeanStage(toys.toy_model()), toys.toy_rows()
    sizes = [collect_sums(stage, toys.ArraySource(rows, n, shuffle=False), CPU)["sum"] for n in (1, 7, 96)]
    for sums in sizes[1:]:
        torch.testing.assert_close(sums, sizes[0], rtol=1e-14, atol=1e-14)
