"""`pertcast query`: the profiles of a library that mimic or reverse a signature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pertcast.analysis.connectivity import SCORES, QueryOptions

from pertcast_jobs.cli.screen_options import MOST_SEED, words
from pertcast_jobs.cli.usage import one_of, usage_errors
from pertcast_jobs.progress import progress_bar
from pertcast_jobs.query.request import QueryRequest
from pertcast_jobs.query.run import ask, require_table_name, write_result

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_DEFAULTS = QueryOptions()

Screen = Annotated[Path | None, typer.Option(help="A finished screen: predicted profiles.", metavar="SCREEN")]
Store = Annotated[
    Path | None,
    typer.Option(help="Instead of --screen: a store of measured responses. Never mixed.", metavar="STORE"),
]
Up = Annotated[
    Path | None,
    typer.Option(
        help="Genes that rise: one a line, GRP, GMT, or a table with a column 'gene'.", metavar="FILE"
    ),
]
Down = Annotated[Path | None, typer.Option(help="Genes that fall, likewise.", metavar="FILE")]
Weighted = Annotated[
    Path | None,
    typer.Option(
        "--signature", help="Instead of sets: a value a gene (csv, tsv, rnk, parquet).", metavar="FILE"
    ),
]
SigId = Annotated[
    str | None, typer.Option(help="Instead of files: a profile of the library itself.", metavar="ID")
]
GeneTable = Annotated[
    Path | None,
    typer.Option(
        help="Table of gene names (HGNC, NCBI, BioMart) to translate ids and older symbols.", metavar="FILE"
    ),
]
Score = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(SCORES)}; default: wtcs for sets, cosine for values.",
        metavar="SCORE",
        callback=one_of(SCORES),
    ),
]
Cells = Annotated[str | None, typer.Option(help="Cell lines, A549,MCF7; default: all.", metavar="A,B")]
Types = Annotated[
    str | None, typer.Option(help="trt_cp, trt_sh, trt_xpr, trt_oe; default: all.", metavar="A,B")
]
Top = Annotated[int, typer.Option(help="Profiles shown of each tail, with tau.", min=1)]
Summary = Annotated[
    bool,
    typer.Option("--summary", help="One row a perturbation: over its cell lines, doses and times."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Write the ranked table to a new file: .csv or .parquet.", metavar="FILE"),
]
Seed = Annotated[int, typer.Option(help="Seed of reference and random queries.", min=0, max=MOST_SEED)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def query(
    screen: Screen = None,
    store: Store = None,
    up: Up = None,
    down: Down = None,
    signature: Weighted = None,
    sig_id: SigId = None,
    gene_table: GeneTable = None,
    score: Score = None,
    cells: Cells = None,
    types: Types = None,
    top: Top = _DEFAULTS.per_tail,
    summary: Summary = False,
    out: Out = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Rank a library by how far its profiles mimic or reverse a signature.

    Example: pertcast query --screen screens/a --up up.txt --down down.txt
    """
    request = QueryRequest(
        screen=screen,
        store=store,
        up=up,
        down=down,
        signature=signature,
        sig_id=sig_id,
        gene_table=gene_table,
        score=score,
        cells=words("--cells", cells),
        types=words("--types", types),
        options=QueryOptions(per_tail=top, seed=seed),
    )
    with usage_errors():
        request.check()
    if out is not None:
        require_table_name(out)
    with progress_bar("query", "profiles") as progress:
        found = ask(request, progress)
    shown = found.summary() if summary else found
    if out is not None:
        write_result(shown, out)
    if json_:
        print(json.dumps({"out": None if out is None else str(out), **shown.to_json()}, indent=1))
        return
    print("\n".join([*shown.lines(), *([] if out is None else ["", f"table {out}"])]))
