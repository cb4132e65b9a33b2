"""What can be wrong with a file that has been written: its arrays, its lines, its bytes, its place."""

from __future__ import annotations

import gzip
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from malformed_files import Tree

TreeChange = Callable[[Tree, random.Random], None]


def _any_array(tree: Tree, draw: random.Random) -> str:
    return draw.choice(sorted(name for name, item in tree.arrays.items() if not callable(item)))


def _matrix_array(tree: Tree, draw: random.Random, *endings: str) -> str:
    found = sorted(
        name for name in tree.arrays if name.split("/")[-1] in endings and not name.startswith(("obs", "var"))
    )
    return draw.choice(found) if found else _any_array(tree, draw)


def _lost(tree: Tree, draw: random.Random) -> None:
    chosen = _any_array(tree, draw)
    if draw.random() < 0.3:
        above = chosen.split("/")[0]
        for name in [name for name in tree.arrays if name.split("/")[0] == above]:
            del tree.arrays[name]
    else:
        del tree.arrays[chosen]


def _reshaped(tree: Tree, draw: random.Random) -> None:
    name = (
        _any_array(tree, draw)
        if draw.random() < 0.5
        else _matrix_array(tree, draw, "X", "matrix", "data", "shape")
    )
    array = np.atleast_1d(tree.arrays[name])
    makes: tuple[Callable[[], Any], ...] = (
        array.ravel,
        lambda: array[..., None],
        lambda: array[None],
        lambda: array[:0],
        lambda: np.array(3.5),
        lambda: np.array(["text"], object),
        lambda: np.concatenate([array, array]),
        lambda: array[:-1],
    )
    tree.arrays[name] = np.asarray(draw.choice(makes)())


def _pointers(tree: Tree, draw: random.Random) -> None:
    name = _matrix_array(tree, draw, "indptr", "indices")
    array = tree.arrays[name].copy()
    if not array.size or array.dtype.kind not in "iu":
        return
    place = draw.randrange(len(array))
    how = draw.randrange(6)
    if how == 0:
        array[place] = draw.choice([-1, 99, 2**31 - 1, -(2**31)])
    elif how == 1:
        array = array[::-1].copy()
    elif how == 2:
        array = array.astype(np.float64) + draw.choice([0, 0.5])
    elif how == 3:
        array = array.astype(np.int64)
        array[place] = draw.choice([2**62, -(2**62), 2**33])
    elif how == 4:
        array[:] = array[place]
    else:
        array = array[: len(array) // 2]
    tree.arrays[name] = array


def _attributes(tree: Tree, draw: random.Random) -> None:
    known = sorted(tree.attrs) or [""]
    place = draw.choice(known)
    attrs = dict(tree.attrs.get(place, {}))
    odd = draw.choice(
        [
            "csr_matrix",
            "csc_matrix",
            "dataframe",
            "nonsense",
            "categorical",
            5,
            3.5,
            [],
            ["a", "b"],
            [1, 2],
            [0, 0],
            [-1, 6],
            "",
        ]
    )
    attrs[draw.choice(sorted(attrs) or ["shape"])] = odd
    if draw.random() < 0.3:
        attrs = {}
    tree.attrs[place] = attrs


def _as_group(tree: Tree, draw: random.Random) -> None:
    name = _any_array(tree, draw)
    array = tree.arrays.pop(name)
    for part in draw.choice(
        [("values", "mask"), ("codes", "categories"), ("values",), ("inner",), ("_index",)]
    ):
        tree.arrays[f"{name}/{part}"] = array


def _codes(tree: Tree, draw: random.Random) -> None:
    found = [name for name in tree.arrays if name.endswith("/codes")]
    if not found:
        return _as_group(tree, draw)
    name = draw.choice(sorted(found))
    codes = tree.arrays[name].astype(np.int64)
    codes[draw.randrange(max(len(codes), 1)) :] = draw.choice([-1, 7, 2**40, -5])
    tree.arrays[name] = draw.choice([codes, codes.astype(np.float64), codes[:-1], codes.astype(np.uint8)])
    return None


def _links(tree: Tree, draw: random.Random) -> None:
    name = _any_array(tree, draw)
    target = draw.choice(["/", name, "/nowhere", f"/{name}/x"])

    def soft(file: Any, place: str) -> None:
        file[place] = h5py.SoftLink(target)

    def external(file: Any, place: str) -> None:
        file[place] = h5py.ExternalLink("absent.h5", "/X")

    def references(file: Any, place: str) -> None:
        file.create_dataset(place, data=np.array([file.ref] * 8, dtype=object), dtype=h5py.ref_dtype)

    def empty(file: Any, place: str) -> None:
        file.create_dataset(place, data=h5py.Empty("f4"))

    def ragged(file: Any, place: str) -> None:
        data = np.empty(8, object)
        data[:] = [np.arange(3)] * 8
        file.create_dataset(place, data=data, dtype=h5py.vlen_dtype(np.int64))

    def enumerated(file: Any, place: str) -> None:
        file.create_dataset(place, data=np.zeros(8, np.int8), dtype=h5py.enum_dtype({"FALSE": 0, "TRUE": 1}))

    def opaque(file: Any, place: str) -> None:
        file.create_dataset(place, data=np.zeros(8, "V7"))

    tree.arrays[name] = draw.choice([soft, external, references, empty, ragged, enumerated, opaque])


def _extra_groups(tree: Tree, draw: random.Random) -> None:
    place = draw.choice(
        [
            "obs/nested/deep",
            "obs/two",
            "var/three",
            "obs/__categories/cell_line",
            "raw/X",
            "0/META/COL/x/y",
            "matrix/x",
        ]
    )
    tree.arrays[place] = draw.choice(
        [np.zeros((8, 2)), np.zeros(3), np.array(["a"] * 8, object), np.array(1)]
    )


TREE_CHANGES: Mapping[str, TreeChange] = {
    "arrays/lost": _lost,
    "arrays/reshaped": _reshaped,
    "arrays/pointers": _pointers,
    "arrays/attributes": _attributes,
    "arrays/a group instead": _as_group,
    "arrays/codes": _codes,
    "arrays/links and types": _links,
    "arrays/extra groups": _extra_groups,
}

BytesChange = Callable[[bytes, random.Random], bytes]


def _lines_of(content: bytes) -> list[bytes]:
    return content.split(b"\n")


def _ragged(content: bytes, draw: random.Random) -> bytes:
    lines = _lines_of(content)
    place = draw.randrange(len(lines))
    line = lines[place]
    lines[place] = draw.choice(
        [line + b"\t1", line + b",1", line[: len(line) // 2], b"", b" ", line + line, b"\t" * 9, b",,,,,"]
    )
    return b"\n".join(lines)


def _reordered(content: bytes, draw: random.Random) -> bytes:
    lines = _lines_of(content)
    place = draw.randrange(len(lines))
    line = lines.pop(place)
    for _ in range(draw.choice([0, 1, 2])):
        lines.insert(draw.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def _field(content: bytes, draw: random.Random) -> bytes:
    lines = _lines_of(content)
    place = draw.randrange(len(lines))
    mark = next((mark for mark in (b"\t", b";", b",", b" ") if mark in lines[place]), b",")
    fields = lines[place].split(mark)
    odd = [
        b"",
        b'"',
        b"'",
        b"\xb5",
        b"\x00",
        b"NaN",
        b"1e999",
        b"-1",
        b"99999999999999999999",
        b"x" * 70_000,
        b"1,5",
        b"#",
        b"-666",
    ]
    fields[draw.randrange(len(fields))] = draw.choice(
        [*odd, b"TRUE", b"1.5.5", "é".encode(), b"0", b"3", b'"a\nb"', b"inf"]
    )
    lines[place] = mark.join(fields)
    return b"\n".join(lines)


def _encoded(content: bytes, draw: random.Random) -> bytes:
    text = content.decode("latin-1")
    how = draw.choice(
        ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "crlf", "cr", "quotes", "nul", "no end", "blank"]
    )
    if how == "crlf":
        return content.replace(b"\n", b"\r\n")
    if how == "cr":
        return content.replace(b"\n", b"\r")
    if how == "quotes":
        return content.replace(b"\t", b'"\t"', draw.randrange(1, 6)).replace(
            b",", b'","', draw.randrange(1, 6)
        )
    if how == "nul":
        return content + b"\0" * 100
    if how == "no end":
        return content.rstrip(b"\n")
    return content + b"\n\n  \n" if how == "blank" else text.encode(how)


TEXT_CHANGES: Mapping[str, BytesChange] = {
    "lines/ragged": _ragged,
    "lines/reordered": _reordered,
    "lines/a field": _field,
    "lines/encoding": _encoded,
}


def _truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 3, 30])):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _empty(content: bytes, draw: random.Random) -> bytes:
    return draw.choice(
        [
            b"",
            b"\n",
            b"\0" * 512,
            b" ",
            b"\xef\xbb\xbf",
            b"PAR1",
            b"\x89HDF\r\n\x1a\n",
            b"ARROW1\0\0",
            b"\x1f\x8b",
            b"{}",
            b"#1.3",
            b"%%MatrixMarket matrix coordinate real general\n",
        ]
    )


