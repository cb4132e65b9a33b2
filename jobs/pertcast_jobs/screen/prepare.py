"""From what a user asks for to a screen that can be computed: bundle, library, grid, gene sets, refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets, read_gmt
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.errors import ConfigError, SchemaError, nearest_known
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.screen.check import find_refusals, raise_refused
from pertcast_jobs.screen.knowledge import BundleKnowledge, knowledge_of
from pertcast_jobs.screen.library import TYPES_OF_KIND, Library, Refusal, ScreenKind, read_library
from pertcast_jobs.screen.plan import Grid, ScreenPlan, ScreenSettings, cross
from pertcast_jobs.screen.shards import ShardTask, layers_of


@dataclass(frozen=True)
class ScreenRequest:
    """What a user asks for.

    Attributes
    ----------
    kind
        "compounds" or "genes".
    model
        Folder of a run or bundle.
    library
        csv or parquet list; None for what the bundle knows.
    gmt
        Gene sets; None for no enrichment.
    cells, doses, times, types
        Cell lines, doses in uM, times in h and perturbation types; None for those of the training data.
    skip_unknown
        Leave out rows that cannot be predicted and list them, instead of refusing the whole list.
    settings
        Seeds, sizes of shards and batches, how much is reported.
    """

    kind: ScreenKind
    model: Path
    library: Path | None = None
    gmt: Path | None = None
    cells: tuple[str, ...] | None = None
    doses: tuple[float, ...] | None = None
    times: tuple[float, ...] | None = None
    types: tuple[str, ...] | None = None
    skip_unknown: bool = False
    settings: ScreenSettings = field(default_factory=lambda: ScreenSettings(kind="compounds"))


@dataclass(frozen=True)
class PreparedScreen:
    """A screen that has been checked and can be computed.

    Attributes
    ----------
    plan
        What is predicted.
    predictor
        The loaded bundle.
    bundle_path
        Its folder.
    gene_sets, sets
        Gene sets as read, and over the bundle's genes; None without.
    has_sd
        Whether the bundle predicts a spread.
    n_repeated
        Rows of the list that repeat another.
    """

    plan: ScreenPlan
    predictor: Predictor
    bundle_path: Path
    gene_sets: GeneSets | None
    sets: SetIndex | None
    has_sd: bool
    n_repeated: int

    @property
    def model_id(self) -> str:
        """Short name of the bundle: the model's name and the bundle's hash."""
        return f"{self.predictor.bundle.model_name}:{self.plan.bundle_hash[:12]}"

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers stored beside the responses."""
        return layers_of(self.has_sd, self.predictor.space.measure)

    def task(self, out: Path) -> ShardTask:
        """Return what a worker needs."""
        return ShardTask(
            out=str(out.absolute()),
            bundle=str(self.bundle_path.absolute()),
            settings=self.plan.settings,
            sets=self.sets,
            layers=self.layers,
            model_id=self.model_id,
        )


def prepare_screen(request: ScreenRequest, progress: ProgressCallback = no_progress) -> PreparedScreen:
    """Load the bundle and decide what is predicted.

    Parameters
    ----------
    request
        What the user asks for.
    progress
        Called as the library is checked.

    Raises
    ------
    SchemaError
        Rows of the list cannot be predicted (and `skip_unknown` is off), or nothing is left.
    ConfigError
        A cell line or type that the bundle does not know was asked for.
    """
    bundle_path = find_bundle(request.model)
    predictor = Predictor.from_bundle(bundle_path)
    knowledge = knowledge_of(predictor)
    library = _library(request, knowledge, progress)
    grid = Grid(
        cells=request.cells or knowledge.contexts,
        doses=request.doses or knowledge.doses(request.kind),
        times=request.times or knowledge.times(request.kind),
        types=_types(request, knowledge.types(request.kind)),
    )
    conditions, refused = _predictable(request, predictor, library, grid, progress)
    gene_sets = read_gmt(request.gmt) if request.gmt is not None else None
    sets = index_sets(gene_sets, predictor.genes, request.settings.min_size) if gene_sets else None
    plan = ScreenPlan(
        settings=request.settings,
        conditions=conditions,
        refused=refused,
        bundle_hash=predictor.bundle.content_hash,
        gene_sets_hash=gene_sets.sha256 if gene_sets else None,
        library_source=library.source,
        n_perturbations=conditions["pert_id"].n_unique(),
    )
    has_sd = predictor.predict(conditions.head(1), batch_size=request.settings.batch_size).sd is not None
    return PreparedScreen(plan, predictor, bundle_path, gene_sets, sets, has_sd, library.n_repeated)


def _library(request: ScreenRequest, knowledge: BundleKnowledge, progress: ProgressCallback) -> Library:
    if request.library is not None:
        return read_library(request.library, request.kind, progress)
    library = knowledge.default_library(request.kind)
    if library.frame.is_empty():
        raise SchemaError(
            f"This bundle was trained on no {request.kind}, so it can screen none. Train on data that holds "
            f"some, or screen {'genes' if request.kind == 'compounds' else 'compounds'}."
        )
    return library


def _types(request: ScreenRequest, known: tuple[str, ...]) -> tuple[str, ...]:
    for name in request.types or ():
        if name not in TYPES_OF_KIND[request.kind]:
            allowed = TYPES_OF_KIND[request.kind]
            nearest = nearest_known(name, allowed)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(
                f"--pert-types: a screen of {request.kind} takes {', '.join(allowed)}, not {name!r}.{hint}"
            )
    return request.types or known


def _predictable(
    request: ScreenRequest,
    predictor: Predictor,
    library: Library,
    grid: Grid,
    progress: ProgressCallback,
) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
    """Cross the library and take out what cannot be predicted; raise where a user's list holds any."""
    if library.frame.is_empty():
        raise_refused(library.refused, library.source)
    crossed = cross(library, grid)
    refused = (*library.refused, *find_refusals(predictor, crossed, progress))
    is_default = request.library is None
    if not (is_default or request.skip_unknown):
        raise_refused(refused, library.source)
    left = crossed.filter(~pl.col("row").is_in([item.row for item in refused]))
    if left.is_empty():
        raise_refused(refused, library.source)
    return left.drop("row"), () if is_default else refused
