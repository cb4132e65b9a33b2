"""`pertcast targets`: the genes whose loss each drug resembles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast.analysis.connectivity import SCORES
from pertcast.analysis.drug_targets import MatchOptions

from pertcast_jobs.cli.usage import one_of
from pertcast_jobs.progress import progress_bar
from pertcast_jobs.targets.request import TargetRequest
from pertcast_jobs.targets.run import REPORT, match_targets

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_DEFAULTS = MatchOptions()


Library = Annotated[
    Path, typer.Argument(help="A finished screen of genes, or a store of gene signatures (response).")
]
Drugs = Annotated[
    Path,
    typer.Option(
        help="Store of drug profiles (responses, or levels with controls), or a screen of compounds."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the result: new or empty.", metavar="DIR")]
Known = Annotated[
    Path | None,
    typer.Option(help="Known targets: csv, tsv or parquet with cmap_name or pert_id, and symbol or target."),
]
Measured = Annotated[
    Path | None, typer.Option(help="Store of measured gene signatures, to show beside a predicted library.")
]
Types = Annotated[
    str | None,
    typer.Option(help="trt_sh, trt_xpr, trt_oe, trt_act; default: all that the library has.", metavar="A,B"),
]
Score = Annotated[str, typer.Option(help=f"Connectivity: {', '.join(SCORES)}.", callback=one_of(SCORES))]
Cells = Annotated[str | None, typer.Option(help="Cell lines, A549,MCF7; default: all.", metavar="A,B")]
Consensus = Annotated[
    bool, typer.Option("--consensus", help="Compare means over cell lines, not line by line.")
]
KeepMeans = Annotated[
    bool, typer.Option("--keep-means", help="Keep the mean profiles of drugs and library; default: removed.")
]
Top = Annotated[int, typer.Option(help="Best genes kept a ranking.", min=1)]
Seed = Annotated[int, typer.Option(help="Of the bootstrap and of shuffled pairs.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _words(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip())) or None


@app.command()
def targets(
    library: Library,
    drugs: Drugs,
    out: Out,
    known: Known = None,
    measured: Measured = None,
    types: Types = None,
    score: Score = _DEFAULTS.score,
    cells: Cells = None,
    consensus: Consensus = False,
    keep_means: KeepMeans = False,
    top: Top = _DEFAULTS.keep,
    seed: Seed = 0,
    json_: Json = False,
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
