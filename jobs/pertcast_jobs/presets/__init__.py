"""Named data sets that users bring: how their files become a store, what is trained, what was published."""

from pertcast_jobs.presets.preset import Preset, load_preset, shipped_presets
from pertcast_jobs.presets.run import PresetRun

__all__ = ["Preset", "PresetRun", "load_preset", "shipped_presets"]
