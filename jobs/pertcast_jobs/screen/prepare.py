"""From what a user asks for to a screen that can be computed: bundle, library, grid, gene sets, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from pertcast.analysis.connectivity import Signature
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets, read_gmt
from pertcast.ensemble import load_predictor
from pertcast.evaluation.hit_calibration import HitCalibration
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.errors import ConfigError, SchemaError, nearest_known
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.screen.check import find_refusals, raise_refused
from pertcast_jobs.screen.conditions import Conditions, Grid
from pertcast_jobs.screen.knowledge import BundleKnowledge, knowledge_of
from pertcast_jobs.screen.library import TYPES_OF_KIND, Library, Refusal, ScreenKind, read_library
from pertcast_jobs.screen.pairs import pairs_of
from pertcast_jobs.screen.plan import ScreenPlan, ScreenSettings
from pertcast_jobs.screen.profiles import layers_of
from pertcast_jobs.screen.shards import ShardTask


@dataclass(frozen=True)
class ScreenRequest:
    """What a user asks for.

    Attributes
    ----------
    kind
        "compounds", "genes", "pairs" or "table".
    model
        Folder of a run or bundle.
    others
        Further ones, for the mean of an ensemble.
    library
        csv or parquet list; None for what the bundle knows.
    gmt
        Gene sets; None for no enrichment.
    signature
        What conditions are ranked by with `settings.objective`; None: by their effect.
    cells, doses, times, types
        Cell lines, doses in uM, times in h and perturbation types; None for those of the training data.
    device
        Where the workers' models compute: "cpu", "cuda". What is checked here is computed on the CPU.
    skip_unknown
        Leave out rows that cannot be predicted and list them, instead of refusing the whole list.
    settings
        Seeds, sizes of shards and batches, how much is reported.
    """

    kind: ScreenKind
    model: Path
    others: tuple[Path, ...] = ()
    library: Path | None = None
    gmt: Path | None = None
    signature: Signature | None = None
    cells: tuple[str, ...] | None = None
    doses: tuple[float, ...] | None = None
    times: tuple[float, ...] | None = None
    types: tuple[str, ...] | None = None
    skip_unknown: bool = False
    device: str = "cpu"
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
    bundle_path, others
        Its folder; those of the further members of an ensemble.
    gene_sets, sets
        Gene sets as read, and over the bundle's genes; None without.
    signature
        What conditions are ranked by; None for their effect.
    has_sd
        Whether the bundle predicts a spread.
    n_repeated
        Rows of the list that repeat another.
    device
        Where the workers' models compute.
    """

    plan: ScreenPlan
    predictor: Predictor
    bundle_path: Path
    others: tuple[Path, ...]
    gene_sets: GeneSets | None
    sets: SetIndex | None
    signature: Signature | None
    has_sd: bool
    n_repeated: int
    device: str

    @property
    def calibration(self) -> HitCalibration | None:
        """What effects are held against; None for a bundle without it, and where others are ranked."""
        return _calibration(self.plan.settings, self.predictor)

    @property
    def model_id(self) -> str:
        """Short name of the bundle: the model's name and the bundle's hash."""
        return f"{self.predictor.bundle.model_name}:{self.plan.bundle_hash[:12]}"

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers stored beside the responses."""
        return layers_of(self.has_sd, self.predictor.space.measure)

    def task(self, out: Path, location: str | None = None) -> ShardTask:
        """Return what a worker needs to compute into the folder `out` and to publish at `location`."""
        return ShardTask(
            out=str(out.absolute()),
            bundle=str(self.bundle_path.absolute()),
            others=tuple(str(path.absolute()) for path in self.others),
            settings=self.plan.settings,
            sets=self.sets,
            layers=self.layers,
            model_id=self.model_id,
            signature=self.signature,
            device=self.device,
            location=location,
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
        Rows of the list cannot be predicted (and `skip_unknown` is off), or nothing is left; the gene sets or
        the signature do not fit the bundle's genes.
    ConfigError
        A cell line or type that the bundle does not know was asked for.
    """
    bundle_path, *others = (find_bundle(path) for path in (request.model, *request.others))
    predictor = load_predictor([bundle_path, *others])
    gene_sets = read_gmt(request.gmt) if request.gmt is not None else None
    sets = index_sets(gene_sets, predictor.genes, request.settings.min_size) if gene_sets else None
    if request.signature is not None:
        # Workers map it again; what is wrong with it is told before a folder is made.
        request.signature.prepare(predictor.genes, request.settings.score)
    knowledge = knowledge_of(predictor)
    library = _library(request, knowledge, progress)
    grid = _grid(request, knowledge)
    left, refused = _predictable(request, predictor, library, grid, progress)
    conditions = Conditions(left, grid)
    plan = ScreenPlan(
        settings=request.settings,
        conditions=conditions,
        survey=conditions.survey(),
        refused=refused,
        inputs=_inputs(request, predictor, gene_sets),
        library_source=library.source,
        n_perturbations=left["pert_id"].n_unique(),
    )
    first = conditions.head(1)
    has_sd = predictor.predict(first, batch_size=request.settings.batch_size).sd is not None
    return PreparedScreen(
        plan=plan,
        predictor=predictor,
        bundle_path=bundle_path,
        others=tuple(others),
        gene_sets=gene_sets,
        sets=sets,
        signature=request.signature,
        has_sd=has_sd,
        n_repeated=library.n_repeated,
        device=request.device,
    )


