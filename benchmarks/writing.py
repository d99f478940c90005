"""How fast an atlas is written and opened on this machine.

python -m benchmarks.writing [FOLDER]

The atlases hold made samples; they are written below FOLDER (`outputs` by default) by one process
each, and removed again. Times are those of the clock. Opening reads the index of all rows.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from attention_atlas.atlas import AtlasWriter, open_atlas
from benchmarks import OUTPUTS
from benchmarks.atlases import Made

ATLASES = {
    "64 patches, statistics": Made("patch_box", 20_000, 0),
    "64 patches, maps of 4 x 4 heads": Made("patch_box", 3_000, 3_000),
    "256 tokens, statistics": Made("character_span", 20_000, 0, tokens=256, min_tokens=256),
    "256 tokens, maps of 4 x 4 heads": Made("character_span", 400, 400, tokens=256, min_tokens=256),
}


def main() -> None:
    """Print one line for each atlas."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUTS
    folder.mkdir(parents=True, exist_ok=True)
    print("| atlas | samples a second | MB a second | opened, ms per 1,000 rows | bytes a row |")
    print("| --- | --: | --: | --: | --: |")
    for name, made in ATLASES.items():
        with tempfile.TemporaryDirectory(dir=folder) as inside:
            numbers = _measured(made, Path(inside) / "atlas.zarr")
        print(f"| {name} | {' | '.join(f'{number:,.0f}' for number in numbers)} |", flush=True)


def _measured(made: Made, atlas: Path) -> tuple[float, ...]:
    """Samples and megabytes a second, and what opening takes: milliseconds, bytes."""
    samples = list(made.each_sample())  # made before the clock starts
    started = time.perf_counter()
    options = {"max_tokens": made.tokens, "num_samples": made.samples}
    with AtlasWriter(atlas, made.attributes(), **options) as writer:
        writer.add(samples)
    seconds = time.perf_counter() - started
    num_bytes = sum(file.stat().st_size for file in atlas.rglob("*") if file.is_file())
    started = time.perf_counter()
    open_atlas(atlas)
    opening = time.perf_counter() - started
    tracemalloc.start()
    kept = open_atlas(atlas)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    rows = len(kept)
    return rows / seconds, num_bytes / seconds / 1e6, 1e6 * opening / rows, memory / rows


if __name__ == "__main__":
    main()
