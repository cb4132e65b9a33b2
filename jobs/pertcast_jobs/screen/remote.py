"""A screen in a bucket: computed in work folders of the machines' own, published shard by shard.

What the bucket holds decides: a shard is finished when its record and its objects are there, whichever
machine computed it, and the screen is when its manifest is. A work folder may be lost at any time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pertcast.screens.files import CONDITIONS, MANIFEST, PARTS, PLAN, PROFILES, RANK, RANKS, RECORD
from pertcast.screens.manifest import parse_manifest
from pertcast_data.errors import ConfigError, CorruptStore, ObjectMissing
from pertcast_data.storage import ObjectFolder, local_copy
from pertcast_data.storage.cache import Cache, digest
from pertcast_data.storage.location import is_remote, parse_location
from pertcast_data.store.manifest import ShardRecord, file_record

from pertcast_jobs.screen.plan import ScreenPlan
from pertcast_jobs.screen.remote_files import (
    OtherBytes,
    ScreenObjects,
    checker,
    in_parallel,
    measured,
    parsed_object,
)
from pertcast_jobs.screen.workspace import (
    ScreenUrl,
    Workspace,
    identities,
    plan_content,
)

_FOLDER: Final = "screens"

Tell = Callable[[str], None]


def workspace_of(out: Path | str, plan: ScreenPlan) -> Workspace:
    """Return where the screen of `plan` is computed: the folder `out` itself, or a work folder of the cache.

    Raises
    ------
    ConfigError
        `out` names a place that is not supported.
    """
    if not is_remote(out):
        return Workspace(Path(out))
    place = parse_location(out)
    folder = Cache.from_environment().root / _FOLDER / digest(f"{place.url}\n{plan.hash}")
    return RemoteWorkspace(folder, ScreenObjects(place))


def open_workspace(path: Path, location: str | None) -> Workspace:
    """Return the workspace at `path`: of a local screen, or of the one that is published at `location`."""
    return Workspace(path) if location is None else RemoteWorkspace(path, ScreenObjects(location))


def worker_inputs(layers: Sequence[str]) -> list[str]:
    """Name the files that a worker reads: the conditions, and the metadata of the arrays it writes to."""
    arrays = [f"{PROFILES}/X", *(f"{PROFILES}/layers/{layer}" for layer in layers), f"{RANKS}/{RANK}"]
    return [CONDITIONS, *(f"{array}/zarr.json" for array in arrays)]


@dataclass(frozen=True)
class RemoteWorkspace(Workspace):
    """The work folder of a screen in a bucket; objects have the names that files of a local screen have.

    Every method raises StorageError where the bucket cannot be used; what is there then stays of use.

    Attributes
    ----------
    path
        The work folder: `PERTCAST_CACHE/screens/...`, by the screen's location and plan.
    objects
        The screen in the bucket.
    """

    objects: ScreenObjects

    @property
    def place(self) -> ScreenUrl:
        """Where the screen is."""
        return ScreenUrl(self.objects.location.url)

    @property
    def location(self) -> str:
        """What workers are told of the bucket."""
        return str(self.place)

    @property
    def lock_file(self) -> Path:
        """Beside the folder: whoever uploads the finished screen has no unfinished one."""
        return self.path.with_name(f"{self.path.name}.lock")

    def is_complete(self, plan: ScreenPlan) -> bool:
        """Whether the finished screen of `plan` is in the bucket already."""
        content = self.objects.find(MANIFEST)
        if content is None:
            return False
        self._refuse_other({"hash": parse_manifest(content, self.place)["plan_hash"]}, plan)
        return True

    def begin(self, plan: ScreenPlan, genes: tuple[str, ...]) -> None:
        """Claim the place in the bucket for `plan`, or find it claimed; make the work folder."""
        self._claim(plan, genes)
        # Whatever else lies in the folder was left by shards that were computed here for another machine.
        if not (self.is_written or self.plan_file.is_file()):
            self.begin_with(plan, genes, identities(plan))

    def _claim(self, plan: ScreenPlan, genes: tuple[str, ...]) -> None:
        """Put the plan before anything else: of two writers with different plans one is refused."""
        found = self.objects.find(PLAN)
        if found is None:
            self._refuse_strangers()
            if self.objects.put_if_absent(PLAN, json.dumps(plan_content(plan, genes)).encode()):
                return
            found = self.objects.get(PLAN)
        self._refuse_other(parsed_object(found), plan)

    def _refuse_strangers(self) -> None:
        place = self.objects.location
        if place.key and ObjectFolder(place.parent).exists(place.name):
            raise ConfigError(f"{place} is an object. Choose a folder for --out.")
        others = {entry.name.partition("/")[0] for entry in self.objects.list()} - {PARTS, ""}
        if others:
            raise ConfigError(
                f"{place} is not empty ({', '.join(sorted(others)[:3])}). Choose another --out."
            )

    def offer(self, names: Iterable[str]) -> None:
        """Put what workers on other machines read."""
        records = [file_record(self.path, name, sync=False) for name in names]
        sizes = self.objects.sizes()
        for record in records:
            if not self.objects.holds(record, sizes):
                self.objects.put_file(self.path, record)

    def obtain(self, names: Iterable[str]) -> None:
        """Bring what a worker reads; on the driver's machine it is there."""
        self.make_folders()
        for name in names:
            if not (self.path / name).is_file():
                self._obtain(name)

    def _obtain(self, name: str) -> None:
        stated = self.objects.stated_checksum(name)

        def check(path: Path) -> None:
            if stated not in (None, file_record(path.parent, path.name, sync=False).crc32):
                raise CorruptStore(
                    f"{self.place / name} has not the bytes that were put. Delete this object, and run the "
                    "same command again."
                )

        self.objects.get_to(name, self.path / name, check=check)

    def commit(self, shard: int, records: list[ShardRecord]) -> None:
        """Declare a shard finished, here and in the bucket: its record goes last.

        A machine that is not the driver's keeps no shard: the driver brings what it needs.
        """
        super().commit(shard, records)
        self._publish(shard)
        if not self.plan_file.is_file():
            for name in (*(record.path for record in records), RECORD.format(shard=shard)):
                (self.path / name).unlink(missing_ok=True)

    def _publish(self, shard: int) -> None:
        in_parallel(lambda record: self.objects.put_file(self.path, record), self.records(shard))
        self.objects.put(RECORD.format(shard=shard), self.record_of(shard).read_bytes())

    def finished_shards(self, plan: ScreenPlan) -> list[int]:
        """Return the shards that are in the bucket; those that are finished here alone are published now."""
        sizes = self.objects.sizes()
        published = self.objects.records(plan.n_shards, sizes)
        finished: set[int] = set()

        def look(shard: int) -> None:
            if all(self.objects.holds(record, sizes) for record in published[shard]):
                finished.add(shard)

        in_parallel(look, list(published))
        for shard in range(plan.n_shards):
            if shard not in finished and self._is_finished(shard):
                self._publish(shard)
                finished.add(shard)
        return sorted(finished)

    def require_all(self, plan: ScreenPlan) -> None:
        """Bring every shard that is not here, and check all against the records in the bucket.

        Raises
        ------
        CorruptStore
            A shard is missing, or its bytes are not the recorded ones; its record is then withdrawn, so
            that it is computed again.
        """
        published = self.objects.records(plan.n_shards, self.objects.sizes())
        self._refuse_missing(set(range(plan.n_shards)) - published.keys(), plan)
        lacking = [shard for shard, records in published.items() if not self._holds(shard, records)]
        in_parallel(lambda shard: self._bring(shard, published[shard], plan), lacking)

    def _holds(self, shard: int, records: list[ShardRecord]) -> bool:
        return self._is_finished(shard) and self.records(shard) == records

    def _bring(self, shard: int, records: list[ShardRecord], plan: ScreenPlan) -> None:
        try:
            for record in records:
                if record.bytes:
                    self._fetch(record)
        except (OtherBytes, ObjectMissing):
            self.objects.delete(RECORD.format(shard=shard))
            self._refuse_missing({shard}, plan)
        super().commit(shard, records)

    def _fetch(self, record: ShardRecord) -> None:
        """Bring a file to its place; a killed process leaves nothing of it among the files of the screen."""
        arrived, target = self.parts / "arriving" / record.path, self.path / record.path
        self.objects.get_to(record.path, arrived, check=checker(record))
        target.parent.mkdir(parents=True, exist_ok=True)
        arrived.replace(target)

    def deliver(self, tell: Tell) -> None:
        """Put the finished screen, its manifest last, and remove what the computation left; may be repeated.

        Raises
        ------
        CorruptStore
            A file is not as the manifest says; the work folder is given up, so that the tables are made
            again from the shards in the bucket.
        """
        content = self.manifest.read_bytes()
        files = parse_manifest(content, self.manifest)["files"]
        sizes = self.objects.sizes()
        total = sum(record["bytes"] for record in files.values())
        there: list[str] = []

        def put(name: str) -> None:
            record = measured(self.path, name, files[name])
            if not self.objects.holds(record, sizes):
                self.objects.put_file(self.path, record)

        def count(names: Iterable[str]) -> None:
            there.extend(names)
            done = sum(files[name]["bytes"] for name in there)
            megabytes = f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB"
            tell(f"uploading: {len(there):,} of {len(files):,} files, {megabytes}")

        try:
            in_parallel(put, list(files), count)
        except OtherBytes as error:
            self._discard()
            raise CorruptStore(
                f"{self.place}: {error} in the work folder {self.path}, which was removed. Run the same "
                "command again: the shards are in the bucket, the tables are made anew."
            ) from error
        if not self.objects.put_if_absent(MANIFEST, content):
            self._require_same(files)
        self.release()

    def _require_same(self, files: Mapping[str, Any]) -> None:
        """Accept that another machine was quicker with the same files."""
        if parse_manifest(self.objects.get(MANIFEST), self.place)["files"] != files:
            raise CorruptStore(
                f"{self.place}: another process finished this screen meanwhile, to other bytes (other "
                "versions of libraries?). Delete what is there, and run the screen once."
            )

    def release(self) -> None:
        """Remove what the computation left in the bucket, and the work folder."""
        self.objects.delete(PARTS)
        self._discard()

    def _discard(self) -> None:
        """Remove the work folder; under its own name it is never half of one."""
        removed = self.path.with_name(f"{self.path.name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        if self.path.exists():
            self.path.replace(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def finished_file(self, name: str) -> Path:
        """Return a local path of a file of the finished screen."""
        return self.path / name if self.is_written else local_copy(f"{self.place}/{name}")
