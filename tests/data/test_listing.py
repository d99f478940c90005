"""One listing of files: the same classes, splits and omissions for all uses and modalities."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_atlas.data.file_types import SUFFIXES
from attention_atlas.data.listing import (
    LEFT_BY_TOOLS,
    SPLIT_NAMES,
    describe_not_read,
    file_contents,
    list_files,
    list_inputs,
    modality_of_data,
    split_of,
)
from attention_atlas.data.user_inputs import collect_inputs
from attention_atlas.errors import InputError

SUFFIX = {"image": ".png", "audio": ".wav"}


@pytest.fixture(params=["image", "audio"])
def modality(request: pytest.FixtureRequest) -> str:
    return request.param


def make(root: Path, *names: str, suffix: str = "") -> Path:
    for name in names:
        path = root / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def found(root: Path, modality: str) -> dict[str, tuple[str, str | None]]:
    files = list_files(root, modality).files
    return {
        Path(file.sample_id).with_suffix("").as_posix(): (file.label, file.split) for file in files
    }


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[(name, split) for name, split in SPLIT_NAMES.items()],
        *[("Train", "train"), ("TEST", "test"), ("Validation", "val"), ("seg_train", "train")],
        *[("train_images", "train"), ("images-test", "test"), ("my.dev", "val")],
        *[("training set", "train"), ("test_test", "test")],
        *[("trains", None), ("detest", None), ("protest_march", None), ("train_test", None)],
        *[("a_train_b", None), ("", None), ("pretest", None), ("trainingset", None)],
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


@given(st.sampled_from(sorted(SPLIT_NAMES)), st.sampled_from("-_. "), st.text("xyz0", min_size=1))
def test_a_split_is_the_first_or_last_part_of_a_name_in_any_case(
    split: str, joint: str, other: str
) -> None:
    for name in (f"{split}{joint}{other}", f"{other}{joint}{split}"):
        assert split_of(name) == split_of(name.upper()) == SPLIT_NAMES[split]
    assert split_of(f"{other}{split}") is None


def test_the_class_is_the_first_folder(tmp_path: Path, modality: str) -> None:
    make(tmp_path, "red/blue/1", "red/2", "blue/3", suffix=SUFFIX[modality])
    assert found(tmp_path, modality) == {
        "red/blue/1": ("red", None),
        "red/2": ("red", None),
        "blue/3": ("blue", None),
    }


@pytest.mark.parametrize(
    "names",
    [("train", "val", "test"), ("Train", "Valid", "Test"), ("seg_train", "dev", "seg_test")],
)
def test_the_class_is_the_first_folder_below_a_split(
    tmp_path: Path, modality: str, names: tuple[str, ...]
) -> None:
    for name in names:
        make(tmp_path, f"{name}/a/x/1", f"{name}/b/2", suffix=SUFFIX[modality])
    expected = {
        f"{name}/{file}": (file[0], split)
        for name, split in zip(names, ("train", "val", "test"), strict=True)
        for file in ("a/x/1", "b/2")
    }
    assert found(tmp_path, modality) == expected


def test_classes_may_be_called_like_splits(tmp_path: Path, modality: str) -> None:
    suffix = SUFFIX[modality]
    files = make(tmp_path / "1", "train/1", "plane/1", "test/blue/2", suffix=suffix)
    make(tmp_path / "2", "train/1", "test/2", suffix=suffix)
    make(tmp_path / "3", "train_station/old/1", "airport/2", suffix=suffix)
    assert set(found(tmp_path / "2", modality).values()) == {("train", None), ("test", None)}
    assert {label for label, _ in found(tmp_path / "3", modality).values()} == {
        "train_station",
        "airport",
    }
    with pytest.raises(InputError, match="plane stands beside the splits"):
        found(files, modality)


@pytest.mark.parametrize("links", [False, True])
def test_a_doubled_folder_of_an_unpacked_archive_counts_as_one(
    tmp_path: Path, modality: str, links: bool
) -> None:
    names = ["seg_train/seg_train/sea/a", "seg_train/seg_train/sea/b", "seg_train/seg_train/ice/c"]
    names += ["seg_test/seg_test/seg_test/sea/d", "seg_test/seg_test/seg_test/ice/e"]
    root = make(tmp_path / "set", *(f"set/{name}" for name in names), suffix=SUFFIX[modality])
    make(root, "__MACOSX/x", "set/.DS_Store")
    if links:  # which is not the layout of an archive, and no endless way
        (root / "set" / "seg_test" / "seg_test" / "more").symlink_to(root / "set" / "seg_train")
        with pytest.raises(InputError):
            list_files(root, modality)
        return
    assert found(root, modality) == {
        name: (name.split("/")[-2], "train" if name.startswith("seg_train") else "test")
        for name in names
    }
    assert list_inputs(root, modality).files == list_files(root, modality).files
    (root / "set" / "seg_train" / "seg_train" / "fog").mkdir()
    with pytest.raises(InputError, match="seg_train/seg_train/fog holds no"):
        list_files(root, modality)


def test_a_class_in_a_folder_of_its_name_stays_a_class(tmp_path: Path, modality: str) -> None:
    make(tmp_path / "sea", "sea/a", "sea/b", suffix=SUFFIX[modality])
    files = list_files(tmp_path / "sea", modality, min_classes=1).files
    assert [(file.sample_id, file.label) for file in files] == [
        (f"sea/{name}{SUFFIX[modality]}", "sea") for name in "ab"
    ]


def test_training_and_prediction_agree_on_the_class(tmp_path: Path, modality: str) -> None:
    suffix = SUFFIX[modality]
    make(tmp_path / "1", "red/blue/1", "blue/3", "red/.thumbs/2", suffix=suffix)
    make(tmp_path / "2", "Train/red/1", "Train/blue/x/1", "dev/red/2", suffix=suffix)
    for root in (tmp_path / "1", tmp_path / "2"):
        trained = {file.sample_id: file.label for file in list_files(root, modality).files}
        given = {each.name: each.label for each in collect_inputs(modality, [str(root)], list)}
        assert trained == given
    inside = collect_inputs(modality, [str(tmp_path / "1" / "blue")], list)
    assert [each.label for each in inside] == ["blue"]


def test_what_tools_leave_about_is_left_out(tmp_path: Path, modality: str) -> None:
    suffix = SUFFIX[modality]
    make(tmp_path, "a/1", "b/2", suffix=suffix)
    for name in (*LEFT_BY_TOOLS, ".hidden", "Thumbs.db", "__MACOSX", "@eaDir", "$RECYCLE.BIN"):
        make(tmp_path, f"a/{name}/3", suffix=suffix)
        make(tmp_path, f"{name}/c/3", suffix=suffix)
    make(tmp_path / "b", "desktop.ini", ".DS_Store")
    listing = list_files(tmp_path, modality)
    assert [file.sample_id for file in listing.files] == [f"a/1{suffix}", f"b/2{suffix}"]
    assert listing.not_read == []


def test_other_files_are_counted(tmp_path: Path, modality: str) -> None:
    suffix = SUFFIX[modality]
    make(tmp_path, "train/a/1", "train/b/2", "test/a/3", suffix=suffix)
    make(tmp_path, "README.md", "train/notes.txt", "train/a/1.json")
    os.mkfifo(tmp_path / "train" / "a" / f"pipe{suffix}")
    not_read = ["README.md", "train/a/1.json", f"train/a/pipe{suffix}", "train/notes.txt"]
    assert list_files(tmp_path, modality).not_read == not_read
    assert list_inputs(tmp_path, modality).not_read == not_read
    assert describe_not_read(not_read) == "4 files were not read, such as README.md"
    assert describe_not_read(["a.txt"]) == "1 file was not read: a.txt"


@pytest.mark.parametrize("name", ["1", "train/1"])
def test_a_file_in_no_class_folder_is_named(tmp_path: Path, modality: str, name: str) -> None:
    suffix = SUFFIX[modality]
    make(tmp_path, "train/a/1", "train/b/2", "test/a/3", name, suffix=suffix)
    with pytest.raises(InputError, match=rf"{name}\{suffix} stands beside the class folders"):
        list_files(tmp_path, modality)


def test_links_are_followed_once(tmp_path: Path, modality: str) -> None:
    suffix = SUFFIX[modality]
    make(tmp_path / "d", "a/1", "b/2", suffix=suffix)
    make(tmp_path / "e", "3", suffix=suffix)
    for name in ("more", "again"):
        (tmp_path / "d" / "a" / name).symlink_to(tmp_path / "e")
    (tmp_path / "d" / "b" / f"4{suffix}").symlink_to(tmp_path / "e" / f"3{suffix}")
    ids = [file.sample_id for file in list_files(tmp_path / "d", modality).files]
    assert ids == [f"{name}{suffix}" for name in ("a/1", "a/again/3", "b/2", "b/4")]


def test_a_net_of_links_ends(tmp_path: Path) -> None:
    for number in range(40):  # 2 ** 40 paths
        (tmp_path / f"{number:02}").mkdir()
        if number:
            for name in "xy":
                (tmp_path / f"{number - 1:02}" / name).symlink_to(tmp_path / f"{number:02}")
    make(tmp_path / "39", "1", suffix=".png")
    assert list_files(tmp_path, "image").files


@pytest.mark.parametrize("target", [".", "..", "../..", "a", "self"])
def test_a_loop_of_links_is_named(tmp_path: Path, modality: str, target: str) -> None:
    make(tmp_path / "d", "a/1", "b/2", suffix=SUFFIX[modality])
    (tmp_path / "d" / "a" / "self").symlink_to(target if target != "a" else tmp_path / "d" / "a")
    for use in (list_files, list_inputs):
        with pytest.raises(InputError, match="a/self is a link"):
            use(tmp_path / "d", modality)


@pytest.mark.parametrize("name", ["1.png", "folder", "notes"])
def test_a_dangling_link_is_named(tmp_path: Path, modality: str, name: str) -> None:
    make(tmp_path / "d", "a/1", "b/2", suffix=SUFFIX[modality])
    (tmp_path / "d" / "a" / name).unlink(missing_ok=True)
    (tmp_path / "d" / "a" / name).symlink_to(tmp_path / "nowhere")
    for use in (list_files, list_inputs):
        with pytest.raises(InputError, match=f"a/{name} is a link that leads nowhere"):
            use(tmp_path / "d", modality)
    with pytest.raises(InputError, match="leads nowhere"):
        modality_of_data(tmp_path / "d")


def test_a_folder_of_one_class_can_be_tested_but_not_trained_on(
    tmp_path: Path, modality: str
) -> None:
    make(tmp_path, "a/1", suffix=SUFFIX[modality])
    with pytest.raises(InputError, match="one class only"):
        list_files(tmp_path, modality)
    assert len(list_files(tmp_path, modality, min_classes=1).files) == 1


PARTS = st.sampled_from(["train", "Test", "a", "b", ".hidden", "@eaDir", "dev_1", "x.png", "y.txt"])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["", "train", "my_train"]),
    st.lists(st.lists(PARTS, min_size=2, max_size=4), max_size=6),
)
def test_any_tree_is_read_alike_by_all_or_refused(top: str, trees: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for parts in ([top, "a", "0.png"], [top, "b", "0.png"], *trees):
            with contextlib.suppress(OSError):  # a file and a folder of one name
                root.joinpath(*parts[:-1]).mkdir(parents=True, exist_ok=True)
                root.joinpath(*parts).touch()
        try:
            listing = list_files(root, "image")
        except InputError:
            return
        assert listing == list_inputs(root, "image")
        read = [file.sample_id for file in listing.files]
        visible = {
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and not {".hidden", "@eaDir"} & set(path.relative_to(root).parts)
        }
        assert read == sorted(path for path in visible if path.endswith(".png"))
        assert set(listing.not_read) == visible - set(read)
        for file in listing.files:
            assert file.label in file.sample_id.split("/")[: 1 + (file.split is not None)]


def test_equal_files_have_one_key(tmp_path: Path) -> None:
    contents = [b"abc", b"abd", b"abc", b"longer"]
    paths = [tmp_path / str(number) for number in range(4)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    keys = file_contents(paths)
    assert keys[0] == keys[2]
    assert len(set(keys)) == 3


def test_pillow_reads_all_suffixes_of_pictures() -> None:
    from PIL import Image

    Image.init()
    readable = {name for name, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    assert SUFFIXES["image"] <= readable
