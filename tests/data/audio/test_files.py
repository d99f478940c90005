"""Audio files of all kinds: read, found in folders, refused with a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from attention_atlas.data.audio.headers import check_header
from attention_atlas.data.audio.module import AudioDataModule
from attention_atlas.data.audio.reading import read_clip
from attention_atlas.data.check import check_audio
from attention_atlas.data.listing import list_files
from attention_atlas.errors import InputError


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def write(path: Path, samples: np.ndarray, rate: int = 16_000, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(20):
        write(tmp_path / "sounds" / "low" / f"{index:02}.wav", tone(200 + index, 16_000))
        write(tmp_path / "sounds" / "high" / f"{index:02}.wav", tone(2_000 + index, 16_000))
    return tmp_path / "sounds"


def module_of(folder: Path, **options) -> AudioDataModule:
    module = AudioDataModule("audio_folder", batch_size=4, path=str(folder), **options)
    module.setup()
    return module


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_any_format_rate_and_number_of_channels_is_heard_alike(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    samples = np.stack([tone(440, rate)] * channels, axis=1)
    clip = read_clip(write(tmp_path / f"a.{suffix}", samples, rate), max_samples=16_000)
    assert clip.dtype == np.int16
    assert len(clip) == pytest.approx(8_000, abs=1_500)  # MP3 pads
    spectrum = np.abs(np.fft.rfft(clip[1_000:7_000].astype(float)))
    assert spectrum.argmax() * 16_000 / 6_000 == pytest.approx(440, abs=3)
    assert np.abs(clip).max() / 32_768 == pytest.approx(0.5, abs=0.05)


def test_only_the_beginning_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", tone(440, 44_100, seconds=5), 44_100)
    assert len(read_clip(path, max_samples=4_000)) == 4_000


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    path = write(tmp_path / f"cut.{suffix}", noise)
    cut(path, share)
    with pytest.raises(InputError, match=rf"cut\.{suffix}"):
        check_header(path)


def test_a_header_alone_is_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path / "short.wav", tone(440, 16_000))
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(InputError, match="it ends before the sound begins"):
        read_clip(path, 16_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", r"no\.wav is empty"), (b"It is a text. " * 99, r"no\.wav cannot be read as audio")],
)
def test_a_file_that_is_no_audio_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "no.wav").write_bytes(content)
    with pytest.raises(InputError, match=message):
        check_header(tmp_path / "no.wav")


def test_no_sound_and_no_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its length is zero"):
        check_header(write(tmp_path / "nothing.wav", np.zeros(0)))
    with pytest.raises(InputError, match="does not exist"):
        check_header(tmp_path / "missing.wav")


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    samples = tone(440, 16_000)
    samples[100] = np.nan
    path = write(tmp_path / "nan.wav", samples, subtype="FLOAT")
    with pytest.raises(InputError, match=r"nan\.wav holds samples that are not numbers"):
        read_clip(path, 16_000)


def test_a_format_that_needs_the_extra_tells_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    (tmp_path / "a.m4a").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=r'pip install "attention-atlas\[audio\]"'):
        check_header(tmp_path / "a.m4a")


def test_a_folder_is_split_by_class_with_stable_ids(folder: Path) -> None:
    module = module_of(folder)
    assert module.classes == ["high", "low"]
    assert {name: len(part) for name, part in module.datasets.items()} == {
        "train": 32,
        "val": 4,
        "test": 4,
    }
    assert sorted(module.datasets["test"].labels) == [0, 0, 1, 1]
    assert all(name.startswith("audio_folder/") for name in module.datasets["val"].sample_ids)
    write(folder / "low" / "new.wav", tone(300, 16_000))
    before = set(module.datasets["train"].sample_ids)
    assert len(before & set(module_of(folder).datasets["train"].sample_ids)) >= 30


def test_folders_of_splits_are_kept(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("low", "high"):
            target = tmp_path / "split" / split / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(folder / name)
    module = module_of(tmp_path / "split")
    assert {name: len(part) for name, part in module.datasets.items()} == {
        "train": 36,
        "val": 4,
        "test": 40,
    }
    assert "audio_folder/test/low/00.wav" in module.datasets["test"].sample_ids


def test_short_clips_stand_in_the_middle_and_long_ones_are_cut(folder: Path) -> None:
    module = module_of(folder, clip_seconds=1.0)
    batch = module.prepare(next(iter(module.test_dataloader())), training=False)
    loud = (4 * batch["inputs"] + batch["level"][:, None, None]).amax(dim=1) > 0
    assert loud[:, 25:55].all()
    assert not loud[:, :15].any()
    assert not loud[:, 65:].any()
    short = module_of(folder, clip_seconds=0.25)
    assert next(iter(short.test_dataloader()))["waveform"].shape[1] == 4_000


def test_training_noise_is_mixed_into_your_own_clips(folder: Path) -> None:
    module = module_of(folder, augmentation={"background_noise": 1.0})
    raw = module.datasets["train"].__getitems__([0, 1])
    noisy = module.prepare(dict(raw), training=True)["level"]
    assert (noisy > module.prepare(dict(raw), training=False)["level"]).all()


def test_one_class_an_empty_class_and_no_folder_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        list_files(tmp_path / "nowhere", "audio")
    with pytest.raises(InputError, match=r"one class only \(low\); it needs two"):
        list_files(_only(folder, tmp_path / "one", ["low"]), "audio")
    with pytest.raises(InputError, match="none holds no class folder"):
        list_files(_only(folder, tmp_path / "none", []), "audio")
    (folder / "middle").mkdir()
    with pytest.raises(InputError, match="middle holds no audio file"):
        list_files(folder, "audio")


def _only(folder: Path, target: Path, classes: list[str]) -> Path:
    target.mkdir()
    for name in classes:
        (target / name).symlink_to(folder / name)
    return target


def test_a_missing_test_is_a_tenth_of_train(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "train").symlink_to(folder)
    module = module_of(tmp_path / "half")
    assert [len(module.datasets[split]) for split in ("train", "val", "test")] == [32, 4, 4]


def test_too_few_files_to_hold_some_out_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name / "0.wav", tone(440, 16_000))
    with pytest.raises(InputError, match="too few files"):
        module_of(tmp_path)


def test_the_check_finds_a_bad_file_without_torch(folder: Path) -> None:
    (folder / "low" / "bad.wav").write_bytes(b"no audio" * 100)
    config = {"name": "audio_folder", "path": str(folder), "augmentation": {}}
    code = (
        "import json, sys\n"
        "from attention_atlas.data.check import check_audio\n"
        "from attention_atlas.errors import InputError\n"
        "try:\n    check_audio(json.loads(sys.argv[1]))\n"
        "except InputError as error:\n    print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bad.wav cannot be read as audio" in result.stdout


def test_the_check_accepts_what_can_be_used(folder: Path) -> None:
    check_audio({"name": "audio_folder", "path": str(folder), "augmentation": {"tempo": 0.1}})
    check_audio({"name": "spoken_commands", "augmentation": None})
    with pytest.raises(InputError, match=r"Did you mean augmentation\.tempo"):
        check_audio({"name": "spoken_commands", "augmentation": {"temp": 0.1}})


def test_the_same_clip_never_stands_in_two_splits(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-9_000, 9_000, (30, 800), dtype=np.int16)
    for index, samples in enumerate(noise):
        for name, suffix in (("x", "wav"), ("y", "wav"), ("z", "flac")):
            write(tmp_path / "ab"[index % 2] / f"{index}{name}.{suffix}", samples)
    module = module_of(tmp_path)
    assert not _in_two_splits(module)
    earlier = AudioDataModule("audio_folder", path=str(tmp_path))
    earlier.split_version = 1
    earlier.setup()
    assert _in_two_splits(earlier)


def _in_two_splits(module: AudioDataModule) -> bool:
    clips = [
        {name.rpartition("/")[2].rstrip("xyz.wavflc") for name in data.sample_ids}
        for data in module.datasets.values()
    ]
    return sum(map(len, clips)) > len(set.union(*clips))


def test_a_speaker_never_stands_in_two_splits(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (50, 800))
    for index, samples in enumerate(noise):
        speaker = ("anna", "bob", "eve", "joe", "kim")[index % 5]
        write(tmp_path / ("yes", "no")[index // 5 % 2] / f"{speaker}_{index}.wav", samples)
    plain = module_of(tmp_path)
    (note,) = plain.notes
    assert "look like 5 groups, and anna stands in train and val and test" in note
    module = module_of(tmp_path, group="%_*.wav")
    assert module.notes == []
    speakers = [set(data.groups["group"]) for data in module.datasets.values()]
    assert sorted(map(len, speakers)) == [1, 1, 3]
    assert len(set.union(*speakers)) == 5
    with pytest.raises(InputError, match=r"wav does not fit data\.group=%-\*"):
        check_audio({"name": "audio_folder", "path": str(tmp_path), "group": "%-*"})


def test_splits_are_known_by_their_names_in_any_case(folder: Path, tmp_path: Path) -> None:
    for split in ("Train", "DEV", "seg_test"):
        for name in ("low", "high"):
            target = tmp_path / "split" / split / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(folder / name)
    module = module_of(tmp_path / "split")
    assert module.classes == ["high", "low"]
    assert [len(module.datasets[split]) for split in ("train", "val", "test")] == [40, 40, 40]
    assert len(module.notes) == 2  # all are copies


def test_all_files_can_be_tested(folder: Path) -> None:
    module = AudioDataModule("audio_folder", path=str(folder))
    module.tested_classes = ["high", "low", "middle"]
    module.setup()
    assert {split: len(data) for split, data in module.datasets.items()} == {"test": 40}
    assert module.classes == ["high", "low", "middle"]
    other = AudioDataModule("audio_folder", path=str(folder))
    other.tested_classes = ["low", "middle"]
    with pytest.raises(InputError, match="of class 'high', which the model never saw"):
        other.setup()
