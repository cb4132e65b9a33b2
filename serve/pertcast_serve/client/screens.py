"""Screens: begin one, follow it, read its hits, download its files."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import polars as pl
from pertcast.errors import SchemaError

from pertcast_serve.client.downloads import download
from pertcast_serve.client.errors import NotFound, ScreenFailed, StillRunning
from pertcast_serve.client.following import ENDED, Follower
from pertcast_serve.client.tables import Rows, parsed, row_table, sent_rows
from pertcast_serve.client.transport import ARROW, Asking, Transport, segment
from pertcast_serve.schemas.screens import (
    MAX_PAGE_ROWS,
    Artifact,
    ListRow,
    Screen,
    ScreenEstimate,
)

Kind = Literal["compounds", "genes", "pairs", "table"]
_LISTED: Final = 200
"""Most screens that one request lists."""


class ScreenHandle:
    """One screen on the server.

    Parameters
    ----------
    transport
        Sends the requests.
    id
        Id of the screen.
    """

    def __init__(self, transport: Transport, id: str) -> None:
        self._transport = transport
        self.id = id
        self._path = f"/v1/screens/{segment(id)}"

    def __repr__(self) -> str:
        return f"ScreenHandle({self.id!r} at {self._transport.url})"

    def state(self) -> Screen:
        """Return the screen and how far it is."""
        return parsed(Screen, self._transport.get(self._path).json())

    def wait(
        self,
        progress: Callable[[Screen], None] | None = None,
        timeout_s: float | None = None,
        poll_s: float = 2.0,
    ) -> Screen:
        """Wait until the screen is finished, also across restarts of the server.

        Parameters
        ----------
        progress
            Called with each new state.
        timeout_s
            Longest wait in seconds; StillRunning after it (within a quarter of a minute). None waits on.
        poll_s
            Seconds between two questions where the server's events do not come through.

        Raises
        ------
        ScreenFailed
            It failed, or was cancelled.
        StillRunning
            It did not end in time; it goes on.
        """
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        for screen in Follower(self._transport, self._path, poll_s).states():
            if screen is not None and progress is not None:
                progress(screen)
            if screen is not None and screen.state in ENDED:
                return _finished(screen)
            if ends is not None and time.monotonic() > ends:
                raise StillRunning(f"Screen {self.id} goes on after {timeout_s:g} s. Wait for it again.")
        raise AssertionError("states end with an ended screen")

    def cancel(self) -> Screen:
        """Cancel the screen; Conflict where it has ended."""
        return parsed(Screen, self._transport.request("DELETE", self._path).json())

    def hits(
        self,
        n: int | None = None,
        *,
        offset: int = 0,
        sort: str = "rank",
        descending: bool = False,
        text: str = "",
        cell_iname: str | None = None,
        pert_type: str | None = None,
        only_hits: bool = False,
        max_fdr: float | None = None,
    ) -> pl.DataFrame:
        """Return ranked hits of a finished screen; they are sorted and filtered on the server.

        Parameters
        ----------
        n
            Most rows; all that fit where None.
        offset
            Rows that are left out at the beginning.
        sort, descending
            Column of the table, and its direction.
        text
            Part of a name.
        cell_iname, pert_type
            Only these.
        only_hits
            Only what is called a hit.
        max_fdr
            Only up to this false-discovery rate, 0 to 1.
        """
        query = {
            "sort": sort,
            "descending": descending,
            "text": text,
            "cell_iname": cell_iname,
            "pert_type": pert_type,
            "only_hits": only_hits,
            "max_fdr": max_fdr,
        }
        pages: list[pl.DataFrame] = []
        left = n
        while True:
            limit = MAX_PAGE_ROWS if left is None else min(left, MAX_PAGE_ROWS)
            page = self._hit_page(query | {"offset": offset, "limit": max(1, limit)})
            pages.append(page if left is None else page.head(left))
            offset += page.height
            left = None if left is None else left - page.height
            if page.height < limit or (left is not None and left <= 0):
                return pl.concat(pages)

    def _hit_page(self, query: dict[str, Any]) -> pl.DataFrame:
        return pl.read_ipc_stream(io.BytesIO(self._transport.get(f"{self._path}/hits", query, ARROW).content))

    def profile(self, sig_id: str) -> pl.DataFrame:
        """Return one profile: `gene`, `mean` and, where the model has one, `sd` (float32)."""
        found = self._transport.get(f"{self._path}/profiles/{segment(sig_id)}").json()
        values = {"mean": found["mean"]} | ({} if found["sd"] is None else {"sd": found["sd"]})
        columns = {name: pl.Series(name, each, dtype=pl.Float32) for name, each in values.items()}
        return pl.DataFrame({"gene": found["genes"], **columns})

    def artifacts(self) -> pl.DataFrame:
        """Return the files of the finished screen: `name`, `bytes`, `sha256`, `media_type`."""
        return row_table(self._transport.get(f"{self._path}/artifacts").json()["artifacts"], Artifact)

    def download(self, name: str, path: str | Path) -> Path:
        """Download a file of the finished screen, resume what broke off, and check its sha256.

        Parameters
        ----------
        name
            As `artifacts` names it.
        path
            File to write, or a folder to write it into.

        Returns
        -------
        Path
            The file. It appears when it is whole; until then its bytes gather in a file beside it (.part).
        """
        listed = self.artifacts().filter(pl.col("name") == name)
        if listed.is_empty():
            raise NotFound(
                "No such file", f"Screen {self.id} has no file {name!r}; artifacts() lists all.", 404
            )
        target = Path(path)
        if target.is_dir():
            target = target / PurePosixPath(name).name
        artifact = Artifact.model_validate(listed.row(0, named=True))
        steps = "/".join(segment(step) for step in name.split("/"))
        return download(self._transport, f"{self._path}/artifacts/{steps}", artifact, target)


class Screening(Asking):
    """Begins screens and finds them again."""

    def submit(
        self,
        kind: Kind,
        *,
        rows: Rows | None = None,
        cell_iname: Sequence[str] | None = None,
        pert_type: Sequence[str] | None = None,
        pert_dose: Sequence[float] | None = None,
        pert_time: Sequence[float] | None = None,
        up: Sequence[str] | None = None,
        down: Sequence[str] | None = None,
        objective: Literal["mimic", "reverse"] | None = None,
        gene_sets: str | None = None,
        model: str | None = None,
        title: str = "",
        skip_unknown: bool = False,
        seed: int = 0,
        idempotency_key: str | None = None,
    ) -> ScreenHandle:
        """Begin a screen, which runs on the server whether this program does or not.

        Parameters
        ----------
        kind
            "compounds", "genes", "pairs", or "table" (row by row).
        rows
            The library, as dicts or as a table of Polars or pandas; the model's own where None.
        cell_iname, pert_type, pert_dose, pert_time
            What each of it is crossed with (uM, h); the model's own where None.
        up, down, objective
            A signature that is mimicked or reversed.
        gene_sets
            Collection for the enrichment.
        model
            Model that predicts; the server's first where None.
        title
            What it is called in lists.
        skip_unknown
            Leave out what the model does not know, instead of refusing the screen.
        seed
            Seed of the predictions.
        idempotency_key
            The same key gives the same screen, however often it is sent; a new one where None.

        Raises
        ------
        ServerError
            The server refuses the screen; its words say what to change.
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "idempotency_key")}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        answer = self._transport.post("/v1/screens", _body(given), headers=headers)
        return ScreenHandle(self._transport, answer.json()["id"])

    def estimate(self, kind: Kind, **options: Any) -> ScreenEstimate:
        """Return what a screen would compute and take; the words are those of `submit`."""
        found = self._transport.post("/v1/screens/estimate", _body({"kind": kind, **options}))
        return parsed(ScreenEstimate, found.json())

    def screen(self, id: str) -> ScreenHandle:
        """Return a screen by its id; NotFound where there is none."""
        handle = ScreenHandle(self._transport, id)
        handle.state()
        return handle

    def screens(self, n: int = 50) -> pl.DataFrame:
        """Return one's own screens, the newest first, at most `n`; administrators see all."""
        rows: list[dict[str, Any]] = []
        while len(rows) < n:
            query = {"offset": len(rows), "limit": min(_LISTED, n - len(rows))}
            found = self._transport.get("/v1/screens", query).json()["screens"]
            rows += found
            if len(found) < query["limit"]:
                break
        return row_table(rows, Screen)


def _body(given: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a request for a screen, without what is left to the server."""
    body = {name: value for name, value in given.items() if value is not None}
    for name in ("cell_iname", "pert_type", "pert_dose", "pert_time", "up", "down"):
        if isinstance(body.get(name), str):
            raise SchemaError(f"{name} is a list of values; write [{body[name]!r}].")
        if name in body:
            body[name] = list(body[name])
    if "rows" in body:
        body["rows"] = sent_rows(body["rows"], ListRow)
    return body


def _finished(screen: Screen) -> Screen:
    if screen.state == "finished":
        return screen
    reason = screen.message or f"it has {screen.n_done} profiles; submit it again to have the rest."
    raise ScreenFailed(
        f"Screen {screen.id} ({screen.title or screen.kind}) was {_WORDS[screen.state]}: {reason}"
    )


_WORDS: Final = {"failed": "not finished", "cancelled": "cancelled"}
