"""Which genes respond: tests of every gene of every condition against its own controls, as `GeneTests`.

Cells are tested by rank sums; replicate profiles, and pseudobulks of batches, by moderated t. Tests of single
cells take cells of one culture for independent (pseudoreplication), and their method says so: where there are
batches enough, `pseudobulk_tests` is to be preferred.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.gene_tests.rank_sum import SortedPopulation
from pertcast.evaluation.held_out import GeneTests, IndexArray
from pertcast.evaluation.populations import MeasuredCells
from pertcast.multiple_testing import benjamini_hochberg

CELL_METHOD: Final = (
    "Wilcoxon rank-sum test of single cells against control cells (corrected for ties and continuity), "
    "Benjamini-Hochberg over genes; cells of one culture are not independent, so q values are too small"
)


def group_order(control_group: IndexArray) -> IndexArray:
    """Return conditions so that those of one control group follow one another."""
    return np.argsort(control_group, kind="stable").astype(np.int64)


def cell_tests(measured: MeasuredCells, progress: ProgressCallback = no_progress) -> GeneTests:
    """Test every gene of every condition, cells against control cells, one condition in memory at a time.

    Returns
    -------
    GeneTests
        `statistic` is the standardised rank sum. A gene that is equal in all cells has p 1 and is counted
        among the tests, as in cell-eval.
    """
    n, g = len(measured.control_group), len(measured.genes)
    statistic = np.empty((n, g), dtype=np.float32)
    q_value = np.empty((n, g), dtype=np.float32)
    group, controls = -1, SortedPopulation(np.zeros((0, g), dtype=np.float32))
    for done, condition in enumerate(group_order(measured.control_group).tolist()):
        if int(measured.control_group[condition]) != group:
            group = int(measured.control_group[condition])
            controls = SortedPopulation(measured.controls(group))
        tested = SortedPopulation(measured.cells(condition)).test_against(controls)
        statistic[condition] = tested.z
        q_value[condition] = benjamini_hochberg(tested.p_value)
        progress(done + 1, n, "conditions tested, cells against controls")
    return GeneTests(statistic, q_value, CELL_METHOD)
