"""The command `pertcast serve`: one bundle on this machine until interrupted."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from pertcast.errors import ConfigError

from pertcast_serve.builder import ServeConfig
from pertcast_serve.server import LOOPBACK, running_server

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    model: Annotated[Path, typer.Option(help="Run or bundle folder.")],
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; only loopback, as there is no login yet.")
    ] = LOOPBACK,
    max_replicas: Annotated[int, typer.Option(help="Most predictor replicas.")] = 2,
    device: Annotated[str, typer.Option(help="Torch device of the weights.")] = "cpu",
) -> None:
    """Serve a model over HTTP with batching and autoscaling until interrupted.

    Example: pertcast serve --model runs/response_mlp --port 8000
    """
    if host not in (LOOPBACK, "localhost", "::1"):
        raise ConfigError(
            f"--host {host}: only loopback is served without authentication; "
            "put a proxy that authenticates before it."
        )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running_server(
        ServeConfig(bundle=str(model), max_replicas=max_replicas, device=device), port, host
    ) as url:
        print(f"ready: {url}/v1/metadata (interrupt to stop)", flush=True)
        stop.wait()
        print("stopping", file=sys.stderr)
