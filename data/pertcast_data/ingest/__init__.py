"""Ingest: any lab's file becomes a store, with every guess, conversion and omission reported."""

from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.loading import load_mapping
from pertcast_data.ingest.mapping.pairs import mapping_from_pairs
from pertcast_data.ingest.mapping.rules import ColumnRule, ControlRule, GeneRule, TableRule
from pertcast_data.ingest.mapping.schema import mapping_json_schema
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
    "mapping_from_pairs",
    "mapping_json_schema",
]
