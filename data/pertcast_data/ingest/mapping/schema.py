"""The JSON schema of the mapping file, so that editors complete and check it while it is written.

Made from the models: descriptions are their docstrings, and words of other tools are marked as aliases.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from pydantic import BaseModel

from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.rules import ColumnRule, ControlRule, GeneRule, TableRule
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.quality.rule import QualityRule
from pertcast_data.vocabulary import Normalisation
from pertcast_data.words import NORMALISATION_WORDS, USER_WORDS, UserWordKind

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_MODELS: Final[tuple[type[BaseModel], ...]] = (
    *(IngestMapping, ColumnRule, ControlRule, TableRule, GeneRule),
    *(PreprocessingStep, QualityRule),
)
_OWN_ONLY: Final = ("description", "examples", "default")
_SCALAR: Final = ("string", "number", "boolean", "null")

_EXAMPLES: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "cell_iname": ("cell_type", {"value": "K562"}),
        "pert_type": (
            {"value": "trt_sh"},
            {"column": "modality", "values": {"activation": "trt_act", "interference": "trt_sh"}},
        ),
        "cmap_name": ("condition", {"column": "perturbation", "separator": "_"}),
        "pert_dose": ("dose", {"value": None}),
        "pert_dose_unit": ({"value": "nM"},),
        "pert_time": ({"value": 96}, "timepoint"),
        "batch_id": ("gem_group", {"column": "sample", "pattern": "^([^_]+)_"}),
        "guide_id": ("guide_identity",),
        "donor_id": ("donor",),
        "controls": ({"values": ["NT"]}, {"column": "perturbation", "values": ["control"]}),
        "genes": ({"gene_id": "ensembl", "gene_symbol": "symbol"},),
        "matrix": ("raw", "layers/counts"),
        "annotation_columns": (["age", "viability"],),
        "keep": ({"pert_type": ["trt_cp", "ctl_vehicle"]},),
        "exclude": ({"qc": ["failed", "doublet"]},),
        "tables": ([{"file": "instinfo.txt", "key": "sample_id"}],),
        "preprocessing": ([{"step": "hvg", "fitted_on": "all"}],),
    }
)


def mapping_json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the mapping file.

    Returns
    -------
    dict
        Every key with its description, examples and allowed values; keys of other tools with "alias of".
        Unknown keys are no valid mapping. That two words for one thing must agree, and that a pattern is a
        regular expression with a group, only reading the file can tell.
    """
    schema = IngestMapping.model_json_schema(mode="validation")
    definitions: dict[str, Any] = schema.pop("$defs")
    for model in _MODELS[1:]:
        _describe(definitions[model.__name__], model)
    _describe(schema, IngestMapping)
    definitions["ColumnRule"] = _column_rule(definitions["ColumnRule"])
    definitions["TableRule"]["properties"]["file"] = _one_or_several(
        definitions["TableRule"]["properties"]["file"], ("string",)
    )
    columns = schema["properties"]["annotation_columns"]
    schema["properties"]["annotation_columns"] = _one_or_several(columns, ("string",))
    values = definitions["ControlRule"]["properties"]
    values["values"] = _one_or_several(values["values"], _SCALAR)
    for properties in (schema["properties"], definitions["GeneRule"]["properties"]):
        for name in ("keep", "exclude"):
            if name in properties:
                inner = properties[name]["additionalProperties"]
                properties[name]["additionalProperties"] = _one_or_several(inner, _SCALAR)
    schema["properties"]["normalisation"] |= {
        "anyOf": [{"enum": [*get_args(Normalisation)]}, {"enum": [*NORMALISATION_WORDS]}, {"type": "null"}]
    }
    for name, examples in _EXAMPLES.items():
        schema["properties"][name]["examples"] = list(examples)
    schema["properties"] |= _aliases(schema["properties"], definitions)
    head = {"$schema": DRAFT, "title": "Pertcast mapping file"}
    return {**head, **{key: value for key, value in schema.items() if key != "title"}, "$defs": definitions}


def _column_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a rule that may be a column's bare name, and is a column or a constant."""
    columns = {"type": "string", "description": "A column of the file by its name."}
    exactly_one = [
        {"required": ["column"], "not": {"required": ["value"]}},
        {"required": ["value"], "not": {"required": ["column"]}},
    ]
    return {"description": rule["description"], "anyOf": [columns, {**rule, "oneOf": exactly_one}]}


def _one_or_several(several: Mapping[str, Any], types: tuple[str, ...]) -> dict[str, Any]:
    alone = [name for name in types if name != "null"]
    described = {key: several[key] for key in ("description",) if key in several}
    return {**described, "anyOf": [{"type": alone}, {"type": "array", "items": {"type": [*types]}}]}


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Write a model's docstring, and what it says of each attribute, into its schema."""
    text = inspect.getdoc(model) or ""
    schema["description"] = _flowing(text.split("\nAttributes\n")[0])
    for names, description in _attributes(text):
        for name in names:
            if name in schema["properties"]:
                schema["properties"][name]["description"] = description
    for described in schema["properties"].values():
        described.pop("title", None)


def _attributes(docstring: str) -> Iterator[tuple[list[str], str]]:
    """Yield names and descriptions of the section Attributes of a numpy docstring."""
    _, _, section = docstring.partition("\nAttributes\n")
    for entry in re.split(r"\n(?=\S)", section.partition("\n")[2]):
        names, _, description = entry.partition("\n")
        if description.startswith("    "):
            yield [name.strip() for name in names.split(",")], _flowing(inspect.cleandoc(description))


def _flowing(text: str) -> str:
    return " ".join(text.split())


def _aliases(properties: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a property for every word of other tools."""
    found: dict[str, dict[str, Any]] = {}
    for word, (path, kind) in USER_WORDS.items():
        parent, _, last = path.rpartition(".")
        place = definitions["GeneRule"]["properties"] if parent else properties
        found[word] = {
            **_alias_value(kind, place[last]),
            "description": f"Alias of {path}: another tool's word for it.{_meaning(kind)}",
            "x-alias-of": path,
        }
    return found


def _alias_value(kind: UserWordKind, own: Mapping[str, Any]) -> dict[str, Any]:
    values: Mapping[UserWordKind, dict[str, Any]] = {
        "rule": {key: value for key, value in own.items() if key not in _OWN_ONLY},
        "control_names": _one_or_several({}, _SCALAR),
        "control_flag": {"type": "string"},
        "layer": {"type": ["string", "null"]},
        "use_raw": {"type": "boolean"},
    }
    return values[kind]


def _meaning(kind: UserWordKind) -> str:
    meanings: Mapping[UserWordKind, str] = {
        "control_names": " The names of perturbations that are controls.",
        "control_flag": " A column of 0/1 or true/false that marks controls.",
        "layer": " A layer by its name.",
        "use_raw": " true: the matrix `raw`.",
    }
    return meanings.get(kind, "")
