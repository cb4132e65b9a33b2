"""The options of `pertcast screen`: what its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pertcast_jobs.screen.executors import EXECUTORS

List = Annotated[
    Path | None,
    typer.Argument(
        help="csv or parquet with a column pert_id (and where known canonical_smiles, pert_type, cell_iname, "
        "pert_dose in uM, pert_time in h); all that the bundle knows where absent.",
        metavar="[LIST]",
    ),
]
Table = Annotated[
    Path,
    typer.Argument(
        help="csv or parquet whose rows state conditions: pert_id, and as far as they matter pert_type, "
        "cell_iname, pert_dose in uM, pert_time in h, canonical_smiles; what is left open is crossed.",
        metavar="LIST",
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Argument(
        help="csv or parquet with pairs A+B in pert_id (or targets), and single perturbations to be combined "
        "each with each; all pairs of what training perturbed where absent.",
        metavar="[LIST]",
    ),
]
Model = Annotated[Path, typer.Option(help="Folder of a run or of a bundle.", metavar="RUN")]
Out = Annotated[
    str | None,
    typer.Option(
        help="Folder of the screen, or s3://, gs://: new, or this screen to be finished.", metavar="SCREEN"
    ),
]
Gmt = Annotated[Path | None, typer.Option(help="Gene sets to score every profile against.", metavar="FILE")]
Cells = Annotated[
    str | None,
    typer.Option(help="Cell lines, A549,MCF7; default: those of the training data.", metavar="A,B"),
]
Doses = Annotated[
    str | None,
    typer.Option(
        help="Doses of compounds in uM, 0.1,1,10; default: up to six of the training data.", metavar="X,Y"
    ),
]
Times = Annotated[
    str | None,
    typer.Option(help="Times in h, 6,24; default: up to three of the training data.", metavar="X,Y"),
]
PertTypes = Annotated[
    str | None,
    typer.Option(
        "--pert-types",
        help="trt_sh (knock-down), trt_xpr (knock-out), trt_act (activation), trt_oe (over-expression); "
        "default: those of training.",
        metavar="A,B",
    ),
]
Up = Annotated[
    Path | None,
    typer.Option(help="Genes that rise in a signature: rank conditions by it.", metavar="FILE"),
]
Down = Annotated[Path | None, typer.Option(help="Genes that fall in the signature.", metavar="FILE")]
SignatureFile = Annotated[
    Path | None,
    typer.Option(
        "--signature",
        help="Genes with values (csv, tsv, rnk, parquet): rank conditions by it.",
        metavar="FILE",
    ),
]
Objective = Annotated[
    str, typer.Option(help="With a signature: rank what mimics it first, or what reverses it.")
]
Score = Annotated[
    str | None,
    typer.Option(help="With a signature: wtcs, cosine, ...; default: wtcs for lists, cosine for values."),
]
Executor = Annotated[str, typer.Option(help=f"Where shards are computed: {', '.join(EXECUTORS)}.")]
Workers = Annotated[
    int | None, typer.Option(help="Workers at most; default: as many as there are CPUs (or GPUs).", min=1)
]
Gpus = Annotated[
    float, typer.Option("--gpus-per-worker", help="GPUs of a worker; its model then computes there.", min=0)
]
Skip = Annotated[
    bool,
    typer.Option("--skip-unknown", help="Leave out rows that cannot be predicted; list them in refused.csv."),
]
Seed = Annotated[int, typer.Option(help="Seed of sampled predictions and of permutations.")]
ShardRows = Annotated[
    int, typer.Option(help="Profiles of a shard, the unit of work; a multiple of 64.", min=64)
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print counts, memory and time (measured on a warm-up); screen nothing."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def words(text: str | None) -> tuple[str, ...] | None:
    """Split "A,B" into distinct words; None where there are none."""
    if text is None:
        return None
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip())) or None


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Split "0.1,1,10" into rising numbers; a usage error names the option and the word that is none."""
    found = []
    for word in words(text) or ():
        try:
            found.append(float(word))
        except ValueError as error:
            raise typer.BadParameter(f"{word!r} is no number; write 0.1,1,10", param_hint=option) from error
        if not 0 <= found[-1] < float("inf"):
            raise typer.BadParameter(f"{word} is out of range", param_hint=option)
    return tuple(sorted(set(found))) or None
