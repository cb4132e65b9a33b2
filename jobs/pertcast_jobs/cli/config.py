"""`pertcast config`: show, describe and check configurations before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pertcast.models.registry import get_model
from pertcast.training.engines.deepspeed_config import deepspeed_config

from pertcast_jobs.run_config import (
    RunConfig,
    SweepConfig,
    dump_config,
    is_sweep,
    load_config,
    load_sweep,
    shipped_configs,
    shipped_places,
)

app = typer.Typer(
    help="Show and check configurations.\n\nExample: pertcast config show response_mlp train.batch_size=128",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

ConfigArgument = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped configuration.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Overrides a.b=c (values are YAML), or @place: see `config list`.", metavar="[A.B=C]..."
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _load(config: str, overrides: list[str] | None) -> RunConfig:
    return (load_sweep if is_sweep(config) else load_config)(config, overrides or [])


def _engine_config(config: RunConfig) -> dict[str, Any] | None:
    if config.train.engine.name != "deepspeed":
        return None
    return deepspeed_config(config.train, config.cluster.num_workers, on_gpu=config.cluster.use_gpu)


@app.command("list")
def list_configs() -> None:
    """Name the shipped configurations, then (@name) the places that any of them trains in, and their files.

    Example: pertcast config list
    """
    places = {f"@{name}": path for name, path in shipped_places().items()}
    for name, path in (shipped_configs() | places).items():
        print(f"{name}\t{path}")


@app.command()
def show(config: ConfigArgument, overrides: Overrides = None, json_: JsonFlag = False) -> None:
    """Print the resolved configuration with every default, and DeepSpeed's where it is the engine.

    Example: pertcast config show response_mlp train.engine.name=deepspeed train.engine.zero_stage=2
    """
    loaded = _load(config, overrides)
    engine = _engine_config(loaded)
    if json_:
        content = loaded.model_dump(mode="json")
        print(json.dumps(content if engine is None else {**content, "deepspeed": engine}, indent=1))
        return
    print(dump_config(loaded), end="")
    if engine is not None:
        workers = loaded.cluster.num_workers
        print(f"# DeepSpeed is initialised with ({workers} worker{'s' if workers > 1 else ''}):")
        for line in json.dumps(engine, indent=1).splitlines():
            print(f"# {line}")


@app.command()
def schema(
    config: Annotated[
        str, typer.Argument(help="Whose model's own keys to include: a YAML file or a shipped name.")
    ] = "response_mlp",
    json_: JsonFlag = False,
) -> None:
    """Print every key with its type, default and limits, as JSON schema.

    Example: pertcast config schema response_mlp
    """
    loaded = _load(config, [])
    content = type(loaded).model_json_schema()
    content["$defs"]["ModelSection"]["properties"]["config"] = get_model(
        loaded.model.name
    ).config_type.model_json_schema()
    print(json.dumps(content, indent=1) if json_ else yaml.safe_dump(content, sort_keys=False), end="")
    if json_:
        print()


@app.command()
def validate(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Check a configuration; exits with 1 and names every problem where there is one.

    Example: pertcast config validate my_run.yaml train.batch_size=512
    """
    loaded = _load(config, overrides)
    _engine_config(loaded)
    kind = "sweep" if isinstance(loaded, SweepConfig) else "run"
    source = Path(config) if Path(config).is_file() else shipped_configs()[config]
    print(f"valid {kind} of {loaded.model.name}: {source}")
