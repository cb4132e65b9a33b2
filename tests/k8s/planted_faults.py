"""All planted faults, by their names."""

from __future__ import annotations

import planted_in_clusters
import planted_in_jobs
import planted_in_objects
import planted_in_pods
from planting import Planted

FAULTS: dict[str, Planted] = {
    **planted_in_objects.FAULTS,
    **planted_in_pods.FAULTS,
    **planted_in_clusters.FAULTS,
    **planted_in_jobs.FAULTS,
}
