"""A netCDF 4 file, as `xarray.open_dataset` and many other programs read it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import h5netcdf  # type: ignore[import-untyped]
import numpy as np
import xarray

from attention_atlas.analysis.export.keeping import Keeping
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

    Maps are written one sample after the other, so that they need not fit the memory; the rest is
    put together there.
    """
    dataset = to_dataset(atlas.attributes, list(samples))
    small = dataset.drop_vars("maps", errors="ignore")
    encoding = {
        name: {"zlib": True, "complevel": COMPRESSION}
        for name, variable in small.data_vars.items()
        if variable.ndim > 1
    }
    with draft(path) as unfinished:
        unfinished.write_bytes(small.to_netcdf(engine="h5netcdf", encoding=encoding))
        if "maps" in dataset:
            with Keeping(unfinished) as target:
                with h5netcdf.File(target, "a") as file:
                    _append_maps(file, dataset["maps"], target, progress)
                target.check()


def _append_maps(
    file: h5netcdf.File,
    maps: xarray.DataArray,
    target: Keeping,
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
    for place in range(len(maps)):
        variable[place] = maps[place].values.astype(np.float32)
        target.check()
        if progress is not None:
            progress(place + 1, len(maps))
