"""`pertcast data split` and `pertcast data audit`: what is held out, and whether anything leaks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pertcast_data.errors import ConfigError
from pertcast_data.splits import (
    PARTS,
    SPLIT_KINDS,
    AuditReport,
    Controls,
    Split,
    audit_folds,
    make_split,
    read_aliases,
)
from pertcast_data.store import ExpressionStore
from pertcast_data.text import aligned

from pertcast_jobs.progress import progress_bar

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreArgument = Annotated[Path, typer.Argument(help="A store.")]


def split(
    store: StoreArgument,
    kind: Annotated[str, typer.Option(help=f"What is held out: {', '.join(SPLIT_KINDS)}.")],
    out: Annotated[Path, typer.Option(help="The split's JSON file.")],
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 4,
    seed: Annotated[int, typer.Option(help="Deals the groups to folds.")] = 0,
    group_column: Annotated[str | None, typer.Option(help="Column to split by, for --kind group.")] = None,
    blocks: Annotated[
        Path | None,
        typer.Option(help="For --kind blocked: edges (two columns of genes), .gmt, or a table gene,block."),
    ] = None,
    block_distance: Annotated[
        int, typer.Option(help="Edges over which genes still belong to one block, for edge lists.")
    ] = 1,
    aliases: Annotated[
        Path | None,
        typer.Option(help="Table of names that mean the same: alias,name, or the HGNC's download."),
    ] = None,
    controls: Annotated[
        str, typer.Option(help="shared, or separate: those of tested groups are not trained with.")
    ] = "shared",
    no_profiles: Annotated[
        bool, typer.Option("--no-profiles", help="Do not look for copies among the profiles.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Deal a store's conditions to training, validation and test, audit that, and save it as a manifest.

    Example: pertcast data split stores/screen --kind unseen_compound --out split.json
    """
    if not out.parent.is_dir():
        raise ConfigError(f"{out.parent}: no such folder. Make it, or choose another --out.")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name a file to write the split to, e.g. {out / 'split.json'}.")
    opened = ExpressionStore.open(store)
    made = make_split(
        opened,
        kind,
        folds,
        seed,
        group_column,
        blocks=blocks,
        block_distance=block_distance,
        aliases=read_aliases(aliases) if aliases else (),
        controls=_controls(controls),
    )
    reports = _light_audit(made, opened) if no_profiles else _full_audit(made, opened)
    for report in reports:
        report.require_clean()
    made.save(out)
    warnings = list(dict.fromkeys(warning for report in reports for warning in report.warnings))
    print(_split_json(made, out, warnings) if json_ else "\n".join(_split_lines(made, out, warnings)))


def audit(
    split: Annotated[Path, typer.Argument(metavar="SPLIT", help="A split's JSON file.")],
    store: StoreArgument,
    fold: Annotated[int | None, typer.Option(help="One fold only.")] = None,
    json_: JsonFlag = False,
) -> None:
    """List everything that leaks in a split of a store, profiles included; exits with 1 where anything does.

    Example: pertcast data audit split.json stores/screen
    """
    opened, made = ExpressionStore.open(store), Split.load(split)
    if fold is not None:
        made.fold(fold)
    reports = _full_audit(made, opened)
    chosen = reports if fold is None else (reports[fold],)
    leaks = any(report.errors for report in chosen)
    if json_:
        found = [asdict(report) for report in chosen]
        facts = {"split": str(split), "store": str(store), "is_clean": not leaks, "folds": found}
        print(json.dumps(facts, indent=2))
    else:
        clean = "Clean: nothing held out is trained on"
        told = [line for report in chosen for line in report.lines()]
        verdict = "Leaks: train and evaluate refuse this split" if leaks else clean
        print("\n".join([verdict, "", *told, "", f"split: {split}"]))
    if leaks:
        raise typer.Exit(1)


def _controls(word: str) -> Controls:
    known: dict[str, Controls] = {"shared": "shared", "separate": "separate"}
    if word in known:
        return known[word]
    raise ConfigError(f"Unknown --controls {word!r}; use shared or separate.")


def _light_audit(made: Split, store: ExpressionStore) -> tuple[AuditReport, ...]:
    return tuple(made.audit(store, number) for number in range(len(made.folds)))


def _full_audit(made: Split, store: ExpressionStore) -> tuple[AuditReport, ...]:
    with progress_bar("audit", "profiles") as progress:
        return audit_folds(made, store, progress)


def _split_json(made: Split, out: Path, warnings: list[str]) -> str:
    counts = [{part: len(getattr(fold, part)) for part in PARTS} for fold in made.folds]
    facts = {"split": str(out), "kind": made.kind, "seed": made.seed, "hash": made.hash, "folds": counts}
    return json.dumps({**facts, "seen": _seen_counts(made), "warnings": warnings}, indent=2)


def _split_lines(made: Split, out: Path, warnings: list[str]) -> list[str]:
    held_out = SPLIT_KINDS[made.kind].summary
    header, rows = ["fold", *PARTS], []
    seen = _seen_counts(made)
    if any(seen):
        header.append("test combinations with 0/1/2 members seen")
    for number, fold in enumerate(made.folds):
        row = [str(number), *(f"{len(getattr(fold, part)):,}" for part in PARTS)]
        rows.append(
            [*row, "/".join(str(seen[number].get(count, 0)) for count in range(3))] if any(seen) else row
        )
    return [
        f"Split by {held_out}: {len(made.folds)} folds, groups disjoint (counts are conditions)",
        "",
        *aligned([header, *rows]),
        "",
        *(f"warning: {warning}" for warning in warnings),
        f"split: {out}",
    ]


def _seen_counts(made: Split) -> list[dict[int, int]]:
    counts: list[dict[int, int]] = []
    for number in range(len(made.folds)):
        values = list(made.seen(number).values())
        counts.append({count: values.count(count) for count in sorted(set(values))})
    return counts
