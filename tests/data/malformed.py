"""Malformed inputs made from a seed, the ingest that meets them, and the verdict on what came of it.

Allowed is a store that is valid and holds the file's values, or a `PertcastError` that names an input, with
nothing left behind; everything else is a fault. `judge(seed, folder)` plays any seed again.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from malformed_damage import BYTE_CHANGES, PLACE_CHANGES, TEXT_CHANGES, TREE_CHANGES
from malformed_drafts import CHANGES, Draft, valid_draft
from malformed_files import (
    ARROWS,
    COUNTS,
    FOLDERS,
    FORMATS,
    TEXTS,
    TREES,
    WITHOUT_OBS,
    anndata_tree,
    arrow_table,
    mtx_parts,
    write_arrow,
    write_hdf5,
    write_zarr,
)
from malformed_mappings import VALID, random_mapping, write_gene_names, write_side_table
from pertcast_data.errors import PertcastError
from pertcast_data.ingest import ingest
from pertcast_data.ingest.inspection import inspect_path
from pertcast_data.store import ExpressionStore, validate_store
from scipy import sparse

SECONDS = 10
MODES = ("ingest", "ingest", "dry run", "dry run", "checked", "append", "inspect")
_ENDINGS = {"hdf5": ".h5ad", "zarr2": ".zarr", "zarr3": ".zarr"}


class Hang(BaseException):
    """An ingest took longer than it may; no `except Exception` can hide it."""


@dataclass
class Case:
    """One malformed input: what was done to what, and how it is ingested."""

    seed: int
    form: str
    mode: str
    changes: list[str] = field(default_factory=list)
    source: Path = Path()
    mapping: Path | None = None
    table: Path | None = None
    draft: Draft | None = None
    is_certain: bool = True

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.form}, {', '.join(self.changes)} ({self.mode})"


@dataclass(frozen=True)
class Verdict:
    """What came of a case: "ingested" or "refused", the message, and the fault, "" for none."""

    case: Case
    outcome: str
    message: str
    fault: str


def make_case(seed: int, folder: Path) -> Case:
    """Write a malformed data set into a folder."""
    draw = random.Random(seed)
    case = Case(seed, draw.choice(FORMATS), draw.choice(MODES))
    return write_case(case, _kinds_of_changes(case, draw), draw, folder)


def write_case(case: Case, kinds: list[str], draw: random.Random, folder: Path) -> Case:
    """Write the data set of a case with changes of these kinds; without any it is whole."""
    draft = valid_draft(draw, case.form in COUNTS)
    for kind in kinds:
        if kind == "draft":
            name = draw.choice(sorted(CHANGES))
            CHANGES[name](draft, draw)
            case.changes.append(name)
            case.is_certain = case.is_certain and not name.startswith(
                ("shapes/a", "shapes/turned", "dtypes", "ids/genes")
            )
    case.draft = draft
    case.source = _write(case, draft, folder, kinds, draw)
    _write_sides(case, draft, folder, kinds, draw)
    for kind in kinds:
        if kind == "bytes":
            _damage_bytes(case, folder, draw)
        elif kind == "place":
            _move(case, draw)
    return case


def _kinds_of_changes(case: Case, draw: random.Random) -> list[str]:
    kinds = ["draft"] * 6 + ["bytes"] * 2 + ["place", "mapping", "mapping"]
    kinds += ["tree"] * 4 if case.form in TREES else []
    kinds += ["text"] * 4 if case.form in TEXTS or case.form in FOLDERS else []
    return [draw.choice(kinds) for _ in range(draw.choice([1, 1, 1, 2, 3]))]


def _write(case: Case, draft: Draft, folder: Path, kinds: list[str], draw: random.Random) -> Path:
    if case.form in TREES:
        return _write_tree(case, draft, folder, kinds, draw)
    if case.form in ARROWS:
        form, kind = ARROWS[case.form]
        write_arrow(arrow_table(draft, form), folder / f"screen.{kind}", kind)
        return folder / f"screen.{kind}"
    if case.form in FOLDERS:
        path = folder / "screen"
        path.mkdir()
        for name, content in mtx_parts(draft, FOLDERS[case.form]).items():
            (path / name).write_bytes(content)
        for _ in range(kinds.count("text")):
            chosen = draw.choice(sorted(path.iterdir()))
            chosen.write_bytes(_text_changed(case, chosen.read_bytes(), draw))
        return path
    make, form, is_packed = TEXTS[case.form]
    content = make(draft, form)
    for _ in range(kinds.count("text")):
        content = _text_changed(case, content, draw)
    path = folder / f"screen.{case.form.split()[0]}"
    path.write_bytes(gzip.compress(content) if is_packed else content)
    return path


def _text_changed(case: Case, content: bytes, draw: random.Random) -> bytes:
    name = draw.choice(sorted(TEXT_CHANGES))
    case.changes.append(name)
    case.is_certain = False
    is_packed = content.startswith(b"\x1f\x8b")
    changed = TEXT_CHANGES[name](gzip.decompress(content) if is_packed else content, draw)
    return gzip.compress(changed) if is_packed else changed


def _write_tree(case: Case, draft: Draft, folder: Path, kinds: list[str], draw: random.Random) -> Path:
    make, form, kind = TREES[case.form]
    tree = make(draft, form)
    for _ in range(kinds.count("tree")):
        name = draw.choice(sorted(TREE_CHANGES))
        TREE_CHANGES[name](tree, draw)
        case.changes.append(name)
        case.is_certain = False
    path = folder / f"screen{_ENDINGS[kind]}"
    if kind == "hdf5":
        write_hdf5(tree, path)
    else:
        # Zarr has no arrays of such numbers: others are written in their place.
        is_kept = draft.values.dtype.kind in "biuf" and draft.values.dtype.itemsize <= 8
        case.is_certain = case.is_certain and is_kept
        write_zarr(tree, path, int(kind[-1]))
    return path


def _write_sides(case: Case, draft: Draft, folder: Path, kinds: list[str], draw: random.Random) -> None:
    if case.form in WITHOUT_OBS or draw.random() < 0.15:
        path = folder / f"rows{draw.choice(['.csv', '.tsv', '.parquet'])}"
        write_side_table(draft, path, draw)
        if case.form in WITHOUT_OBS or draw.random() < 0.7:
            case.table = path
    if "mapping" not in kinds:
        return
    for _ in range(kinds.count("mapping")):
        case.changes.append("mapping/random")
    base = VALID if draw.random() < 0.6 else {}
    case.mapping = folder / "map.yaml"
    case.mapping.write_bytes(random_mapping(draw, base))
    write_gene_names(folder / "names.tsv", draw)
    if draw.random() < 0.05:
        case.mapping = folder / draw.choice(["absent.yaml", "", "map.yaml/x"])


def _damage_bytes(case: Case, folder: Path, draw: random.Random) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    inner = [path for path in files if path == case.source or case.source in path.parents]
    if not files:
        return
    chosen = draw.choice(inner or files)
    if draw.random() < 0.2:
        chosen = draw.choice(files)
    name = draw.choice(sorted(BYTE_CHANGES))
    case.changes.append(f"{name} of {chosen.name}" if chosen != case.source else name)
    case.is_certain = case.is_certain and chosen.parent == folder and chosen != case.source
    if draw.random() < 0.1 and len(inner) > 1:
        chosen.unlink()
    else:
        chosen.write_bytes(BYTE_CHANGES[name](chosen.read_bytes(), draw))


def _move(case: Case, draw: random.Random) -> None:
    name = draw.choice(sorted(PLACE_CHANGES))
    case.changes.append(name)
    is_table = case.table is not None and case.table.exists() and draw.random() < 0.3
    if is_table and case.table is not None:
        case.table = PLACE_CHANGES[name](case.table, draw)
    elif case.source.exists():
        case.source = PLACE_CHANGES[name](case.source, draw)


def write_base_store(folder: Path) -> Path:
    """Write a small store of counts that cases are appended to."""
    draft = valid_draft(random.Random(1), is_counts=True)
    draft.ids = [f"base{number}" for number in range(len(draft.ids))]
    write_hdf5(anndata_tree(draft, "csr"), folder / "base.h5ad")
    ingest([folder / "base.h5ad"], folder / "base_store")
    return folder / "base_store"


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise Hang

    # On the processor for what goes round in circles, on the clock of a busy machine for what waits for ever.
    kinds = (signal.SIGPROF, signal.SIGALRM)
    before = [signal.signal(kind, stop) for kind in kinds]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(12 * seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def judge(seed: int, folder: Path, base_store: Path | None = None) -> Verdict:
    """Make a case, ingest it, and say what came of it; the folder is emptied again.

    Parameters
    ----------
    seed
        Of the case.
    folder
        An empty folder of its own.
    base_store
        A small store that rows are appended to; without it such cases make a new one.
    """
    inputs = folder / "in"
    inputs.mkdir(parents=True)
    try:
        case = make_case(seed, inputs)
        if base_store is not None and case.mode == "append":
            shutil.copytree(base_store, folder / "store")
        return play(case, folder)
    finally:
        shutil.rmtree(folder)


def play(case: Case, folder: Path) -> Verdict:
    """Ingest a case into `folder`/store and say what came of it."""
    before = _listing(folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with _limited(SECONDS):
                _play(case, folder / "store")
        except PertcastError as error:
            return Verdict(case, "refused", str(error), _fault_of_refusal(case, error, folder, before))
        except Hang:
            return Verdict(case, "hang", "", f"took longer than {SECONDS} s of the processor")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - that nothing else is raised, no panic of Polars either, is tested
            return Verdict(case, "crash", "", traceback.format_exc(limit=-6))
    stray = [f"{item.category.__name__}: {item.message}" for item in told if not _is_quiet(item.category)]
    fault = f"warns: {stray[0]}" if stray else _fault_of_store(case, folder, before)
    return Verdict(case, "ingested", "", fault)


def _is_quiet(category: type[Warning]) -> bool:
    # Zarr says itself which array of a group it cannot make out.
    is_zarr = category.__name__ == "ZarrUserWarning"
    return is_zarr or issubclass(category, DeprecationWarning | FutureWarning | ResourceWarning)


def _play(case: Case, out: Path) -> None:
    if case.mode == "inspect":
        facts = inspect_path(case.source)
        facts.lines()
        json.loads(facts.to_json())
        return
    is_id = case.table is not None
    report = ingest(
        [case.source],
        out,
        case.mapping,
        case.table or (),
        "id" if is_id else None,
        append=case.mode == "append" and out.exists(),
        dry_run=case.mode == "dry run",
        checked=(lambda report, quality: quality.report.model_dump_json())
        if case.mode == "checked"
        else None,
    )
    report.lines()
    json.loads(report.to_json())


def _listing(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in (
            Path(above) / name for above, inner, names in os.walk(folder) for name in (*inner, *names)
        )
        if not path.is_dir()
    }


def _fault_of_refusal(case: Case, error: PertcastError, folder: Path, before: dict[str, int]) -> str:
    message = str(error)
    names = {path.name for path in (folder / "in").rglob("*")} | {
        case.source.name,
        "rows.csv",
        "mapping file",
        "--",
    }
    names |= {path.name for path in (case.mapping, case.table) if path is not None} | {str(folder)}
    if len(message) < 20 or not any(name in message for name in names if name):
        return f"names no input: {message!r}"
    if len(message) > 4000:
        return f"message of {len(message)} characters: {message[:300]!r}"
    if _listing(folder) != before:
        return f"leaves something behind: {sorted(set(_listing(folder)) - set(before))[:5]} after {message!r}"
    return ""


def _fault_of_store(case: Case, folder: Path, before: dict[str, int]) -> str:
    if case.mode in ("inspect", "dry run"):
        return "" if _listing(folder) == before else "writes although it only looks"
    hidden = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    problems = validate_store(folder / "store")
    if hidden or problems:
        return f"leaves {hidden}, {problems}"
    return _difference(case, folder / "store") if case.is_certain and case.draft is not None else ""


def _difference(case: Case, path: Path) -> str:
    """Return where values of a store differ from those of the draft, "" where they do not."""
    store = ExpressionStore.open(path)
    rows = store.obs["source_file"].to_numpy() == case.source.name
    raw = store.reader().raw(np.flatnonzero(rows))
    found = np.asarray(raw.toarray() if sparse.issparse(raw) else raw, np.float32)
    draft = case.draft
    assert draft is not None
    with np.errstate(over="ignore"):
        values = np.asarray(np.asarray(draft.values), np.float32)
    genes = [str(gene) for gene in draft.genes]
    if len(set(genes)) < len(genes) or not set(store.var["gene_id"]) <= set(genes):
        return ""
    columns = [genes.index(gene) for gene in store.var["gene_id"]]
    expected = values[store.obs["source_row"].to_numpy()[rows]][:, columns]
    expected = np.where(expected == -666, np.nan, expected) if not np.any(found == -666) else expected
    return (
        ""
        if np.array_equal(found, expected, equal_nan=True)
        else f"values differ: {found[:2]} for {expected[:2]}"
    )
