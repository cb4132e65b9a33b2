"""Ingest: raw files, a side table and a mapping become a store, and a report says how."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pertcast_data.errors import ConfigError
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.loading import load_mapping
from pertcast_data.ingest.plan import IngestPlan, plan_ingest
from pertcast_data.ingest.report import (
    IngestReport,
    control_warnings,
    count_conditions,
    source_report,
)
from pertcast_data.ingest.sources import expand_sources
from pertcast_data.ingest.writing.target import Writing
from pertcast_data.ingest.writing.worker import RUN_BYTES, Runner, in_process
from pertcast_data.ingest.writing.write_store import Written, write_store
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.quality import Quality, QualityReport, QualityRule, kept_rows, measure_quality
from pertcast_data.storage.fetched import local_copy
from pertcast_data.vocabulary import CONTROL_TYPES

WORKER_MEMORY_BYTES = 3 * RUN_BYTES
_BASE_MEMORY_BYTES = 400 << 20

log = logging.getLogger(__name__)


def ingest(
    sources: Sequence[Path | str],
    out: Path | str,
    mapping: IngestMapping | Path | str | None = None,
    obs_tables: Path | str | Sequence[Path | str] = (),
    key: str | None = None,
    *,
    seed: int = 0,
    append: bool = False,
    dry_run: bool = False,
    runner: Runner = in_process,
    worker_memory_bytes: int = WORKER_MEMORY_BYTES,
    checked: Callable[[IngestReport, Quality], None] | None = None,
    progress: ProgressCallback = no_progress,
) -> IngestReport:
    """Turn files of profiles into one store.

    Parameters
    ----------
    sources
        Files of profiles, patterns, folders, s3:// or gs:// locations; several files are joined on the genes
        that all of them have.
    out
        The store to create, a folder or an s3:// or gs:// location; must not exist.
    mapping
        What the files' columns mean (or a YAML file that says it); what is left open is guessed and reported.
    obs_tables, key
        A table of the rows (csv, tsv, Parquet) and its column that holds the matrix's row ids; or, without a
        key, tables of LINCS (instinfo, siginfo, compoundinfo, cellinfo, geneinfo), known by their columns.
    seed
        Of the shuffle of rows within a condition.
    append
        Put the rows behind those of the store `out`, which must be there.
    dry_run
        Read and check everything that can be checked quickly, write nothing.
    runner
        Has the pieces done: here, or by workers (`pertcast_jobs.ingest`).
    worker_memory_bytes
        What rows may take in a worker while it sorts them; more makes fewer and longer runs.
    checked
        Called with the report and what the profiles are like before anything is written; without it (and
        without `quality` in the mapping) the profiles are not looked at beforehand.
    progress
        Told rows written.

    Returns
    -------
    IngestReport
        Every column's origin, every conversion, what was dropped, and warnings.

    Raises
    ------
    ConfigError, FormatError, SchemaError, UnitError
        See each message; nothing is left behind.
    """
    started = time.monotonic()
    paths = [local_copy(source, progress=progress) for source in expand_sources(sources)]
    tables = [Path(path) for path in ((obs_tables,) if isinstance(obs_tables, str | Path) else obs_tables)]
    if key is not None and not tables:
        raise ConfigError(f"--key {key} needs --obs-table: name the table whose column it is.")
    how = Writing.at(out, seed=seed, appends=append, run_bytes=worker_memory_bytes // 3)
    if not dry_run:
        how.require_possible()
    if not isinstance(mapping, IngestMapping):
        mapping = IngestMapping() if mapping is None else load_mapping(Path(mapping))
    plan = plan_ingest(paths, mapping, tables, key)
    quality = None
    if checked is not None or mapping.quality is not None:
        plan, quality = _checked(plan, mapping.quality, progress)
    if checked is not None and quality is not None:
        checked(_report(plan, None, time.monotonic() - started, quality.report), quality)
    if not dry_run:
        how = replace(how, preprocessing=mapping.preprocessing)
        _told_of_values(plan, write_store(plan, how, runner, progress))
    seconds = time.monotonic() - started
    report = _report(plan, None if dry_run else out, seconds, quality.report if quality else None)
    log.info("ingested", extra={"rows": report.n_rows, "genes": report.n_genes, "store": str(out)})
    return report


def _checked(
    plan: IngestPlan, rule: QualityRule | None, progress: ProgressCallback
) -> tuple[IngestPlan, Quality]:
    """Look at every profile, and leave out what the mapping file's `quality` does not want."""
    every_condition = {"max_conditions": plan.obs.height} if rule is not None and rule.asks_conditions else {}
    quality = measure_quality(
        plan.obs,
        plan.var,
        plan.profiles,
        measure=plan.parts[0].measure,
        normalisation=plan.parts[0].normalisation,
        progress=progress,
        **every_condition,
    )
    if rule is None:
        return plan, quality
    is_kept, reasons = kept_rows(quality, rule)
    return plan.only(is_kept, reasons), quality


def _told_of_values(plan: IngestPlan, written: Written) -> None:
    for part, n_missing, n_rows in zip(plan.parts, written.n_missing, written.rows_with_missing, strict=True):
        if n_missing:
            part.findings.warnings.append(
                f"{n_missing:,} values are missing (NaN) in {n_rows:,} profiles: models cannot train on them"
            )
    if written.went_on:
        plan.findings.converted.append("an ingest of the same that had stopped was gone on with")


def _report(
    plan: IngestPlan, out: Path | str | None, seconds: float, quality: QualityReport | None
) -> IngestReport:
    reports = []
    for part in plan.parts:
        schema = part.source.schema()
        shape = (schema.n_rows, schema.n_genes)
        reports.append(source_report(str(part.path), schema.format, shape, schema.layout, part.findings))
    measure = plan.parts[0].measure
    size = sum(part.estimated_bytes(plan.layout, plan.var.height) for part in plan.parts)
    return IngestReport(
        out=None if out is None else str(out),
        measure=measure,
        normalisation=plan.parts[0].normalisation,
        n_rows=plan.obs.height,
        n_genes=plan.var.height,
        n_conditions=count_conditions(plan.obs),
        n_control_rows=int(plan.obs["pert_type"].is_in(CONTROL_TYPES).sum()),
        contexts=tuple(plan.obs["cell_iname"].unique().sort().to_list()),
        sources=tuple(reports),
        converted=tuple(plan.findings.converted),
        dropped=tuple(plan.findings.dropped),
        warnings=(*plan.findings.warnings, *control_warnings(plan.obs, measure)),
        estimated_bytes=size,
        estimated_memory_bytes=_BASE_MEMORY_BYTES + min(size, WORKER_MEMORY_BYTES),
        seconds=round(seconds, 3),
        quality=quality,
    )
