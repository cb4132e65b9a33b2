"""`pertcast evaluate`: the trust table of runs, of a bundle on another store, or of two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pertcast.analysis.gene_sets import read_gmt
from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.evaluation.cells.cell_board import MOST_CELL_CONDITIONS
from pertcast.evaluation.trust.comparison import Comparison
from pertcast.evaluation.trust.json_text import SCHEMA_VERSION, comparison_json
from pertcast_data.errors import SchemaError

from pertcast_jobs.evaluate import Evaluation, evaluate_runs, expand, pool_and_compare, side_by_side
from pertcast_jobs.evaluate.biology import add_biology
from pertcast_jobs.evaluate.biology_asked import BiologyAsked, read_first
from pertcast_jobs.evaluate.card import save_card
from pertcast_jobs.evaluate.function import try_gene_function
from pertcast_jobs.progress import progress_bar

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FORMS = (
    "Write one of: pertcast evaluate RUN... | pertcast evaluate --bundle BUNDLE --store STORE | "
    "pertcast evaluate --pred P.h5ad --truth T.h5ad"
)


_NEEDS = {"RUN": "", "--bundle": "--store", "--pred": "--truth"}
"""Form -> the option that it cannot do without."""

_BELONGS = {
    "--store": "--bundle",
    "--truth": "--pred",
    "--train": "--pred",
    "--pert-col": "--pred",
    "--control": "--pred",
    "--context-col": "--pred",
    "--oracle": "RUN",
    "--sensitivity": "RUN",
}
"""Option -> the form that it belongs to."""


def _print_json(evaluations: list[Evaluation], comparisons: list[Comparison]) -> None:
    contents = [
        {"run": e.name, **json.loads(e.trust.to_json()), "biology": e.biology and e.biology.to_json()}
        for e in evaluations
    ]
    shown: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "evaluations": contents,
        "comparisons": [comparison_json(comparison) for comparison in comparisons],
    }
    shown = contents[0] if len(contents) == 1 else shown
    print(json.dumps(shown, sort_keys=True, indent=1, ensure_ascii=False))


def print_lines(evaluations: list[Evaluation], comparisons: list[Comparison]) -> None:
    """Print trust tables with their biology, the runs side by side, and where the reports are.

    Where trainings were pooled theirs is the table; the members are lines of the comparison.
    """
    in_full = [evaluation for evaluation in evaluations if evaluation.is_pooled] or evaluations
    for evaluation in in_full:
        if len(in_full) > 1:
            print(f"== {evaluation.name}")
        print("\n".join(evaluation.trust.lines()), end="\n\n")
        if evaluation.biology is not None:
            print("\n".join(evaluation.biology.lines()), end="\n\n")
    if len(evaluations) > 1:
        print("\n".join(side_by_side(evaluations)), end="\n\n")
    for comparison in comparisons:
        print(comparison.text)
    if len(in_full) < len(evaluations):
        print("report of each: RUN/evaluation/trust.html")
    for evaluation in in_full:
        if evaluation.card_path.is_file():
            print(f"card:   {evaluation.card_path}")
        print(f"report: {evaluation.report_path}")


def _usage(problem: str) -> typer.BadParameter:
    return typer.BadParameter(f"{problem} {_FORMS}", param_hint="RUN, --bundle or --pred")


def _check_forms(given: dict[str, bool]) -> None:
    """Raise unless exactly one of the three forms is asked for, in full and without what belongs to another.

    Parameters
    ----------
    given
        "RUN", "--bundle", "--pred" and the options of `_BELONGS` -> whether it was given.
    """
    forms = [form for form in _NEEDS if given[form]]
    others = [name for name in _BELONGS if given[name]]
    if not forms:
        raise _usage(f"{others[0]} alone is not enough." if others else "Nothing to evaluate was named.")
    if len(forms) > 1:
        raise _usage(f"{' and '.join(forms)} cannot be given together.")
    strangers = [name for name in others if _BELONGS[name] != forms[0]]
    if strangers:
        raise _usage(f"{strangers[0]} belongs to {_BELONGS[strangers[0]]}, not to {forms[0]}.")
    needed = _NEEDS[forms[0]]
    if needed and not given[needed]:
        raise _usage(f"{forms[0]} needs {needed}.")


def _evaluate_runs(
    runs: list[Path],
    out: Path | None,
    draws: int,
    seed: int,
    oracle: Path | None,
    cells: int,
    parallel: int,
) -> tuple[list[Evaluation], list[Comparison]]:
    paths = expand(runs)
    title = f"evaluate {paths[0].name}" if len(paths) == 1 else f"evaluate {len(paths)} runs"
    with progress_bar(title, "steps") as progress:
        found = evaluate_runs(
            paths, n_draws=draws, seed=seed, oracle=oracle, most_cell_conditions=cells, parallel=parallel,
            progress=progress,
        )  # fmt: skip
    pooled, comparisons = pool_and_compare(found, out, n_draws=draws, seed=seed)
    return [*found, *pooled], comparisons


def _on_external_store(bundle: Path, store: Path, out: Path | None, draws: int, seed: int) -> Evaluation:
    from pertcast_jobs.evaluate.external import evaluate_external

    with progress_bar(f"evaluate {bundle.name} on {store.name}", "steps") as progress:
        return evaluate_external(bundle, store, out=out, n_draws=draws, seed=seed, progress=progress)


def _of_files(
    pred: Path,
    truth: Path,
    train: Path | None,
    columns: dict[str, str],
    out: Path | None,
    draws: int,
    seed: int,
) -> Evaluation:
    from pertcast_jobs.evaluate.files import Columns, evaluate_files

    with progress_bar(f"evaluate {pred.name}", "rows") as progress:
        return evaluate_files(
            pred, truth, out=out, columns=Columns(**columns), train=train, n_draws=draws, seed=seed,
            progress=progress,
        )  # fmt: skip


def _with_biology(evaluations: list[Evaluation], asked: BiologyAsked) -> list[Evaluation]:
    """Add gene function, biology and model cards; raise where gene sets were given for nothing."""
    reasons: dict[str, SchemaError] = {}
    if asked.sets is not None:
        evaluations, reasons = try_gene_function(evaluations, asked.sets, seed=asked.seed)
    with progress_bar("biology", "steps") as progress:
        found = add_biology(evaluations, asked, without_function=reasons, progress=progress)
    for evaluation in found:
        save_card(evaluation, asked.words())
    has_pathways = any(each.biology is not None and each.biology.pathways for each in found)
    if len(reasons) == len(found) and not has_pathways:
        raise reasons[found[-1].name]
    return found


@app.command()
def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of finished runs, or of several trainings.", metavar="[RUN]..."),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle or run, to be judged on --store.")] = None,
    store: Annotated[Path | None, typer.Option(help="Another lab's or assay's store, for --bundle.")] = None,
    pred: Annotated[
        Path | None, typer.Option(help="Another tool's predictions as h5ad, judged on --truth.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Measured cells or profiles as h5ad, for --pred.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Training cells as h5ad: gives --pred baselines to beat.")
    ] = None,
    pert_col: Annotated[
        str | None, typer.Option(help="Column of the perturbation in --truth and --pred.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Name of the controls in that column; non-targeting by default.")
    ] = None,
    context_col: Annotated[
        str | None, typer.Option(help="Column of the cell line or type in --truth and --pred.")
    ] = None,
    oracle: Annotated[
        Path | None,
        typer.Option(help="truth.npz of a simulated atlas: its noise-free responses join the table."),
    ] = None,
    cells: Annotated[
        int, typer.Option(min=0, help="Conditions whose single cells are scored as populations; 0: none.")
    ] = MOST_CELL_CONDITIONS,
    gmt: Annotated[
        Path | None,
        typer.Option(
            help="Pathways or complexes (GMT): do generated profiles show their measured responses, and do "
            "perturbed genes of one set get similar profiles?",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    sensitivity: Annotated[
        Path | None,
        typer.Option(
            help="Drug sensitivity (GDSC, or csv with ln_ic50 or auc): can it be predicted from generated "
            "expression?",
            exists=True,
        ),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(help="Structures for --sensitivity: csv with pert_id, canonical_smiles.", exists=True),
    ] = None,
    dose: Annotated[
        float | None, typer.Option(help="uM of --sensitivity; what half of the training compounds reach.")
    ] = None,
    time: Annotated[
        float | None, typer.Option(help="h of --sensitivity; what half of the training compounds reach.")
    ] = None,
    no_biology: Annotated[
        bool,
        typer.Option(
            "--no-biology", help="Leave out dose and time, wells, latent space, gene modules, epistasis."
        ),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    draws: Annotated[int, typer.Option(min=100, help="Resamplings for the intervals.")] = N_DRAWS,
    seed: Annotated[int, typer.Option(help="Seed of resampling, halves and shuffled features.")] = 0,
    parallel: Annotated[
        int, typer.Option(min=1, help="Runs evaluated at a time; beside each other on Ray from 2 on.")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the report: of pooled runs (RUN/evaluation/pooled by default), of an external "
            "store, or of two files."
        ),
    ] = None,
) -> None:
    """Print the trust report: each model beside every baseline on what its fold held out.

    Runs that differ in fold and seed alone are pooled as well; different models stand side by side and are
    compared. --bundle and --store judge a model on another store; --pred and --truth judge any tool's h5ad.

    Example: pertcast evaluate runs/first

    Example: pertcast evaluate runs/first --gmt hallmarks.gmt --sensitivity gdsc.csv --library library.csv
    """
    named: dict[str, object] = {
        "RUN": runs,
        "--bundle": bundle,
        "--store": store,
        "--pred": pred,
        "--truth": truth,
    }
    named |= {"--train": train, "--pert-col": pert_col, "--control": control, "--context-col": context_col}
    named |= {"--oracle": oracle, "--sensitivity": sensitivity}
    _check_forms({name: bool(value) for name, value in named.items()})
    if sensitivity is not None:
        read_first(sensitivity, library)
    elif library or dose or time:
        raise typer.BadParameter(
            "--library, --dose and --time belong to --sensitivity TABLE.", param_hint="--sensitivity"
        )
    asked = BiologyAsked(
        not no_biology, None if gmt is None else read_gmt(gmt), sensitivity, library, dose, time, draws, seed
    )
    comparisons: list[Comparison] = []
    if runs:
        evaluations, comparisons = _evaluate_runs(runs, out, draws, seed, oracle, cells, parallel)
    elif bundle and store:
        evaluations = [_on_external_store(bundle, store, out, draws, seed)]
    elif pred and truth:
        columns = {"perturbation": pert_col, "control": control, "context": context_col}
        chosen = {name: value for name, value in columns.items() if value is not None}
        evaluations = [_of_files(pred, truth, train, chosen, out, draws, seed)]
    evaluations = _with_biology(evaluations, asked)
    if json_:
        _print_json(evaluations, comparisons)
    else:
        print_lines(evaluations, comparisons)
