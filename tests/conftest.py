"""Fixtures that every test may use."""

import csv
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

# Tests run side by side: a second thread in each would only get in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# readline sets it to 80 in the process that starts the workers, and a table would be cut to that.
os.environ.pop("COLUMNS", None)

# beartype draws which item of a list it checks: by a generator of its own, since tests compare the
# state of Python's. It takes the function over when it first decorates.
with mock.patch("random.getrandbits", random.Random(0).getrandbits):
    from beartype import beartype

    beartype(lambda: None)

import jaxtyping
import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]

# Arguments and results are checked against the shapes in the signatures, in the process of the
# tests. Not the kernels that torch.compile compiles, which would compile the checks.
CHECKED = [
    f"attention_atlas.{package.replace('/', '.')}.{file.stem}"
    for package in ("attention", "analysis/attributions")
    for file in (REPOSITORY / "src/attention_atlas" / package).glob("*.py")
    if file.stem != "compiled_additive"
]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")


# Files whose tests share a costly fixture.
ON_ONE_WORKER = {"tests/package/test_wheel.py", "tests/analysis/faithfulness/test_planted.py"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup`, run all tests of such a file in one process.

    The mark `xdist_group` would do so, but pytest-xdist 3.8 ignores it with pytest 9.2
    (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class Scheduling(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in ON_ONE_WORKER else super()._split_scope(nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `gpu` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Let wrong arguments reach the code's own checks, and torch.compile the code alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount an empty file system of so many KiB; skip where that is not permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def make(kibibytes: int) -> Path:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "none", str(disk)]
        if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
            pytest.skip("no file system may be mounted here")
        return disk

    yield make
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds train.py and conf/."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; tests that want it are skipped where there is none."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout")
    return folder


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 200 short texts of differing lengths, whose label follows from their words."""
    draw = random.Random(0)
    words = {"good": ["great", "lovely", "fine"], "bad": ["dull", "poor", "awful"]}
    filler = [f"word{index}" for index in range(30)]
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for index in range(200):
            label = ("good", "bad")[index % 2]
            text = [draw.choice(words[label]), *draw.choices(filler, k=draw.randint(2, 20))]
            draw.shuffle(text)
            writer.writerow([" ".join(text) + f" {index}", label])
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of 60 small grey PNGs: a bright square at the left or at the right."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for label, columns in {"left": slice(0, 8), "right": slice(8, 16)}.items():
        (folder / label).mkdir()
        for index in range(60):
            image = draw.integers(0, 120, (16, 16), dtype=np.uint8)
            image[4:12, columns] += 100
            Image.fromarray(image).save(folder / label / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of 40 half-second WAV files: a low or a high tone in noise."""
    folder = tmp_path_factory.mktemp("sounds")
    draw = np.random.default_rng(0)
    seconds = np.arange(8000) / 16000
    for label, hertz in {"low": 300, "high": 2000}.items():
        (folder / label).mkdir()
        for index in range(40):
            pitch = hertz * draw.uniform(0.9, 1.1)
            wave = 0.3 * np.sin(2 * np.pi * pitch * seconds) + 0.05 * draw.normal(size=8000)
            soundfile.write(folder / label / f"{index}.wav", wave, 16000)
    return folder


TINY = ["encoder.embed_dim=16", "encoder.num_heads=2", "encoder.depth=1", "trainer.max_epochs=2"]


@pytest.fixture(scope="session")
def tiny(reviews: Path, pictures: Path, sounds: Path) -> dict[str, list[str]]:
    """Overrides that train each task on small files in seconds."""
    return {
        "nlp": ["task=nlp", "data=csv", f"data.path={reviews}", "data.batch_size=16", *TINY],
        "vision": [
            "task=vision",
            "data=image_folder",
            f"data.path={pictures}",
            "data.image_size=16",
            "data.batch_size=16",
            *TINY,
        ],
        "speech": [
            "task=speech",
            "data=audio_folder",
            f"data.path={sounds}",
            "data.batch_size=16",
            *TINY,
        ],
    }


@pytest.fixture(scope="session")
def compose_train(repository: Path) -> Callable[..., DictConfig]:
    """Compose the config that `python train.py` would run."""

    def compose_config(overrides: list[str], folder: Path) -> DictConfig:
        with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
            return compose("train", [*overrides, f"run_folder={folder}"])

    return compose_config


@pytest.fixture(scope="session")
def run_training(compose_train: Callable[..., DictConfig]) -> Callable[..., dict[str, Any]]:
    """Train in this process and give what result.json holds."""

    def run(overrides: list[str], folder: Path) -> dict[str, Any]:
        from attention_atlas.pipeline.train import train  # torch, which few tests need

        config = compose_train(overrides, folder)
        # As Hydra leaves it in the folder of a run.
        (folder / ".hydra").mkdir(parents=True, exist_ok=True)
        (folder / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")
        return train(config, folder)

    return run


@pytest.fixture(scope="session")
def trained_runs(
    tiny: dict[str, list[str]],
    run_training: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """The run folder of a tiny model of each task, with full maps of all test samples.

    Read them only: all processes of a test session share them.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    runs = {task: shared / "trained_runs" / task for task in tiny}
    with FileLock(shared / "trained_runs.lock"):
        for task, folder in runs.items():
            if not (folder / "result.json").is_file():
                run_training([*tiny[task], "capture=full"], folder)
    return runs
