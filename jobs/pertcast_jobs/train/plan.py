"""What a training would do, before it does it: counts, steps, memory."""

from __future__ import annotations

from typing import Any

from pertcast.models.contract import GradientStage

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.train.mlflow_run import require_mlflow
from pertcast_jobs.train.outcome import plain_coverage
from pertcast_jobs.train.prepare import build_seeded_model, open_training_data, prepare, take_up_priors

_OPTIMISER_COPIES = 5
"""Weights, working copy, gradient and AdamW's two moments, all float32."""
_PROCESS_BYTES = 450_000_000
"""A Python process with torch loaded."""


def plan_training(config: RunConfig) -> dict[str, Any]:
    """Return what `run_training` would do, as plain JSON; nothing is written.

    Raises
    ------
    ConfigError, LeakageError, ControlsMissing
        As `run_training` would, before its first step.
    """
    require_mlflow(config)
    prepared = prepare(config)
    config, space = prepared.config, prepared.encoder.space
    workers = config.cluster.num_workers
    data = open_training_data(config, prepared.encoder, 0, workers)
    model = build_seeded_model(config, prepared.encoder)
    take_up_priors(model, config, prepared.encoder)
    stages = {
        stage.name: data.of_stage(stage).train.steps(0)
        // config.train.accumulate
        * (config.train.epochs or stage.epochs)
        for stage in model.stages()
        if isinstance(stage, GradientStage)
    }
    parameters = sum(parameter.numel() for parameter in model.parameters())
    batch_bytes = 4 * 4 * config.train.micro_batch_size(workers) * space.n_genes * (2 + config.train.prefetch)
    return {
        "model": config.model.name,
        "parameters": parameters,
        "genes": space.n_genes,
        "features": space.feature_width,
        "compound_embedding": plain_coverage(prepared.encoder.coverage),
        "gene_features": [plain_coverage(each) for each in prepared.encoder.gene_coverage],
        "start": None if prepared.start is None else prepared.start.summary(),
        "start_text": [] if prepared.start is None else prepared.start.lines(),
        "rows": dict(prepared.n_rows),
        "conditions": dict(prepared.n_conditions),
        "stages": stages,
        "steps": sum(stages.values()),
        "launcher": config.cluster.launcher,
        "engine": config.train.engine.name,
        "workers": workers,
        "memory_bytes_per_worker": _PROCESS_BYTES
        + 4 * _OPTIMISER_COPIES * parameters
        + batch_bytes
        + _data_bytes(prepared.n_rows["train"], space.n_genes),
    }


def predicting_bytes(parameters: int) -> int:
    """Return the memory of a process that predicts with so many float32 parameters loaded."""
    return _PROCESS_BYTES + 4 * parameters


def _data_bytes(n_rows: int, n_genes: int) -> int:
    """Return the upper bound for rows held in memory (float32)."""
    return 4 * n_rows * n_genes
