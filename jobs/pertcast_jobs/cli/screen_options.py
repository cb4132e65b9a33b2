"""The options of `pertcast screen`: what its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pertcast.analysis.connectivity import SCORES
from pertcast_data.errors import ConfigError
from pertcast_data.storage import is_remote

from pertcast_jobs.cli.usage import one_of, usage_errors
from pertcast_jobs.screen.amounts import amount_problem
from pertcast_jobs.screen.executors import EXECUTORS
from pertcast_jobs.screen.objective import OBJECTIVES, ScreenObjective, objective_of

MOST_SEED = 2**32 - 1
"""What every library that draws at random takes."""

List = Annotated[
    Path | None,
    typer.Argument(
        help="csv or parquet with a column pert_id (and where known canonical_smiles, pert_type, cell_iname, "
        "pert_dose in uM, pert_time in h); all that the bundle knows where absent.",
        metavar="LIST",
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
        metavar="LIST",
    ),
]
Model = Annotated[
    list[Path],
    typer.Option(
        help="Folder of a run or of a bundle; given several times, the mean of an ensemble.", metavar="RUN"
    ),
]
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
    str | None,
    typer.Option(
        help="With a signature: rank first what mimics it (mimic) or reverses it (reverse, the default).",
        callback=one_of(OBJECTIVES),
    ),
]
Score = Annotated[
    str | None,
    typer.Option(
        help=f"With a signature: {', '.join(SCORES)}; default: wtcs for lists, cosine for values.",
        metavar="SCORE",
        callback=one_of(SCORES),
    ),
]
Executor = Annotated[
    str,
    typer.Option(help=f"Where shards are computed: {', '.join(EXECUTORS)}.", callback=one_of(EXECUTORS)),
]
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
Seed = Annotated[
    int, typer.Option(help="Seed of sampled predictions and of permutations.", min=0, max=MOST_SEED)
]
ShardRows = Annotated[
    int,
    typer.Option(
        help="Profiles of a shard, the unit of work; a multiple of 64. A worker holds one in memory.",
        min=64,
        max=65_536,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print counts, memory and time (measured on a warm-up); screen nothing."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def require_local(screen: Path) -> None:
    """Raise ConfigError for a screen in a bucket, where files are never changed."""
    if is_remote(screen):
        raise ConfigError(f"{screen}: a screen in a bucket is read from a copy. Copy its folder here first.")


def words(option: str, text: str | None) -> tuple[str, ...] | None:
    """Split "A,B" into distinct words; None without the option, a usage error where it is empty."""
    if text is None:
        return None
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise typer.BadParameter(f"{text!r} names nothing; write A,B or leave it out", param_hint=option)
    return found


def numbers(option: str, amount: str, text: str | None) -> tuple[float, ...] | None:
    """Split "0.1,1,10" into rising doses or times; a usage error names the option and the word at fault.

    `amount` says what they are: "pert_dose" (uM) or "pert_time" (h).
    """
    found = []
    for word in words(option, text) or ():
        try:
            found.append(float(word))
        except ValueError as error:
            raise typer.BadParameter(f"{word!r} is no number; write 0.1,1,10", param_hint=option) from error
        if (problem := amount_problem(amount, found[-1])) is not None:
            raise typer.BadParameter(f"{word}: {problem}", param_hint=option)
    return tuple(sorted(set(found))) or None


def objective_asked(
    up: Path | None, down: Path | None, weighted: Path | None, objective: str | None, score: str | None
) -> ScreenObjective:
    """Read what a screen is to be ranked by; options that do not go together are a usage error."""
    with usage_errors():
        return objective_of(up, down, weighted, objective, score)
