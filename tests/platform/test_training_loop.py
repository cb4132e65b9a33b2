"""The loop over stages: equal to a loop by hand, resumable at any step, honest about bad losses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_toys as toys
from pertcast.models.noise import KeyedNoise
from pertcast.torch_threads import torch_threads
from pertcast.training.config import EngineConfig, TrainConfig
from pertcast.training.engines.base import warmup_cosine
from pertcast.training.files import load_tensors
from pertcast.training.fit import fit
from pertcast.training.gradient import seed_step
from pertcast.training.window import NonFiniteLoss
from pertcast_data.errors import ConfigError
from pydantic import ValidationError


def same_state(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


class Halt(RuntimeError):
    pass


def halt_at(step: int) -> Any:
    def watch(report: Any) -> None:
        if report.global_step >= step:
            raise Halt

    return watch


def test_the_torch_engine_takes_the_steps_of_a_loop_written_by_hand() -> None:
    config = toys.toy_train_config(patience=None)
    data = toys.toy_data(validation=False)
    trained = toys.toy_model()
    stage = trained.stages()[1]
    fit(trained, data, config)

    by_hand = toys.toy_model()
    loss_module = by_hand.trained.train()
    average = [p.detach().clone() for p in loss_module.parameters()]
    options = stage.optimiser
    optimiser = torch.optim.AdamW(
        loss_module.parameters(), lr=options.lr, betas=options.betas, weight_decay=options.weight_decay
    )
    total = 4 * 6
    factor = warmup_cosine(options, total)
    step = 0
    for epoch in range(4):
        for batch in data.train.batches(epoch):
            for group in optimiser.param_groups:
                group["lr"] = options.lr * factor(step)
            seed_step(config.seed, step, 0, torch.device("cpu"))
            optimiser.zero_grad()
            loss_module(batch, KeyedNoise(config.seed, step))["loss"].backward()
            torch.nn.utils.clip_grad_norm_(loss_module.parameters(), 1.0)
            optimiser.step()
            decay = min(0.9, (1 + step) / (10 + step))
            for mean, live in zip(average, loss_module.parameters(), strict=True):
                mean.mul_(decay).add_(live.detach(), alpha=1 - decay)
            step += 1
    for ours, theirs in zip(trained.trained.parameters(), average, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-5, atol=1e-6)


def test_a_closed_form_stage_sees_every_row_once_in_float64() -> None:
    model = toys.toy_model()
    fit(model, toys.toy_data(), toys.toy_train_config(epochs=1))
    torch.testing.assert_close(
        model.mean, toys.toy_rows().target.double().mean(dim=0).float(), rtol=0, atol=0
    )


@pytest.mark.parametrize("step", [1, 4, 6, 7, 12, 17, 23])
def test_a_training_that_dies_at_any_step_resumes_to_bit_equal_weights(tmp_path: Path, step: int) -> None:
    config = toys.toy_train_config(log_every_steps=1)
    undisturbed = toys.toy_model()
    expected = fit(undisturbed, toys.toy_data(), config, tmp_path / "whole")
    with pytest.raises(Halt):
        fit(toys.toy_model(), toys.toy_data(), config, tmp_path / "cut", report=halt_at(step))
    resumed = toys.toy_model()
    result = fit(resumed, toys.toy_data(), config, tmp_path / "cut")
    # The death comes with the report of `step`, before that step's own checkpoint.
    assert result.resumed_from.global_step == (step - 1) // 5 * 5
    assert same_state(undisturbed, resumed)
    assert result.stages == expected.stages


def test_an_interrupt_writes_a_checkpoint_at_that_step_and_the_resume_is_bit_equal(tmp_path: Path) -> None:
    config = toys.toy_train_config(log_every_steps=1, checkpoint_every_steps=1000)
    undisturbed = toys.toy_model()
    fit(undisturbed, toys.toy_data(), config)

    def interrupt(report: Any) -> None:
        if report.global_step == 8 and report.kind == "steps":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="step 8"):
        fit(toys.toy_model(), toys.toy_data(), config, tmp_path, report=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = toys.toy_model()
    result = fit(resumed, toys.toy_data(), config, tmp_path)
    assert (result.resumed_from.epoch, result.resumed_from.step, result.resumed_from.global_step) == (1, 2, 8)
    assert same_state(undisturbed, resumed)


def test_a_resume_asks_for_exactly_the_batches_that_were_not_trained_on(tmp_path: Path) -> None:
    config = toys.toy_train_config(log_every_steps=1, prefetch=0)
    with pytest.raises(Halt):
        fit(toys.toy_model(), toys.toy_data(), config, tmp_path, report=halt_at(12))
    data = toys.toy_data()
    fit(toys.toy_model(), data, config, tmp_path)
    wanted = [(step // 6, step % 6) for step in range(10, 24)]
    assert data.train.asked == wanted


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    config = toys.toy_train_config()
    first = toys.toy_model()
    expected = fit(first, toys.toy_data(), config, tmp_path)
    data, again = toys.toy_data(), toys.toy_model()
    result = fit(again, data, config, tmp_path)
    assert data.train.asked == []
    assert same_state(first, again)
    assert result.stages == expected.stages


def test_early_stopping_survives_a_resume(tmp_path: Path) -> None:
    # A learning rate of almost nothing after warm-up: the first validation stays the best.
    settings = {"epochs": 40, "lr": 0.5, "dropout": 0.0}
    config = toys.toy_train_config(log_every_steps=1, patience=3, ema_decay=0.0, checkpoint_every_steps=1)
    undisturbed = toys.toy_model(**settings)
    expected = fit(undisturbed, toys.toy_data(), config, tmp_path / "whole")
    stage = expected.stages[1]
    assert stage.stopped_early
    assert stage.epochs - 1 - stage.best_epoch == 3
    # Cut in the last epoch: two of three worse validations have been seen.
    with pytest.raises(Halt):
        fit(
            toys.toy_model(**settings),
            toys.toy_data(),
            config,
            tmp_path / "cut",
            report=halt_at(stage.steps - 2),
        )
    resumed = toys.toy_model(**settings)
    result = fit(resumed, toys.toy_data(), config, tmp_path / "cut")
    assert result.stages == expected.stages
    assert same_state(undisturbed, resumed)


def test_the_weights_of_the_best_validation_are_kept() -> None:
    model = toys.toy_model(epochs=40, lr=0.5, dropout=0.0)
    seen = []
    config = toys.toy_train_config(patience=3, ema_decay=0.0)
    result = fit(model, toys.toy_data(), config, report=lambda r: seen.append(r.validation))
    losses = [v["loss"] for v in seen if v is not None]
    rows = toys.toy_rows(21, seed=1)
    with torch.no_grad():
        kept = model.trained.eval()(rows, KeyedNoise(config.seed))["loss"].item()
    assert kept == pytest.approx(min(losses), rel=1e-5)
    assert kept < losses[-1]
    assert result.validation["loss"] == pytest.approx(kept, rel=1e-5)


def test_accumulated_micro_batches_equal_one_big_batch() -> None:
    whole, parts = toys.toy_model(dropout=0.0), toys.toy_model(dropout=0.0)
    fit(whole, toys.toy_data(16), toys.toy_train_config())
    config = toys.toy_train_config(accumulate=4)
    data = toys.toy_data(config.micro_batch_size())
    fit(parts, data, config)
    for ours, theirs in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("log_every", [1, 1000])
def test_a_loss_that_is_not_finite_names_stage_step_and_rows_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, log_every: int
) -> None:
    order = [int(i) for batch in toys.toy_data().train.batches(0) for i in batch.sample_id]
    bad_step, rows = 3, toys.toy_rows()
    rows.target[order[37]] = float("nan")
    data = toys.toy_data(rows=rows)
    config = toys.toy_train_config(log_every_steps=log_every, checkpoint_every_steps=log_every)
    with pytest.raises(NonFiniteLoss, match=f"'linear', epoch 0, step {bad_step}: loss is nan") as error:
        fit(toys.toy_model(), data, config, tmp_path)
    assert error.value.global_step == bad_step
    assert set(error.value.sample_ids) == set(order[(bad_step - 1) * 16 : bad_step * 16])
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    good_step = 0 if log_every == 1000 else 2
    assert kept[-1] == f"stage-01-step-{good_step:09d}"
    weights = load_tensors(tmp_path / "checkpoints" / kept[-1] / "model.safetensors")
    assert all(torch.isfinite(value).all() for name, value in weights.items() if name != "mean")


def test_metrics_are_logged_once_a_step_across_a_resume(tmp_path: Path) -> None:
    config = toys.toy_train_config(log_every_steps=1)
    fit(toys.toy_model(), toys.toy_data(), config, tmp_path / "whole")
    with pytest.raises(Halt):
        fit(toys.toy_model(), toys.toy_data(), config, tmp_path / "cut", report=halt_at(13))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "steps", "st')  # killed while writing a line
    fit(toys.toy_model(), toys.toy_data(), config, tmp_path / "cut")

    def lines(name: str) -> list[Any]:
        text = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        parsed = [json.loads(line) for line in text]
        return [(line["kind"], line["step"], line["losses"], line["validation"]) for line in parsed]

    assert lines("cut") == lines("whole")
    assert [step for kind, step, *_ in lines("cut") if kind == "steps"] == list(range(1, 25))
    assert list((tmp_path / "cut" / "tensorboard").glob("events.*"))


def test_reports_count_to_the_planned_total() -> None:
    seen = []
    fit(toys.toy_model(), toys.toy_data(), toys.toy_train_config(patience=None), report=seen.append)
    assert seen[0].kind == "statistics"
    assert {report.total_steps for report in seen} == {14 + 24}
    assert [r.step for r in seen] == sorted(r.step for r in seen)
    assert seen[-1].step == seen[-1].total_steps
    assert all(0 <= r.speed.data_wait_share <= 1 for r in seen)


def test_a_checkpoint_of_another_training_is_refused_by_name(tmp_path: Path) -> None:
    fit(toys.toy_model(), toys.toy_data(), toys.toy_train_config(), tmp_path)
    with pytest.raises(ConfigError, match=r"train\.grad_clip was 1\.0, is 0\.5"):
        fit(toys.toy_model(), toys.toy_data(), toys.toy_train_config(grad_clip=0.5), tmp_path)
    with pytest.raises(ConfigError, match="another run folder"):
        fit(toys.toy_model(), toys.toy_data(), toys.toy_train_config(), tmp_path, resume="never")


def test_too_few_rows_for_a_batch_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"96 training rows do not fill one batch of 128.*batch_size"):
        fit(toys.toy_model(), toys.toy_data(128), toys.toy_train_config(batch_size=128))


def test_training_leaves_the_callers_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    fit(toys.toy_model(), toys.toy_data(), toys.toy_train_config(epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_mixed_precision_keeps_float32_weights_and_learns() -> None:
    model = toys.toy_model(dropout=0.0, epochs=30)
    seen = []
    fit(model, toys.toy_data(), toys.toy_train_config(precision="bf16"), report=seen.append)
    losses = [r.losses["loss"] for r in seen if r.kind == "steps"]
    assert losses[-1] < 0.5 * losses[0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_learning_rate_warms_up_and_ends_at_its_share() -> None:
    options = toys.OptimiserConfig(lr=1.0, warmup_steps=10, final_lr_share=0.1)
    factor = warmup_cosine(options, 100)
    assert [factor(s) for s in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert factor(99) == pytest.approx(0.1)
    assert all(factor(s) >= factor(s + 1) for s in range(10, 99))
    assert warmup_cosine(options, 5)(1) == pytest.approx(1.0), "a short stage warms up for a fifth at most"


def test_configurations_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"multiple of 6, such as 18"):
        TrainConfig(batch_size=16, accumulate=2).micro_batch_size(3)
    with pytest.raises(ValidationError, match="zero_stage and offload need"):
        EngineConfig(name="torch", zero_stage=2)
    with pytest.raises(ValidationError, match="extra"):
        TrainConfig(batchsize=4)
