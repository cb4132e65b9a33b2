"""From rows of a store to batches: their order, their groups, their ranks, their matched controls."""

from pertcast_data.loading.batch_plan import BatchPlan
from pertcast_data.loading.control_pairing import ControlPairing, pair_controls
from pertcast_data.loading.group_plan import GroupPlan

__all__ = ["BatchPlan", "ControlPairing", "GroupPlan", "pair_controls"]
