"""The rows of a user's embedding table, found by structure first, then by id or name.

A table is read once in training; the bundle carries its rows, so that prediction needs no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pertcast_data.compounds import inchi_key_14
from pertcast_data.embedding_table import EmbeddingTable, read_embedding_table
from pertcast_data.errors import SchemaError
from pertcast_data.splits.compound_names import fold_compound, without_salt
from pertcast_data.text import listed

from pertcast.encoding.descriptions import canonical_form

Rows = NDArray[np.float32]
_SAME_RTOL, _SAME_ATOL = 1e-4, 1e-6


@dataclass(frozen=True)
class EmbeddingRows:
    """R rows of an embedding table and how compounds are found in it.

    Attributes
    ----------
    file, sha256
        Name (without folder) and content of the file.
    pert_ids, names, smiles, inchi_keys
        (R,) what the table says of each compound; None where it says nothing. An InChIKey is that of the
        parent, salts stripped.
    values
        (R, D) float32 as the table has them.
    """

    file: str
    sha256: str
    pert_ids: tuple[str | None, ...]
    names: tuple[str | None, ...]
    smiles: tuple[str | None, ...]
    inchi_keys: tuple[str | None, ...]
    values: Rows

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table and tell its compounds apart.

        Raises
        ------
        FormatError, SchemaError
            See `read_embedding_table`; also a row that only an invalid structure names, and rows of one
            compound with different values that no id of their own tells apart.
        """
        table = read_embedding_table(path)
        columns = {name: table.keys[name].to_list() for name in table.keys.columns}
        keys = [
            _parent_key(smiles, key)
            for smiles, key in zip(columns["canonical_smiles"], columns["inchi_key"], strict=True)
        ]
        found = cls(
            file=table.file,
            sha256=table.sha256,
            pert_ids=tuple(columns["pert_id"]),
            names=tuple(columns["cmap_name"]),
            smiles=tuple(columns["canonical_smiles"]),
            inchi_keys=tuple(keys),
            values=table.values,
        )
        found._require_names(table, path)
        found._require_agreement(table, path)
        return found

    def find(self, names: Iterable[str | None], inchi_key: str | None) -> int:
        """Return the row of a compound, -1 where the table does not have it.

        The whole InChIKey counts before its skeleton, and structure before name: a name is not believed where
        both sides have a structure and the structures differ. Of several rows with the structure, the one
        that also has the name is taken, else the first.

        Parameters
        ----------
        names
            Its ids and names, best first.
        inchi_key
            InChIKey of its parent, where known.
        """
        if inchi_key:
            names = tuple(names)
            rows = self._by_key.get(inchi_key) or self._by_skeleton.get(inchi_key_14(inchi_key))
            if rows:
                return self._best(rows, names)
        row = self.find_name(names)
        return -1 if row >= 0 and inchi_key and self.inchi_keys[row] else row

    def find_name(self, names: Iterable[str | None]) -> int:
        """Return the row with the first of these ids or names, whatever its structure; -1 for none."""
        texts = (_folded(name) for name in names if name)
        return next((self._by_text[text] for text in texts if text in self._by_text), -1)

    def _best(self, rows: Sequence[int], names: Iterable[str | None]) -> int:
        if len(rows) == 1:
            return rows[0]
        wanted = {_folded(name) for name in names if name}
        texts = ((row, text) for row in rows for text in (self.pert_ids[row], self.names[row]) if text)
        return next((row for row, text in texts if _folded(text) in wanted), rows[0])

    @property
    def known(self) -> tuple[str, ...]:
        """Every id and name of the table, for suggestions."""
        return tuple(dict.fromkeys(text for text in (*self.pert_ids, *self.names) if text))

    @cached_property
    def _by_key(self) -> dict[str, list[int]]:
        return _rows_of(self.inchi_keys)

    @cached_property
    def _by_skeleton(self) -> dict[str, list[int]]:
        return _rows_of([inchi_key_14(key) if key else None for key in self.inchi_keys])

    @cached_property
    def _by_text(self) -> dict[str, int]:
        """Row by folded id or name, without those that mean compounds with different values."""
        rows: dict[str, list[int]] = {}
        for texts in (self.pert_ids, self.names):
            for row, text in enumerate(texts):
                if text:
                    rows.setdefault(_folded(text), []).append(row)
        return {text: found[0] for text, found in rows.items() if self._agree(found)}

    def _agree(self, rows: Sequence[int]) -> bool:
        first = self.values[rows[0]]
        return all(np.allclose(self.values[row], first, _SAME_RTOL, _SAME_ATOL) for row in rows[1:])

    def _require_names(self, table: EmbeddingTable, path: Path) -> None:
        nameless = [
            row
            for row, keys in enumerate(zip(self.pert_ids, self.names, self.inchi_keys, strict=True))
            if not any(keys)
        ]
        if nameless:
            raise SchemaError(
                f"{path}: {len(nameless):,} rows have neither a valid structure nor a name: "
                f"{listed(map(table.row_name, nameless))}. Correct canonical_smiles, or add pert_id."
            )

    def _require_agreement(self, table: EmbeddingTable, path: Path) -> None:
        compounds: dict[str, list[int]] = {}
        for row, (key, pert_id, name) in enumerate(
            zip(self.inchi_keys, self.pert_ids, self.names, strict=True)
        ):
            compounds.setdefault(key or _folded(pert_id or name or ""), []).append(row)
        conflicts = [
            rows
            for rows in compounds.values()
            if len(rows) > 1 and not self._agree(rows) and not self._have_own_ids(rows)
        ]
        if conflicts:
            told = [" and ".join(map(table.row_name, rows[:2])) for rows in conflicts]
            raise SchemaError(
                f"{path}: {len(conflicts):,} compounds have several rows with different values (salts of "
                f"one parent are one compound): {listed(told, 3)}. Keep one row a "
                "compound, or give each row a pert_id of its own."
            )

    def _have_own_ids(self, rows: Sequence[int]) -> bool:
        ids = [_folded(self.pert_ids[row] or "") for row in rows]
        return all(ids) and len(set(ids)) == len(ids)

    def state(self) -> tuple[dict[str, Any], dict[str, Rows]]:
        """Return (plain facts, arrays) from which `from_state` makes the same rows."""
        facts = {name: list(getattr(self, name)) for name in _KEY_FIELDS}
        return {"file": self.file, "sha256": self.sha256, **facts}, {"embedding.values": self.values}

    @classmethod
    def from_state(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the rows whose `state` this is."""
        return cls(
            file=facts["file"],
            sha256=facts["sha256"],
            values=np.asarray(arrays["embedding.values"], np.float32),
            **{name: tuple(facts[name]) for name in _KEY_FIELDS},
        )


_KEY_FIELDS = ("pert_ids", "names", "smiles", "inchi_keys")


def _parent_key(smiles: str | None, key: str | None) -> str | None:
    """Return the InChIKey of the parent; a table's own is believed where there is no salt to strip."""
    if key and not (smiles and "." in smiles):
        return key.upper()
    structure = canonical_form(smiles) if smiles else None
    return key if structure is None else structure[1]


def _folded(text: str) -> str:
    return fold_compound(without_salt(text))


def _rows_of(texts: Iterable[str | None]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        if text:
            rows.setdefault(text, []).append(row)
    return rows
