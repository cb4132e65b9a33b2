"""Which bundle answers to which name: folders are looked at again, and a new bundle waits until it is loaded.

It reads the bundles' JSON only. Who loads weights tells it how that went.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from pertcast.errors import PertcastError
from pertcast.training.bundle import find_bundle
from pertcast.training.bundle_manifest import read_manifest

from pertcast_serve.places import in_names
from pertcast_serve.prediction.described import DescribedBundle
from pertcast_serve.problems import unknown_name
from pertcast_serve.schemas.base import Problem

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 2.0
"""Seconds between two looks at the folders."""
KEPT_VERSIONS = 8
"""Versions of one name that can be asked for."""

_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class ServedModel:
    """One bundle under one name.

    Attributes
    ----------
    name, version
        As requests name it; the version is the beginning of the bundle's hash.
    path
        Folder of the bundle, links resolved: it stays where it is when a link is turned to another one.
    """

    name: str
    version: str
    path: str

    @property
    def id(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    def in_words(self, reason: str) -> str:
        """Return what was said of this bundle with its name in the place of its folder."""
        return in_names(reason, {self.path: self.id})


@dataclass
class _Named:
    """What is known of one name."""

    folder: Path
    current: str = ""
    versions: dict[str, tuple[ServedModel, DescribedBundle]] = field(default_factory=dict)
    stamp: _Stamp = ()
    waiting: str = ""
    refused: str = ""


class ModelRegistry:
    """The served models and their versions.

    Parameters
    ----------
    models
        Name -> folder of a bundle or run; the first is the default.

    Raises
    ------
    ConfigError, CorruptBundle
        A folder holds no bundle, or its JSON is damaged.
    """

    def __init__(self, models: Mapping[str, Path]) -> None:
        self._names = {name: _Named(Path(folder)) for name, folder in models.items()}
        self._lock = Lock()
        for name, named in self._names.items():
            path = find_bundle(named.folder).resolve()
            named.stamp = _stamp(path)
            named.current = self._add(name, named, path)

    @property
    def default(self) -> str:
        """Name of the model that answers requests which name none."""
        return next(iter(self._names))

    def _add(self, name: str, named: _Named, path: Path) -> str:
        described = DescribedBundle.of(read_manifest(path))
        served = ServedModel(name, described.version, str(path))
        named.versions[described.version] = (served, described)
        kept = {named.current, named.waiting, *list(named.versions)[-KEPT_VERSIONS:]}
        named.versions = {version: found for version, found in named.versions.items() if version in kept}
        return described.version

    def look(self) -> list[ServedModel]:
        """Look at all folders; return the new bundles, each until it is promoted or refused.

        A folder that did not change since the last look is not read again.
        """
        with self._lock:
            for name, named in self._names.items():
                self._look_at(name, named)
            return [named.versions[named.waiting][0] for named in self._names.values() if named.waiting]

    def _look_at(self, name: str, named: _Named) -> None:
        try:
            path = find_bundle(named.folder).resolve()
            stamp = _stamp(path)
        except (PertcastError, OSError) as error:
            # A bundle that is being replaced is not there for a moment: the next look tells.
            named.stamp = ()
            self._note_refusal(name, named, str(error), {str(named.folder): name})
            return
        if stamp == named.stamp:
            return
        named.stamp = stamp
        try:
            version = self._add(name, named, path)
        except (PertcastError, OSError) as error:
            self._note_refusal(name, named, str(error), {str(path): name, str(named.folder): name})
            return
        named.waiting = "" if version == named.current else version
        named.refused = ""

    def _note_refusal(self, name: str, named: _Named, reason: str, words: Mapping[str, str]) -> None:
        """Note a refusal for all who ask, and log it with the paths that `words` puts names for."""
        told = in_names(reason, words)
        if told != named.refused:
            log.error("a newer bundle is not served", extra={"model": name, "reason": reason})
        named.refused = told

    def promote(self, served: ServedModel) -> None:
        """Answer to the name with this bundle from now on: it is loaded and warmed up."""
        with self._lock:
            named = self._names[served.name]
            if named.waiting == served.version:
                named.current, named.waiting, named.refused = served.version, "", ""
                log.info("a new version is served", extra={"model": served.id})

    def refuse(self, served: ServedModel, reason: str) -> None:
        """Keep the old bundle: this one cannot be loaded. It is tried again when its files change."""
        with self._lock:
            named = self._names[served.name]
            if named.waiting == served.version:
                named.waiting = ""
                self._note_refusal(served.name, named, reason, {served.path: served.id})

    def resolve(self, asked: str | None) -> ServedModel | Problem:
        """Return the bundle that "name", "name@version" or None (the default) means, or a 404."""
        found = self._find(asked)
        return found if isinstance(found, Problem) else found[0]

    def describe(self, asked: str | None) -> tuple[str, DescribedBundle] | Problem:
        """Return the name and the facts of a bundle, or a 404; see `resolve`."""
        found = self._find(asked)
        return found if isinstance(found, Problem) else (found[0].name, found[1])

    def _find(self, asked: str | None) -> tuple[ServedModel, DescribedBundle] | Problem:
        name, is_versioned, version = (asked or self.default).partition("@")
        named = self._names.get(name)
        if named is None:
            return unknown_name("model", name, self._names, "/v1/models lists all.")
        found = named.versions.get(version if is_versioned else named.current)
        if found is None:
            return _unknown_version(name, version, named.current)
        return found

    def current(self) -> list[tuple[str, DescribedBundle, str]]:
        """Return name, facts, and why a newer bundle is not served ("" otherwise); the default first."""
        return [
            (name, named.versions[named.current][1], named.refused) for name, named in self._names.items()
        ]


def _stamp(path: Path) -> _Stamp:
    """Return what changes when any file of a bundle is replaced or written."""
    found = sorted((file.name, file.stat()) for file in path.iterdir() if file.is_file())
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def _unknown_version(name: str, version: str, current: str) -> Problem:
    detail = (
        f"Model {name!r} has no version {version[:200]!r} here. "
        f"Ask for {name}@{current}, which is served now, or for {name}."
    )
    return Problem(title="Unknown version", status=404, detail=detail)


def version_gone(served: ServedModel, reason: str) -> Problem:
    """Return the 404 of a version that was served once and whose files are no longer there."""
    said = served.in_words(reason)
    detail = f"{served.id} can no longer be loaded: {said} Ask for {served.name}, its version of now."
    return Problem(title="Version is gone", status=404, detail=detail)
