"""Open an atlas in a folder or at a URL, and find its samples, without torch.

Only committed rows are shown.
"""

import difflib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from attention_atlas.atlas.iter_maps import BATCH_BYTES, iter_maps
from attention_atlas.atlas.locations import (
    ATLAS_FOLDER,
    Location,
    exists,
    join,
    local_path,
    parent,
)
from attention_atlas.atlas.sample import Sample
from attention_atlas.atlas.schema import METADATA, parse_root
from attention_atlas.atlas.storage.files import Files, open_files
from attention_atlas.atlas.storage.group_reader import GroupReader
from attention_atlas.atlas.storage.verify import Verification, verify
from attention_atlas.errors import InputError, counted

if TYPE_CHECKING:
    import xarray


def open_atlas(location: Location) -> "Atlas":
    """Open the atlas of a run folder, or an `atlas.zarr` itself.

    Args:
        location: A path, or any URL that fsspec knows, such as `s3://bucket/run`.

    Raises:
        InputError: If there is no atlas, it is not one, it was written by a newer version, it is
            damaged, or nothing in it is committed.
    """
    return Atlas(find_atlas(location))


def find_atlas(location: Location) -> Location:
    """Return the location of the atlas that a run folder holds, or the location if it is one."""
    path = local_path(location)
    location = location if path is None else path
    if exists(join(location, METADATA)):
        return location
    if exists(join(location, f"{ATLAS_FOLDER}/{METADATA}")):
        return join(location, ATLAS_FOLDER)
    if not exists(location):
        raise InputError(
            f"There is no run {str(location)!r}: give a run folder or an {ATLAS_FOLDER} "
            "(`atlas list` shows them)."
        )
    for folder in (location, join(location, ATLAS_FOLDER)):
        if str(folder).rstrip("/").endswith(ATLAS_FOLDER) and exists(folder):
            raise InputError(f"The atlas {folder} is incomplete: it has no {METADATA} at its root.")
    raise InputError(
        f"{str(location)!r} holds no {ATLAS_FOLDER} (`atlas list` shows the folders that do). A "
        "run has none if it ran with capture=off or stopped before its test: `atlas evaluate "
        "run=<folder>` records one."
    )


