"""The data report: what an ingest made of files, and what is known of the profiles in them."""

from __future__ import annotations

from pathlib import Path, PurePath

import polars as pl
from pertcast_data.errors import StorageError
from pertcast_data.ingest.report import IngestReport
from pertcast_data.quality import QualityReport, mend_first

from pertcast.report import data_report_effects as effects
from pertcast.report import data_report_parts as parts
from pertcast.report.page import Section, render_page


def data_report(
    ingest_report: IngestReport, quality: QualityReport | None, per_condition: pl.DataFrame | None
) -> str:
    """Return the data report as one self-contained HTML document.

    Parameters
    ----------
    ingest_report
        Of an ingest, or of a dry run.
    quality
        What was measured of the profiles; None where they were not.
    per_condition
        `Quality.per_condition`, for the figure of targets and the download; None leaves both out.
    """
    sections: list[Section] = [
        parts.mend_section(() if quality is None else mend_first(quality), quality),
        parts.overview_section(ingest_report),
        parts.notes_section(ingest_report),
    ]
    if quality is not None:
        sections += parts.condition_sections(quality)
        sections += effects.effect_sections(quality)
        sections += effects.target_sections(quality, per_condition)
        sections += parts.value_sections(quality)
    sections.append(parts.not_shown_section(quality))
    sections += parts.downloads_section(per_condition)
    for source in ingest_report.sources:
        sections += parts.source_sections(source)
    names = ", ".join(PurePath(source.path).name for source in ingest_report.sources)
    return render_page(
        title=f"Data report: {names}",
        provenance=_provenance(ingest_report, quality),
        sections=sections,
    )


def write_data_report(
    path: Path,
    ingest_report: IngestReport,
    quality: QualityReport | None,
    per_condition: pl.DataFrame | None,
) -> Path:
    """Write `data_report` to `path` and return it.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    html = data_report(ingest_report, quality, per_condition)
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{path}: the data report cannot be written ({error.strerror}). Choose a folder that is there "
            "and that you may write to."
        ) from error
    return path


def _provenance(report: IngestReport, quality: QualityReport | None) -> str:
    written = f"store {report.out}" if report.out else "dry run, nothing was written"
    checked = "values not measured" if quality is None else f"checked with seed {quality.seed}"
    return (
        f"{report.n_rows:,} profiles x {report.n_genes:,} genes, {report.measure}, {report.normalisation}; "
        f"{written}; {checked}"
    )
