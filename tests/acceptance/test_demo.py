"""The demo as a newcomer runs it: one command, everything once, and nothing twice."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

SECONDS = 1800
SECONDS_AGAIN = 60


def demo(folder: Path) -> tuple[list[str], float]:
    command = [sys.executable, "-m", "pertcast_jobs", "demo", "--out", str(folder)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout.strip().splitlines(), time.monotonic() - started


def outside_references(html: str) -> list[str]:
    without_scripts = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    addresses = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']([^"']*)""", without_scripts)
    loaded = re.findall(r"url\(([^)]*)\)|@import", without_scripts)
    return [each for each in [*addresses, *loaded] if not each.startswith(("data:", "#"))]


def test_the_demo_runs_to_a_report_that_stands_alone_and_a_second_call_passes_over_everything(
    tmp_path: Path,
) -> None:
    lines, seconds = demo(tmp_path / "demo")
    assert seconds < SECONDS
    reports = [Path(line.split()[-1]) for line in lines[-2:]]
    assert [report.name for report in reports] == ["trust.html", "report.html"]
    for report in reports:
        html = report.read_text()
        assert html.endswith("</html>") and "plotly.js" in html
        assert outside_references(html) == []
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    again, seconds = demo(tmp_path / "demo")
    assert seconds < SECONDS_AGAIN
    commands = [line for line in again if line.startswith("[")]
    assert len(commands) == sum("done already" in line for line in again) == 7
    assert again[-1] == lines[-1]
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    assert after == before
