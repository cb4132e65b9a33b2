"""What a server has: models, names, gene sets, libraries."""

from __future__ import annotations

import polars as pl

from pertcast_serve.client.tables import parsed, row_table
from pertcast_serve.client.transport import Asking, segment
from pertcast_serve.schemas.analysis import GeneSetCollection, LibrarySummary
from pertcast_serve.schemas.base import Version
from pertcast_serve.schemas.models import ModelCard, ModelSummary, NameMatch


class Catalog(Asking):
    """Asks what there is."""

    def version(self) -> Version:
        """Return the versions of the server and its interface; needs no key."""
        return parsed(Version, self._transport.get("/v1/version").json())

    def is_ready(self) -> bool:
        """Return whether the server answers predictions now; raises ServerUnreachable where none is there."""
        return self._transport.is_ready("/v1/health/ready")

    def models(self) -> pl.DataFrame:
        """Return the served models in their versions of now, one a row, the default first."""
        return row_table(self._transport.get("/v1/models").json(), ModelSummary)

    def model(self, id: str) -> ModelCard:
        """Return what a model was trained on, with its held-out metrics; `id` may be name@version."""
        return parsed(ModelCard, self._transport.get(f"/v1/models/{segment(id)}").json())

    def genes(self, q: str = "", limit: int = 20, model: str | None = None) -> pl.DataFrame:
        """Return measured and perturbed genes whose names fit, the best first; close spellings count."""
        return self._names("genes", q, limit, model)

    def compounds(self, q: str = "", limit: int = 20, model: str | None = None) -> pl.DataFrame:
        """Return compounds of the training whose names fit, with their structures, the best first."""
        return self._names("compounds", q, limit, model)

    def cell_lines(self, q: str = "", limit: int = 100, model: str | None = None) -> pl.DataFrame:
        """Return cell lines of the training whose names fit, the best first."""
        return self._names("cell_lines", q, limit, model)

    def gene_sets(self) -> pl.DataFrame:
        """Return the collections of gene sets that `enrichment` may name."""
        return row_table(self._transport.get("/v1/gene_sets").json(), GeneSetCollection)

    def libraries(self) -> pl.DataFrame:
        """Return the libraries that `connectivity` and `neighbors` may name, finished screens among them."""
        return row_table(self._transport.get("/v1/libraries").json(), LibrarySummary)

    def _names(self, kind: str, q: str, limit: int, model: str | None) -> pl.DataFrame:
        answer = self._transport.get(f"/v1/{kind}", {"q": q, "limit": limit, "model": model})
        return row_table(answer.json()["matches"], NameMatch)
