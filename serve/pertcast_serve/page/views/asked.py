"""What the address of a perturbation asks for: a condition, completed by what the model knows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pertcast.naming import kind_word
from pertcast_data.vocabulary import GENETIC_TYPES

from pertcast_serve.page.html import Parameter, link, part
from pertcast_serve.problems import Refused
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Vocabulary
from pertcast_serve.schemas.predict import Condition, PredictRequest

COMPOUND: Final = "trt_cp"
VIEW: Final = "perturbation"
_USUAL_GENES: Final = ("TP53", "MYC", "KRAS")
_USUAL_LINES: Final = ("A549", "MCF7", "K562")
_USUAL_TYPES: Final = ("trt_xpr", "trt_sh", "trt_act", "trt_oe", "trt_lig", COMPOUND)
_USUAL_DOSE: Final = 10.0
_USUAL_TIMES: Final = (24.0, 96.0)
"""Hours, of compounds and of genetic perturbations."""
_MOST_EXAMPLES: Final = 8


@dataclass(frozen=True)
class Asked:
    """One condition of the address.

    Attributes
    ----------
    model
        As the address names it; None for the first.
    pert, pert_type, cell
        pert_id, CMap code and cell_iname.
    dose, time
        uM and hours; None where the model's training knows none.
    smiles
        Structure of a compound that training has not seen; "" for none.
    is_example
        Whether the address named no perturbation.
    """

    model: str | None
    pert: str
    pert_type: str
    cell: str
    dose: float | None
    time: float | None
    smiles: str = ""
    is_example: bool = False

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters of its address."""
        return {
            "model": self.model,
            "pert": self.pert,
            "type": self.pert_type,
            "cell": self.cell,
            "dose": self.dose,
            "time": self.time,
            "smiles": self.smiles,
        }

    @property
    def condition(self) -> Condition:
        """What is predicted; raises pydantic.ValidationError where it fits no condition."""
        return Condition(
            cell_iname=self.cell,
            pert_id=self.pert,
            pert_type=self.pert_type,
            pert_dose=self.dose,
            pert_time=self.time,
            canonical_smiles=self.smiles or None,
        )

    @property
    def request(self) -> PredictRequest:
        """The request of this condition alone."""
        return PredictRequest(model=self.model, conditions=[self.condition])

    @property
    def name(self) -> str:
        """The perturbation for people: "TP53 knock-out", "vorinostat 10 uM"."""
        if self.pert_type == COMPOUND:
            return self.pert if self.dose is None else f"{self.pert} {self.dose:.4g} uM"
        return f"{self.pert} {kind_word(self.pert_type)}"

    @property
    def title(self) -> str:
        """The condition for people: "TP53 knock-out in A549"."""
        return f"{self.name} in {self.cell}"

    def link(self, **changes: Any) -> str:
        """Return the permalink of this condition, changed."""
        return link(VIEW, **(self.parameters | changes))

    def part(self, name: str, **more: Any) -> str:
        """Return the address of a part about this condition."""
        return part(f"{VIEW}/{name}", **(self.parameters | more))


def asked_for(parameters: Mapping[str, str], vocabulary: Vocabulary) -> Asked:
    """Return the condition of an address; what it leaves out is chosen from what the model knows.

    Raises
    ------
    Refused
        A dose or time is no positive number.
    """
    return candidates(parameters, vocabulary)[0]


def candidates(parameters: Mapping[str, str], vocabulary: Vocabulary) -> list[Asked]:
    """Return the conditions that an address may mean, the most usual first; one where it names all.

    An address without a perturbation means an example, one without a type any type: training has seen
    some of these and not others, which a prediction tells. Raises Refused as `asked_for`.
    """
    pert = parameters.get("pert", "").strip()
    smiles = parameters.get("smiles", "").strip()
    names = [pert] if pert else ["structure"] if smiles else _examples(vocabulary)
    found = []
    for name in names:
        wanted = parameters.get("type", "").strip()
        types = [wanted] if wanted else _types(name, smiles, vocabulary)
        found += [_condition(parameters, name, each, vocabulary) for each in types]
    return found


def _condition(parameters: Mapping[str, str], pert: str, pert_type: str, vocabulary: Vocabulary) -> Asked:
    is_compound = pert_type == COMPOUND
    smiles = parameters.get("smiles", "").strip()
    dose = _number(parameters, "dose", "uM") if is_compound else None
    if dose is None and is_compound:
        dose = _nearest(vocabulary.doses, _USUAL_DOSE)
    time = _number(parameters, "time", "hours")
    if time is None:
        time = _nearest(vocabulary.times, _USUAL_TIMES[pert_type in GENETIC_TYPES])
    return Asked(
        model=parameters.get("model") or None,
        pert=pert,
        pert_type=pert_type,
        cell=parameters.get("cell", "").strip() or _usual_first(_USUAL_LINES, vocabulary.cell_lines)[0],
        dose=dose,
        time=time,
        smiles=smiles if is_compound else "",
        is_example=not parameters.get("pert", "").strip() and not smiles,
    )


def types_for(asked: Asked, vocabulary: Vocabulary) -> list[str]:
    """Return the types that a name can be perturbed by, the one that is asked for among them."""
    is_compound = asked.pert in vocabulary.compounds or bool(asked.smiles)
    is_gene = asked.pert in vocabulary.targets or asked.pert in vocabulary.genes
    known = vocabulary.pert_types
    if is_compound != is_gene:
        known = [name for name in known if (name == COMPOUND) == is_compound]
    return list(dict.fromkeys([*known, asked.pert_type]))


def _examples(vocabulary: Vocabulary) -> list[str]:
    """Return some names that training has seen perturbed, well-known genes first."""
    has_genetic = any(name in vocabulary.pert_types for name in GENETIC_TYPES)
    known = vocabulary.targets if has_genetic and vocabulary.targets else vocabulary.compounds
    return _usual_first(_USUAL_GENES, known or vocabulary.targets or vocabulary.genes)[:_MOST_EXAMPLES]


def _types(pert: str, smiles: str, vocabulary: Vocabulary) -> list[str]:
    """Return the types that a name may be perturbed by, the most usual first."""
    if smiles or pert in vocabulary.compounds:
        return [COMPOUND]
    return _usual_first(_USUAL_TYPES, vocabulary.pert_types)


def _usual_first(usual: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return known names, the usual ones before the others; the usual ones where nothing is known."""
    return [
        *(name for name in usual if name in known),
        *(name for name in known if name not in usual),
    ] or list(usual)


def _nearest(known: Sequence[float], usual: float) -> float | None:
    return min(known, key=lambda value: abs(math.log(value / usual)), default=None)


def _number(parameters: Mapping[str, str], name: str, unit: str) -> float | None:
    text = parameters.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        detail = f"{name} is {text[:50]!r}; give a number of {unit} above 0, or leave it out."
        raise Refused(Problem(title=f"No {name}", status=422, detail=detail))
    return value
