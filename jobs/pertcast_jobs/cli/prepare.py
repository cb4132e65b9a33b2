"""`pertcast data prepare`: normalise a store and choose its genes, fitted on the training rows of a fold."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pertcast_data.errors import ConfigError
from pertcast_data.preparation import (
    FLAVOURS,
    PreparationConfig,
    PreparationPlan,
    PreparedStore,
    fit_preparation,
    plan_preparation,
    preparation_config,
    prepare_store,
    prepared_split_path,
    read_gene_list,
)
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore
from pertcast_data.text import aligned

from pertcast_jobs.cli.usage import one_of, usage_errors
from pertcast_jobs.progress import progress_bar


def prepare(
    store: Annotated[Path, typer.Argument(help="A store.")],
    split: Annotated[Path, typer.Option(help="A split of it (data split).")],
    out: Annotated[Path, typer.Option(help="The store to create; its split is written to OUT.split.json.")],
    fold: Annotated[int, typer.Option(help="The fold whose training rows everything is fitted on.")] = 0,
    log1p: Annotated[bool, typer.Option("--log1p", help="Counts to library size and log1p.")] = False,
    target_sum: Annotated[
        str,
        typer.Option(help="Library size to scale counts to: a number, or median (of training rows)."),
    ] = "10000",
    exclude_highly_expressed: Annotated[
        bool,
        typer.Option(
            "--exclude-highly-expressed",
            help="Leave genes with more than 5 % of a training row's counts out of library sizes.",
        ),
    ] = False,
    genes: Annotated[
        Path | None, typer.Option(help="Keep the genes that this file names, one a line (landmarks).")
    ] = None,
    gene_column: Annotated[
        str | None, typer.Option(help="Keep the genes for which this column of the gene table is true or 1.")
    ] = None,
    omit_missing_genes: Annotated[
        bool, typer.Option("--omit-missing-genes", help="Go on where the store lacks genes of --genes.")
    ] = False,
    hvg: Annotated[int | None, typer.Option(help="Keep this number of most variable genes.")] = None,
    hvg_flavour: Annotated[
        str,
        typer.Option(
            help=f"{' or '.join(FLAVOURS)}: on counts, or on log1p values.", callback=one_of(FLAVOURS)
        ),
    ] = "seurat_v3",
    robust_z: Annotated[
        bool, typer.Option("--robust-z", help="(x - median) / (1.4826 MAD) of each plate's controls.")
    ] = False,
    min_controls: Annotated[
        int, typer.Option(help="Plates with fewer controls are measured against their cell line's.")
    ] = 4,
    min_mad: Annotated[float, typer.Option(help="Smallest MAD that is divided by.")] = 0.1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and print counts and memory; write nothing.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Normalise a store and choose its genes, fitted on the training rows of a fold only.

    Steps are done in this order: --log1p, --genes or --gene-column, --hvg, --robust-z. Train and evaluate
    with OUT and OUT.split.json, fold as given here; other folds are refused: each needs its own preparation.

    Example: pertcast data prepare stores/cells --split split.json --log1p --hvg 2000 --out stores/cells_2000

    L1000: pertcast data prepare stores/plates --split split.json --robust-z --out stores/plates_z
    """
    if genes is not None and gene_column is not None:
        raise typer.BadParameter(
            "--genes and --gene-column each say which genes are kept; give one of them.",
            param_hint="--gene-column",
        )
    scaling = {"target_sum": _target(target_sum), "exclude_highly_expressed": exclude_highly_expressed}
    naming = {"genes": read_gene_list(genes) if genes else (), "column": gene_column}
    naming["missing"] = "omit" if omit_missing_genes else "refuse"
    asked: list[tuple[bool, dict[str, Any]]] = [
        (log1p, {"step": "log_normalise", **scaling}),
        (genes is not None or gene_column is not None, {"step": "gene_subset", **naming}),
        (hvg is not None, {"step": "variable_genes", "n_top": hvg, "flavour": hvg_flavour}),
        (robust_z, {"step": "robust_z", "min_controls": min_controls, "min_mad": min_mad}),
    ]
    steps = [step for is_asked, step in asked if is_asked]
    if not steps:
        raise typer.BadParameter(
            "nothing to prepare; say at least one of them.",
            param_hint="--log1p, --genes, --gene-column, --hvg or --robust-z",
        )
    with usage_errors():
        config = preparation_config(steps)
    opened, made = ExpressionStore.open(store), Split.load(split)
    plan = plan_preparation(opened, made, fold, config)
    if dry_run:
        print(json.dumps(asdict(plan), indent=2) if json_ else "\n".join(_plan_lines(plan)))
        return
    for path in (out, prepared_split_path(out)):
        if path.exists():
            raise ConfigError(f"{path} already exists. Choose another --out, or remove it first.")
    prepared = _prepare(opened, made, fold, config, out)
    print(_as_json(prepared, config, fold) if json_ else "\n".join(_lines(prepared, plan, fold)))


