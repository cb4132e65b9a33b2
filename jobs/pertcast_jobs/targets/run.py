"""Match drugs with genes and write what was found: tables, summary and report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from pertcast.analysis.connectivity.scores import get_score
from pertcast.analysis.drug_targets import GeneLibrary, KnownPairs, TargetMatch, match_drug_targets
from pertcast.report.drug_target_sections import drug_target_report
from pertcast.training.files import write_json
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.run_folder import code_version, git_revision, refuse_existing, write_text
from pertcast_jobs.screen.workspace import write_atomically
from pertcast_jobs.targets.inputs import drug_profiles, gene_library
from pertcast_jobs.targets.known_table import read_known
from pertcast_jobs.targets.profiles import open_profiles, require_lines, shared_genes
from pertcast_jobs.targets.request import TargetRequest

TARGETS: Final = "targets.parquet"
KNOWN: Final = "known.parquet"
SUMMARY: Final = "summary.json"
REPORT: Final = "report.html"


def match_targets(request: TargetRequest, out: Path, progress: ProgressCallback = no_progress) -> TargetMatch:
    """Rank the genes of a library for every drug, and write tables, summary and report to `out`.

    Parameters
    ----------
    request
        What is compared.
    out
        Folder; must be new or empty. The summary is written last.
    progress
        Told of profiles read, with a note which pass it is.

    Raises
    ------
    ConfigError
        `out` is taken, or a score, type or cell line is not known.
    SchemaError, FormatError
        An input is not what is needed; names the file and the remedy.
    """
    refuse_existing(out)
    get_score(request.options.score)
    found = _matched(request, progress)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / TARGETS, found.targets.write_parquet)
    if found.known is not None:
        write_atomically(out / KNOWN, found.known.write_parquet)
    write_text(out / REPORT, drug_target_report(found, footer=f"Pertcast {code_version()}."))
    summary = {
        "format": "pertcast-targets",
        **found.to_json(),
        "inputs": {
            name: None if path is None else str(path)
            for name, path in (
                ("library", request.library),
                ("drugs", request.drugs),
                ("known", request.known),
                ("measured", request.measured),
            )
        },
        "pertcast_version": code_version(),
        "git_revision": git_revision(),
    }
    write_json(out / SUMMARY, summary)
    return found


def _matched(request: TargetRequest, progress: ProgressCallback) -> TargetMatch:
    opened, compounds = open_profiles(request.library), open_profiles(request.drugs)
    beside = None if request.measured is None else open_profiles(request.measured)
    sources = [compounds, opened, *([beside] if beside is not None else [])]
    require_lines(request.cells, *sources)
    genes = shared_genes(*sources)
    library, remarks = gene_library(opened, genes, request.types, request.cells)
    drugs, names = drug_profiles(compounds, genes, request.cells, progress)
    known: KnownPairs | None = None
    if request.known is not None:
        known, said = read_known(request.known, names)
        remarks = (*remarks, *said)
    measured: GeneLibrary | None = None
    if beside is not None:
        measured, said = gene_library(beside, genes, request.types, request.cells)
        measured = replace(measured, source=f"{beside.path.name}")
        remarks = (*remarks, *said)
    if known is None and measured is not None:
        remarks = (*remarks, "Measured profiles are only judged by known targets: none were given.")
    return match_drug_targets(
        drugs,
        library,
        known,
        options=request.options,
        measured=measured,
        remarks=(*remarks, *_remarks(len(genes), len(opened.genes), len(compounds.genes))),
        progress=progress,
    )


def _remarks(n_shared: int, n_library: int, n_drugs: int) -> tuple[str, ...]:
    if n_shared == n_library == n_drugs:
        return ()
    return (
        f"Compared over {n_shared:,} shared genes; the library has {n_library:,}, the drugs {n_drugs:,}.",
    )
