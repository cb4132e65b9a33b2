"""Are the targets of drugs recovered where the truth is known? A regime, seed and score a line.

A simulated atlas' genetic signatures are the library, its wells the drugs; known targets are the regulators
that a compound's structure inhibits (efficacy -0.3 or stronger), of the whole compound library.

    python benchmarks/atlas_drug_targets.py --seeds 100-102 --out targets.json

Seeds 0-9 are for choosing a score, 100-109 for reporting. About ten seconds a line on one core. Finished
lines are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pertcast.analysis.connectivity import SCORES
from pertcast.analysis.drug_targets import MatchOptions, TargetMatch
from pertcast.evaluation.text import text_table
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, gives_same_data, simulate_atlas, write_atlas
from pertcast_data.simulate.regimes.drives import structure_efficacy
from pertcast_data.simulate.world import World
from pertcast_jobs.targets import TargetRequest, match_targets

INHIBITED = -0.3
"""Efficacy at or below which a regulator counts as a target that the compound inhibits."""


def inhibited_targets(world: World) -> pl.DataFrame:
    """Return pert_id, symbol of the regulators that each compound of the library inhibits."""
    efficacy = structure_efficacy(world, np.arange(len(world.library)))
    pairs = np.argwhere(efficacy <= INHIBITED)
    regulators = world.network.regulators
    return pl.DataFrame(
        {
            "pert_id": [world.library.pert_ids[compound] for compound, _ in pairs],
            "symbol": [world.network.gene_symbols[regulators[place]] for _, place in pairs],
        }
    )


def matches(regime: str, seed: int, scores: list[str]) -> dict[str, TargetMatch]:
    """Simulate and ingest an atlas, and match its drugs with its genes by each score."""
    config = AtlasConfig(
        regime=regime,
        seed=seed,
        n_signature_genes=300,
        n_signature_contexts=3,
        n_knockouts=2,
        n_pairs=0,
        n_cells=200,
    )
    with tempfile.TemporaryDirectory(prefix="pertcast-targets-") as folder:
        root = Path(folder)
        atlas = simulate_atlas(config)
        files = write_atlas(atlas, root / "atlas")
        ingest([files.wells], root / "wells")
        ingest([files.signatures], root / "signatures")
        inhibited_targets(atlas.world).write_csv(root / "known.csv")
        request = TargetRequest(root / "signatures", root / "wells", root / "known.csv")
        return {
            score: match_targets(
                TargetRequest(
                    request.library, request.drugs, request.known, options=MatchOptions(score=score)
                ),
                root / score,
            )
            for score in scores
        }


def line_of(regime: str, seed: int, match: TargetMatch) -> dict[str, Any]:
    """Return one match's figures."""
    return {
        "regime": regime,
        "seed": seed,
        "score": match.facts["score"],
        "n_target_genes": match.facts["n_target_genes"],
        "n_drugs": match.facts["n_drugs"],
        "recovery": [found.to_json() for found in match.recovery],
    }


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def pooled(lines: list[dict[str, Any]]) -> list[str]:
    """Return a table of contenders: means over seeds, and in how many seeds the result is better."""
    rows = []
    for place, first in enumerate(lines[0]["recovery"]):
        found = [line["recovery"][place] for line in lines]
        columns: list[str] = []
        for auroc, gap in (
            ("auroc", "result_minus_this"),
            ("auroc_among_targets", "result_minus_this_among_targets"),
        ):
            gaps = [each[gap] for each in found if each[gap] is not None]
            better, worse = sum(each["low"] > 0 for each in gaps), sum(each["high"] < 0 for each in gaps)
            outcome = f"{better} / {len(gaps) - better - worse} / {worse}" if gaps else ""
            columns += [f"{np.mean([each[auroc]['value'] for each in found]):.3f}", outcome]
        tops = [
            f"{np.mean([each['top'][share]['value'] for each in found]):.0%}"
            for share in ("0.01", "0.05", "0.1")
        ]
        rows.append([first["title"], *columns, *tops])
    header = ["", "AUROC", "b / e / w", "among targets", "b / e / w", "top 1%", "top 5%", "top 10%"]
    return text_table(header, rows)


def show_line(line: dict[str, Any]) -> None:
    """Print the intervals of one line."""
    print(f"\n{line['regime']} seed {line['seed']} {line['score']}: {line['n_target_genes']} target genes")
    for found in line["recovery"]:
        values = [found[name] for name in ("auroc", "auroc_among_targets")]
        said = [f"{each['value']:.3f} [{each['low']:.3f}, {each['high']:.3f}]" for each in values]
        print(f"  {found['title']:<68} {said[0]}   among targets {said[1]}")


def main() -> None:
    """Match every atlas that --out does not hold yet, then print the pooled tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regimes", default="linear,network")
    parser.add_argument("--seeds", default="100-102")
    parser.add_argument("--scores", default="pearson", help=f"of {', '.join(SCORES)}")
    parser.add_argument("--out", type=Path, default=Path("atlas_drug_targets.json"))
    parser.add_argument("--show", action="store_true", help="print every line's intervals")
    asked = parser.parse_args()
    prepare_environment()
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if not gives_same_data(known.get("generator_hash")):
        known = {"generator_hash": generator_hash(), "lines": []}
    done = {(line["regime"], line["seed"], line["score"]): line for line in known["lines"]}
    scores, seeds = asked.scores.split(","), seeds_of(asked.seeds)
    for regime in asked.regimes.split(","):
        for seed in seeds:
            wanted = [score for score in scores if (regime, seed, score) not in done]
            for score, match in (matches(regime, seed, wanted) if wanted else {}).items():
                done[regime, seed, score] = line_of(regime, seed, match)
            asked.out.write_text(json.dumps({**known, "lines": list(done.values())}, indent=1) + "\n")
        for score in scores:
            chosen = [done[regime, seed, score] for seed in seeds]
            for line in chosen if asked.show else ():
                show_line(line)
            print(
                f"\n{regime}, {score}: mean over {len(seeds)} seeds (b / e / w: result better, equal, worse)"
            )
            print("\n".join(pooled(chosen)), flush=True)


if __name__ == "__main__":
    main()
