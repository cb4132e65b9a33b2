"""One export of a screen: choose profiles, write them, give the file its name when it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pertcast.screens.finished import RESPONSE, FinishedScreen
from pertcast_data.errors import ConfigError, StorageError, nearest_known
from pertcast_data.export.gct import write_gct_content
from pertcast_data.export.gctx import write_gctx_content
from pertcast_data.export.h5ad import write_h5ad_content
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage.new_file import new_file
from pertcast_data.store.staging import staging_directory

from pertcast_jobs.screen_export.cell_eval import CLIPPED, Labels, cell_eval_content
from pertcast_jobs.screen_export.choice import Choice, Chosen, choose
from pertcast_jobs.screen_export.content import default_layers, screen_content
from pertcast_jobs.screen_export.gene_lists import require_few, write_gmt, write_rnk
from pertcast_jobs.screen_export.tables import write_hits, write_long


@dataclass(frozen=True)
class ExportRequest:
    """What to write of a screen.

    Attributes
    ----------
    screen
        Folder of a finished screen.
    to
        One of `FORMATS`.
    out
        The file (rnk: folder) to create; must not exist.
    choice
        Which profiles.
    layer
        Which values; None: the responses (h5ad: the responses, with every other layer beside them).
    n_genes
        Genes of a gene set, on each side.
    is_long
        csv: a row a profile and gene instead of the hits.
    labels
        Names in a file for cell-eval.
    """

    screen: Path
    to: str
    out: Path
    choice: Choice = field(default_factory=Choice)
    layer: str | None = None
    n_genes: int = 50
    is_long: bool = False
    labels: Labels = field(default_factory=Labels)


@dataclass(frozen=True)
class ExportOutcome:
    """What was written: where, how many profiles and genes, and remarks for people."""

    path: Path
    n_profiles: int
    n_genes: int
    remarks: tuple[str, ...] = ()


Writer = Callable[[FinishedScreen, Chosen, ExportRequest, Path, ProgressCallback], tuple[str, ...]]
"""Writes the chosen profiles into a file or folder and returns remarks."""


def export_screen(request: ExportRequest, progress: ProgressCallback = no_progress) -> ExportOutcome:
    """Write profiles of a finished screen for another tool, in constant memory.

    Parameters
    ----------
    request
        What to write where.
    progress
        Told of profiles.

    Raises
    ------
    ConfigError
        The format or layer is not known, an option does not fit the format, `out` exists, no profile is
        left, or the format cannot hold so many.
    FormatError, CorruptStore
        `screen` is no finished screen, or its files do not agree.
    UnknownName
        A name that the screen does not hold.
    StorageError
        The disk is full, or does not let a file be written.
    """
    writer = writer_of(request)
    with _target(request) as target:
        screen = FinishedScreen.open(request.screen)
        if (request.layer or RESPONSE) not in screen.layers:
            raise ConfigError(
                f"{screen.path} has no layer {request.layer!r}; it has {', '.join(screen.layers)}. A screen "
                "holds sd where its bundle knows a spread, and expression where it predicts levels."
            )
        chosen = choose(screen, request.choice)
        remarks = writer(screen, chosen, request, target, progress)
    return ExportOutcome(request.out, len(chosen.rows), len(screen.genes), remarks)


def writer_of(request: ExportRequest) -> Writer:
    """Return what writes the format; raises ConfigError where it is not known or options do not fit it."""
    if request.to not in FORMATS:
        near = nearest_known(request.to, FORMATS)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"--to {request.to}: is none of {', '.join(FORMATS)}.{hint}")
    takes_layer = request.to in ("h5ad", "gctx", "gct", "rnk") or (request.to == "csv" and request.is_long)
    if request.layer is not None and not takes_layer:
        raise ConfigError(
            f"--layer {request.layer} has no meaning with --to {request.to}. Leave it out"
            f"{', or add --long' if request.to == 'csv' else ''}."
        )
    if request.is_long and request.to != "csv":
        raise ConfigError(f"--long is for --to csv, not for --to {request.to}. Leave it out.")
    return FORMATS[request.to]


@contextmanager
def _target(request: ExportRequest) -> Iterator[Path]:
    """Yield where to write; it gets its name at the end."""
    place: AbstractContextManager[Path] = (
        _new_folder(request.out) if request.to == "rnk" else new_file(request.out)
    )
    with place as target:
        yield target


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    try:
        with staging_directory(path) as folder:
            yield folder
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error}). Nothing is left of it; mend that and try again."
        ) from error


def _h5ad(
    screen: FinishedScreen, chosen: Chosen, request: ExportRequest, file: Path, progress: ProgressCallback
) -> tuple[str, ...]:
    layers = default_layers(screen) if request.layer is None else ()
    content = screen_content(screen, chosen.rows, request.layer or RESPONSE, layers)
    write_h5ad_content(content, file, request.out.name, progress)
    return ()


def _cell_eval(
    screen: FinishedScreen, chosen: Chosen, request: ExportRequest, file: Path, progress: ProgressCallback
) -> tuple[str, ...]:
    labels = request.labels
    content = cell_eval_content(screen, chosen.rows, labels)
    write_h5ad_content(content, file, request.out.name, progress)
    n_controls = content.obs.n_rows - len(chosen.rows)
    command = (
        f"cell-eval run -ap {request.out.name} -ar TRUTH.h5ad --pert-col {labels.pert_col} "
        f"--control-pert {labels.control} --celltype-col {labels.cell_col}"
    )
    zeros = content.facts[CLIPPED]
    return (
        f"{n_controls} control profiles, one a cell line and time: basal = expression - response",
        *((f"{zeros:,} predicted levels below 0 were set to 0",) if zeros else ()),
        f"the truth needs the same genes in the same order and the same perturbations: {command}",
    )


def _gctx(
    screen: FinishedScreen, chosen: Chosen, request: ExportRequest, file: Path, progress: ProgressCallback
) -> tuple[str, ...]:
    content = screen_content(screen, chosen.rows, request.layer or RESPONSE)
    write_gctx_content(content, file, request.out.name, progress)
    return ()


def _gct(
    screen: FinishedScreen, chosen: Chosen, request: ExportRequest, file: Path, progress: ProgressCallback
) -> tuple[str, ...]:
    content = screen_content(screen, chosen.rows, request.layer or RESPONSE)
    write_gct_content(content, file, request.out.name, progress)
    return ()


def _gmt(
    screen: FinishedScreen, chosen: Chosen, request: ExportRequest, file: Path, progress: ProgressCallback
) -> tuple[str, ...]:
    if request.n_genes < 1:
        raise ConfigError(f"--genes {request.n_genes}: a set has at least one gene.")
    empty = write_gmt(screen, chosen.rows, file, request.n_genes, progress)
    return (f"{empty:,} sets left out: no gene of that sign",) if empty else ()


def _rnk(
    screen: FinishedScreen, chosen: Chosen, request: ExportRequest, folder: Path, progress: ProgressCallback
) -> tuple[str, ...]:
    require_few(len(chosen.rows))
    write_rnk(screen, chosen.rows, folder, request.layer or RESPONSE, progress)
    return ()


def _csv(
    screen: FinishedScreen, chosen: Chosen, request: ExportRequest, file: Path, progress: ProgressCallback
) -> tuple[str, ...]:
    if request.is_long:
        write_long(screen, chosen.rows, file, request.layer or RESPONSE, progress)
    else:
        write_hits(screen, chosen, file, progress)
    return ()


FORMATS: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "h5ad": _h5ad,
        "cell-eval": _cell_eval,
        "gctx": _gctx,
        "gct": _gct,
        "gmt": _gmt,
        "rnk": _rnk,
        "csv": _csv,
    }
)
"""Name of a format -> what writes it."""
