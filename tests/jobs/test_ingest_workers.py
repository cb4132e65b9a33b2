"""Workers of a Ray do the pieces of an ingest: the same bytes as one process, errors as they were raised."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.ingest import ingest
from pertcast_jobs.ingest.runners import get_executor
from scipy import sparse

pytestmark = pytest.mark.ray

N_ROWS, N_GENES = 20_000, 40


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "cell_line": rng.choice(["K562", "RPE1"], N_ROWS),
            "perturbation": rng.choice(["control", "TP53", "MYC"], N_ROWS),
            "perturbation_type": "CRISPRi",
        },
        index=[f"cell{row}" for row in range(N_ROWS)],
    )
    counts = sparse.csr_matrix(rng.poisson(0.5, (N_ROWS, N_GENES)).astype(np.float32))
    anndata.AnnData(counts, obs, pd.DataFrame(index=[f"G{n}" for n in range(N_GENES)])).write_h5ad(path)
    return path


def bytes_of(store: Path) -> dict[str, str]:
    files = [file for file in sorted(store.rglob("*")) if file.is_file()]
    return {str(file.relative_to(store)): sha256(file.read_bytes()).hexdigest() for file in files}


def test_two_workers_write_what_one_process_writes(source: Path, tmp_path: Path, ray_cluster: Any) -> None:
    ingest([source], tmp_path / "one", worker_memory_bytes=600_000)
    seen: list[tuple[int, int]] = []
    with get_executor("ray-data")() as runner:
        ingest(
            [source],
            tmp_path / "two",
            runner=runner,
            worker_memory_bytes=600_000,
            progress=lambda done, total, note="": seen.append((done, total)),
        )
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one")
    assert len(seen) > 4 and seen[-1] == (2 * N_ROWS, 2 * N_ROWS)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_a_worker_refuses_is_told_as_it_was_raised(
    source: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    data = anndata.read_h5ad(source)
    data.X[15_000, 3] = np.inf
    data.write_h5ad(tmp_path / "broken.h5ad")
    with (
        get_executor("ray-data")() as runner,
        pytest.raises(SchemaError, match=r"broken\.h5ad: the value of row 15000, gene 3 is infinite"),
    ):
        ingest([tmp_path / "broken.h5ad"], tmp_path / "store", runner=runner, worker_memory_bytes=600_000)
    assert [child.name for child in tmp_path.iterdir()] == ["broken.h5ad"]


def test_an_unknown_executor_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'ray_data'.*in-process, ray-data.*Did you mean ray-data"):
        get_executor("ray_data")
