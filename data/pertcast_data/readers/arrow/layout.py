"""What the columns of a Parquet or Arrow table are: genes, annotations, a column of vectors, or a long list.

Types and names decide (`column_roles`); where they do not, the caller is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.types as types

from pertcast_data.errors import FormatError
from pertcast_data.readers.column_roles import (
    ROW_NUMBER_WORDS,
    are_numbered_alike,
    gene_likeness,
    is_gene_name_column,
    is_gene_note,
    is_profile_id,
    is_profile_note,
    looks_like_gene,
)
from pertcast_data.readers.text.delimited_columns import AnnotationTableError, no_such_annotation
from pertcast_data.text import counted, fold, listed

Form = Literal["wide", "vectors", "long"]
_NAME_KEYS: Final = (
    *("genes", "gene_names", "var_names", "gene_symbols", "gene_symbol", "gene_ids", "gene_id"),
    *("features", "feature_names", "columns"),
)
_VALUE_WORDS: Final = frozenset(
    {
        *(
            "value",
            "values",
            "expression",
            "expr",
            "count",
            "counts",
            "umi",
            "umis",
            "tpm",
            "cpm",
            "fpkm",
            "z",
        ),
        *(
            "zscore",
            "z_score",
            "modz",
            "level",
            "intensity",
            "log2fc",
            "logfc",
            "lfc",
            "log2_fold_change",
            "x",
        ),
        *("log_fold_change", "fold_change", "response", "score", "n", "abundance", "signal", "log1p", "data"),
    }
)
_LONG_ID_WORDS: Final = ("profile", "cell_id", "cell", "sample", "id", "index", "name", "well")
_WORD: Final = re.compile(r"[a-z]{3,}(_[a-z]+)*")


@dataclass(frozen=True, slots=True)
class ArrowLayout:
    """What the columns are.

    Attributes
    ----------
    form
        "wide": a column a gene; "vectors": one column of lists; "long": a row a value.
    row_name
        The column that names profiles; None where rows are numbered.
    notes
        Annotation columns of profiles.
    gene_notes
        Annotation columns of genes (long form).
    values
        The gene columns; the one column of vectors; the gene and the value column of a long list.
    genes
        Names of genes where the schema tells them.
    told
        What was decided, in words.
    """

    form: Form
    row_name: str | None
    notes: tuple[str, ...]
    values: tuple[str, ...]
    genes: tuple[str, ...] = ()
    gene_notes: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def settle_layout(
    path: Path, schema: pa.Schema, chosen: tuple[str, ...] | None, matrix: str | None
) -> ArrowLayout:
    """Settle what each column is.

    Parameters
    ----------
    path
        The file, for messages.
    schema
        Its Arrow schema.
    chosen
        Annotation columns beside those whose names tell it, where the caller knows.
    matrix
        The column of vectors, where there are several.

    Raises
    ------
    FormatError
        There is no matrix, or it cannot be told which columns are its.
    """
    numbers = [field.name for field in schema if is_number_type(field.type)]
    vectors = [field.name for field in schema if _is_vector(field.type)]
    texts = [field.name for field in schema if _is_note_type(field.type)]
    absent = [name for name in chosen or () if name not in schema.names]
    if absent:
        raise no_such_annotation(path, absent[0])
    row_name = _row_name(schema, texts, numbers)
    known = {*numbers, *vectors, *texts}
    others = [name for name in schema.names if name not in known]
    left_out = (f"columns of lists or structures left out: {', '.join(others[:10])}",) if others else ()
    candidates = [
        name for name in numbers if name != row_name and name not in (chosen or ()) and not _is_note(name)
    ]
    if matrix is not None or (vectors and sum(map(looks_like_gene, candidates)) < 10):
        vector = _vector(path, vectors, matrix)
        readable = {*texts, *numbers}
        notes = tuple(name for name in schema.names if name in readable and name != row_name)
        return ArrowLayout(
            "vectors",
            row_name,
            notes,
            (vector,),
            _gene_names(schema, vector),
            told=(f"{vector} holds the profiles", *left_out),
        )
    long = None if chosen is not None else _long(schema, texts, numbers, candidates)
    if long is not None:
        return long
    genes, strangers = _genes(path, candidates, texts, is_told=chosen is not None)
    readable, taken = {*texts, *numbers}, {*genes, row_name}
    notes = tuple(name for name in schema.names if name in readable and name not in taken)
    told = [f"{len(genes):,} columns are genes"]
    if notes:
        told.append(f"annotation columns: {', '.join(notes[:20])}")
    told += strangers
    if vectors:
        told.append(f"columns of vectors left out: {', '.join(vectors[:10])}")
    return ArrowLayout("wide", row_name, notes, tuple(genes), tuple(genes), told=(*told, *left_out))


def is_number_type(kind: Any) -> bool:
    """Return whether values of an Arrow type are numbers."""
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _is_note_type(kind: Any) -> bool:
    if types.is_dictionary(kind):
        return is_number_type(kind.value_type) or _is_note_type(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind) or kind == pa.string_view()
    is_other = types.is_boolean(kind) or types.is_temporal(kind) or types.is_null(kind)
    return bool(is_text or is_other)


def _is_vector(kind: Any) -> bool:
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and is_number_type(kind.value_type))


def _is_note(name: str) -> bool:
    return is_profile_note(name) or is_gene_name_column(name)


def _row_name(schema: pa.Schema, texts: Sequence[str], numbers: Sequence[str]) -> str | None:
    readable = {*texts, *numbers}
    index = [name for name in _pandas_index(schema) if name in readable]
    named = [name for name in schema.names if name in readable and is_profile_id(name)]
    plain = [name for name in texts if fold(name) in (*ROW_NUMBER_WORDS, "id", "name")]
    first = [name for name in schema.names[:1] if name in texts and not _is_note(name)]
    return next(iter((*index[:1], *named, *plain, *first)), None)


def _pandas_index(schema: pa.Schema) -> list[str]:
    try:
        columns = (schema.pandas_metadata or {}).get("index_columns", [])
    except (ValueError, AttributeError, TypeError):
        return []
    return [name for name in columns if isinstance(name, str)] if isinstance(columns, list) else []


def _vector(path: Path, vectors: Sequence[str], matrix: str | None) -> str:
    if matrix is not None and matrix not in vectors:
        held = f"It has {', '.join(vectors[:10])}." if vectors else "It has none; leave `matrix` out."
        raise FormatError(f"{path}: has no column of vectors {matrix!r} (matrix). {held}")
    if matrix is None and len(vectors) > 1:
        raise FormatError(
            f"{path}: {len(vectors)} columns hold vectors ({', '.join(vectors[:10])}). Say which holds the "
            f"profiles: `matrix: {vectors[0]}` in the mapping file."
        )
    return matrix or vectors[0]


def _gene_names(schema: pa.Schema, vector: str) -> tuple[str, ...]:
    tables = (schema.field(vector).metadata or {}, schema.metadata or {})
    for table in tables:
        known = {fold(key.decode("utf-8", "replace")): value for key, value in table.items()}
        raw = next((known[key] for key in _NAME_KEYS if key in known), None)
        if raw is not None:
            return _listed_names(raw.decode("utf-8", "replace"))
    return ()


def _listed_names(text: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except ValueError:
        names = re.split(r"[,;\t\n]", text)
    return tuple(str(name).strip() for name in names) if isinstance(names, list) else ()


def _long(
    schema: pa.Schema, texts: Sequence[str], numbers: Sequence[str], candidates: Sequence[str]
) -> ArrowLayout | None:
    """Return the layout of a list of (profile, gene, value), None where it is none."""
    values = [name for name in numbers if fold(name) in _VALUE_WORDS]
    values = values if len(values) == 1 else [*candidates] if len(candidates) == 1 else []
    readable = {*texts, *numbers}
    genes = [name for name in schema.names if is_gene_name_column(name) and name in readable]
    taken = {*values, *genes}
    left = [name for name in schema.names if name in readable and name not in taken]
    ids = [name for name in left if is_profile_id(name)] or [
        name for name in left if fold(name) in _LONG_ID_WORDS
    ]
    if len(values) != 1 or not genes or not ids or len(candidates) > 1:
        return None
    profile, gene = ids[0], genes[0]
    rest = [name for name in left if name != profile]
    of_genes = tuple(name for name in (*genes[1:], *rest) if is_gene_note(name))
    notes = tuple(name for name in rest if name not in of_genes)
    told = f"a list of values: {profile} names profiles, {gene} genes, {values[0]} is the value"
    return ArrowLayout("long", profile, notes, (gene, values[0]), gene_notes=of_genes, told=(told,))


def _genes(
    path: Path, candidates: list[str], texts: Sequence[str], *, is_told: bool
) -> tuple[list[str], list[str]]:
    """Return the gene columns and what is to be told of the others."""
    if is_told and candidates:
        return candidates, []
    strange = [name for name in candidates if not looks_like_gene(name)]
    is_weak = len(strange) > len(candidates) / 2 or gene_likeness(candidates) <= 0
    if not candidates or (is_weak and len(candidates) <= max(2, len(texts))):
        raise AnnotationTableError(
            f"{path}: this is a table of annotations, without columns of genes: pass it by --obs-table (with "
            "--key), and name the file of profiles."
        )
    if are_numbered_alike(candidates):
        return candidates, ["names of columns do not look like genes"] if is_weak else []
    words = [name for name in strange if _WORD.fullmatch(name)]
    if is_weak or (words and len(candidates) - len(strange) < 8):
        raise FormatError(
            f"{path}: cannot tell which columns are genes: {', '.join(strange[:5])} look like none. Name "
            f"those that are not by `annotation_columns: [{strange[0]}, ...]` in the mapping file, or "
            "keep them in a table of their own (--obs-table)."
        )
    told = [f"columns of numbers taken for annotations: {', '.join(words[:10])}"] if words else []
    others = [name for name in strange if name not in words]
    if others:
        told.append(f"{counted(len(others), 'column')} taken for genes by other names: {listed(others)}")
    return [name for name in candidates if name not in words], told
