"""A finished screen in a bucket, read from a checked copy in the cache."""

from __future__ import annotations

from pathlib import Path

from pertcast.screens.files import MANIFEST
from pertcast.screens.manifest import no_finished_screen, parse_manifest
from pertcast_data.errors import CorruptStore, ObjectMissing
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage import ObjectFolder, local_copy
from pertcast_data.storage.location import is_remote, parse_location

from pertcast_jobs.screen.remote_files import OtherBytes, in_parallel, measured


def local_screen(location: Path | str, progress: ProgressCallback = no_progress) -> Path:
    """Return a folder with the finished screen at `location`: that folder, or a checked copy in the cache.

    Raises
    ------
    ConfigError
        There is no finished screen in the bucket.
    CorruptStore
        A file is missing there, or is not as the manifest says.
    StorageError
        The bucket or the cache cannot be used.
    """
    if not is_remote(location):
        return Path(location)
    place = parse_location(location)
    try:
        files = parse_manifest(ObjectFolder(place).get(MANIFEST), place.url)["files"]
    except ObjectMissing as error:
        raise no_finished_screen(place.url) from error
    path = local_copy(place, progress=progress)
    try:
        in_parallel(lambda name: measured(path, name, files[name]), list(files))
    except OtherBytes as error:
        raise CorruptStore(
            f"{place}: {error}. Restore the object, or run the screen again in another place."
        ) from error
    return path
