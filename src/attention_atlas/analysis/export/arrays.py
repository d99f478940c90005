"""Arrays of samples in one file: a NumPy archive, or a netCDF 4 file."""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from attention_atlas.atlas import Atlas, Sample
from attention_atlas.atlas.schema import TOKEN_LAYOUTS
from attention_atlas.atlas.to_xarray import to_dataset
from attention_atlas.output_files import draft


def write_arrays(
    atlas: Atlas,
    samples: Sequence[Sample],
    path: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the arrays of one sample, or of several stacked.

    Those of one have the shapes of `Sample`: `maps` [L, H, Q, K], `readout` [R, K], ... Those of
    several have the names and dimensions of `Atlas.to_xarray`, with NaN behind the end of a sample:
    `maps` [N, L, H, Q, K] of the `mapped_sample` ids, and so on. Maps are written one sample after
    the other, so that they need not fit the memory.
    """
    if len(samples) == 1:
        arrays = _of_sample(atlas, samples[0])
    else:
        dataset = to_dataset(atlas.attributes, list(samples))
        names = [str(name) for name in dataset.variables if name != "maps"]
        arrays = {name: dataset[name].values for name in names}
    mapped = [sample for sample in samples if sample.has_maps and len(samples) > 1]
    with draft(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as file:
        for name, values in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                # Texts become numpy's own, which need no pickle.
                values = values.astype(str) if values.dtype == object else values
                np.lib.format.write_array(entry, values, allow_pickle=False)
        if mapped:
            longest = max(sample.length for sample in samples)
            with file.open("maps.npy", "w", force_zip64=True) as entry:
                _stream(entry, mapped, longest, progress)


def _of_sample(atlas: Atlas, sample: Sample) -> dict[str, Any]:
    input_name = TOKEN_LAYOUTS[atlas.attributes.token_layout].input_name
    names = ["sample_id", "epoch", "split", "label", "prediction", "logits", "tokens", "boxes"]
    names += ["readout", "readout_entropy", "entropy", input_name]
    if atlas.attributes.has_null_key:
        names += ["null_share", "readout_null_share"]
    if sample.has_maps:
        names.append("maps")
    arrays = {name: np.asarray(getattr(sample, name)) for name in names}
    return {**arrays, "class": np.asarray(atlas.classes), "layer": np.asarray(atlas.layers)}


def _stream(
    entry: Any, samples: list[Sample], longest: int, progress: Callable[[int, int], None] | None
) -> None:
    """Write maps as one array [N, L, H, K, K], a sample at a time."""
    first = samples[0].read_maps()
    shape = (*first.shape[:2], longest, longest)
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (len(samples), *shape),
    }
    np.lib.format.write_array_header_2_0(entry, header)
    for done, sample in enumerate(samples, start=1):
        padded = np.full(shape, np.nan, dtype=first.dtype)
        padded[:, :, : sample.length, : sample.length] = sample.read_maps()
        entry.write(padded.tobytes())
        if progress is not None:
            progress(done, len(samples))


COMPRESSION = 4  # of gzip, from 1 to 9


def write_netcdf(
    atlas: Atlas,
    samples: Sequence[Sample],
    path: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the dataset of `Atlas.to_xarray`; maps are float32, as netCDF has no float16.

    The file is built in memory, as large as on disk, and then written at once: on a full disk HDF5
    cannot close a file, and crashes when the program exits.
    """
    import h5netcdf  # type: ignore[import-untyped]

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
    file: Any,
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
