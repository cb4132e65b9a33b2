"""A fitted preparation: bound to one store, split and fold, saved beside the split, checked when read.

Numbers stand in a JSON file, arrays in a safetensors file of the same name; a hash covers both.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pertcast_data.errors import ConfigError, FormatError, LeakageError
from pertcast_data.preparation.config import PreparationConfig
from pertcast_data.preparation.fitted import (
    FittedGenes,
    FittedLogNormalise,
    FittedRobustZ,
    FittedStep,
    kept_genes,
)
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore
from pertcast_data.vocabulary import Measure, Normalisation

FORMAT: Final = "pertcast-preparation"
_PLAIN: Final = (
    *("data_hash", "split_hash", "fold", "n_rows", "rows_hash", "n_genes"),
    *("measure", "normalisation"),
)
_BROKEN: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError)
_KINDS: Final = MappingProxyType[str, Any](
    {
        "log_normalise": FittedLogNormalise,
        "variable_genes": FittedGenes,
        "gene_subset": FittedGenes,
        "robust_z": FittedRobustZ,
    }
)


@dataclass(frozen=True, eq=False)
class Preparation:
    """What `fit_preparation` found.

    Attributes
    ----------
    config
        The steps.
    data_hash, split_hash, fold
        Of the store and the split that it was fitted for, and nothing else.
    n_rows, rows_hash
        Number and `row_hash` of the rows that were looked at.
    n_genes
        Genes of the store.
    genes
        Names of the genes that are left.
    measure, normalisation
        What the prepared values are.
    fitted
        One fitted step for each of `config`.
    """

    config: PreparationConfig
    data_hash: str
    split_hash: str
    fold: int
    n_rows: int
    rows_hash: str
    n_genes: int
    genes: tuple[str, ...]
    measure: Measure
    normalisation: Normalisation
    fitted: tuple[FittedStep, ...]

    @property
    def kept(self) -> NDArray[np.int64]:
        """Places of the genes that are left, among the store's genes, ascending."""
        return kept_genes(self.fitted, self.n_genes)

    @property
    def fitted_hash(self) -> str:
        """SHA-256 (hex) of settings and fitted values alone: equal where training rows decided the same."""
        content = {
            "config": self.config.model_dump(mode="json"),
            "genes": list(self.genes),
            "numbers": self._numbers(),
        }
        return _digest(content, self.arrays())

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of everything: fitted values, and what they are bound to."""
        return _digest(self._content(), self.arrays())

    def require(self, store: ExpressionStore, split: Split) -> None:
        """Check that this belongs to `store` and `split`.

        Raises
        ------
        LeakageError
            It was fitted for another store or split: it may know what is tested here.
        """
        for what, own, other in (
            ("store", self.data_hash, store.data_hash),
            ("split", self.split_hash, split.hash),
        ):
            if own != other:
                raise LeakageError(
                    f"The preparation was fitted for {what} {own[:12]}, not for {other[:12]}: it may know "
                    "profiles that are tested there. Fit it anew with `data prepare`."
                )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array under "step number.name"."""
        found: dict[str, NDArray[Any]] = {}
        for number, step in enumerate(self.fitted):
            found |= {
                f"{number}.{name}": np.ascontiguousarray(array) for name, array in step.parts()[1].items()
            }
        return found

    def content(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON, with the hash over all."""
        return {"format": FORMAT, "hash": self.hash} | self._content()

    def _numbers(self) -> list[dict[str, Any]]:
        return [step.parts()[0] for step in self.fitted]

    def _content(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "config": self.config.model_dump(mode="json"),
            "numbers": self._numbers(),
            "genes": list(self.genes),
        }


def preparation_path(split_path: Path | str, fold: int) -> Path:
    """Return where the preparation of a fold lies: `split.json` -> `split.fold0.preparation.json`."""
    path = Path(split_path)
    return path.with_name(f"{path.name.removesuffix('.json')}.fold{fold}.preparation.json")


def save_preparation(split_path: Path | str, preparation: Preparation) -> Path:
    """Write a preparation beside its split, as .json and .safetensors; return the path of the first.

    Raises
    ------
    ConfigError
        Another preparation of this fold lies there.
    """
    path = preparation_path(split_path, preparation.fold)
    arrays_path = path.with_suffix(".safetensors")
    require_place(split_path, preparation)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(preparation.arrays(), temporary)
        temporary.replace(arrays_path)
        # The JSON file comes last: where it stands, its arrays do.
        temporary.write_text(json.dumps(preparation.content(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def require_place(split_path: Path | str, preparation: Preparation) -> None:
    """Raise ConfigError where another preparation of the same fold lies beside the split."""
    path = preparation_path(split_path, preparation.fold)
    if path.exists() and load_preparation(path).hash != preparation.hash:
        raise ConfigError(
            f"{path} is another preparation of this fold. Remove it, or choose another place for the split."
        )


def load_preparation(
    path: Path | str, store: ExpressionStore | None = None, split: Split | None = None
) -> Preparation:
    """Read a preparation (the .json file); with a store and a split, check that it belongs to them.

    Raises
    ------
    FormatError
        A file is missing, broken, or was changed.
    LeakageError
        It was fitted for another store or split.
    """
    source = Path(path)
    remedy = "Fit it anew with `data prepare`."
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
        arrays = load_file(source.with_suffix(".safetensors"))
        preparation = _read(content, arrays)
        written = content["hash"]
    except _BROKEN as error:
        raise FormatError(f"{source}: no whole preparation ({error!r}). {remedy}") from error
    if written != preparation.hash:
        raise FormatError(
            f"{source}: was changed after it was made: its hash is {preparation.hash}, it says {written}. "
            f"{remedy}"
        )
    if store is not None and split is not None:
        preparation.require(store, split)
    return preparation


def _read(content: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Preparation:
    config = PreparationConfig.model_validate(content["config"])
    fitted = []
    for number, (step, facts) in enumerate(zip(config.steps, content["numbers"], strict=True)):
        start = f"{number}."
        own = {name.removeprefix(start): each for name, each in arrays.items() if name.startswith(start)}
        fitted.append(_KINDS[step.step].of_parts(facts, own))
    plain = {name: content[name] for name in _PLAIN}
    return Preparation(config=config, genes=tuple(content["genes"]), fitted=tuple(fitted), **plain)


def _digest(content: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
