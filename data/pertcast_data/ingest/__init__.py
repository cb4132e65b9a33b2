"""Ingest: any lab's file becomes a store, with every guess, conversion and omission reported."""

from pertcast_data.ingest.mapping import (
    ColumnRule,
    ControlRule,
    GeneRule,
    IngestMapping,
    TableRule,
    load_mapping,
)
from pertcast_data.ingest.report import IngestReport
from pertcast_data.ingest.run import ingest

__all__ = [
    "ColumnRule",
    "ControlRule",
    "GeneRule",
    "IngestMapping",
    "IngestReport",
    "TableRule",
    "ingest",
    "load_mapping",
]
