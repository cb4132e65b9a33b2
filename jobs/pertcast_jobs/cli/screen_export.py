"""`pertcast screen export`: profiles of a finished screen as a file that other tools read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from pertcast_data.errors import ConfigError

from pertcast_jobs.cli.usage import one_of, usage_errors
from pertcast_jobs.progress import progress_bar
from pertcast_jobs.screen.fetched import local_screen
from pertcast_jobs.screen_export import FORMATS, Choice, ExportRequest, export_screen, writer_of
from pertcast_jobs.screen_export.cell_eval import Labels


def export(
    screen: Annotated[Path, typer.Argument(help="A finished screen, in a folder or a bucket.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", help=f"Format: {', '.join(FORMATS)}.", metavar="FORMAT", callback=one_of(FORMATS)
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file (rnk: folder) to create; must not exist.")],
    layer: Annotated[
        str | None,
        typer.Option(
            help="Values: response, expression or sd. Default: response; h5ad holds every layer.",
            metavar="LAYER",
        ),
    ] = None,
    sig_id: Annotated[
        list[str] | None,
        typer.Option(help="A condition; may be repeated. @FILE: one a line."),
    ] = None,
    pert_ids: Annotated[
        str | None, typer.Option(help="Perturbations, TP53,KRAS. @FILE: one a line.", metavar="A,B")
    ] = None,
    cells: Annotated[str | None, typer.Option(help="Cell lines, A549,MCF7.", metavar="A,B")] = None,
    pert_types: Annotated[str | None, typer.Option(help="Types, trt_sh,trt_xpr.", metavar="A,B")] = None,
    doses: Annotated[str | None, typer.Option(help="Doses in uM, 0.1,1.", metavar="X,Y")] = None,
    times: Annotated[str | None, typer.Option(help="Times in h, 6,24.", metavar="X,Y")] = None,
    top: Annotated[int | None, typer.Option(help="So many of the best hits among the chosen.", min=1)] = None,
    min_effect: Annotated[
        float | None, typer.Option(help="Smallest effect_size, in the response's unit.")
    ] = None,
    fdr: Annotated[
        float | None, typer.Option(help="Largest false-discovery rate, 0.05.", min=0.0, max=1.0)
    ] = None,
    genes: Annotated[int, typer.Option(help="gmt: genes of a set.", min=1)] = 50,
    long: Annotated[
        bool, typer.Option("--long", help="csv: a row a condition and gene, instead of the hits.")
    ] = False,
    pert_col: Annotated[
        str, typer.Option(help="cell-eval: column of the perturbation's label.")
    ] = Labels.pert_col,
    control: Annotated[str, typer.Option(help="cell-eval: label of controls.")] = Labels.control,
    cell_col: Annotated[str, typer.Option(help="cell-eval: column of the cell line.")] = Labels.cell_col,
    label: Annotated[
        str, typer.Option(help="cell-eval: column of sig_info that labels a perturbation.")
    ] = Labels.label,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write conditions of a finished screen as h5ad, gctx, gct, gmt, rnk or csv, or for cell-eval.

    Example: pertcast screen export screens/a --to gctx --out a.gctx --top 500
    """
    choice = Choice(
        sig_ids=tuple(name for word in sig_id or () for name in _listed("--sig-id", word, None)),
        pert_ids=_listed("--pert-ids", pert_ids),
        cells=_listed("--cells", cells),
        pert_types=_listed("--pert-types", pert_types),
        doses=_numbers("--doses", doses),
        times=_numbers("--times", times),
        min_effect=min_effect,
        max_fdr=fdr,
        top=top,
    )
    labels = Labels(pert_col, control, cell_col, label)
    request = ExportRequest(screen, to, out, choice, layer, genes, long, labels)
    with usage_errors():
        writer_of(request)
    request = replace(request, screen=local_screen(screen))
    with progress_bar("export", "rows") as progress:
        done = export_screen(request, progress)
    facts = {"path": str(done.path), "format": to, "n_profiles": done.n_profiles, "n_genes": done.n_genes}
    if json_:
        print(json.dumps({**facts, "remarks": list(done.remarks)}, indent=2))
        return
    told = f"Exported {done.n_profiles:,} of the screen's conditions x {done.n_genes:,} genes"
    print("\n".join([told, *done.remarks, f"{to}: {done.path}"]))


def _listed(option: str, text: str | None, separator: str | None = ",") -> tuple[str, ...]:
    """Return the names of "A,B", or of the lines of a file "@FILE"; a sig_id may hold commas."""
    if text is None:
        return ()
    if text.startswith("@"):
        try:
            words = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{option} {text}: cannot be read ({error}). Name a file of text.") from error
    else:
        words = text.split(separator) if separator else [text]
    found = tuple(word.strip() for word in words if word.strip())
    if not found:
        raise _refused(option, text, f"{text!r} names nothing. Leave the option out for everything.")
    return found


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    found: list[float] = []
    if text is None:
        return ()
    for word in _listed(option, text):
        try:
            found.append(float(word))
        except ValueError as error:
            raise _refused(option, text, f"{word!r} is no number. Write 0.1,1.") from error
        if not 0 <= found[-1] < float("inf"):
            raise _refused(option, text, f"{word} is no dose or time. Write 0.1,1.")
    return tuple(found)


def _refused(option: str, text: str, problem: str) -> Exception:
    """Return a usage error, or what a file "@FILE" is refused with."""
    if text.startswith("@"):
        return ConfigError(f"{option} {text}: {problem}")
    return typer.BadParameter(problem, param_hint=option)
