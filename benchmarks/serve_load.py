"""Load for the benchmarks of serving: a bundle of 978 genes, requests, clients, a plain server.

`python benchmarks/serve_load.py BUNDLE PORT` serves a bundle as a few lines of FastAPI would.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from pertcast.predictor import Predictor
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train.run import run_training
from pertcast_serve.ports import free_port
from serve_client import DOSE, Figures, Kind

ATLAS = AtlasConfig(n_genes=978, n_compounds=100, n_contexts=4, doses=(1.0, 10.0), times=(24.0,), n_cells=200)


def make_bundle(folder: Path) -> Path:
    """Train a response_mlp for one epoch; its speed does not depend on how well it is trained."""
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "random").save(folder / "split.json")
    data = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", "train.epochs=1"]
    return run_training(load_config("response_mlp", data), folder / "run").bundle


def conditions_of(predictor: Predictor, count: int, dose: Any = 10.0) -> list[dict[str, Any]]:
    """Return `count` conditions of the training, as a request holds them."""
    space = predictor.space
    return [
        {
            "cell_iname": space.contexts[number % len(space.contexts)],
            "pert_id": space.perturbations[number % len(space.perturbations)],
            "pert_type": "trt_cp",
            "pert_dose": dose,
            "pert_time": 24.0,
        }
        for number in range(count)
    ]


def template(predictor: Predictor, size: int) -> str:
    """Return a request whose dose the clients fill in."""
    text = json.dumps({"conditions": conditions_of(predictor, size, DOSE)})
    return text.replace(f'"{DOSE}"', DOSE)


def load(url: str, body: str, concurrency: int, seconds: float, kind: Kind = "again") -> Figures:
    """Run the clients in a process of their own."""
    client = Path(__file__).with_name("serve_client.py")
    words = [sys.executable, str(client), url, str(concurrency), str(seconds), kind]
    done = subprocess.run(
        words, input=body, capture_output=True, text=True, timeout=seconds + 300, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1000:])
    return dict(json.loads(done.stdout))


def _plain(bundle: str, port: int) -> None:
    """Serve one predictor without batching, as a few lines of FastAPI do."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    torch.set_num_threads(1)
    predictor = Predictor.from_bundle(bundle)
    api = FastAPI()

    class Asked(BaseModel):
        conditions: list[dict[str, Any]]

    def predict(asked: Asked) -> dict[str, Any]:
        found = predictor.predict(pl.DataFrame(asked.conditions), batch_size=32)
        sd = None if found.sd is None else found.sd.tolist()
        return {"sig_id": found.table["sig_id"].to_list(), "mean": found.mean.tolist(), "sd": sd}

    # Annotations of local classes are no names of the module.
    predict.__annotations__["asked"] = Asked
    api.post("/v1/predict")(predict)
    uvicorn.run(api, host="127.0.0.1", port=port, log_level="error")


@contextmanager
def plain_server(bundle: Path) -> Iterator[str]:
    """Run the plain server in a process of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, str(bundle), str(port)])
    try:
        deadline = time.monotonic() + 120
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the plain server did not come up")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/openapi.json")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    _plain(sys.argv[1], int(sys.argv[2]))
