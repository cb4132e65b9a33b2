"""Names of what a screen holds, finished and while it is computed."""

from __future__ import annotations

from typing import Final

MANIFEST: Final = "manifest.json"
"""Written last: a screen without it is not finished."""
PROFILES: Final = "profiles.zarr"
RANKS: Final = "ranks.zarr"
RANK: Final = "rank"
"""The array of ranks in `RANKS`."""

SIG_INFO: Final = "sig_info.parquet"
HITS: Final = "hits.parquet"
HITS_CSV: Final = "hits.csv"
ENRICHMENT: Final = "enrichment.parquet"
NEIGHBORS: Final = "neighbors.parquet"
SELECTIVITY: Final = "selectivity.parquet"
DOSES: Final = "dose_response.parquet"
FUNCTION: Final = "gene_function.parquet"
REFUSED: Final = "refused.csv"
GENE_SETS: Final = "gene_sets.gmt"
REPORT: Final = "report.html"

PARTS: Final = ".parts"
"""What an unfinished screen needs; removed at its end."""
PLAN: Final = f"{PARTS}/plan.json"
CONDITIONS: Final = f"{PARTS}/conditions.parquet"
RECORDS: Final = f"{PARTS}/records"
"""One file a finished shard."""
RECORD: Final = f"{RECORDS}/{{shard:06d}}.json"
