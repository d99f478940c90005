"""The data module of speech: spoken commands, splits by voice, noise, spectrograms."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from torchaudio.transforms import MelSpectrogram

from attention_atlas.data.audio.module import AudioDataModule
from attention_atlas.data.audio.speech_commands import WORDS
from attention_atlas.data.audio.spoken_words import (
    ACCENTS,
    FAMILIES,
    Utterance,
    plan,
    speak,
    split_voices,
    voice_families,
)
from attention_atlas.data.splits import SPLIT_VERSION
from attention_atlas.errors import InputError

VARIED = {
    "time_shift": 0.1,
    "tempo": 0.1,
    "vocal_tract": 0.1,
    "background_noise": 0.9,
    "time_mask": 0.1,
    "frequency_mask": 0.1,
}


@pytest.fixture(scope="module")
def commands() -> AudioDataModule:
    module = AudioDataModule("spoken_commands", batch_size=32, seed=0, augmentation=VARIED)
    module.setup()
    return module


def raw_batch(module: AudioDataModule, split: str, size: int = 32) -> dict:
    return module.datasets[split].__getitems__(list(range(0, 10 * size, 10)))


def test_two_processes_speak_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        Utterance(voice, accent, word, rate=160, pitch=50, take=0)
        for voice in ("steph", "whisper", "Mr serious")  # whispers need the noise generator
        for accent in ("scottish", "new_york")
        for word in WORDS
    ]
    spoken = []
    for cache in ("first", "second"):
        monkeypatch.setenv("ATTENTION_ATLAS_CACHE", str(tmp_path / cache))
        spoken.append(speak(said))
    assert all(np.array_equal(one, two) for one, two in zip(*spoken, strict=True))
    assert len({clip.tobytes() for clip in spoken[0]}) == len(said)
    assert all(0.1 < len(clip) / 16_000 < 1 for clip in spoken[0])


def test_a_voice_that_does_not_exist_ends_in_a_one_line_error_and_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTENTION_ATLAS_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"no voice named gmw/en\+nobody"):
        speak([Utterance("nobody", "british", "yes", 160, 50, 0)])
    assert list(tmp_path.iterdir()) == []


def test_the_families_hold_every_voice_of_the_library_once() -> None:
    import espeakng_loader

    files = Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir()
    voices = [voice for family in FAMILIES for voice in family]
    assert sorted(voices) == sorted({file.name for file in files} - {"fast"})


@pytest.mark.parametrize("seed", range(10))
def test_a_fifth_of_the_voices_is_unheard_and_no_family_is_divided(seed: int) -> None:
    splits = split_voices(seed)
    voices = [voice for part in splits.values() for voice in part]
    assert len(voices) == len(set(voices)) == sum(len(family) for family in FAMILIES)
    assert len(splits["test"]) >= len(voices) / 5
    assert len(splits["val"]) >= len(voices) / 10
    assert len(splits["train"]) >= len(voices) / 2
    for family in voice_families():
        assert sum(bool(set(family) & set(part)) for part in splits.values()) == 1


def test_the_seed_draws_the_voices_of_training_and_all_seeds_are_tested_on_the_same() -> None:
    assert split_voices(0) == split_voices(0)
    assert split_voices(0)["test"] == split_voices(1)["test"]
    assert split_voices(0)["train"] != split_voices(1)["train"]


def test_an_earlier_run_has_the_voices_that_it_was_trained_with() -> None:
    earlier = split_voices(0, version=2)
    assert {"Reed", "edward", "edward2"} <= set(earlier["test"])
    assert {"klatt", "mike2"} <= set(earlier["train"])
    assert earlier["test"] != split_voices(1, version=2)["test"]


@pytest.mark.slow
def test_voices_of_different_families_sound_different(tmp_path: Path) -> None:
    """The mean distance of log-mel spectra, lengths made equal, over all words.

    Median over voices of a family of the distance to the nearest other one: 1.2. The four families
    that were joined were 0.4 to 0.9 apart.
    """
    voices = [voice for family in FAMILIES for voice in family]
    plan_file = tmp_path / "plan.json"
    spoken = [["gmw/en-US", voice, word, 160, 50] for voice in voices for word in WORDS]
    plan_file.write_text(json.dumps({"seed": 1, "utterances": spoken}))
    module = "attention_atlas.data.audio.speak"
    subprocess.run([sys.executable, "-m", module, plan_file, tmp_path], check=True)
    clips = np.split(np.load(tmp_path / "samples.npy"), np.load(tmp_path / "ends.npy")[:-1])
    mel = MelSpectrogram(22_050, n_fft=512, hop_length=220, n_mels=40, f_min=60, f_max=8_000)
    rows = []
    for clip in clips:
        log_mel = (mel(torch.from_numpy(clip / 32_768).float()) + 1e-5).log()
        rows.append(interpolate(log_mel[None], size=40, mode="linear")[0].flatten())
    features = torch.stack(rows)
    features = (features - features.mean(1, keepdim=True)).view(len(voices), -1)
    distance = torch.cdist(features, features) / features.shape[1] ** 0.5
    for version, is_apart in ((2, False), (SPLIT_VERSION, True)):
        families = voice_families(version)
        number = torch.tensor([
            next(index for index, family in enumerate(families) if voice in family)
            for voice in voices
        ])  # fmt: skip
        others = distance[number[:, None] != number]
        assert (others.min() > 1).item() == is_apart


def test_every_voice_says_every_word_in_every_accent() -> None:
    utterances = plan(takes=2)
    assert len({said.sample_id for said in utterances}) == len(utterances)
    counts = Counter((said.voice, said.accent, said.word) for said in utterances)
    assert set(counts.values()) == {2}
    assert len(counts) == len(WORDS) * len(ACCENTS) * sum(len(family) for family in FAMILIES)


def test_the_splits_are_balanced_and_large_enough(commands: AudioDataModule) -> None:
    test = commands.datasets["test"]
    assert len(test) >= 800
    assert len(set(Counter(test.labels).values())) == 1
    assert commands.classes == list(WORDS)


def test_test_noise_is_uniform_from_5_to_30_decibels(commands: AudioDataModule) -> None:
    test = commands.datasets["test"]
    snr_db = torch.cat([raw["snr_db"] for raw in commands.test_dataloader()])
    assert 5 <= snr_db.min() < 5.2
    assert 29.8 < snr_db.max() <= 30
    counts = Counter(test.groups["snr"])
    assert sorted(counts) == ["snr_05_10", "snr_10_15", "snr_15_20", "snr_20_25", "snr_25_30"]
    assert min(counts.values()) > 0.9 * len(test) / 5


def test_noise_has_the_ratio_that_the_group_names(commands: AudioDataModule) -> None:
    from attention_atlas.data.audio.augmentation import fixed_variation

    raw = raw_batch(commands, "test")
    mixed = fixed_variation(raw).apply(raw, commands.noise["eval"])
    quiet = raw | {"snr_db": torch.full_like(raw["snr_db"], float("inf"))}
    clean = fixed_variation(quiet).apply(quiet, commands.noise["eval"])
    signal = clean.square().sum(1) / raw["num_samples"]
    noise = (mixed - clean).square().mean(1)
    torch.testing.assert_close(10 * (signal / noise).log10(), raw["snr_db"], atol=0.01, rtol=0)


def test_evaluation_is_the_same_every_time_and_in_every_company(
    commands: AudioDataModule,
) -> None:
    test = commands.datasets["test"]
    together = commands.prepare(test.__getitems__([5, 900, 33]), training=False)
    torch.rand(7)  # another state of the global generator
    alone = commands.prepare(test.__getitems__([900]), training=False)
    torch.testing.assert_close(together["inputs"][1:2], alone["inputs"], atol=1e-4, rtol=0)
    assert together["sample_id"][1] == alone["sample_id"][0]


def test_clips_begin_at_different_times(commands: AudioDataModule) -> None:
    assert raw_batch(commands, "test")["position"].std() > 0.2


def test_training_is_varied_and_repeats_with_the_global_generator(
    commands: AudioDataModule,
) -> None:
    raw = raw_batch(commands, "train")
    batches = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        batches.append(commands.prepare(dict(raw), training=True)["inputs"])
    assert torch.equal(batches[0], batches[1])
    assert not torch.allclose(batches[0], batches[2])


def test_without_augmentation_training_samples_are_fixed(commands: AudioDataModule) -> None:
    module = AudioDataModule("spoken_commands", batch_size=32)
    module.noise = commands.noise
    raw = raw_batch(commands, "train")
    once, again = (module.prepare(dict(raw), training=True)["inputs"] for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize("option", ["time_shift", "tempo", "vocal_tract", "background_noise"])
def test_each_augmentation_changes_the_inputs(commands: AudioDataModule, option: str) -> None:
    plain = AudioDataModule("spoken_commands", batch_size=32, augmentation={"time_mask": 0.0})
    varied = AudioDataModule("spoken_commands", batch_size=32, augmentation={option: 0.5})
    raw = raw_batch(commands, "train") | {"num_samples": torch.full((32,), 16_000)}
    inputs = []
    for module in (plain, varied):
        module.noise = commands.noise
        torch.manual_seed(0)
        inputs.append(module.prepare(dict(raw), training=True)["inputs"])
    assert not torch.allclose(*inputs)


@pytest.mark.parametrize(("option", "axis"), [("time_mask", 1), ("frequency_mask", 2)])
def test_masks_hide_whole_stretches_one_per_sample(
    commands: AudioDataModule, option: str, axis: int
) -> None:
    module = AudioDataModule(
        "spoken_commands", batch_size=32, augmentation={option: 0.3, "masks": 1}
    )
    module.noise = commands.noise
    inputs = module.prepare(raw_batch(commands, "train"), training=True)["inputs"]
    hidden = (inputs == 0).all(dim=axis).sum(dim=1)
    assert hidden.max() <= 0.3 * inputs.shape[3 - axis]
    assert len(set(hidden.tolist())) > 3


def test_batches_have_the_shapes_that_the_model_expects(commands: AudioDataModule) -> None:
    batch = commands.prepare(next(iter(commands.test_dataloader())), training=False)
    assert batch["inputs"].shape == (64, commands.num_mels, commands.num_frames)
    assert batch["inputs"].dtype == torch.float32
    assert batch["label"].shape == (64,)
    assert set(batch["groups"]) == {"voice", "snr"}
    spectrogram = commands.display_inputs(batch)["spectrogram"]
    assert isinstance(spectrogram, np.ndarray)
    assert spectrogram.dtype == np.float32
    assert spectrogram.shape == tuple(batch["inputs"].shape)


def test_a_tone_lies_where_the_mel_edges_say() -> None:
    module = AudioDataModule("spoken_commands", batch_size=1)
    steps = torch.arange(16_000) / 16_000
    for hertz in (300.0, 1_000.0, 4_000.0):
        band = int(module.log_mel(torch.sin(2 * np.pi * hertz * steps)[None])[0].mean(1).argmax())
        assert module.mel_edges[band] <= hertz <= module.mel_edges[band + 1]
    assert len(module.mel_edges) == module.num_mels + 1
    assert module.num_frames * module.hop_seconds == pytest.approx(1.0)


def test_the_baseline_sees_one_row_per_sample(commands: AudioDataModule) -> None:
    features = commands.baseline_features("val")
    assert features.shape[0] == len(commands.datasets["val"])
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "speech"}, r"data\.name=speech is not possible: take one of spoken_commands"),
        (
            {"clip_seconds": 0.0},
            r"data\.clip_seconds=0\.0 is not possible: take a number from 0\.1 to 60",
        ),
        ({"num_mels": 4}, r"data\.num_mels=4 is not possible: take an integer from 8 to 128"),
        ({"labels": 11}, r"data\.labels=11 is not possible: take one of 10, 12, 35"),
        (
            {"augmentation": {"temp": 0.1}},
            r"augmentation\.temp .* Did you mean augmentation\.tempo",
        ),
        (
            {"augmentation": {"tempo": 1.5}},
            r"augmentation\.tempo=1\.5 is not possible: take a number from 0 to below",
        ),
        (
            {"augmentation": {"background_noise": 2}},
            r"background_noise=2 is not possible: take a number from 0 to 1\.",
        ),
        ({"augmentation": {"snr_low": 40}}, r"snr_low=40 is above"),
        ({"augmentation": {"masks": -1}}, r"masks=-1 is not possible: take an integer, 0 or more"),
    ],
)
def test_bad_options_end_in_a_one_line_error(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AudioDataModule(**({"name": "spoken_commands", "batch_size": 8} | options))


def test_a_folder_of_sounds_needs_its_path() -> None:
    with pytest.raises(InputError, match=r"data=audio_folder needs data\.path"):
        AudioDataModule(name="audio_folder", batch_size=8).setup()
