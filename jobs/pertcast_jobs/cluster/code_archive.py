"""The running installation as one archive, so that a cluster runs this code and not its image's.

A zip that becomes a job's `working_dir`: Ray unpacks it on every node, puts it first on PYTHONPATH and starts
processes in it. A wheel in `py_modules` would not do: Ray installs it by whatever `pip` stands on the node's
PATH, with its dependencies (from an index), and recognises it by its name alone, so that changed code under
the same version would not be sent again (`ray._private.runtime_env`, 2.60).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError

from pertcast_jobs.cluster.command import Command
from pertcast_jobs.run_config.load import shipped_places

PROJECT: Final = "pertcast"
PACKAGES: Final = ("pertcast", "pertcast_data", "pertcast_jobs", "pertcast_serve")
SENT_FOLDER: Final = "sent"
"""Where files from here lie in the job's folder."""

_NO_SOURCES: Final = frozenset({".pyc", ".pyo"})
_SAME_TIME: Final = (1980, 1, 1, 0, 0, 0)


def _code_files() -> Iterator[tuple[str, bytes]]:
    """Yield (name in the archive, content) of every file of the installed packages and of their metadata."""
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in Path(folder).rglob("*"):
                if path.is_file() and path.suffix not in _NO_SOURCES:
                    yield f"{package}/{path.relative_to(folder).as_posix()}", path.read_bytes()
    installed = metadata.distribution(PROJECT)
    for name in ("METADATA", "entry_points.txt"):
        text = installed.read_text(name)
        if text is not None:
            yield f"{PROJECT}-{installed.version}.dist-info/{name}", text.encode()


def write_archive(path: Path, *, code: bool = True, files: Mapping[str, Path] | None = None) -> None:
    """Write the archive; the same contents give the same bytes, and thereby the same name on the cluster.

    Parameters
    ----------
    path
        A `.zip` to write.
    code
        Whether the installed packages are in it.
    files
        Further files: name in the archive -> path here.
    """
    entries = dict(_code_files()) if code else {}
    entries.update({name: file.read_bytes() for name, file in (files or {}).items()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            entry = zipfile.ZipInfo(name, _SAME_TIME)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, entries[name])


def named_files(command: Command) -> Iterator[Path]:
    """Yield the configuration files that a command reads: CONFIG and ``@place``, unless shipped."""
    config = command.values.get("config")
    if config is not None and Path(config).is_file():
        yield Path(config)
    for word in command.values.get("overrides") or ():
        place = str(word).removeprefix("@")
        if str(word).startswith("@") and place not in shipped_places():
            yield Path(place)


def _sent_word(word: str, names: Mapping[Path, str]) -> str:
    """Return a word with the path in it replaced by where the file lies in the job's folder."""
    for start in ("", "@", word.partition("=")[0] + "="):
        if start == word or not word.startswith(start):
            continue
        path = Path(word[len(start) :])
        if path.resolve() in names and path.is_file():
            return start + names[path.resolve()]
    return word


def sent_files(command: Command, asked: Sequence[Path] = ()) -> tuple[list[str], dict[str, Path]]:
    """Return the words of a command as it runs on the cluster, and the files that travel with it.

    Parameters
    ----------
    command
        The whole command.
    asked
        Files that shall travel beside the configuration files.

    Returns
    -------
    tuple
        The words with paths of such files replaced; name in the archive -> path here.

    Raises
    ------
    ConfigError
        A file is not there, or two have one name.
    """
    names: dict[Path, str] = {}
    for path in (*named_files(command), *asked):
        if not path.is_file():
            raise ConfigError(f"{path} is no file here, so it cannot be sent with the job.")
        names[path.resolve()] = f"{SENT_FOLDER}/{path.name}"
    if len(set(names.values())) < len(names):
        raise ConfigError(
            f"Of the files to send two have one name: {', '.join(map(str, names))}. Rename one."
        )
    return [_sent_word(word, names) for word in command.words], {name: path for path, name in names.items()}
