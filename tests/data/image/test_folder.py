"""A folder of the user's own images."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attention_atlas.data.image.folder import check_folder, decode_folder, list_images
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.listing import LabelledFile
from attention_atlas.errors import InputError


def draw(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for kind, value in (("cat", 10), ("dog", 90)):
        for index in range(3):
            draw(root / kind / f"{index}.png", value + index)
    return root


def source(path: Path, **options) -> ImageSource:
    return ImageSource(ImageOptions(name="image_folder", path=str(path), image_size=6, **options))


def find_images(path: Path) -> list[LabelledFile]:
    return list_images(source(path)).files


def test_ids_are_paths_below_the_folder_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    ids = [image.sample_id for image in find_images(folder)]
    assert ids == [f"{kind}/{index}.png" for kind in ("cat", "dog") for index in range(3)]
    moved = folder.rename(tmp_path / "moved")
    assert [image.sample_id for image in find_images(moved)] == ids


def test_hidden_files_are_left_out_and_folders_below_a_class_belong_to_it(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "cat" / "._0.png").write_bytes(b"x")
    (folder / ".cache").mkdir()
    draw(folder / "dog" / "puppies" / "9.png")
    found = {image.sample_id: image.label for image in find_images(folder)}
    assert len(found) == 7
    assert found["dog/puppies/9.png"] == "dog"


def test_split_folders_are_recognised(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for kind in ("cat", "dog"):
            draw(tmp_path / "pets" / split / kind / "0.png")
    found = [(image.split, image.label) for image in find_images(tmp_path / "pets")]
    assert sorted(found) == [
        (split, kind) for split in ("test", "train", "val") for kind in ("cat", "dog")
    ]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for kind in ("train", "plane"):
        draw(tmp_path / "vehicles" / kind / "0.png")
    assert {(image.label, image.split) for image in find_images(tmp_path / "vehicles")} == {
        ("train", None),
        ("plane", None),
    }


def test_pixels_are_decoded_once_and_again_when_a_file_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = find_images(folder)
    first = decode_folder(images, source(folder))
    assert first[:, 0, 0, 0].tolist() == [10, 11, 12, 90, 91, 92]
    monkeypatch.setattr(Image, "open", None)  # nothing is decoded a second time
    assert np.array_equal(decode_folder(images, source(folder)), first)
    monkeypatch.undo()
    times = images[0].path.stat()  # the size and the time may stay
    images[0].path.write_bytes(images[1].path.read_bytes().ljust(times.st_size))
    os.utime(images[0].path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert decode_folder(images, source(folder))[0, 0, 0, 0] == 11


def _remove_cats(root: Path) -> None:
    for file in (root / "cat").iterdir():
        file.unlink()


def _remove_dogs(root: Path) -> None:
    (root / "dog").rename(root.parent / "dog")


def _add_split(root: Path) -> None:
    draw(root / "test" / "cat" / "0.png")


def _only_test(root: Path) -> None:
    draw(root / "test" / "cat" / "0.png")
    for kind in ("cat", "dog"):
        (root / kind).rename(root.parent / kind)


def _new_class_in_test(root: Path) -> None:
    for kind in ("cat", "dog"):
        (root / "train").mkdir(exist_ok=True)
        (root / kind).rename(root / "train" / kind)
        draw(root / "test" / kind / "0.png")
    draw(root / "test" / "bird" / "0.png")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: draw(root / "5.png"), "5.png stands beside the class"),
        (lambda root: (root / "cat" / "a.png").write_text("x"), "cat/a.png cannot be decoded"),
        (lambda root: (root / "dog" / "b.png").write_bytes(b""), "dog/b.png is an empty file"),
        (_remove_cats, "class folder .*cat holds no image file"),
        (_remove_dogs, r"pets holds one class only \(cat\)"),
        (_add_split, "cat stands beside the splits"),
        (_only_test, "no folder named train"),
        (_new_class_in_test, "bird/0.png is of class 'bird', which train lacks"),
    ],
)
@pytest.mark.parametrize("max_memory_mib", [1024, 0])
def test_a_bad_folder_ends_in_a_one_line_error_that_names_the_file(
    folder: Path, spoil, sentence: str, max_memory_mib: int
) -> None:
    check_folder(source(folder, max_memory_mib=max_memory_mib))
    spoil(folder)
    with pytest.raises(InputError, match=sentence):
        check_folder(source(folder, max_memory_mib=max_memory_mib))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.path=.*nowhere does not exist"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "file.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"file\.png is a file"):
        find_images(tmp_path / "file.png")
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="void holds no class folder"):
        find_images(tmp_path / "void")
    with pytest.raises(InputError, match=r"data\.path is missing"):
        check_folder(ImageSource(ImageOptions(name="image_folder")))
