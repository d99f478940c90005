"""Each experiment trains on small data in the layout of the real one."""

import csv
import json
from pathlib import Path

import pytest
from omegaconf import DictConfig

from attention_atlas.config.validation import check_config
from benchmarks.published import EXPERIMENTS
from tests.conftest import REPOSITORY
from tests.data.audio.test_speech_commands import FOLDER, make
from tests.data.image.test_corpora import write_cifar, write_mnist

pytestmark = pytest.mark.slow

FAST = ["debug=fast", "data.batch_size=4", "capture.num_samples=4"]
CONFIGS = REPOSITORY / "conf" / "experiment"


def write_data(name: str, folder: Path) -> None:
    """A few samples as the original files hold them; none where the data comes with a package."""
    if name.startswith("speech_commands"):
        make(folder / FOLDER)
    elif name == "cifar10":
        write_cifar(folder, "cifar10")
    elif name == "fashion_mnist":
        write_mnist(folder / "FashionMNIST" / "raw", num_train=200)
    elif name.startswith("sst2"):
        for split, num_rows in (("train", 40), ("dev", 8), ("test", 8)):
            with (folder / f"{split}.tsv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, delimiter="\t")
                writer.writerow(["sentence", "label"])
                writer.writerows([f"{split} phrase {row}", row % 2] for row in range(num_rows))


def test_each_experiment_has_a_row_on_the_page_of_results() -> None:
    studies = {"mechanisms", "evidence"}  # have pages of their own
    files = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert {experiment.name for experiment in EXPERIMENTS} == files - studies


@pytest.fixture(scope="module")
def run_experiment(run_training, compose_train, tmp_path_factory):
    """Train an experiment for three batches, as often as a test asks; give its run folder."""
    done: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name in done:
            return done[name]
        folder = tmp_path_factory.mktemp(name)
        data = folder / "data"
        data.mkdir()
        write_data(name, data)
        overrides = [f"experiment={name}", *FAST]
        if list(data.iterdir()):
            overrides.append(f"data.path={data}")
        if name == "speech_commands_10_after_synthesised":
            overrides.append(f"init={run('synthesised_voices')}")
        config = compose_train(overrides, folder / "run")
        check_config(config, choices_of(name, config))
        run_training(overrides, folder / "run")
        done[name] = folder / "run"
        return done[name]

    return run


def choices_of(name: str, config: DictConfig) -> dict[str, str | None]:
    """The options of the groups that have to fit the modality."""
    embedding = {"text": "text", "image": "patches", "audio": "frames"}[config.task.modality]
    return {"embedding": embedding, "augmentation": None, "experiment": name}


@pytest.mark.parametrize("name", [experiment.name for experiment in EXPERIMENTS])
def test_an_experiment_trains_on_small_data(name: str, run_experiment) -> None:
    result = json.loads((run_experiment(name) / "result.json").read_text())
    assert 0 <= result["test/accuracy"] <= 1


def test_the_model_of_kwt_1_has_its_size(run_experiment) -> None:
    """607 thousand parameters."""
    result = json.loads((run_experiment("speech_commands_v2_35") / "result.json").read_text())
    assert result["num_parameters"] == pytest.approx(607_000, rel=0.03)
