"""Samples and atlases that the tests of the atlas, the figures and the command write.

The weights are a softmax of random scores with one token that stands out, so that pictures and
orders can be checked.
"""

from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from attention_atlas.atlas import AtlasAttributes, AtlasWriter, CapturedSample, Sample

MELS, FRAMES = 20, 48
FRAME_SECONDS = 0.02
LAMBDA = 0.75
WORDS = ["a", "moving", "film", ",", "but", "the", "naïve", "plot", "drags", "😀", "映画", "and"]


def attributes(task: str, layers: int = 2, variant: str | None = None) -> AtlasAttributes:
    """Return attributes of a mechanism; the variant is None, `null_key` or `differential`."""
    names = [f"encoder.layers.{layer}.attention" for layer in range(layers)]
    common = {
        "layers": names,
        "mechanism": {"score": "scaled_dot"} | ({variant: True} if variant else {}),
        "config": {"seed": 1},
        "signed": variant == "differential",
    }
    if task == "nlp":
        return AtlasAttributes(
            task, "movie_reviews", ["negative", "positive"], "character_span", **common
        )
    if task == "vision":
        return AtlasAttributes(
            task, "mnist5k", [str(digit) for digit in range(10)], "patch_box", **common
        )
    mels = np.linspace(0, 2840, MELS + 2)[1:-1]
    frequencies = 700 * (10 ** (mels / 2595) - 1)
    return AtlasAttributes(
        task,
        "spoken_commands",
        ["yes", "no", "stop"],
        "time_frequency_box",
        mel_frequencies=frequencies.tolist(),
        frame_seconds=FRAME_SECONDS,
        **common,
    )


def weights(generator: np.random.Generator, *shape: int) -> np.ndarray:
    scores = np.exp(generator.normal(size=shape))
    scores[..., shape[-1] // 2] *= 8
    return scores / scores.sum(-1, keepdims=True)


def sample(
    task: str,
    number: int,
    *,
    layers: int = 2,
    heads: int = 4,
    maps: bool = True,
    variant: str | None = None,
    **changes: object,
) -> CapturedSample:
    """Make one sample; the same arguments make the same sample in every process."""
    generator = np.random.default_rng(number)
    drawn = {"nlp": _text, "vision": _image, "speech": _spectrogram}[task](generator, number)
    keys = len(drawn["boxes"])
    classes = len(attributes(task).classes)
    made = CapturedSample(
        sample_id=f"{task}-{number:04d}",
        label=number % classes,
        prediction=(number + (number % 5 == 0)) % classes,
        logits=generator.normal(size=classes).astype(np.float32),
        readout=weights(generator, heads, keys).astype(np.float32),
        readout_entropy=generator.random(heads).astype(np.float32),
        entropy=generator.random((layers, heads)).astype(np.float32),
        maps=weights(generator, layers, heads, keys, keys).astype(np.float32) if maps else None,
        **drawn,
    )
    if variant == "null_key":
        made = _with_null_key(generator, made)
    elif variant == "differential":
        made = _differential(generator, made)
    return replace(made, **changes)


def _with_null_key(generator: np.random.Generator, made: CapturedSample) -> CapturedSample:
    null_share = generator.random(made.entropy.shape).astype(np.float32)
    readout_null_share = generator.random(len(made.readout)).astype(np.float32)
    return replace(
        made,
        readout=made.readout * (1 - readout_null_share[:, None]),
        maps=None if made.maps is None else made.maps * (1 - null_share[..., None, None]),
        null_share=null_share,
        readout_null_share=readout_null_share,
    )


def _differential(generator: np.random.Generator, made: CapturedSample) -> CapturedSample:
    """Subtract a second softmax, of the tokens in reverse, with lambda = LAMBDA."""
    maps = None if made.maps is None else made.maps - LAMBDA * made.maps[..., ::-1, ::-1]
    return replace(made, readout=made.readout - LAMBDA * made.readout[::-1, ::-1], maps=maps)


def _text(generator: np.random.Generator, number: int) -> dict[str, object]:
    words = generator.choice(WORDS, size=3 + number % 40)
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    boxes = np.stack([ends - [len(word) for word in words], ends], axis=1)
    return {"text": " ".join(words), "boxes": boxes, "groups": {"source": f"part {number % 2}"}}


def _image(generator: np.random.Generator, number: int) -> dict[str, object]:
    rows, columns = np.mgrid[:28, :28]
    ring = np.abs(np.hypot(rows - 14, columns - 14) - 8) < 2
    image = (ring * 200 + generator.integers(0, 40, (28, 28))).astype(np.uint8)
    corners = [(top, left) for top in range(0, 28, 4) for left in range(0, 28, 4)]
    return {
        "image": image[:, :, None],
        "boxes": np.array([(top, left, top + 4, left + 4) for top, left in corners], np.float32),
    }


def _spectrogram(generator: np.random.Generator, number: int) -> dict[str, object]:
    frames = FRAMES - number % 7
    spectrogram = generator.normal(-8, 1, size=(MELS, frames)).astype(np.float32)
    spectrogram[3:9, 10:30] += 6
    starts = np.arange(0, frames - 3, 4) * FRAME_SECONDS
    boxes = [(start, 0.0, start + 4 * FRAME_SECONDS, 8000.0) for start in starts]
    return {"spectrogram": spectrogram, "boxes": np.array(boxes, np.float32)}


def write(
    folder: Path,
    task: str,
    count: int = 6,
    mapped: int = 3,
    layers: int = 2,
    variant: str | None = None,
) -> Path:
    """Write the run folder of a task with an atlas of so many samples and return it."""
    path = folder / "atlas.zarr"
    with AtlasWriter(path, attributes(task, layers, variant), max_tokens=64) as writer:
        writer.add(
            sample(task, i, layers=layers, maps=i < mapped, variant=variant) for i in range(count)
        )
    return folder


def assert_same(read: Sample, written: CapturedSample, maps_dtype: str = "float16") -> None:
    """A sample is read bit for bit as it was written."""
    for name in ("sample_id", "label", "prediction", "split", "epoch", "groups"):
        assert getattr(read, name) == getattr(written, name)
    for name in ("logits", "boxes", "readout", "readout_entropy", "entropy"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name), err_msg=name)
    for name in ("text", "image", "spectrogram"):
        if getattr(written, name) is not None:
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.length == len(written.boxes)
    assert read.has_maps == (written.maps is not None)
    if written.maps is not None:
        np.testing.assert_array_equal(read.maps, written.maps.astype(maps_dtype))


def write_until_killed(path: Path, report: Path, epoch: int = 0) -> None:
    """Append samples for ever, and report how many of this group are committed so far."""
    options = {"max_tokens": 64, "rows_per_flush": 4, "append": True}
    with report.open("w", buffering=1) as file:
        writer = AtlasWriter(path, attributes("nlp"), **options)
        for number in range(100_000):
            writer.add([sample("nlp", number, maps=number % 3 == 0, epoch=epoch)])
            file.write(f"{writer.committed}\n")


def write_rank(path: Path, rank: int, count: int, start: Barrier) -> None:
    """Write the samples of one of several ranks, at the same time as the others."""
    start.wait()
    with AtlasWriter(path, attributes("nlp"), rank=rank, max_tokens=64, rows_per_flush=4) as writer:
        for number in range(count):
            writer.add([sample("nlp", 1000 * rank + number, maps=number % 2 == 0)])
