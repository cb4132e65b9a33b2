"""From tables and stores to what models see: features, vocabularies, basal profiles, batches.

Everything here is fitted on training rows only and travels in the bundle, so that prediction sees what
training saw.
"""

from pertcast.encoding.basal import BasalProfiles
from pertcast.encoding.encoder import ConditionEncoder
from pertcast.encoding.problems import RowProblem
from pertcast.encoding.source import StoreSource
from pertcast.encoding.spec import EncoderSpec
from pertcast.encoding.training_data import make_training_data

__all__ = [
    "BasalProfiles",
    "ConditionEncoder",
    "EncoderSpec",
    "RowProblem",
    "StoreSource",
    "make_training_data",
]
