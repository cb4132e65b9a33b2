"""Small real stores and manifests into which leaks are planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.splits import Fold, Split
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.store.conditions import condition_table, observation_table
from pertcast_data.vocabulary import condition_id

N_GENES = 40
GENES = ["KRAS", "KMT2A", "CD274", "IL2", "NKX2-1", "TP53"] + [f"GENE{n}" for n in range(N_GENES - 6)]
IDS = [f"ENSG{n:011d}" for n in range(N_GENES)]
VAR = pl.DataFrame(
    {"gene_symbol": GENES, "gene_id": IDS, "prev_symbol": ["KRAS2|RASK2", "MLL|HRX", *[None] * (N_GENES - 2)]}
)
STRUCTURES = [
    "CCO",
    "c1ccccc1O",
    "CC(=O)Nc1ccccc1",
    "C1CCCCC1N",
    "c1ccncc1C",
    "CCOC(=O)C",
    "CCCCS",
    "O=C1CCCN1",
]


def knockout(name: str, **more: Any) -> dict[str, Any]:
    return {"pert_type": "trt_xpr", "pert_id": name, "pert_time": 96.0} | more


def compound(name: str, smiles: str | None = None, **more: Any) -> dict[str, Any]:
    facts = {"pert_type": "trt_cp", "pert_id": name, "canonical_smiles": smiles, "pert_time": 24.0}
    return facts | {"pert_dose": 10.0, "pert_dose_unit": "uM"} | more


SCREEN = [knockout(f"GENE{n}") for n in range(8)]
LIBRARY = [compound(f"cpd-{n}", smiles) for n, smiles in enumerate(STRUCTURES)]


def control(**more: Any) -> dict[str, Any]:
    return {"pert_type": "ctl_vector", "pert_id": "NTC", "pert_time": 96.0} | more


def make_store(
    path: Path,
    conditions: list[dict[str, Any]],
    var: pl.DataFrame = VAR,
    values: np.ndarray[Any, Any] | None = None,
    **options: Any,
) -> ExpressionStore:
    """Three replicates a condition: a response of its own, noise on top; `values` replaces them."""
    defaults = {"cell_iname": "A375", "batch_id": "P1", "canonical_smiles": None, "targets": None}
    rows = [defaults | condition for condition in conditions for _ in range(3)]
    random = np.random.default_rng(7)
    if values is None:
        own = np.repeat(random.normal(0, 1, (len(conditions), var.height)), 3, axis=0)
        values = (8 + own + random.normal(0, 0.7, own.shape)).astype(np.float32)
    return create_store(
        path,
        obs=pl.DataFrame(rows, infer_schema_length=None),
        var=var,
        batches=[values],
        measure="expression",
        normalisation="log2_intensity",
        **options,
    )


@dataclass(frozen=True)
class TableStore:
    """A store's tables without profiles, as `ExpressionStore` would have them."""

    conditions: pl.DataFrame
    obs: pl.DataFrame
    var: pl.DataFrame
    condition_of_row: np.ndarray[Any, np.dtype[np.int32]]
    data_hash: str = "data-1"
    preprocessing: tuple[PreprocessingStep, ...] = ()


def table_store(conditions: list[dict[str, Any]], var: pl.DataFrame = VAR) -> TableStore:
    """Three replicates a condition."""
    defaults = {"cell_iname": "A375", "batch_id": "P1", "canonical_smiles": None, "targets": None}
    rows = [defaults | condition for condition in conditions for _ in range(3)]
    obs = observation_table(pl.DataFrame(rows, infer_schema_length=None))
    table, of_row = condition_table(obs)
    return TableStore(table, obs, var, of_row)


def conditions_of(store: ExpressionStore, pert_id: str, **equal: Any) -> list[str]:
    found = store.conditions.filter(pl.col("pert_id") == pert_id, **equal)
    return found["condition_id"].to_list()


def move_to_train(split: Split, fold: int, names: list[str]) -> Split:
    """Return the split with some held-out conditions of a fold put into its training part."""
    chosen = split.folds[fold]
    moved = Fold(
        train=(*chosen.train, *names),
        validation=tuple(name for name in chosen.validation if name not in names),
        test=tuple(name for name in chosen.test if name not in names),
    )
    return split.model_copy(update={"folds": (*split.folds[:fold], moved, *split.folds[fold + 1 :])})


def fold_that_tests(split: Split, name: str) -> int:
    return next(number for number, fold in enumerate(split.folds) if name in fold.test)


def conditions_of_all(store: TableStore, rows: list[dict[str, Any]]) -> list[str]:
    """Return the condition id of each row."""
    names = [
        condition_id(
            row.get("cell_iname", "A375"),
            row["pert_type"],
            row["pert_id"],
            row.get("pert_dose"),
            row["pert_time"],
        )
        for row in rows
    ]
    assert set(names) <= set(store.conditions["condition_id"])
    return names


