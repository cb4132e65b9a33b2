"""Checks manifests of Kubernetes by named rules, before anything is applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pertcast_jobs.cluster.kube.manifests import Document, Manifests
from pertcast_jobs.cluster.kube.rules import RULES, SHAPE_RULES
from pertcast_jobs.cluster.kube.rules.problem import Problem
from pertcast_jobs.cluster.kube.rules.shape import is_an_object


@dataclass(frozen=True)
class Finding:
    """A place where manifests break a rule.

    Attributes
    ----------
    rule
        Name of the rule.
    kind, name
        The object that must be changed.
    path
        Where in it, e.g. ``spec.workerGroupSpecs[0].template.spec.containers[0].image``.
    what
        What is wrong.
    remedy
        What to do.
    """

    rule: str
    kind: str
    name: str
    path: str
    what: str
    remedy: str


def _finding(rule: str, problem: Problem) -> Finding:
    document = problem.document
    return Finding(rule, document.kind, document.name, problem.path, problem.what, problem.remedy)


def _shape_findings(bodies: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for body in bodies:
        document = Document(body)
        told = [_finding("schema", problem) for problem in is_an_object(document)]
        yield from told
        for name, rule in {} if told else SHAPE_RULES.items():
            yield from (_finding(name, problem) for problem in rule(document))


def check_manifests(documents: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return where manifests break a rule; the empty list where nowhere.

    What an API server or operator would refuse or drop (rules `SHAPE_RULES`) is told first and alone: the
    other rules count on the shape. What an object refers to must be among the documents only if these
    describe its namespace as a whole, that is, hold its Namespace.

    Parameters
    ----------
    documents
        The objects, as `kubectl apply` would get them.

    Raises
    ------
    ConfigError
        The schemas of Kubernetes are not installed.
    """
    found = list(_shape_findings(documents))
    if found:
        return found
    manifests = Manifests.parse(documents)
    return [_finding(name, problem) for name, rule in RULES.items() for problem in rule(manifests)]
