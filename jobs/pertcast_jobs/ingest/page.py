"""The page about files of profiles, written before a store is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pertcast_data.errors import ConfigError
from pertcast_data.ingest import IngestReport
from pertcast_data.quality import Quality


def page_writer(path: Path) -> Callable[[IngestReport, Quality], None]:
    """Return what writes the page to `path` once profiles have been looked at.

    Raises
    ------
    ConfigError
        The path is no HTML file.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--report {path}: the report is a page. Give a name that ends in .html.")

    def write(report: IngestReport, quality: Quality) -> None:
        # Here, not above: drawing needs Plotly, which takes a second to import.
        from pertcast.report.data_report import write_data_report

        write_data_report(path, report, quality.report, quality.per_condition)

    return write
