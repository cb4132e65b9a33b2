"""Checks manifests of Kubernetes by named rules, before anything is applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Document
from pertcast_jobs.cluster.kube.rules import RULES, SHAPE_RULES
from pertcast_jobs.cluster.kube.rules.problem import Problem
from pertcast_jobs.cluster.kube.rules.shape import is_an_object


@dataclass(frozen=True)
class Finding:
    """A place where manifests break a rule, which is here by its name."""

    rule: str
    problem: Problem

    def row(self) -> dict[str, str]:
        """Return what is told of it: rule, kind, name, path, what and remedy."""
        problem = self.problem
        return {
            "rule": self.rule,
            "kind": problem.document.kind,
            "name": problem.document.name,
            "path": problem.path,
            "what": problem.what,
            "remedy": problem.remedy,
        }


def _shape_findings(bodies: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for body in bodies:
        document = Document(body)
        told = [Finding("schema", problem) for problem in is_an_object(document)]
        yield from told
        for name, rule in {} if told else SHAPE_RULES.items():
            yield from (Finding(name, problem) for problem in rule(document))


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
    return [Finding(name, problem) for name, rule in RULES.items() for problem in rule(manifests)]
