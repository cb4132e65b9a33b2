"""The command `pertcast serve`: one bundle on this machine until interrupted."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import torch
import typer
from pertcast.errors import ConfigError
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast_data.environment import prepare_environment

from pertcast_serve.config import PredictorSettings, ServeConfig
from pertcast_serve.ports import require_free_port

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _interrupt_on_signals() -> None:
    for each in _SIGNALS:
        signal.signal(each, _interrupt)


def _wait_for_signal() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("stopping", file=sys.stderr)


def _gpu_share(device: str, max_replicas: int) -> float:
    """Return the GPUs of a replica: all replicas share one; raises ConfigError where there is none."""
    if device == "cpu":
        return 0.0
    if not device.startswith("cuda") or not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: this machine has no such device. Use --device cpu.")
    return 1 / max_replicas


def _serve(config: ServeConfig, port: int) -> None:
    # Ray reads its environment as it is imported.
    prepare_environment()
    from pertcast_serve.server import local_ray, serving

    with local_ray():
        _interrupt_on_signals()
        with serving(config, port) as url:
            print(f"ready: {url}/v1/metadata (interrupt to stop)", flush=True)
            _wait_for_signal()


@app.command()
def serve(
    model: Annotated[Path, typer.Option(help="Run or bundle folder.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 picks a free one.")
    ] = 8000,
    max_replicas: Annotated[int, typer.Option(min=1, help="Most predictor replicas.")] = 2,
    device: Annotated[str, typer.Option(help="Torch device of the weights: cpu or cuda.")] = "cpu",
) -> None:
    """Serve a model over HTTP with batching and autoscaling until interrupted.

    Only this machine can reach it, as there is no login yet.

    Example: pertcast serve --model runs/response_mlp --port 8000
    """
    _interrupt_on_signals()
    files = load_bundle_files(find_bundle(model))
    require_free_port(port)
    share = _gpu_share(device, max_replicas)
    settings = PredictorSettings(max_replicas=max_replicas, device=device, gpus_per_replica=share)
    config = ServeConfig(models={"default": files.path.absolute()}, predictor=settings)
    print(f"starting: {files.model_name} from {files.path}", file=sys.stderr, flush=True)
    del files
    try:
        _serve(config, port)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except SystemExit as end:
        # While it starts, Ray answers SIGTERM with an exit of its own.
        raise typer.Exit(INTERRUPTED if end.code == signal.SIGTERM else 1) from end