TWINS: dict[str, tuple[str, str, list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]] = {
    # leak: check, kind, the rest of the store, the two that are one, options of the split
    "an older symbol": ("alias", "unseen_perturbation", SCREEN, [knockout("KMT2A"), knockout("MLL")], {}),
    "an Ensembl id": (
        "alias", "unseen_perturbation", SCREEN, [knockout("KRAS"), knockout(f"{IDS[0]}.4")], {},
    ),
    "small letters": ("alias", "unseen_perturbation", SCREEN, [knockout("KRAS"), knockout("Kras")], {}),
    "a hyphen": ("alias", "unseen_perturbation", SCREEN, [knockout("IL2"), knockout("IL-2")], {}),
    "a user's alias": (
        "alias", "unseen_perturbation", SCREEN, [knockout("CD274"), knockout("PDL1")],
        {"aliases": (("PDL1", "CD274"),)},
    ),
    "one id in the profiles' table": (
        "alias", "unseen_perturbation", SCREEN,
        [knockout("P53X", target_id="ENSG00000141510"), knockout("TRP53", target_id="ENSG00000141510")], {},
    ),
    "a cell line's hyphen": (
        "alias", "unseen_context",
        [knockout("KRAS", cell_iname=cell) for cell in ("A375", "MCF7", "PC3", "K562")],
        [knockout("KRAS", cell_iname="HT29"), knockout("KRAS", cell_iname="HT-29")], {},
    ),
    "R's dot for a hyphen": (
        "alias", "unseen_perturbation", SCREEN, [knockout("NKX2-1"), knockout("NKX2.1")], {},
    ),
    "a hyphen of typesetters": (
        "alias", "unseen_perturbation", SCREEN, [knockout("NKX2-1"), knockout("NKX2\u20111")], {},
    ),
    "what was done to a gene": (
        "guide_suffix", "unseen_perturbation", SCREEN, [knockout("KRAS"), knockout("KRAS_KO")], {},
    ),
    "guide _1": ("guide_suffix", "unseen_perturbation", SCREEN, [knockout("KRAS"), knockout("KRAS_1")], {}),
    "guide -g2": ("guide_suffix", "unseen_perturbation", SCREEN, [knockout("KRAS"), knockout("KRAS-g2")], {}),
    "guide sg": ("guide_suffix", "unseen_perturbation", SCREEN, [knockout("KRAS"), knockout("sgKRAS")], {}),
    "two guides": ("guide_suffix", "random", SCREEN, [knockout("KRAS-1"), knockout("KRAS-2")], {}),
    "guides of an unmeasured gene": (
        "guide_suffix", "unseen_perturbation", SCREEN, [knockout("ZZZ3_1"), knockout("ZZZ3_2")], {},
    ),
    "pair order": (
        "pair_order", "unseen_pair", [*SCREEN, *(knockout(f"GENE{n}+GENE{n + 1}") for n in range(6))],
        [knockout("first", targets="KRAS+TP53"), knockout("second", targets="TP53+KRAS")], {},
    ),
    "pair separator": (
        "pair_order", "unseen_pair", [*SCREEN, *(knockout(f"GENE{n}+GENE{n + 1}") for n in range(6))],
        [knockout("KRAS+TP53"), knockout("TP53|KRAS")], {},
    ),
    "a salt": (
        "salt_form", "unseen_compound", LIBRARY,
        [compound("base", "NCCc1ccccc1"), compound("salt", "NCCc1ccccc1.Cl")], {},
    ),
    "a salt by name": (
        "salt_form", "unseen_compound", LIBRARY, [compound("imatinib"), compound("Imatinib Mesylate")], {},
    ),
    "a stereoisomer": (
        "stereo", "unseen_compound", LIBRARY,
        [compound("left", "C[C@H](N)C(=O)O"), compound("right", "C[C@@H](N)C(=O)O")], {},
    ),
    "a tautomer": (
        "tautomer", "unseen_compound", LIBRARY,
        [compound("keto", "CC(=O)CC(C)=O"), compound("enol", "CC(O)=CC(C)=O")], {},
    ),
    "another SMILES": (
        "compound_id", "unseen_compound", LIBRARY,
        [compound("one", "Cc1ccccc1N"), compound("two", "Nc1ccccc1C")], {},
    ),
    "two ids": (
        "compound_id", "unseen_compound", LIBRARY, [compound("one", "CCCCN"), compound("two", "CCCCN")], {},
    ),
    "a batch of a Broad id": (
        "compound_id", "unseen_compound", LIBRARY,
        [compound("BRD-K12345678"), compound("BRD-K12345678-001-02-3")], {},
    ),
    "a compound's name": (
        "compound_id", "unseen_compound", LIBRARY,
        [compound("x1", cmap_name="vorinostat"), compound("x2", cmap_name="Vorinostat")], {},
    ),
    "a dose in nM": (
        "dose_unit", "random", LIBRARY,
        [
            compound("cpd-9", "CCCN", pert_dose=1.0),
            compound("cpd-9", "CCCN", pert_dose=1000.0, pert_dose_unit="nM"),
        ],
        {},
    ),
    "a rounded dose": (
        "held_out_group", "unseen_dose",
        [compound(f"cpd-{n}", smiles, pert_dose=dose) for n, (smiles, dose) in enumerate(
            zip(STRUCTURES, (0.1, 0.3, 1.0, 30.0) * 2, strict=True))],
        [compound("cpd-9", "CCCN", pert_dose=3.33), compound("cpd-9", "CCCN", pert_dose=3.3333)],
        {},
    ),
    "a time in minutes": (
        "dose_unit", "random", LIBRARY,
        [
            compound("cpd-9", "CCCN", pert_time=6.0, pert_time_unit="h"),
            compound("cpd-9", "CCCN", pert_time=360.0, pert_time_unit="min"),
        ],
        {},
    ),
}  # fmt: skip
