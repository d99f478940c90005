"""A netCDF 4 file, as `xarray.open_dataset` and many other programs read it."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import h5netcdf  # type: ignore[import-untyped]
import numpy as np
import xarray

from attention_atlas.atlas import Atlas, Sample
from attention_atlas.atlas.to_xarray import to_dataset
from attention_atlas.output_files import draft

COMPRESSION = 4  # of gzip, from 1 to 9


def write_netcdf(
    atlas: Atlas,
    samples: Sequence[Sample],
    path: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the dataset of `Atlas.to_xarray`; maps are float32, as netCDF has no float16.

    The file is built in memory, where it takes as many bytes as on disk, and then written at once:
    HDF5 does not close a file on a full disk, and crashes when the program ends.
    """
    dataset = to_dataset(atlas.attributes, list(samples))
    small = dataset.drop_vars("maps", errors="ignore")
    encoding = {
        name: {"zlib": True, "complevel": COMPRESSION}
        for name, variable in small.data_vars.items()
        if variable.ndim > 1
    }
    content = io.BytesIO(small.to_netcdf(engine="h5netcdf", encoding=encoding))
    if "maps" in dataset:
        with h5netcdf.File(content, "a") as file:
            _append_maps(file, dataset["maps"], progress)
    with draft(path) as unfinished:
        unfinished.write_bytes(content.getbuffer())


def _append_maps(
    file: h5netcdf.File,
    maps: xarray.DataArray,
    progress: Callable[[int, int], None] | None,
) -> None:
    for name, size in zip(maps.dims, maps.shape, strict=True):
        if name not in file.dimensions:
            file.dimensions[name] = size
    variable = file.create_variable(
        "maps",
        maps.dims,
        np.float32,
        fillvalue=np.float32(np.nan),
        chunks=(1, 1, *maps.shape[2:]) if maps.size else None,
        compression="gzip",
        compression_opts=COMPRESSION,
    )
    for name, value in maps.attrs.items():
        variable.attrs[name] = value
    for index in range(len(maps)):
        variable[index] = maps[index].values.astype(np.float32)
        if progress is not None:
            progress(index + 1, len(maps))
