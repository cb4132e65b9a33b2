"""The TranscriptionNet example tables: models beside every baseline for RNAi, CRISPR and over-expression.

    python benchmarks/transcriptionnet.py --data FOLDER --facts
    python benchmarks/transcriptionnet.py --data FOLDER --configs multiplex_network,response_mlp

The tables become one store of measure "response" (knock-down, knock-out, over-expression in one context).
What a model sees of a gene: the 512 integrated features (`features`), or the three networks (`networks`).
Held out: genes in all types (`genes`), a gene in one type (`types`), both in five folds, or what the file
marks valid (`file`; a gene may be trained on in another type). Scores are relative to the type's mean
training response; intervals resample genes. Finished folds are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from paired import (
    METRICS,
    TYPE_TITLES,
    Line,
    figures,
    gain_over,
    keep_lines,
    kinds_of,
    mean_score,
    read_lines,
    seeds_of,
    show,
)
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import IngestMapping, ingest
from pertcast_data.splits import Fold, Split, make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training
from transcriptionnet_tables import (
    FILES,
    Tables,
    agreement_of_types,
    cross_validated,
    own_spikes,
    read_tables,
    write_features,
    write_networks,
    write_profiles,
)
from typed_scores import judge

SPLITS: Final = {"genes": "unseen_perturbation", "types": "random"}
OF_THE_FILE: Final = "file"
FOLDS: Final = 5
VALIDATION_SHARE: Final = 1 / 8
TABLES_SAY: Final = IngestMapping(measure="response", normalisation="z_score")


@dataclass(frozen=True)
class Prepared:
    """The store, and variant -> settings of the encoder."""

    store: ExpressionStore
    settings: dict[str, list[str]]


def prepare(data: Path, tables: Tables, folder: Path) -> Prepared:
    """Ingest the tables, and write features and networks as files that an encoder reads."""
    write_profiles(tables, folder / "profiles.h5ad")
    ingest([folder / "profiles.h5ad"], folder / "store", TABLES_SAY)
    write_features(tables, folder / "features.parquet")
    networks, counts = write_networks(data, tables, folder)
    for name, (written, unnamed) in counts.items():
        print(f"network {name}: {written} edges, {unnamed} of genes without a symbol left out")
    settings = {
        "features": [f"encoder.gene_embedding={folder / 'features.parquet'}"],
        "networks": [f"encoder.gene_network=[{','.join(map(str, networks))}]"],
    }
    return Prepared(ExpressionStore.open(folder / "store"), settings)


def split_of_the_file(store: ExpressionStore, tables: Tables, seed: int) -> Split:
    """Return the file's own split: "valid" is tested, an eighth of the rest validates, type by type.

    A gene that has several rows in a type is tested if any of them is marked valid.
    """
    valid = tables.profiles.filter(tables.profiles["split"] == "valid")
    tested = set(zip(valid["pert_type"], valid["symbol"], strict=True))
    conditions = store.conditions.filter(~store.conditions["is_control"])
    names: list[str] = []
    rest: list[str] = []
    for row in conditions.iter_rows(named=True):
        is_tested = (row["pert_type"], row["pert_id"]) in tested
        (names if is_tested else rest).append(row["condition_id"])
    order = np.random.default_rng(seed).permutation(len(rest))
    validating = {rest[place] for place in order[: round(VALIDATION_SHARE * len(rest))]}
    fold = Fold(
        train=tuple(name for name in rest if name not in validating),
        validation=tuple(name for name in rest if name in validating),
        test=tuple(names),
    )
    return Split(kind="random", seed=seed, data_hash=store.data_hash, folds=(fold,))


def split_for(question: str, prepared: Prepared, tables: Tables, seed: int) -> Split:
    """Return the split that a question is asked with."""
    if question == OF_THE_FILE:
        return split_of_the_file(prepared.store, tables, seed)
    return make_split(prepared.store, SPLITS[question], n_folds=FOLDS, seed=seed)


def lines_of(
    asked: argparse.Namespace, prepared: Prepared, tables: Tables, missing: Sequence[Line], folder: Path
) -> Iterator[Line]:
    """Train and judge every missing fold, one after the other."""
    for number, line in enumerate(missing):
        split = folder / f"{line['question']}_{line['seed']}.json"
        if not split.exists():
            split_for(line["question"], prepared, tables, line["seed"]).save(split)
        settings = [
            f"data.store={prepared.store.path}",
            f"data.split={split}",
            f"data.fold={line['fold']}",
            f"train.seed={line['seed']}",
            *prepared.settings[line["variant"]],
            *asked.overrides,
        ]
        run = folder / f"run{number}"
        run_training(load_config(line["config"], settings), run)
        yield {**line, **judge(run)}


def identity_of(line: Line) -> tuple[Any, ...]:
    """Return what tells a fold from all others of a file."""
    return tuple(line[key] for key in ("config", "variant", "question", "seed", "fold"))


def wanted(asked: argparse.Namespace) -> list[Line]:
    """Return the folds that are asked for."""
    return [
        {"config": config, "variant": variant, "question": question, "seed": seed, "fold": fold}
        for config in asked.configs.split(",")
        for variant in asked.variants.split(",")
        for question in asked.questions.split(",")
        for seed in seeds_of(asked.seeds)
        for fold in range(1 if question == OF_THE_FILE else min(asked.folds, FOLDS))
    ]


def show_facts(tables: Tables) -> None:
    """Print what the tables hold: how much features tell, own landmarks, and how alike types are."""
    print(
        "Each type by itself, five folds over genes, mean (standard error): Pearson of the deviation from "
        "the train mean by ridge on the features and on shuffled ones, plain Pearson of the train mean"
    )
    for kind in FILES:
        found = cross_validated(tables, kind)
        said = ", ".join(
            f"{name} {scores.mean():.3f} ({scores.std(ddof=1) / np.sqrt(len(scores)):.3f})"
            for name, scores in found.items()
        )
        spikes = own_spikes(tables, kind)
        print(
            f"  {TYPE_TITLES[kind]:<16} {len(tables.of_type(kind))} profiles: {said}; own landmark z "
            f"{spikes.mean():+.2f} (median {np.median(spikes):+.2f}, {len(spikes)} genes)"
        )
    print("The same gene in two types: correlation of deviations from the type means, own landmark left out")
    kinds = list(FILES)
    for first in kinds:
        for second in kinds:
            if first != second:
                f = agreement_of_types(tables, first, second)
                print(
                    f"  {TYPE_TITLES[first]:<16} -> {TYPE_TITLES[second]:<16} {f['genes']:.0f} genes: "
                    f"{f['same']:+.3f} ({f['error']:.3f}), other genes {f['other']:+.3f}; best weight "
                    f"{f['best_weight']:+.3f} explains {f['explained']:.4f}"
                )


def show_against(lines: Sequence[Line], other: Path, where: dict[str, str]) -> None:
    """Print the gain over the model of another file, on the folds that both hold."""
    known = [
        line
        for line in json.loads(other.read_text())["lines"]
        if all(line[key] == value for key, value in where.items())
    ]
    place = {(line["seed"], line["fold"]): line for line in known}
    both = [
        (line, place[line["seed"], line["fold"]]) for line in lines if (line["seed"], line["fold"]) in place
    ]
    if not both:
        return
    own, others = [line for line, _ in both], [line for _, line in both]
    names = (own[0]["model"], others[0]["model"])
    print(f"\n  gain of {names[0]} over {names[1]} of {other}, {len(both)} folds [95 % interval]")
    for metric in METRICS:
        cells = []
        for kind in kinds_of(own):
            gain = gain_over(own, others, names, metric, kind, seeds_are_data=False)
            mean = mean_score(others, names[1], metric, kind, seeds_are_data=False).mean
            cells.append(f"{TYPE_TITLES.get(kind, kind)} {mean:.3f} {figures(gain)}")
        print(f"    {metric.title}: {'; '.join(cells)}")


def main() -> None:
    """Print the facts, or run every fold that --out does not hold yet and print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with gec_*.parquet and the others")
    parser.add_argument("--facts", action="store_true", help="print what the tables hold, and train nothing")
    parser.add_argument("--configs", default="multiplex_network", help="shipped configurations")
    parser.add_argument("--variants", default="features,networks")
    parser.add_argument("--questions", default="genes,types,file")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the five are run")
    parser.add_argument("--out", type=Path, default=Path("transcriptionnet.json"))
    parser.add_argument("--against", type=Path, help="--out of another configuration, to compare with")
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    tables = read_tables(asked.data)
    if asked.facts:
        show_facts(tables)
        return
    known = read_lines(asked.out, {"overrides": asked.overrides})
    done = {identity_of(line) for line in known["lines"]}
    missing = [line for line in wanted(asked) if identity_of(line) not in done]
    with tempfile.TemporaryDirectory(prefix="pertcast-transcriptionnet-") as name:
        folder = Path(name)
        prepared = prepare(asked.data, tables, folder) if missing else None
        for line in lines_of(asked, prepared, tables, missing, folder) if prepared else ():
            known["lines"].append(line)
            keep_lines(asked.out, known)
    for config in asked.configs.split(","):
        for variant in asked.variants.split(","):
            for question in asked.questions.split(","):
                where = {"config": config, "variant": variant, "question": question}
                chosen = [line for line in known["lines"] if all(line[k] == v for k, v in where.items())]
                show(chosen, f"{config} on {variant}, {question}", seeds_are_data=False)
                if asked.against is not None:
                    del where["config"]
                    show_against(chosen, asked.against, where)


if __name__ == "__main__":
    main()
