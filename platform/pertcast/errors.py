"""The public face of the error hierarchy: `from pertcast.errors import UnknownGene`."""

from pertcast_data.errors import (
    ConfigError,
    ControlsMissing,
    CorruptBundle,
    CorruptStore,
    FormatError,
    LeakageError,
    PertcastError,
    SchemaError,
    UnitError,
    UnknownCompound,
    UnknownContext,
    UnknownGene,
    UnknownName,
)

__all__ = [
    "ConfigError",
    "ControlsMissing",
    "CorruptBundle",
    "CorruptStore",
    "FormatError",
    "LeakageError",
    "PertcastError",
    "SchemaError",
    "UnitError",
    "UnknownCompound",
    "UnknownContext",
    "UnknownGene",
    "UnknownName",
]
