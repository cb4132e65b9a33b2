"""Whole screens through the command line: time of every step, memory at ten times the size, bare limits.

Screens every gene (multiplex_network, three types, 978 genes, 50 gene sets of hallmark sizes) and a list of
compounds (latent_diffusion, four cell lines, six doses), each in a process of its own, watched from outside.
Small without options; `--full` takes the sizes of the bars (minutes a screen, and as many to train).
Usage: `python benchmarks/bench_screens.py [--full] [--parts genome compounds memory limits]
[--executors in-process ray-data] [--keep FOLDER]`
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pertcast.analysis.gene_sets import read_gmt
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_jobs.screen.knowledge import knowledge_of
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest, prepare_screen
from screen_bundles import (
    DOSES,
    CompoundTraining,
    Training,
    make_compound_run,
    make_run,
    train_apart,
    write_hallmark_like,
)
from screen_limits import limits_of
from screen_steps import sizes_of, steps_of
from watched_process import Watched, watch

TYPES: Final = ("trt_sh", "trt_xpr", "trt_oe")
WORKERS: Final = 2
GROWTH_BAR: Final = 1.10
RIGHT_WITHIN: Final = 2.0
PARTS: Final = ("genome", "compounds", "memory", "limits")


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes
    ----------
    genes, perturbed
        Genes of the network; those of them that training perturbs.
    profiled, listed
        Compounds that training holds, and those that are screened.
    compound_genes
        Genes of a compound's profile.
    contexts
        Cell lines of the screen that grows by cell lines.
    """

    genes: int
    perturbed: int
    profiled: int
    listed: int
    compound_genes: int
    contexts: int


SMALL: Final = Sizes(1_600, 60, 16, 24, 200, 3)
FULL: Final = Sizes(26_945, 1_000, 200, 1_000, 978, 10)


