"""`pertcast data split` and `pertcast data audit`: what is held out, and whether anything leaks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Final, get_args

import typer
from pertcast_data.errors import ConfigError
from pertcast_data.splits import (
    PARTS,
    SPLIT_KINDS,
    AuditReport,
    Controls,
    Split,
    TestAmong,
    audit_folds,
    make_split,
    read_aliases,
    split_rule,
)
from pertcast_data.store import ExpressionStore
from pertcast_data.text import aligned

from pertcast_jobs.cli.usage import one_of, usage_errors
from pertcast_jobs.progress import progress_bar

_MOST_NAMED: Final = 20
"""Groups of a draw that are listed one by one."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreArgument = Annotated[Path, typer.Argument(help="A store.")]


def split(
    store: StoreArgument,
    kind: Annotated[
        str, typer.Option(help=f"What is held out: {', '.join(SPLIT_KINDS)}.", callback=one_of(SPLIT_KINDS))
    ],
    out: Annotated[Path, typer.Option(help="The split's JSON file.")],
    folds: Annotated[int, typer.Option(help="Number of folds, or of draws.")] = 4,
    seed: Annotated[int, typer.Option(help="Deals the groups to folds, or draws them.")] = 0,
    test_share: Annotated[
        float | None,
        typer.Option(
            help="Every fold draws this share of the groups (0 to 1, e.g. 0.3) for its test, in the place of "
            "testing each group in one fold. Kind gears draws 0.25 unless told otherwise."
        ),
    ] = None,
    test_groups: Annotated[
        int | None,
        typer.Option(help="Every fold draws this number of groups (e.g. 12 genes) for its test."),
    ] = None,
    test_among: Annotated[
        str,
        typer.Option(
            help="For --kind unseen_perturbation with draws: all genes, or combined: genes that are measured "
            "alone and in a combination.",
            callback=one_of(get_args(TestAmong)),
        ),
    ] = "all",
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
        str,
        typer.Option(
            help="shared, or separate: those of tested groups are not trained with.",
            callback=one_of(get_args(Controls)),
        ),
    ] = "shared",
    no_profiles: Annotated[
        bool, typer.Option("--no-profiles", help="Do not look for copies among the profiles.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Deal a store's conditions to training, validation and test, audit that, and save it as a manifest.

    Example: pertcast data split stores/screen --kind unseen_compound --out split.json

    Five draws of 30 % of the pairs:
    pertcast data split stores/norman --kind unseen_pair --test-share 0.3 --folds 5 --out additive.json
    """
    asked: dict[str, Any] = {
        "blocks": blocks,
        "block_distance": block_distance,
        "controls": controls,
        "test_share": test_share,
        "test_groups": test_groups,
        "test_among": test_among,
    }
    with usage_errors():
        split_rule(kind, folds, seed, group_column, **asked)
    if not out.parent.is_dir():
        raise ConfigError(f"{out.parent}: no such folder. Make it, or choose another --out.")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name a file to write the split to, e.g. {out / 'split.json'}.")
    opened = ExpressionStore.open(store)
    made = make_split(
        opened, kind, folds, seed, group_column, aliases=read_aliases(aliases) if aliases else (), **asked
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


def _light_audit(made: Split, store: ExpressionStore) -> tuple[AuditReport, ...]:
    return tuple(made.audit(store, number) for number in range(len(made.folds)))


def _full_audit(made: Split, store: ExpressionStore) -> tuple[AuditReport, ...]:
    with progress_bar("audit", "profiles") as progress:
        return audit_folds(made, store, progress)


def _split_json(made: Split, out: Path, warnings: list[str]) -> str:
    counts = [{part: len(getattr(fold, part)) for part in PARTS} for fold in made.folds]
    facts: dict[str, Any] = {
        "split": str(out),
        "kind": made.kind,
        "seed": made.seed,
        "hash": made.hash,
        "folds": counts,
    }
    if made.is_drawn:
        drawn = {name: getattr(made, name) for name in ("test_share", "test_groups", "test_among")}
        facts |= {**drawn, "held_out": [list(fold.held_out) for fold in made.folds]}
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
        f"Split by {held_out}: {_how_dealt(made)} (counts are conditions)",
        "",
        *aligned([header, *rows]),
        "",
        *_drawn_lines(made),
        *(f"warning: {warning}" for warning in warnings),
        f"split: {out}",
    ]


def _how_dealt(made: Split) -> str:
    if not made.is_drawn:
        return f"{len(made.folds)} folds, groups disjoint"
    many = f"{100 * made.test_share:g} % of the groups" if made.test_share else f"{made.test_groups} groups"
    among = ", of those measured alone and in a combination" if made.test_among == "combined" else ""
    draws = "1 draw" if len(made.folds) == 1 else f"{len(made.folds)} draws"
    return f"{draws} of {many}{among}; a group may be tested in several"


def _drawn_lines(made: Split) -> list[str]:
    """Name the drawn groups where they are few: what a reader compares with another's split."""
    if not made.is_drawn or max(len(fold.held_out) for fold in made.folds) > _MOST_NAMED:
        return []
    told = (f"fold {number} tests {', '.join(fold.held_out)}" for number, fold in enumerate(made.folds))
    return [line for each in told for line in wrap(each, 110, subsequent_indent="  ")] + [""]


def _seen_counts(made: Split) -> list[dict[int, int]]:
    counts: list[dict[int, int]] = []
    for number in range(len(made.folds)):
        values = list(made.seen(number).values())
        counts.append({count: values.count(count) for count in sorted(set(values))})
    return counts
