"""From rows of a store to batches: their order, their ranks, their matched controls."""

from pertcast_data.loading.batch_plan import BatchPlan
from pertcast_data.loading.control_pairing import ControlPairing, pair_controls

__all__ = ["BatchPlan", "ControlPairing", "pair_controls"]
