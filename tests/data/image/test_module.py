"""The data module of images: splits, batches, normalisation."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from attention_atlas.data.image.module import ImageDataModule
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build_model import for_trainer


@pytest.fixture(scope="module")
def digits() -> ImageDataModule:
    module = ImageDataModule("mnist5k", batch_size=64, seed=0)
    module.setup()
    return module


def draw(path: Path, value: int, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(20):
        draw(tmp_path / "pets" / "cat" / f"{index:02}.png", index)
        draw(tmp_path / "pets" / "dog" / f"{index:02}.png", 100 + index)
    return tmp_path / "pets"


def folder_module(folder: Path, **options) -> ImageDataModule:
    options = {"batch_size": 4, "image_size": 8, "channels": 1} | options
    module = ImageDataModule("image_folder", path=str(folder), **options)
    module.setup()
    return module


def ids(module: ImageDataModule) -> dict[str, set[str]]:
    return {split: set(dataset.sample_ids) for split, dataset in module.datasets.items()}


def test_the_digits_are_split_by_class_without_overlap(digits: ImageDataModule) -> None:
    assert {split: len(part) for split, part in ids(digits).items()} == {
        "train": 3500,
        "val": 500,
        "test": 1000,
    }
    assert len(set.union(*ids(digits).values())) == 5000
    assert Counter(digits.datasets["test"].labels) == dict.fromkeys(range(10), 100)


def test_the_seed_draws_the_split(digits: ImageDataModule) -> None:
    other = ImageDataModule("mnist5k", batch_size=64, seed=1)
    other.setup()
    again = ImageDataModule("mnist5k", batch_size=64, seed=0)
    again.setup()
    assert ids(again) == ids(digits)
    assert ids(other)["train"] != ids(digits)["train"]


def test_training_inputs_have_mean_zero_and_deviation_one(digits: ImageDataModule) -> None:
    dataset = digits.datasets["train"]
    batch = digits.prepare(dataset.__getitems__(list(range(3500))), training=False)
    assert abs(batch["inputs"].mean().item()) < 1e-3
    assert abs(batch["inputs"].std().item() - 1) < 1e-3


def test_what_is_drawn_is_every_pixel_of_the_original(digits: ImageDataModule) -> None:
    raw = digits.datasets["test"].__getitems__(list(range(50)))
    drawn = digits.display_inputs(digits.prepare(raw, training=False))["image"]
    assert isinstance(drawn, np.ndarray)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, raw["image"].permute(0, 2, 3, 1).numpy())
    every_value = torch.arange(256, dtype=torch.uint8).repeat(4)[: 28 * 28].view(1, 1, 28, 28)
    batch = digits.prepare(raw | {"image": every_value}, training=False)
    assert np.array_equal(
        digits.display_inputs(batch)["image"][0, ..., 0], every_value[0, 0].numpy()
    )


def test_only_training_batches_are_augmented() -> None:
    module = ImageDataModule(
        "mnist5k", batch_size=8, augmentation={"degrees": 20, "mixup_alpha": 0.4}
    )
    module.setup()
    raw = module.datasets["train"].__getitems__(list(range(8)))
    plain, varied = module.prepare(raw, training=False), module.prepare(raw, training=True)
    assert "target" not in plain
    assert varied["target"].shape == (8, 10)
    assert torch.equal(varied["label"], raw["label"])
    assert not torch.allclose(varied["inputs"], plain["inputs"])


def test_a_trainer_augments_in_training_alone() -> None:
    seen = []

    class Watch(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch: dict, index: int) -> torch.Tensor:
            seen.append(("train", "target" in batch))
            return batch["inputs"].mean() * self.weight.sum()

        def validation_step(self, batch: dict, index: int) -> None:
            seen.append(("val", "target" in batch))

        def test_step(self, batch: dict, index: int) -> None:
            seen.append(("test", "target" in batch))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = ImageDataModule("mnist5k", batch_size=500, augmentation={"cutmix_alpha": 1.0})
    for_trainer(module)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Watch()
    trainer.fit(model, module)
    trainer.test(model, module, verbose=False)
    assert set(seen) == {("train", True), ("val", False), ("test", False)}


def test_baseline_features_are_the_pixels_of_the_split(digits: ImageDataModule) -> None:
    features = digits.baseline_features("val")
    assert features.shape == (500, 784)
    raw = digits.datasets["val"].__getitems__([3])["image"]
    assert np.allclose(features[3] * 255, raw.flatten().numpy())


@pytest.mark.parametrize(("size", "channels"), [(14, 1), (32, 3)])
def test_images_are_brought_to_the_size_and_channels_asked_for(size: int, channels: int) -> None:
    module = ImageDataModule("mnist5k", batch_size=8, image_size=size, channels=channels)
    module.setup()
    batch = module.prepare(module.datasets["val"].__getitems__([0, 1]), training=False)
    assert batch["inputs"].shape == (2, channels, size, size)


def test_equal_images_never_stand_on_both_sides(tmp_path: Path) -> None:
    for kind, offset in (("cat", 0), ("dog", 100)):
        for index in range(60):
            draw(tmp_path / "pets" / kind / f"{index:02}.png", offset + index // 3)
    module = folder_module(tmp_path / "pets")
    values = [
        {int(image[0, 0, 0]) for image in dataset.__getitems__(list(range(len(dataset))))["image"]}
        for dataset in module.datasets.values()
    ]
    assert sum(len(part) for part in values) == 40


def test_split_folders_are_kept_and_missing_ones_drawn(tmp_path: Path) -> None:
    for kind, offset in (("cat", 0), ("dog", 100)):
        for index in range(20):
            draw(tmp_path / "pets" / "train" / kind / f"{index}.png", offset + index)
        draw(tmp_path / "pets" / "test" / kind / "0.png", offset)
    module = folder_module(tmp_path / "pets")
    assert ids(module)["test"] == {"test/cat/0.png", "test/dog/0.png"}
    assert len(ids(module)["val"]) == 4
    assert all(sample.startswith("train/") for sample in ids(module)["val"])


def test_too_few_images_for_a_split_end_in_a_one_line_error(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        draw(tmp_path / "pets" / kind / "0.png", ord(kind[0]))
    with pytest.raises(InputError, match="data=image_folder has 2 images, too few for a"):
        folder_module(tmp_path / "pets")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_large_folder_is_decoded_batch_by_batch_with_the_same_result(
    folder: Path, num_workers: int
) -> None:
    held = folder_module(folder)
    decoded = folder_module(folder, max_memory_mib=0, num_workers=num_workers)
    assert ids(held) == ids(decoded)
    assert torch.allclose(held.mean, decoded.mean)
    for one, other in zip(held.train_dataloader(), decoded.train_dataloader(), strict=True):
        assert one["sample_id"] == other["sample_id"]
        assert torch.equal(one["image"], other["image"])
    assert np.array_equal(held.baseline_features("test"), decoded.baseline_features("test"))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_breaks_later_is_named_in_one_line(folder: Path, num_workers: int) -> None:
    module = folder_module(folder, max_memory_mib=0, num_workers=num_workers)
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    batch = next(iter(module.train_dataloader()))
    with pytest.raises(InputError, match=r"^[^\n]*\.png cannot be decoded[^\n]*$"):
        module.prepare(batch, training=True)


def test_ids_do_not_depend_on_other_files(folder: Path) -> None:
    before = folder_module(folder)
    draw(folder / "bird" / "00.png", 250)
    draw(folder / "bird" / "01.png", 251)
    after = folder_module(folder)
    assert ids(before)["test"] <= ids(after)["test"]


def test_other_images_are_seen_as_the_run_knows_them(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for index in range(4):  # a third class that comes before the others
        draw(folder / "bird" / f"{index}.png", 200)
    trained = folder_module(folder)
    trained.save(run)

    for kind, value in (("dog", 7), ("cat", 9)):
        for index in range(10):
            draw(tmp_path / "other" / kind / f"{index}.png", value + 10 * index)
    other = ImageDataModule(
        "image_folder", path=str(tmp_path / "other"), batch_size=4, image_size=8, channels=1
    )
    other.restore(run)
    other.setup()
    assert other.classes == ["bird", "cat", "dog"]
    assert set(other.datasets["test"].labels) == {1, 2}
    assert torch.equal(other.mean, trained.mean)
    assert torch.equal(other.deviation, trained.deviation)


def test_a_class_that_the_run_never_saw_is_named(folder: Path, tmp_path: Path) -> None:
    folder_module(folder).save(tmp_path)
    draw(folder / "wolf" / "0.png", 3)
    other = ImageDataModule(
        "image_folder", path=str(folder), batch_size=4, image_size=8, channels=1
    )
    other.restore(tmp_path)
    with pytest.raises(InputError, match="has the class 'wolf', which the model never saw"):
        other.setup()


def test_a_channel_that_never_varies_stays_finite(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for index in range(10):
            path = tmp_path / "black" / kind / f"{index}.png"
            draw(path, 0)
            path.write_bytes(path.read_bytes() + f"{kind}{index}".encode())  # no copies
    module = folder_module(tmp_path / "black", max_memory_mib=0)
    batch = module.prepare(module.datasets["train"].__getitems__([0]), training=False)
    assert batch["inputs"].isfinite().all()


def test_a_dataset_can_be_sent_to_workers_of_any_start_method(digits: ImageDataModule) -> None:
    dataset = pickle.loads(pickle.dumps(digits.datasets["val"]))
    assert dataset.sample_ids == digits.datasets["val"].sample_ids


@pytest.mark.parametrize("max_memory_mib", [1024, 0])
def test_the_same_picture_never_stands_in_two_splits(tmp_path: Path, max_memory_mib: float) -> None:
    for kind in ("cat", "dog"):
        for index in range(15):
            for name in "xy":
                draw(
                    tmp_path / "pets" / kind / f"{index:02}{name}.png",
                    index + 100 * (kind == "dog"),
                )
    module = folder_module(tmp_path / "pets", max_memory_mib=max_memory_mib)
    pictures = {split: {name[:-5] for name in part} for split, part in ids(module).items()}
    assert sum(map(len, pictures.values())) == 30
    earlier = ImageDataModule(
        "image_folder",
        path=str(tmp_path / "pets"),
        image_size=8,
        channels=1,
        max_memory_mib=max_memory_mib,
    )
    earlier.split_version = 1
    earlier.setup()
    assert (ids(earlier) == ids(module)) == (max_memory_mib > 0)


def test_all_seeds_are_tested_on_the_same_embedded_digits() -> None:
    modules = [ImageDataModule("mnist5k", seed=seed) for seed in (0, 1, 1)]
    modules[2].split_version = 2
    for module in modules:
        module.setup()
    first, second, earlier = (ids(module) for module in modules)
    assert first["test"] == second["test"] != earlier["test"]
    assert first["val"] != second["val"]


def test_a_group_of_pictures_never_stands_in_two_splits(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for index in range(40):
            value = index + 100 * (kind == "dog")
            draw(tmp_path / "pets" / kind / f"house{index % 8}-{index}.png", value)
    (tmp_path / "pets" / "notes.txt").touch()
    plain = folder_module(tmp_path / "pets")
    assert plain.not_read == ["notes.txt"]
    (note,) = plain.notes
    assert "names such as house0-0.png look like 8 groups" in note
    module = folder_module(tmp_path / "pets", group="%-*.png")
    assert module.notes == []
    houses = {split: set(data.groups["group"]) for split, data in module.datasets.items()}
    assert sum(map(len, houses.values())) == len(set.union(*houses.values())) == 8
    batch = module.prepare(module.datasets["test"].__getitems__([0, 1]), training=False)
    assert set(batch["groups"]["group"]) <= houses["test"]


def test_all_pictures_can_be_tested(folder: Path) -> None:
    (folder / "dog").rename(folder.parent / "dog")
    module = ImageDataModule("image_folder", path=str(folder), image_size=8, channels=1)
    module.tested_classes = ["bird", "cat"]
    module._learned = {"classes": ["bird", "cat"], "mean": [0.5], "deviation": [1.0]}
    module.setup()
    assert {split: len(data) for split, data in module.datasets.items()} == {"test": 20}
    assert set(module.datasets["test"].labels) == {1}
