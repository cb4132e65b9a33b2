"""The command `pertcast serve`: models on this machine until interrupted."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pertcast.errors import ConfigError
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast_data.environment import prepare_environment
from pertcast_data.stops import stops_heard

from pertcast_serve.access.install import require_usable
from pertcast_serve.command_settings import (
    DEFAULT_NAME,
    NO_MODEL,
    checked,
    gpu_share,
    merged,
    most_replicas,
    named_paths,
    read_settings,
    require_guarded,
)
from pertcast_serve.config import ServeConfig
from pertcast_serve.ports import LOOPBACK, require_free_port

INTERRUPTED = 130
_ON_ONE_MACHINE = {"analysis": {"max_replicas": 1}, "screens": {"runner": "processes"}}
"""Settings that differ from those of a cluster."""
_STOPS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: KeyboardInterrupt}

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def _serve(config: ServeConfig, host: str, port: int) -> None:
    # Ray reads its environment as it is imported.
    prepare_environment()
    from pertcast_serve.server import local_ray, serving

    is_ready = False
    try:
        with local_ray(), serving(config, port, host) as url:
            print(f"page: {url}{config.root_path}/ui")
            print(f"reference: {url}{config.root_path}/docs")
            is_ready = True
            print(f"ready: {url}/v1/metadata (interrupt to stop)", flush=True)
            _wait()
    except KeyboardInterrupt:
        if not is_ready:
            raise


def _wait() -> NoReturn:
    """Wait for a stop."""
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        print("stopping", file=sys.stderr)
        raise


def _named(option: str, words: Sequence[str] | None, first: str | None = None) -> dict[str, Path]:
    """Return the paths of an option's words by name; a usage error where one has none or two share it."""
    try:
        return named_paths(option, words or (), first)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def _checked_models(config: ServeConfig) -> str:
    """Load each bundle once, so that a damaged one is refused here; return what is served, in words."""
    said = []
    for name, folder in config.models.items():
        files = load_bundle_files(find_bundle(folder))
        said.append(f"{name}: {files.model_name} from {files.path}")
    return "; ".join(said)


@app.command()
@stops_heard(_STOPS)
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Run or bundle folder; NAME=FOLDER for more. The first is the default."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options go over it.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; all but loopback need keys.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    keys: Annotated[Path | None, typer.Option(help="File of keys (pertcast key create).")] = None,
    screens: Annotated[Path | None, typer.Option(help="Folder that keeps screens; off without.")] = None,
    library: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of a finished screen or of a store; repeatable.")
    ] = None,
    gene_sets: Annotated[list[str] | None, typer.Option(help="NAME=FILE.gmt; repeatable.")] = None,
    max_replicas: Annotated[int | None, typer.Option(min=1, help="Most predictor replicas.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device of the weights: cpu or cuda.")] = None,
) -> None:
    """Serve models over HTTP, with a page, until interrupted.

    Example: pertcast serve --model runs/response_mlp --port 8000
    """
    if not model and config is None:
        raise typer.BadParameter(NO_MODEL, param_hint="--model")
    given = {} if config is None else read_settings(config)
    settings = checked(
        merged(
            merged(_ON_ONE_MACHINE, given),
            {
                "models": _named("--model", model, DEFAULT_NAME),
                "libraries": _named("--library", library),
                "gene_sets": _named("--gene-sets", gene_sets),
                "access": {"keys": None if keys is None else keys.absolute()},
                "screens": {"folder": None if screens is None else screens.absolute()},
                "predictor": {
                    "max_replicas": max_replicas,
                    "device": device,
                    "gpus_per_replica": gpu_share(device, max_replicas or most_replicas(given)),
                },
            },
        ),
        "options" if config is None else str(config),
    )
    require_guarded(settings, host)
    require_usable(settings.access)
    said = _checked_models(settings)
    require_free_port(port, host)
    print(f"starting: {said}", file=sys.stderr, flush=True)
    try:
        _serve(settings, host, port)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
