"""What a rule says about an object, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pertcast_jobs.cluster.kube.manifests import Manifests
from pertcast_jobs.cluster.kube.objects import Document


@dataclass(frozen=True)
class Problem:
    """One fault.

    Attributes
    ----------
    document
        The object that must be changed.
    path
        Where in it, e.g. ``spec.workerGroupSpecs[0].template.spec.containers[0].image``.
    what
        What is wrong.
    remedy
        What to do.
    """

    document: Document
    path: str
    what: str
    remedy: str


Rule = Callable[[Manifests], Iterator[Problem]]
"""Looks at manifests of the right shape and yields each place where they break one rule."""
