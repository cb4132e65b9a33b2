"""Fixtures for every room: where the real files are, and one Ray for the whole session."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # of a cluster that is no test's
    os.environ.pop(name, None)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def sigint_interrupts() -> Iterator[None]:
    """Let SIGINT interrupt: a process that a script started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return the path of a real file; the test is skipped where the files are not at hand."""
    root = Path(os.environ.get("PERTCAST_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"real file {name} is not at hand (set PERTCAST_SHARED_DATA)")
        return path

    return find


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One local Ray for all tests of the session; tests that use it run in this process, one at a time."""
    from pertcast_jobs.ray_session import ray_session

    with ray_session(num_cpus=2) as session:
        yield session


STRUCTURES = (
    "CCO", "CCN", "CCCl", "c1ccccc1O", "c1ccccc1N", "CC(=O)O",
    "CC(=O)N", "CCCCO", "C1CCCCC1", "C1CCNCC1", "c1ccncc1", "OCCO",
)  # fmt: skip


def tiny_store(path: Path) -> Any:
    """Make a store of levels: 24 genes, two cell lines, twelve compounds at two doses, six knock-outs."""
    import numpy as np
    import polars as pl
    from pertcast_data.store import create_store

    rows: list[dict[str, Any]] = []
    for line in ("A375", "HT29"):
        common = {"cell_iname": line, "batch_id": f"{line}-1", "pert_time": 24.0}
        rows += [{**common, "pert_type": "ctl_vehicle", "pert_id": "DMSO"} for _ in range(6)]
        rows += [
            {**common, "pert_type": "trt_cp", "pert_id": f"drug-{i}", "pert_dose": d, "canonical_smiles": s}
            for i, s in enumerate(STRUCTURES)
            for d in (1.0, 10.0)
            for _ in range(2)
        ]
        rows += [
            {**common, "pert_type": "trt_xpr", "pert_id": f"GENE{i}", "targets": f"GENE{i}"}
            for i in range(6)
            for _ in range(3)
        ]
    obs = pl.DataFrame(rows, infer_schema_length=None)
    random = np.random.default_rng(0)
    levels = random.normal(8.0, 1.0, 24) + random.normal(0.0, 0.2, (obs.height, 24))
    return create_store(
        path,
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"GENE{i}" for i in range(24)]}),
        batches=[levels.astype(np.float32)],
        measure="expression",
        normalisation="log2_intensity",
    )


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A response_mlp trained for two epochs on `tiny_store`, as a bundle."""
    from pertcast.encoding import BasalProfiles, ConditionEncoder, EncoderSpec, make_training_data
    from pertcast.models.registry import get_model
    from pertcast.training.bundle import BundleFacts, save_bundle
    from pertcast.training.config import TrainConfig
    from pertcast.training.fit import fit
    from pertcast_data.loading import pair_controls
    from pertcast_data.splits import make_split

    folder = tmp_path_factory.mktemp("tiny_bundle")
    store = tiny_store(folder / "store")
    split = make_split(store, "random")
    spec = EncoderSpec(fingerprint_bits=64, gene_components=4)
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"), spec)
    data = make_training_data(store, split, 0, encoder, batch_size=32)
    size = {"width": 16, "depth": 1, "basal_width": 8}
    model = get_model("response_mlp").build(size, encoder.space, encoder.training_conditions)
    fit(model, data, TrainConfig(batch_size=32, epochs=2))
    return save_bundle(
        folder / "bundle",
        model_name="response_mlp",
        model=model,
        conditions=encoder.training_conditions,
        encoder_state=encoder.state(),
        basal_state=BasalProfiles.fit(store, pair_controls(store)).state(),
        facts=BundleFacts(
            data_hash=store.data_hash,
            measure=store.measure,
            normalisation=store.normalisation,
            licence="CC0-1.0",
            metrics={"pearson_delta": 0.25, "undefined": None},
        ),
    )


@pytest.fixture(scope="session")
def tiny_members(tiny_bundle: Path) -> list[Any]:
    """Three bundles in memory that differ in seed and weights: `tiny_bundle` and two beside it."""
    from dataclasses import replace

    import torch
    from pertcast.training.bundle import load_bundle_files

    files = load_bundle_files(tiny_bundle)
    found = []
    for seed in range(3):
        torch_random = torch.Generator().manual_seed(seed)
        weights = {
            name: value + 0.1 * seed * torch.randn(value.shape, generator=torch_random)
            if value.is_floating_point()
            else value
            for name, value in files.weights.items()
        }
        facts = files.facts.model_copy(update={"seed": seed})
        found.append(replace(files, weights=weights, facts=facts, content_hash=f"{seed}" * 64))
    return found


@pytest.fixture(scope="session")
def tiny_ensemble(tiny_members: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of an ensemble of `tiny_members`."""
    from pertcast.training.bundle_ensemble import save_ensemble

    return save_ensemble(tmp_path_factory.mktemp("tiny_ensemble") / "bundle", tiny_members)