def _calibration(settings: ScreenSettings, predictor: Predictor) -> HitCalibration | None:
    """Return what effects are held against; None for a bundle without it, and where others are ranked."""
    return predictor.hit_calibration if settings.ranks_by == "effect_size" else None


def _inputs(request: ScreenRequest, predictor: Predictor, gene_sets: GeneSets | None) -> Mapping[str, str]:
    """Return the hash of everything that a screen is computed with."""
    calibration = _calibration(request.settings, predictor)
    signature = request.signature
    found = {
        "bundle": predictor.bundle.content_hash,
        "gene_sets": gene_sets.sha256 if gene_sets else None,
        "signature": signature.sha256 if signature else None,
        "calibration": calibration.hash if calibration else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _grid(request: ScreenRequest, knowledge: BundleKnowledge) -> Grid:
    """Return what fills the gaps of the library; asked doses are those of compounds."""
    types = _types(request, knowledge)
    every = tuple(dict.fromkeys((*types, *TYPES_OF_KIND[request.kind])))
    return Grid(
        cells=request.cells or knowledge.contexts,
        types=types,
        doses={
            kind: request.doses if request.doses and kind == "trt_cp" else knowledge.doses(kind)
            for kind in every
        },
        times={kind: request.times or knowledge.times(kind) for kind in every},
    )


def _library(request: ScreenRequest, knowledge: BundleKnowledge, progress: ProgressCallback) -> Library:
    kind = request.kind
    if request.library is not None:
        library = read_library(request.library, kind, progress)
        if kind in ("pairs", "table"):
            library = _with_compound_type(library, knowledge)
        return pairs_of(library) if kind == "pairs" else library
    if kind == "table":
        raise SchemaError(
            "A screen of a table needs the table: pertcast screen table LIST.csv, with pert_id and whatever "
            "else of pert_type, cell_iname, pert_dose and pert_time its rows state."
        )
    library = knowledge.default_library(kind)
    if library.frame.is_empty():
        raise SchemaError(
            f"This bundle was trained on no {kind}, so it can screen none. Train on data that holds "
            f"some, or screen {'genes' if kind == 'compounds' else 'compounds'}."
        )
    return library


def _with_compound_type(library: Library, knowledge: BundleKnowledge) -> Library:
    """Give rows that name no type trt_cp where they name compounds; genes are crossed with genetic types."""
    frame = library.frame
    is_compound = pl.Series([knowledge.is_compound(name) for name in frame["pert_id"]], dtype=pl.Boolean)
    kind = pl.when(pl.col("pert_type").is_null() & (is_compound | pl.col("canonical_smiles").is_not_null()))
    return replace(
        library, frame=frame.with_columns(pert_type=kind.then(pl.lit("trt_cp")).otherwise("pert_type"))
    )


def _types(request: ScreenRequest, knowledge: BundleKnowledge) -> tuple[str, ...]:
    allowed = TYPES_OF_KIND[request.kind]
    for name in request.types or ():
        if name not in allowed:
            nearest = nearest_known(name, allowed)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(
                f"--pert-types: a screen of {request.kind} takes {', '.join(allowed)}, not {name!r}.{hint}"
            )
    return request.types or knowledge.types(request.kind)


def _predictable(
    request: ScreenRequest,
    predictor: Predictor,
    library: Library,
    grid: Grid,
    progress: ProgressCallback,
) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
    """Take out what cannot be predicted; raise where a user's list holds any."""
    if library.frame.is_empty():
        raise_refused(library.refused, library.source)
    refused = (*library.refused, *find_refusals(predictor, library.frame, grid, progress))
    is_default = request.library is None
    if not (is_default or request.skip_unknown):
        raise_refused(refused, library.source)
    left = library.frame.filter(~pl.col("row").is_in([item.row for item in refused]))
    if left.is_empty():
        raise_refused(refused, library.source)
    return left, () if is_default else refused
