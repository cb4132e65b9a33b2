"""What the address of a signature asks for: the signature, the library, and how it is searched.

A signature is given (as text or as a code), stored in a library, or the predicted response to a condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pertcast_serve.page.html import Parameter, link, part
from pertcast_serve.page.views.asked import Asked, asked_for, candidates
from pertcast_serve.page.views.signature_code import GivenSignature, coded, decoded
from pertcast_serve.page.views.signature_text import read_set, read_values, unreadable
from pertcast_serve.problems import Refused
from pertcast_serve.schemas.analysis import StoredProfile
from pertcast_serve.schemas.models import Vocabulary

VIEW: Final = "signature"
TEXTS: Final = ("up", "down", "values")
"""Parameters that hold a signature as text."""
_OTHERS: Final = (
    *("model", "sig", "of", "pert", "type", "cell", "dose", "time", "smiles"),
    *("library", "in_cell", "in_type", "score", "rows"),
)
SCORES: Final = ("wtcs", "xsum", "cosine", "pearson")
BY_PERTURBATION: Final = "perturbations"
_LONGEST_PLAIN: Final = 400
"""Letters of genes that stand in a permalink as they are, for people to read."""


@dataclass(frozen=True)
class Search:
    """Where and how a signature is searched, as the address says; "" leaves it to the service.

    Attributes
    ----------
    library, cell, pert_type, score
        Of the request.
    by_perturbation
        Whether a row is a perturbation.
    """

    library: str = ""
    cell: str = ""
    pert_type: str = ""
    score: str = ""
    by_perturbation: bool = False

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters of its address."""
        return {
            "library": self.library,
            "in_cell": self.cell,
            "in_type": self.pert_type,
            "score": self.score,
            "rows": BY_PERTURBATION if self.by_perturbation else "",
        }


@dataclass(frozen=True)
class AskedSignature:
    """One signature and the search for it.

    Attributes
    ----------
    given, stored, condition
        The signature; exactly one of them is set.
    search
        Where and how it is searched.
    model
        As the address names it; None for the first.
    remarks
        How a text was read.
    is_example
        Whether the address named no signature.
    """

    given: GivenSignature | None
    stored: StoredProfile | None
    condition: Asked | None
    search: Search
    model: str | None = None
    remarks: tuple[str, ...] = ()
    is_example: bool = field(default=False, kw_only=True)

    @property
    def words(self) -> str:
        """What the signature is: "6 genes up, 6 down", "the response to TP53 knock-out in A549"."""
        if self.condition is not None:
            return f"the predicted response to {self.condition.title}"
        if self.stored is not None:
            return f"profile {self.stored.sig_id} of {self.stored.library}"
        assert self.given is not None
        if self.given.is_valued:
            return f"values of {len(self.given.genes):,} genes"
        return f"{len(self.given.up):,} genes up and {len(self.given.down):,} down"

    @property
    def signature_parameters(self) -> dict[str, Parameter] | None:
        """The parameters that name the signature; None where it is too long for an address."""
        if self.condition is not None:
            return self.condition.parameters
        if self.stored is not None:
            return {"sig": self.stored.sig_id, "of": self.stored.library}
        assert self.given is not None
        plain = {"up": " ".join(self.given.up), "down": " ".join(self.given.down)}
        if not self.given.is_valued and sum(map(len, plain.values())) <= _LONGEST_PLAIN:
            return dict(plain)
        code = coded(self.given)
        return None if code is None else {"s": code}

    def link(self, **changes: Any) -> str | None:
        """Return the permalink, changed; None where the signature is too long for one."""
        return self._address(link, VIEW, changes)

    def part(self, name: str, **more: Any) -> str | None:
        """Return the address of a part about this signature; None where the signature is too long."""
        return self._address(part, f"{VIEW}/{name}", more)

    def _address(self, write: Callable[..., str], view: str, more: Mapping[str, Parameter]) -> str | None:
        named = self.signature_parameters
        if named is None:
            return None
        return write(view, **{"model": self.model, **named, **self.search.parameters, **more})


def search_of(parameters: Mapping[str, str]) -> Search:
    """Return where and how an address searches."""

    def said(name: str) -> str:
        return parameters.get(name, "").strip()

    return Search(
        said("library"),
        said("in_cell"),
        said("in_type"),
        said("score"),
        said("rows") == BY_PERTURBATION,
    )


def signature_of(parameters: Mapping[str, str], vocabulary: Vocabulary) -> AskedSignature:
    """Return what an address asks for; the response to an example where it names no signature.

    Raises
    ------
    Refused
        A text or code cannot be read, or it is only half a signature.
    """
    search, model = search_of(parameters), parameters.get("model") or None
    given, remarks = given_signature(parameters)
    if not given.is_empty:
        return AskedSignature(given, None, None, search, model, remarks)
    if parameters.get("sig"):
        stored = StoredProfile(sig_id=parameters["sig"], library=parameters.get("of", "") or search.library)
        return AskedSignature(None, stored, None, search, model)
    asked = asked_for(parameters, vocabulary)
    return AskedSignature(None, None, asked, search, model, is_example=asked.is_example)


def given_signature(parameters: Mapping[str, str]) -> tuple[GivenSignature, tuple[str, ...]]:
    """Return the signature that stands in an address itself, empty where none does, and how it was read."""
    if parameters.get("s"):
        return decoded(parameters["s"]), ()
    up = read_set(parameters.get("up", ""), "Genes that rise")
    down = read_set(parameters.get("down", ""), "Genes that fall")
    valued = read_values(parameters.get("values", ""))
    if valued.genes and (up or down):
        raise unreadable(
            "There are genes that rise or fall and values too. Keep one of them: empty the other boxes."
        )
    if bool(up) != bool(down):
        missing, there = ("fall", "rise") if up else ("rise", "fall")
        raise unreadable(
            f"There are genes that {there} and none that {missing}. A signature of sets needs both: add "
            "them, or paste a value a gene instead."
        )
    return GivenSignature(up, down, valued.genes, valued.values), valued.remarks


def permalink_of(parameters: Mapping[str, str]) -> str | None:
    """Return the permalink of a form that was sent; None where its signature is too long or unreadable."""
    try:
        given, _ = given_signature(parameters)
    except Refused:
        return None
    if given.is_empty:
        return link(VIEW, **{name: parameters[name] for name in _OTHERS if name in parameters})
    return AskedSignature(given, None, None, search_of(parameters), parameters.get("model") or None).link()


def examples(
    vocabulary: Vocabulary, search: Search, model: str | None, most: int = 3
) -> list[tuple[str, str]]:
    """Return (text, address) of perturbations whose response may be searched for."""
    found: dict[str, Asked] = {}
    for asked in candidates({"model": model or ""}, vocabulary):
        found.setdefault(asked.pert, replace(asked, is_example=False))
    named: Sequence[Asked] = list(found.values())[:most]
    return [
        (asked.title, link(VIEW, **({"model": model} | asked.parameters | search.parameters)))
        for asked in named
    ]
