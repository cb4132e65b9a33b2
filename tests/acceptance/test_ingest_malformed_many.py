"""A thousand malformed inputs, of every format and every kind of damage: no untyped exception.

The same claim as tests/data/test_ingest_malformed.py, with other seeds and on every CPU; two thousand with
PERTCAST_THOROUGH=1.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import malformed
import pytest
from thorough import THOROUGH

pytestmark = pytest.mark.acceptance

FIRST_SEED, GROUP = 100_000, 50
N_CASES = 2_000 if THOROUGH else 1_000


def judged(seeds: range, folder: str, base_store: str) -> list[tuple[Any, ...]]:
    """Play a group of cases in a process of its own; what comes back is plain text."""
    verdicts = [malformed.judge(seed, Path(folder) / "case", Path(base_store)) for seed in seeds]
    return [
        (str(each.case), each.case.form, each.case.changes, each.outcome, each.fault) for each in verdicts
    ]


def played(folder: Path) -> list[tuple[Any, ...]]:
    base_store = malformed.write_base_store(folder)
    starts = range(FIRST_SEED, FIRST_SEED + N_CASES, GROUP)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=context) as pool:
        waiting = [
            pool.submit(judged, range(start, start + GROUP), str(folder / str(start)), str(base_store))
            for start in starts
        ]
        return [verdict for group in waiting for verdict in group.result()]


def test_many_malformed_inputs_raise_nothing_untyped_and_store_nothing_wrong(tmp_path: Path) -> None:
    verdicts = played(tmp_path)
    faults = [f"{case}: {fault}" for case, _, _, _, fault in verdicts if fault]
    assert faults == []
    outcomes = Counter(outcome for *_, outcome, _ in verdicts)
    forms = Counter(form for _, form, *_ in verdicts)
    changes = Counter(name.split(" of ")[0] for _, _, names, _, _ in verdicts for name in names)
    print(f"outcomes: {dict(outcomes)}\nformats: {dict(forms)}\nchanges: {dict(sorted(changes.items()))}")
    assert outcomes["refused"] > N_CASES / 4 and outcomes["ingested"] > N_CASES / 5
    assert {*forms} == {*malformed.FORMATS} and min(forms.values()) >= N_CASES / len(forms) / 2
    assert {*malformed.CHANGES, *malformed.TREE_CHANGES, *malformed.TEXT_CHANGES} <= {*changes}
