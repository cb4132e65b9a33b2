"""What tests of the page share: the interface with the page over one bundle, and what its HTML holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.page.pages import Pages
from pertcast_serve.services import PredictorClient, Services

ADDRESSES = ("href", "src", "action", "hx-get", "hx-post")


def write_sets(path: Path) -> Path:
    """Write three gene sets over the genes of the tiny bundle, of which one is too small."""
    sets = {"TOY_EARLY": range(0, 8), "TOY_LATE": range(12, 20), "TOY_SMALL": range(2)}
    lines = ["\t".join([name, "", *(f"GENE{i}" for i in genes)]) for name, genes in sets.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def page_api(predictor: PredictorClient, config: ServeConfig) -> FastAPI:
    """Return the interface with the page, all in this process."""
    analysis = AnalysisService(config, predictor)
    pages = Pages(predictor, analysis, None, config)
    services: Any = Services(predictor=predictor, analysis=analysis, screens=None, page=pages)  # type: ignore[arg-type]
    return make_api(services, config)


@dataclass
class Seen(HTMLParser):
    """What a piece of HTML holds.

    Attributes
    ----------
    tags
        (name, attributes) of all elements, in order.
    text
        All text but that of scripts.
    """

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._is_script = False

    @classmethod
    def of(cls, html: str) -> Seen:
        seen = cls()
        seen.feed(html)
        seen.close()
        return seen

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._is_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._is_script = False

    def handle_data(self, data: str) -> None:
        if not self._is_script:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def addresses(self) -> list[str]:
        """Return all addresses of links, forms, scripts and parts."""
        return [
            attributes[name]
            for _, attributes in self.tags
            for name in ADDRESSES
            if attributes.get(name) and not attributes[name].startswith(("#", "data:"))
        ]

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]
