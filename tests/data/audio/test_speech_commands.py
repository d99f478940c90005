"""Speech Commands: official lists, 10, 12 and 35 labels, made up and real."""

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torchaudio

from attention_atlas.data.audio.module import AudioDataModule
from attention_atlas.data.audio.speech_commands import WORDS
from attention_atlas.data.check import check_audio
from attention_atlas.errors import InputError

FOLDER = Path("SpeechCommands") / "speech_commands_v0.02"
OTHERS = ("bed", "cat", "dog")


def make(root: Path, background: bool = False) -> Path:
    """A small data set in the official layout: 8 speakers, 13 words."""
    random = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for word in (*WORDS, *OTHERS):
        (root / word).mkdir(parents=True)
        for speaker in range(8):
            file = f"{word}/{speaker:08x}_nohash_0.wav"
            soundfile.write(root / file, random.normal(0, 0.1, 16_000), 16_000)
            if speaker >= 4:
                name = "validation_list.txt" if speaker < 6 else "testing_list.txt"
                lists[name].append(file)
    for name, files in lists.items():
        (root / name).write_text("\n".join(files) + "\n")
    if background:
        (root / "_background_noise_").mkdir()
        noise = random.normal(0, 0.1, 48_000)
        soundfile.write(root / "_background_noise_" / "pink_noise.wav", noise, 16_000)
    return root


def module_of(path: Path, labels: int, **options) -> AudioDataModule:
    module = AudioDataModule(
        "speech_commands", batch_size=16, path=str(path), labels=labels, **options
    )
    module.setup()
    return module


def counts(module: AudioDataModule, split: str) -> Counter[str]:
    return Counter(module.classes[label] for label in module.datasets[split].labels)


def test_ten_labels_are_the_command_words_in_the_official_splits(tmp_path: Path) -> None:
    make(tmp_path / FOLDER)
    module = module_of(tmp_path, labels=10)
    assert module.classes == list(WORDS)
    assert counts(module, "train") == dict.fromkeys(WORDS, 4)
    assert counts(module, "val") == counts(module, "test") == dict.fromkeys(WORDS, 2)
    assert "speech_commands/yes/00000006_nohash_0" in module.datasets["test"].sample_ids


def test_all_labels_are_all_words(tmp_path: Path) -> None:
    make(tmp_path / FOLDER, background=True)
    module = module_of(tmp_path, labels=35)
    assert module.classes == sorted((*WORDS, *OTHERS))
    assert len(module.datasets["train"]) == 4 * 13


@pytest.mark.parametrize("background", [True, False])
def test_twelve_labels_add_a_tenth_of_unknown_and_of_silence(
    tmp_path: Path, background: bool
) -> None:
    make(tmp_path / FOLDER, background)
    module = module_of(tmp_path, labels=12)
    assert module.classes == [*WORDS, "_unknown_", "_silence_"]
    assert counts(module, "train")["_unknown_"] == counts(module, "train")["_silence_"] == 4
    assert counts(module, "test")["_unknown_"] == counts(module, "test")["_silence_"] == 2
    again = module_of(tmp_path, labels=12)
    for split, dataset in module.datasets.items():
        assert dataset.sample_ids == again.datasets[split].sample_ids
        raw, other = (
            part.__getitems__(list(range(len(part)))) for part in (dataset, again.datasets[split])
        )
        assert (raw["waveform"] == other["waveform"]).all()


def test_the_folder_itself_may_be_given(tmp_path: Path) -> None:
    make(tmp_path / "here")
    assert len(module_of(tmp_path / "here", labels=10).datasets["test"]) == 20


def test_recorded_background_noise_is_used_in_training(tmp_path: Path) -> None:
    make(tmp_path / "plain")
    make(tmp_path / "recorded", background=True)
    plain, recorded = (module_of(tmp_path / name, 10) for name in ("plain", "recorded"))
    assert len(recorded.noise["train"]) > len(plain.noise["train"])


def test_a_missing_list_word_or_clip_is_named(tmp_path: Path) -> None:
    root = make(tmp_path / "data")
    (root / "validation_list.txt").rename(tmp_path / "kept.txt")
    with pytest.raises(InputError, match=r"validation_list\.txt is missing"):
        module_of(root, labels=10)
    (tmp_path / "kept.txt").rename(root / "validation_list.txt")
    (root / "yes" / "00000007_nohash_0.wav").unlink()
    with pytest.raises(InputError, match=r"00000007_nohash_0\.wav is listed in testing_list"):
        module_of(root, labels=10)
    for file in (root / "yes").iterdir():
        file.unlink()
    (root / "yes").rmdir()
    with pytest.raises(InputError, match="has no folder yes"):
        check_audio({"name": "speech_commands", "path": str(root), "labels": 10})
    with pytest.raises(InputError, match="has no folder yes"):
        module_of(root, labels=10)


def test_a_download_that_fails_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(InputError, match=r"could not be downloaded .* Unpack"):
        module_of(tmp_path / "new", labels=10)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="session")
def real_commands(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real clips, unpacked once."""
    root = tmp_path_factory.mktemp("real")
    with tarfile.open(shared_data / "speech_commands.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return root


@pytest.mark.slow
def test_real_clips_load_as_torchaudio_lists_them(real_commands: Path) -> None:
    module = module_of(real_commands, labels=35)
    assert len(module.classes) == 35
    for split, subset in (("train", "training"), ("val", "validation"), ("test", "testing")):
        theirs = torchaudio.datasets.SPEECHCOMMANDS(real_commands, subset=subset)
        expected = {
            f"speech_commands/{label}/{Path(path).stem}"
            for path, _, label, *_ in map(theirs.get_metadata, range(len(theirs)))
        }
        assert set(module.datasets[split].sample_ids) == expected
    sizes = {split: len(part) for split, part in module.datasets.items()}
    assert sizes == {"train": 2756, "val": 589, "test": 1137}
    batch = module.prepare(next(iter(module.train_dataloader())), training=True)
    assert batch["inputs"].isfinite().all()
    assert batch["inputs"].std() > 0.2


@pytest.mark.slow
def test_twelve_labels_of_real_clips(real_commands: Path) -> None:
    module = module_of(real_commands, labels=12)
    sizes = {split: len(part) for split, part in module.datasets.items()}
    unknown = {"train": 243, "val": 53, "test": 104}  # in training fewer other words than a tenth
    silence = {"train": 252, "val": 53, "test": 104}
    commands = {"train": 2513, "val": 529, "test": 1032}
    assert sizes == {split: commands[split] + unknown[split] + silence[split] for split in commands}