def _target(word: str) -> float | str:
    if word == "median":
        return word
    try:
        return float(word)
    except ValueError:
        raise typer.BadParameter(
            f"{word!r} is neither a number nor median.", param_hint="--target-sum"
        ) from None


def _prepare(
    store: ExpressionStore, split: Split, fold: int, config: PreparationConfig, out: Path
) -> PreparedStore:
    with progress_bar("fit", "training rows") as progress:
        preparation = fit_preparation(store, split, fold, config, progress)
    with progress_bar("prepare", "rows read and written") as progress:
        return prepare_store(store, preparation, out, split, progress)


def _plan_lines(plan: PreparationPlan) -> list[str]:
    mega = 1 << 20
    rows = [
        ("fitted on", f"{plan.n_training_rows:,} training rows, {plan.n_passes} passes"),
        ("disk", f"about {plan.estimated_bytes / mega:,.0f} MB before compression"),
        ("memory", f"about {plan.estimated_memory_bytes / mega:,.0f} MB and what the reader holds"),
    ]
    head = f"Would prepare {plan.n_rows:,} profiles x {plan.n_genes_kept:,} of {plan.n_genes:,} genes"
    return [head, *aligned([*rows, *_control_rows(plan)])]


def _lines(prepared: PreparedStore, plan: PreparationPlan, fold: int) -> list[str]:
    info = prepared.store.info
    head = f"Prepared {info.n_rows:,} profiles x {info.n_genes:,} of {plan.n_genes:,} genes"
    rows = [("fitted on", f"{plan.n_training_rows:,} training rows of fold {fold}"), *_control_rows(plan)]
    return [
        f"{head} ({info.measure}, {info.normalisation})",
        *aligned(rows),
        f"preparation: {prepared.preparation_path}",
        f"split: {prepared.split_path} (for fold {fold})",
        f"store: {prepared.store.path}",
    ]


def _control_rows(plan: PreparationPlan) -> list[tuple[str, str]]:
    if not plan.n_plates + plan.n_lines:
        return []
    told = f"{plan.n_plates:,} plates"
    if plan.n_lines:
        told += f"; {plan.n_rows_by_line:,} profiles by {plan.n_lines:,} cell lines, too few on their plate"
    return [("measured by", f"controls of {told}")]


def _as_json(prepared: PreparedStore, config: PreparationConfig, fold: int) -> str:
    info = prepared.store.info
    facts: dict[str, Any] = {
        "store": str(prepared.store.path),
        "split": str(prepared.split_path),
        "fold": fold,
        "preparation": str(prepared.preparation_path),
        "n_rows": info.n_rows,
        "n_genes": info.n_genes,
        "measure": info.measure,
        "normalisation": info.normalisation,
        "data_hash": info.data_hash,
        "split_hash": prepared.split.hash,
        "steps": [step.model_dump(mode="json", exclude={"genes"}) for step in config.steps],
        "n_plates": prepared.n_plates,
        "n_lines": prepared.n_lines,
        "n_rows_by_line": prepared.n_rows_by_line,
    }
    return json.dumps(facts, indent=2)