def _packed(content: bytes, draw: random.Random) -> bytes:
    packed = gzip.compress(content)
    return draw.choice(
        [
            packed,
            packed[: len(packed) // 2],
            packed + b"junk",
            gzip.compress(packed),
            packed[:-4] + b"\0\0\0\0",
        ]
    )


def _more(content: bytes, draw: random.Random) -> bytes:
    return draw.choice(
        [
            content + b"junk\n",
            content * 2,
            b"junk\n" + content,
            content + bytes(draw.randrange(256) for _ in range(99)),
        ]
    )


BYTE_CHANGES: Mapping[str, BytesChange] = {
    "bytes/truncated": _truncated,
    "bytes/flipped": _flipped,
    "bytes/empty": _empty,
    "bytes/packed": _packed,
    "bytes/more": _more,
}

PlaceChange = Callable[[Path, random.Random], Path]


def _renamed(path: Path, draw: random.Random) -> Path:
    ending = draw.choice(
        [
            ".h5ad",
            ".csv",
            ".gct",
            ".gctx",
            ".parquet",
            ".zarr",
            ".mtx",
            ".txt.gz",
            "",
            ".xlsx",
            ".h5",
            " .tsv",
        ]
    )
    return path.rename(path.with_name(f"other{ending}"))


def _folder_instead(path: Path, draw: random.Random) -> Path:
    kept = path.with_name("kept")
    path.rename(kept)
    path.mkdir()
    if draw.random() < 0.5:
        kept.rename(path / "inner.h5ad")
    else:
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    return path


def _link_loop(path: Path, draw: random.Random) -> Path:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(path if draw.random() < 0.5 else path.with_name("nowhere"))
    return path


def _absent(path: Path, draw: random.Random) -> Path:
    return draw.choice(
        [path.with_name("absent.h5ad"), path.with_name("a" * 300), path / "inner", path.with_name("*.h5ad")]
    )


PLACE_CHANGES: Mapping[str, PlaceChange] = {
    "place/another name": _renamed,
    "place/a folder": _folder_instead,
    "place/a loop": _link_loop,
    "place/absent": _absent,
}
