"""What an evaluation keeps of measured and predicted responses, as analyses of biology are given it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.compared import ComparedResponses
from pertcast.evaluation.held_out import FloatArray
from pertcast_data.errors import SchemaError

from pertcast_jobs.evaluate.saving import Evaluation


def compared_responses(evaluation: Evaluation) -> ComparedResponses:
    """Return what was measured and what was said of the held-out conditions, the model first.

    Raises
    ------
    SchemaError
        The evaluation keeps no predictions.
    """
    evidence, trust = evaluation.evidence, evaluation.trust
    if evidence is None:
        raise SchemaError(f"{evaluation.name} keeps no predictions to compare; evaluate its runs anew.")
    shown = sorted(trust.order, key=lambda contender: contender.role != "model")
    return ComparedResponses(
        conditions=evidence.held.conditions,
        genes=tuple(evidence.held.genes),
        measured=evidence.held.truth,
        generated={c.title: evidence.predictions[c.name] for c in shown if c.name in evidence.predictions},
        control=evidence.held.control,
    )


def replicate_halves(evaluation: Evaluation) -> tuple[FloatArray, FloatArray] | None:
    """Return two (N, G) responses from halves of the replicates, NaN where a condition has none.

    None where no condition has replicates.
    """
    evidence = evaluation.evidence
    if evidence is None or evidence.halves is None:
        return None
    halves = evidence.halves
    first, second = (np.full(evidence.held.truth.shape, np.nan, dtype=np.float32) for _ in range(2))
    first[halves.index], second[halves.index] = halves.first, halves.second
    return first, second


def compared_rows(compared: ComparedResponses, rows: NDArray[np.int64]) -> ComparedResponses:
    """Return some of the compared conditions."""
    return ComparedResponses(
        conditions=compared.conditions[rows],
        genes=compared.genes,
        measured=compared.measured[rows],
        generated={title: values[rows] for title, values in compared.generated.items()},
        control=compared.control[rows],
    )
