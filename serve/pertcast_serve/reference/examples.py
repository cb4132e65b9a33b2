"""Example bodies of requests, in names that the served model knows, so that they can be sent as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pertcast_serve.schemas.models import Vocabulary


@dataclass(frozen=True)
class ExampleNames:
    """Names that examples are made of.

    Attributes
    ----------
    model, version
        A served model.
    cell_iname, pert_id, pert_dose, pert_time
        A condition; a compound where the model knows one, else a gene.
    pert_type
        Its type.
    genes
        Measured genes.
    library, gene_sets
        Names of a library and of a collection.
    """

    model: str = "default"
    version: str = "VERSION"
    cell_iname: str = "A375"
    pert_id: str = "TP53"
    pert_type: str = "trt_xpr"
    pert_dose: float | None = None
    pert_time: float | None = None
    genes: tuple[str, ...] = (
        "MYC",
        "CCND1",
        "JUN",
        "FOS",
        "EGR1",
        "TP53",
        "CDKN1A",
        "MDM2",
        "GADD45A",
        "BAX",
    )
    library: str = "first"
    gene_sets: str | None = None

    @classmethod
    def of(cls, vocabulary: Vocabulary, **others: Any) -> ExampleNames:
        """Return names that a model knows."""
        names: dict[str, Any] = {"genes": tuple(vocabulary.genes[:20])}
        if vocabulary.cell_lines:
            names["cell_iname"] = vocabulary.cell_lines[0]
        if vocabulary.compounds:
            names |= {"pert_id": vocabulary.compounds[0], "pert_type": "trt_cp"}
            names["pert_dose"] = vocabulary.doses[-1] if vocabulary.doses else None
        elif vocabulary.targets:
            kinds = [kind for kind in vocabulary.pert_types if kind.startswith("trt_") and kind != "trt_cp"]
            names |= {"pert_id": vocabulary.targets[0], "pert_type": kinds[0] if kinds else "trt_xpr"}
        names["pert_time"] = vocabulary.times[-1] if vocabulary.times else None
        return cls(**names, **others)

    @property
    def condition(self) -> dict[str, Any]:
        """A condition, without what it lacks."""
        fields = {
            "cell_iname": self.cell_iname,
            "pert_id": self.pert_id,
            "pert_type": self.pert_type,
            "pert_dose": self.pert_dose,
            "pert_time": self.pert_time,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        """Genes that rise and fall in a signature."""
        half = max(1, len(self.genes) // 2)
        return list(self.genes[:half]), list(self.genes[half:])


def example_body(path: str, names: ExampleNames) -> dict[str, Any] | None:
    """Return a body for POST `path`; None where it takes none."""
    up, down = names.sides
    sets: dict[str, Any] = {"sets": {"MY_SET": list(names.genes)}}
    if names.gene_sets is not None:
        sets = {"gene_sets": names.gene_sets}
    screen: dict[str, Any] = {"kind": "table", "title": "one condition", "rows": [names.condition]}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/predict": {"conditions": [names.condition]},
        "/v1/enrichment": {"condition": names.condition, **sets},
        "/v1/connectivity": {"library": names.library, "up": up, "down": down, "per_tail": 10},
        "/v1/neighbors": {"library": names.library, "condition": names.condition, "per_tail": 10},
        "/v1/screens": screen,
        "/v1/screens/estimate": screen,
        "/v1/session": {"key": "pc_0123456789ab_..."},
        "/v2/models/{model}/infer": _tensors(names),
        "/v2/models/{model}/versions/{version}/infer": _tensors(names),
    }
    return bodies.get(path)


def _tensors(names: ExampleNames) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": name,
                "shape": [1],
                "datatype": "BYTES" if isinstance(value, str) else "FP64",
                "data": [value],
            }
            for name, value in names.condition.items()
        ]
    }


def example_path(path: str, names: ExampleNames) -> str:
    """Return a path with its parameters filled."""
    is_screen = path.startswith("/v1/screens")
    filled = {
        "id": "SCREEN_ID" if is_screen else names.model,
        "sig_id": "SIG_ID",
        "name": "hits.csv",
        "model": names.model,
        "version": names.version,
    }
    for name, value in filled.items():
        path = path.replace(f"{{{name}}}", value)
    query = (
        {"/v1/genes": f"?q={names.genes[0]}", "/v1/compounds": f"?q={names.pert_id}"} if names.genes else {}
    )
    return path + query.get(path, "")