class Bench:
    """The bundles of the benchmark, trained where they are not there yet, and the screens made of them.

    Parameters
    ----------
    kept
        Folder of the bundles.
    scratch
        Folder of the screens.
    sizes
        How large they are.
    """

    def __init__(self, kept: Path, scratch: Path, sizes: Sizes) -> None:
        self.kept, self.scratch, self.sizes = kept, scratch, sizes

    def genome(self, contexts: int = 1) -> Path:
        """Return the run of the genetic model; its perturbed genes are fewer where cell lines are more."""
        folder = self.kept / ("genome" if contexts == 1 else f"genome{contexts}")
        if not (folder / "run" / "bundle").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            perturbed = max(self.sizes.perturbed // contexts, 20)
            training = Training("multiplex_network", self.sizes.genes, perturbed, (), contexts)
            train_apart(folder, training, make_run)
        return folder / "run"

    def gene_sets(self, run: Path) -> Path:
        """Return a file of gene sets over the genes that a model predicts."""
        path = run.parent / "sets.gmt"
        if not path.exists():
            write_hallmark_like(path, Predictor.from_bundle(find_bundle(run)).genes)
        return path

    def genes(self, contexts: int = 1, part: int = 1, cells: int = 1) -> list[str]:
        """Return the words that screen every `part`-th part of the genes in some cell lines."""
        run = self.genome(contexts)
        predictor = Predictor.from_bundle(find_bundle(run))
        names = knowledge_of(predictor).genes
        names = names[: min(self.sizes.genes, len(names)) // part]
        library = self.scratch / f"genes{len(names)}.csv"
        library.write_text("\n".join(("pert_id", *names)) + "\n", encoding="utf-8")
        words = ["genes", str(library), "--model", str(run), "--gmt", str(self.gene_sets(run))]
        return [
            *words,
            "--pert-types",
            ",".join(TYPES),
            "--cells",
            ",".join(predictor.space.contexts[:cells]),
        ]

    def compounds(self) -> list[str]:
        """Return the words that screen the list of new compounds at six doses."""
        folder = self.kept / "compounds"
        if not (folder / "run" / "bundle").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            sizes = self.sizes
            training = CompoundTraining(sizes.profiled, sizes.listed, sizes.compound_genes)
            train_apart(folder, training, make_compound_run)
        doses = ",".join(f"{dose:g}" for dose in DOSES)
        run = folder / "run"
        words = ["compounds", str(folder / "list.csv"), "--model", str(run)]
        return [*words, "--gmt", str(self.gene_sets(run)), "--doses", doses]

    def screen(self, words: Sequence[str], executor: str) -> tuple[Path, Watched]:
        """Compute a screen through the command line, in a process of its own."""
        out = self.scratch / "screen"
        shutil.rmtree(out, ignore_errors=True)
        command = [*_command(words, executor), "--out", str(out)]
        return out, watch(command, self.scratch / "printed.txt")

    def whole(self, words: Sequence[str], executors: Sequence[str]) -> None:
        """Screen with each executor and print steps, memory, files, and the estimate beside the time."""
        for executor in executors:
            told = _estimate(words, executor)
            out, watched = self.screen(words, executor)
            _print_screen(out, watched, executor, told)
        for name, files, size in sizes_of(out):
            print(f"  {name:<34}{files:>6,} files{size:>10.1f} MB")

    def memory(self) -> None:
        """Print the peak of the driver by genes and by cell lines."""
        tenth = self.screen(self.genes(part=10), "in-process")[1]
        self._growth("a tenth of the genes, all genes", tenth, self.screen(self.genes(), "in-process")[1])
        several, part = self.sizes.contexts, 10
        one = self.screen(self.genes(several, part, 1), "in-process")[1]
        many = self.screen(self.genes(several, part, several), "in-process")[1]
        self._growth(f"a tenth of the genes in 1, {several} cell lines", one, many)

    def _growth(self, what: str, small: Watched, large: Watched) -> None:
        before, after = max(small.driver_mb), max(large.driver_mb)
        word = "constant" if after <= GROWTH_BAR * before else "GROWS"
        print(f"  {what:<46}{before:>8,.0f} MB{after:>8,.0f} MB   {after / before:.2f}   {word}")

    def limits(self) -> None:
        """Print the steps of both screens beside their bare limits."""
        for words in (self.genes(), self.compounds()):
            prepared = prepare_screen(_request(words))
            print(f"{prepared.predictor.bundle.model_name}, {len(prepared.predictor.genes):,} genes")
            folder = self.scratch / "limits"
            for row in limits_of(prepared, folder):
                beside = "" if row.bare is None else f"{row.bare:>12,.0f}   {row.rate / row.bare:6.2f}"
                print(f"  {row.step:<32}{row.rate:>10,.0f} profiles/s   {row.against:<24}{beside}")
            shutil.rmtree(folder)


def _command(words: Sequence[str], executor: str) -> list[str]:
    program = str(Path(sys.executable).parent / "pertcast")
    return [program, "screen", *words, "--executor", executor, "--workers", str(WORKERS)]


def _estimate(words: Sequence[str], executor: str) -> dict[str, Any]:
    """Return what `--dry-run` says."""
    command = [*_command(words, executor), "--dry-run", "--json"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def _request(words: Sequence[str]) -> ScreenRequest:
    kind, library = words[:2]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert kind in ("genes", "compounds")
    assert read_gmt(options["--gmt"]).members
    return ScreenRequest(
        kind="genes" if kind == "genes" else "compounds",
        model=Path(options["--model"]),
        library=Path(library),
        gmt=Path(options["--gmt"]),
        types=TYPES if kind == "genes" else None,
        doses=None if kind == "genes" else DOSES,
        settings=ScreenSettings(kind="genes" if kind == "genes" else "compounds"),
    )


def _print_screen(out: Path, watched: Watched, executor: str, told: dict[str, Any]) -> None:
    cpu = watched.cpu_s[-1]
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    count = manifest["n_profiles"]
    print(f"{out.name}, {executor}: {count:,} profiles x {manifest['n_genes']:,} genes")
    print(f"  {'step':<34}{'wall s':>8}{'CPU s':>8}{'share':>8}{'driver MB':>11}")
    for step in steps_of(out, watched):
        share = step.cpu_s / cpu
        print(f"  {step.name:<34}{step.wall_s:>8.1f}{step.cpu_s:>8.1f}{share:>8.0%}{step.driver_mb:>11,.0f}")
    workers = ", ".join(f"{peak:,.0f}" for peak in watched.worker_peaks.values()) or "none"
    print(f"  {'in all':<34}{watched.wall_s:>8.1f}{cpu:>8.1f}{1:>8.0%}{max(watched.driver_mb):>11,.0f}")
    print(f"  peak of workers, MB: {workers}; of all processes together: {max(watched.tree_mb):,.0f}")
    ratio = told["seconds"] / watched.wall_s
    word = "right" if 1 / RIGHT_WITHIN <= ratio <= RIGHT_WITHIN else "WRONG"
    print(
        f"  --dry-run: {told['seconds']:,.0f} s ({told['finishing_seconds']:,.0f} s of tables), "
        f"{ratio:.2f} of the time: {word} within {RIGHT_WITHIN:g}; "
        f"memory {told['memory_bytes'] / 1e6:,.0f} MB"
    )


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the sizes of the bars")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--executors", nargs="*", default=None, metavar="NAME")
    parser.add_argument("--keep", type=Path, help="folder that keeps the bundles")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    executors = options.executors or (["in-process", "ray-data"] if options.full else ["in-process"])
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(options.keep or Path(name), Path(name), FULL if options.full else SMALL)
        if "genome" in options.parts:
            print(f"genome: every gene x {len(TYPES)} types, multiplex_network")
            bench.whole(bench.genes(), executors)
        if "compounds" in options.parts:
            print(f"compounds: x 4 cell lines x {len(DOSES)} doses, latent_diffusion")
            bench.whole(bench.compounds(), executors)
        if "memory" in options.parts:
            print("peak memory of the driver, which also computes the shards")
            bench.memory()
        if "limits" in options.parts:
            print("steps beside their bare limits, one process")
            bench.limits()


if __name__ == "__main__":
    main()
