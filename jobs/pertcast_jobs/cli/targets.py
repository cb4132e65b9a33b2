"""`pertcast targets`: the genes whose loss each drug resembles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast.analysis.drug_targets import SCORES, MatchOptions

from pertcast_jobs.progress import progress_bar
from pertcast_jobs.targets.request import TargetRequest
from pertcast_jobs.targets.run import REPORT, match_targets

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _words(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip())) or None


@app.command()
def targets(
    library: Annotated[
        Path, typer.Argument(help="A finished screen of genes, or a store of gene signatures (response).")
    ],
    drugs: Annotated[
        Path,
        typer.Option(
            help="Store of drug profiles (responses, or levels with controls), or a screen of compounds."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the result: new or empty.", metavar="DIR")],
    known: Annotated[
        Path | None,
        typer.Option(
            help="Known targets: csv, tsv or parquet with cmap_name or pert_id, and symbol or target."
        ),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(help="Store of measured gene signatures, to show beside a predicted library."),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            help="trt_sh, trt_xpr, trt_oe, trt_act; default: all that the library has.", metavar="A,B"
        ),
    ] = None,
    score: Annotated[str, typer.Option(help=f"Connectivity: {', '.join(SCORES)}.")] = MatchOptions().score,
    cells: Annotated[
        str | None, typer.Option(help="Cell lines, A549,MCF7; default: all.", metavar="A,B")
    ] = None,
    consensus: Annotated[
        bool, typer.Option("--consensus", help="Compare means over cell lines, not line by line.")
    ] = False,
    keep_means: Annotated[
        bool,
        typer.Option("--keep-means", help="Keep the mean profiles of drugs and library; default: removed."),
    ] = False,
    top: Annotated[int, typer.Option(help="Best genes kept a ranking.", min=1)] = MatchOptions().keep,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of shuffled pairs.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Rank every gene for every drug by how far the drug resembles the loss of the gene.

    Example: pertcast targets screens/genome --drugs stores/l1000 --known known.csv --out targets/first
    """
    request = TargetRequest(
        library=library,
        drugs=drugs,
        known=known,
        measured=measured,
        types=_words(types),
        cells=_words(cells),
        options=MatchOptions(
            score=score, keep=top, removes_means=not keep_means, consensus=consensus, seed=seed
        ),
    )
    with progress_bar("match targets", "profiles") as progress:
        found = match_targets(request, out, progress)
    if json_:
        print(json.dumps({"out": str(out), "report": str(out / REPORT), **found.to_json()}, indent=1))
        return
    print("\n".join([*found.lines(), "", f"report {out / REPORT}"]))
