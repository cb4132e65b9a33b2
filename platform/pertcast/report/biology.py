"""The biology of an evaluation: pathways, dose and time, drug sensitivity, wells, latent space together.

Each analysis says its own answer; here they stand together as cards, as text for a terminal and as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from pertcast.analysis.dose_response import DoseResponse
from pertcast.analysis.epistasis import PairEpistasis
from pertcast.analysis.gene_modules import GeneModuleResult
from pertcast.analysis.latent_space import LatentSpace
from pertcast.analysis.pathways import PathwayAgreement
from pertcast.analysis.printing import sentence_lines
from pertcast.evaluation.sensitivity.drug_sensitivity import DrugSensitivity
from pertcast.evaluation.trust.json_text import plain
from pertcast.evaluation.wells.lines import verdict
from pertcast.evaluation.wells.populations import WellPopulations
from pertcast.report.dose_response_sections import dose_response_sections
from pertcast.report.epistasis_sections import epistasis_sections
from pertcast.report.gene_module_sections import gene_module_sections
from pertcast.report.latent_sections import latent_sections
from pertcast.report.page import Section, list_html
from pertcast.report.pathway_sections import pathway_sections
from pertcast.report.sensitivity_sections import sensitivity_sections
from pertcast.report.well_population_sections import well_population_sections

SCHEMA_VERSION: Final = 1

PARTS: Final = MappingProxyType(
    {
        "pathways": "Pathways",
        "dose_response": "Dose and time",
        "drug_sensitivity": "Drug sensitivity",
        "well_populations": "Populations of wells",
        "latent_space": "Latent space",
        "gene_modules": "Gene modules",
        "epistasis": "Epistasis of pairs",
    }
)
"""Field of `Biology` -> title, in the order of reports."""

QUESTIONS: Final = MappingProxyType(
    {
        "pathways": "do generated profiles show the measured pathway responses?",
        "dose_response": "does the effect grow as it should, and where is its half?",
        "drug_sensitivity": "can what kills a cell line be predicted from generated expression?",
        "well_populations": "are generated wells distributed as measured ones?",
        "latent_space": "are cell lines kept apart, and doses in order?",
        "gene_modules": "what are the groups of genes, and are their responses predicted?",
        "epistasis": "what do pairs do beyond the sum of their singles, and is it predicted?",
    }
)


class _Part(Protocol):
    def lines(self) -> list[str]: ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Biology:
    """What was found beside the trust table; a part that was not asked for, or could not be made, is None.

    Attributes
    ----------
    pathways, dose_response, drug_sensitivity, well_populations, latent_space, gene_modules, epistasis
        The results.
    notes
        Why a part is missing, and of which runs one is.
    unit
        Of a response (`pertcast.naming.response_unit`), for figures.
    """

    pathways: PathwayAgreement | None = None
    dose_response: DoseResponse | None = None
    drug_sensitivity: DrugSensitivity | None = None
    well_populations: WellPopulations | None = None
    latent_space: LatentSpace | None = None
    gene_modules: GeneModuleResult | None = None
    epistasis: PairEpistasis | None = None
    notes: tuple[str, ...] = ()
    unit: str = "response"

    @property
    def parts(self) -> dict[str, _Part]:
        """Field -> result of the parts that there are, in the order of reports."""
        found = {name: getattr(self, name) for name in PARTS}
        return {name: part for name, part in found.items() if part is not None}

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a result nor a note."""
        return not self.parts and not self.notes

    def answers(self) -> dict[str, str]:
        """Return title -> the answer of each part in a sentence or two."""
        said = {
            "pathways": self.pathways and self.pathways.sentence(),
            "dose_response": self.dose_response and self.dose_response.sentence(),
            "drug_sensitivity": self.drug_sensitivity and self.drug_sensitivity.verdict,
            "well_populations": self.well_populations and verdict(self.well_populations),
            "latent_space": self.latent_space and self.latent_space.sentence(),
            "gene_modules": self.gene_modules and self.gene_modules.sentence(),
            "epistasis": self.epistasis and self.epistasis.sentence(),
        }
        return {PARTS[name]: sentence for name, sentence in said.items() if sentence}

    def lines(self) -> list[str]:
        """Return the results as text for a terminal, each under its title, notes last."""
        blocks = [
            [f"== {PARTS[name]}: {QUESTIONS[name]}", *part.lines()] for name, part in self.parts.items()
        ]
        if self.notes:
            noted = [line for note in self.notes for line in sentence_lines(note, bullet=True)]
            blocks.append(["== Notes on biology", *noted])
        return [line for number, block in enumerate(blocks) for line in ([""] if number else []) + block]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; undefined ones and missing parts are None."""
        parts = self.parts
        content = {name: parts[name].to_json() if name in parts else None for name in PARTS}
        found: dict[str, Any] = plain(
            {"schema_version": SCHEMA_VERSION, **content, "notes": list(self.notes), "unit": self.unit}
        )
        return found

    def to_text(self) -> str:
        """Return the JSON as text: keys sorted, the same bytes every time."""
        return (
            json.dumps(self.to_json(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )


def biology_sections(biology: Biology) -> list[Section]:
    """Return the cards of every part under its heading; nothing where there is nothing to say.

    Parameters
    ----------
    biology
        Of an evaluation.
    """
    made: dict[str, Sequence[Section]] = {}
    if biology.pathways is not None:
        made["pathways"] = pathway_sections(biology.pathways)
    if biology.dose_response is not None:
        made["dose_response"] = dose_response_sections(biology.dose_response, biology.unit)
    if biology.drug_sensitivity is not None:
        made["drug_sensitivity"] = sensitivity_sections(biology.drug_sensitivity)
    if biology.well_populations is not None:
        made["well_populations"] = well_population_sections(biology.well_populations)
    if biology.latent_space is not None:
        made["latent_space"] = latent_sections(biology.latent_space)
    if biology.gene_modules is not None:
        made["gene_modules"] = gene_module_sections(biology.gene_modules)
    if biology.epistasis is not None:
        made["epistasis"] = epistasis_sections(biology.epistasis, biology.unit)
    sections = []
    for name, cards in made.items():
        heading = Section(
            f"Biology: {PARTS[name][0].lower()}{PARTS[name][1:]}", "", QUESTIONS[name], is_heading=True
        )
        sections += [heading, *cards]
    if biology.notes:
        notes = Section("Notes on biology", list_html(biology.notes))
        sections.append(notes)
    return sections