class Atlas:
    """The committed samples of a recorded run.

    `len(atlas)`, `atlas[i]` and iteration run over the samples of the last epoch, ordered by rank
    and then by the order of writing.

    Attributes:
        location: Location of the atlas: a path, or a URL as text.
        attributes: Attributes of every sample: task, data, classes, layers, mechanism, config.
        epochs: Epochs that hold committed samples, in increasing order.
        num_repeated: Number of rows that were dropped as repetitions of a sample in its epoch.
        finished: Whether every rank closed its group; False for a run that is still writing or
            was killed.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._files = open_files(location)
        self.attributes = parse_root(location, self._files.read([METADATA])[0])
        names = _rank_names(self._files)
        self._ranks = [GroupReader(location, self._files, name) for name in names]
        self.finished = bool(self._ranks) and all(rank.finished for rank in self._ranks)
        self.num_repeated = 0
        self._rows: dict[int, dict[str, tuple[GroupReader, int]]] = {}
        for rank in self._ranks:
            epochs = rank.epochs.tolist()
            for row in rank.committed_rows:
                samples = self._rows.setdefault(epochs[row], {})
                if samples.setdefault(rank.sample_ids[row], (rank, row)) != (rank, row):
                    self.num_repeated += 1
        if not self._rows:
            raise InputError(
                f"The atlas {location} is empty: its run has committed no sample yet, or stopped "
                "before it did."
            )
        self.epochs = sorted(self._rows)
        self._last = list(self._rows[self.epochs[-1]].values())

    def __repr__(self) -> str:
        return f"Atlas({str(self.location)!r}, samples={len(self)}, epochs={len(self.epochs)})"

    @property
    def path(self) -> Path:
        """Folder of the atlas.

        Raises:
            InputError: If it lies at a URL, which `location` names.
        """
        path = local_path(self.location)
        if path is None:
            raise InputError(f"The atlas {self.location} lies in no folder of this machine.")
        return path

    @property
    def run(self) -> Location:
        """Location of the run folder that holds the atlas."""
        return parent(self.location)

    @cached_property
    def _usage(self) -> list[tuple[str, int, float | None]]:
        return list(self._files.sizes())

    @property
    def num_bytes(self) -> int:
        """Bytes of all files of the atlas."""
        return sum(size for _, size, _ in self._usage)

    @property
    def array_bytes(self) -> dict[str, int]:
        """Bytes of the files of each array, of all ranks, the largest first."""
        found: dict[str, int] = {}
        for key, size, _ in self._usage:
            parts = key.split("/")
            if len(parts) > 2:  # rank-0/maps/c.0.0.0.0.0
                found[parts[1]] = found.get(parts[1], 0) + size
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def modified(self) -> float | None:
        """Time of the last write in seconds since 1970; None at a URL."""
        return max((time for *_, time in self._usage if time is not None), default=None)

    @property
    def task(self) -> str:
        """Task of the run: `nlp`, `vision` or `speech`."""
        return self.attributes.task

    @property
    def data(self) -> str:
        """Name of the data set."""
        return self.attributes.data

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the logits."""
        return self.attributes.classes

    @property
    def config(self) -> dict[str, Any]:
        """The whole composed config of the run."""
        return self.attributes.config

    @property
    def layers(self) -> list[str]:
        """Names of the L attention layers."""
        return self.attributes.layers

    @property
    def sample_ids(self) -> list[str]:
        """Sample ids of the last epoch, in the order of `atlas[i]`."""
        return list(self._rows[self.epochs[-1]])

    @property
    def mapped_sample_ids(self) -> list[str]:
        """Sample ids of the last epoch whose full maps are stored."""
        return [sample.sample_id for sample in self if sample.has_maps]

    def __len__(self) -> int:
        return len(self._last)

    def __getitem__(self, index: int) -> Sample:
        if not hasattr(index, "__index__"):
            raise TypeError(
                f"atlas[{index!r}] is not possible: take atlas[0] to atlas[{len(self) - 1}] one by "
                "one, or atlas.sample(id) for the sample of an id."
            )
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"The atlas {self.location} has {counted(len(self), 'sample')}: no number {index}."
            )
        rank, row = self._last[index]
        return Sample(self.attributes, rank, row)

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(self.attributes, rank, row) for rank, row in self._last)

    def samples(self, epoch: int | None = None) -> Iterator[Sample]:
        """Return the samples of an epoch, by default the last one."""
        rows = self._rows[self._check_epoch(epoch)]
        return (Sample(self.attributes, rank, row) for rank, row in rows.values())

    def sample(self, sample_id: str, epoch: int | None = None) -> Sample:
        """Return the sample of this id in an epoch, by default the last one.

        Raises:
            InputError: If there is no such epoch or sample; it names the closest id.
        """
        rows = self._rows[self._check_epoch(epoch)]
        if sample_id not in rows:
            raise self._unknown(sample_id, rows)
        rank, row = rows[sample_id]
        return Sample(self.attributes, rank, row)

    def history(self, sample_id: str) -> list[Sample]:
        """Return the sample as each epoch that holds it recorded it, the earliest first.

        Raises:
            InputError: If no epoch holds it; it names the closest id.
        """
        found = [rows[sample_id] for _, rows in sorted(self._rows.items()) if sample_id in rows]
        if not found:
            everywhere = {name: None for rows in self._rows.values() for name in rows}
            raise self._unknown(sample_id, everywhere)
        return [Sample(self.attributes, rank, row) for rank, row in found]

    def _unknown(self, sample_id: str, known: dict[str, Any]) -> InputError:
        (closest,) = difflib.get_close_matches(sample_id, known, n=1, cutoff=0.0)
        return InputError(
            f"The atlas {self.location} has no sample {sample_id!r}: the closest is {closest!r}."
        )

    def _check_epoch(self, epoch: int | None) -> int:
        if epoch is None:
            return self.epochs[-1]
        if epoch not in self._rows:
            raise InputError(
                f"The atlas {self.location} has no epoch {epoch}: it has "
                f"{', '.join(map(str, self.epochs))}."
            )
        return epoch

    def iter_maps(
        self, epoch: int | None = None, batch_bytes: int = BATCH_BYTES
    ) -> Iterator[tuple[list[Sample], npt.NDArray[Any]]]:
        """Iterate over the full maps of an epoch, with little memory, for statistics.

        Samples of equal length form a batch, the shortest first, so that no batch is padded. The
        next batch is read while the caller works on this one.

        Args:
            epoch: By default the last one.
            batch_bytes: Maximum bytes of the maps of a batch; a larger sample comes alone.

        Yields:
            The N samples of a batch, and their maps [N, L, H, K, K] in the dtype they are stored
            in (usually float16: convert before summing). Samples without maps are skipped.

        Raises:
            InputError: If there is no such epoch, or a map is damaged; it names the sample.
        """
        mapped = [sample for sample in self.samples(epoch) if sample.has_maps]
        return iter_maps(mapped, batch_bytes)

    def verify(self) -> Verification:
        """Verify every stored chunk: it exists, can be decoded, and matches its digest.

        Digests are stored by a writer with `digests=True`.
        """
        return verify(self.location, self._files, self._ranks, self.attributes)

    def to_xarray(self, epoch: int | Literal["all"] | None = None) -> "xarray.Dataset":
        """Return the samples of an epoch, by default the last, as one labelled dataset.

        With `all` there is a row for each sample of each epoch, in the order of the epochs; the
        coordinate `epoch` distinguishes them. Full maps have a dimension of their own,
        `mapped_sample`, and are read on access; everything else is read at once. Beyond the length
        of a sample the values are NaN.

        It can be written by `.load().to_netcdf(path, engine="h5netcdf")`: netCDF has no float16,
        so the maps are encoded as float32 when they are written.
        """
        from attention_atlas.atlas.to_xarray import to_dataset

        chosen = self.epochs if epoch == "all" else [epoch]
        samples = [sample for each in chosen for sample in self.samples(each)]
        return to_dataset(self.attributes, samples)


def _rank_names(files: Files) -> list[str]:
    """Return the names of the groups of all ranks, in their order."""
    numbers = (name.removeprefix("rank-") for name in files.names("") if name.startswith("rank-"))
    ranks = sorted(int(number) for number in numbers if number.isdecimal())
    return [f"rank-{rank}" for rank in ranks]
