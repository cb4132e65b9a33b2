"""`pertcast data simulate`: an atlas with known truth, by regime, size and noise."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from pertcast_data.errors import ConfigError
from pertcast_data.simulate import (
    NOISE_LEVELS,
    REGIMES,
    SIZES,
    Atlas,
    AtlasFiles,
    atlas_config,
    simulate_atlas,
    write_atlas,
)
from pertcast_data.text import aligned

from pertcast_jobs.cli.usage import one_of, usage_errors
from pertcast_jobs.progress import progress_bar

_NOISE = ", ".join(f"{name} ({factor:g})" for name, factor in NOISE_LEVELS.items())
_FILES = tuple(field.name for field in fields(AtlasFiles) if field.name != "directory")


def simulate(
    regime: Annotated[
        str, typer.Option(help=f"How genes respond: {', '.join(REGIMES)}.", callback=one_of(REGIMES))
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to; files of an older atlas are replaced.")],
    size: Annotated[
        str, typer.Option(help=f"{', '.join(SIZES)}; other options change it.", callback=one_of(SIZES))
    ] = "usual",
    seed: Annotated[int, typer.Option(help="Of all that is drawn; 100-109 are for final reports.")] = 0,
    genes: Annotated[int | None, typer.Option(help="Genes (usual: 300).")] = None,
    compounds: Annotated[int | None, typer.Option(help="Compounds profiled in wells (usual: 60).")] = None,
    contexts: Annotated[int | None, typer.Option(help="Cell lines (usual: 3).")] = None,
    cells: Annotated[int | None, typer.Option(help="Single cells, about (usual: 5,000).")] = None,
    signature_genes: Annotated[
        int | None, typer.Option(help="Genes with genetic signatures (usual: 200).")
    ] = None,
    noise: Annotated[str | None, typer.Option(help=f"{_NOISE}, or any factor; 0 is none.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Any other setting, e.g. n_pairs=20 doses=[1,10].", metavar="[KEY=VALUE]..."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Simulate an atlas: wells, cells, signatures, networks, library, gene sets, IC50 and their truth.

    Example: pertcast data simulate --regime linear --out atlas

    Another: pertcast data simulate --regime epistatic --out hard --noise hard --seed 3 n_pairs=40

    Regimes, settings and files: docs/atlas.md.
    """
    counts = {"n_genes": genes, "n_compounds": compounds, "n_contexts": contexts, "n_cells": cells}
    options = {**counts, "n_signature_genes": signature_genes, "noise": noise}
    given = {name: value for name, value in options.items() if value is not None}
    with usage_errors():
        config = atlas_config(size, settings or (), {"regime": regime, "seed": seed, **given})
    if out.is_file():
        raise ConfigError(f"{out} is a file; name a folder to write the atlas to.")
    with progress_bar("simulate", "parts") as progress:
        atlas = simulate_atlas(config, progress)
        files = write_atlas(atlas, out, progress)
    paths = {name: str(getattr(files, name)) for name in _FILES}
    if json_:
        print(json.dumps({"config": config.model_dump(mode="json"), "files": paths}, indent=2))
    else:
        print("\n".join([*_lines(atlas), "", *aligned(list(paths.items())), "", f"atlas: {files.directory}"]))


def _lines(atlas: Atlas) -> list[str]:
    """Say what was simulated and which share of its variance the truth explains."""
    config = atlas.config
    measured = (
        ("wells", atlas.wells.height, config.n_genes, atlas.wells_truth.explainable_share),
        ("cells", atlas.cells.height, config.n_genes, atlas.cells_truth.explainable_share),
        (
            "signatures",
            atlas.signatures.height,
            len(atlas.landmarks),
            atlas.signatures_truth.explainable_share,
        ),
    )
    rows = [
        (name, f"{count:,} x {genes:,} genes", f"{100 * share:.0f} % explainable")
        for name, count, genes, share in measured
    ]
    head = f"Simulated atlas, regime {config.regime}, seed {config.seed}, noise {config.noise:g}"
    return [head, "", *aligned(rows)]
