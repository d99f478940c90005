"""`spoken_commands`: ten command words in synthetic voices, tested on unheard voices in noise."""

import torch

from attention_atlas.data.audio.clips import SAMPLE_RATE, AudioCorpus, ClipDataset, share
from attention_atlas.data.audio.noise import babble, coloured_noise
from attention_atlas.data.audio.speech_commands_files import WORDS
from attention_atlas.data.audio.spoken_words import plan, speak, split_voices

SNR_DB = (5.0, 30.0)
"""The noise of every sample is drawn uniformly between these signal-to-noise ratios."""

_TAKES = 2
_NOISE_SECONDS = 10
_NOISE_PIECES = 4


def spoken_commands(clip_samples: int, seed: int) -> AudioCorpus:
    """The ten words by eSpeak NG's voices; the seed draws which voices are never heard in training.

    Each clip stands at a random place and is mixed with noise at an SNR between 5 and 30 dB, both
    fixed for each sample id. Noise is white, pink, brown, or babble of training voices; evaluation
    has other stretches of it than training.

    Raises:
        InputError: eSpeak NG does not run here.
    """
    utterances = plan(_TAKES)
    clips = speak(utterances)
    splits, noise = {}, {}
    for name, voices in split_voices(seed).items():
        chosen = [index for index, said in enumerate(utterances) if said.voice in set(voices)]
        said = [utterances[index] for index in chosen]
        snr_db = [_snr_db(utterance.sample_id) for utterance in said]
        splits[name] = ClipDataset(
            [clips[index] for index in chosen],
            [WORDS.index(utterance.word) for utterance in said],
            [utterance.sample_id for utterance in said],
            clip_samples,
            groups={
                "voice": [utterance.voice for utterance in said],
                "snr": [snr_bin(value) for value in snr_db],
            },
            snr_db=snr_db,
        )
        if name == "train":
            heard = [clips[index] for index in chosen]
    length = max(_NOISE_SECONDS * SAMPLE_RATE, 2 * clip_samples)
    for part, noise_seed in (("train", 1), ("eval", 2)):
        coloured = coloured_noise(_NOISE_PIECES, length, noise_seed)
        voices_at_once = babble(heard, _NOISE_PIECES, length, noise_seed)
        noise[part] = torch.cat([coloured, voices_at_once])
    return AudioCorpus(list(WORDS), splits, noise)


def _snr_db(sample_id: str) -> float:
    low, high = SNR_DB
    return low + (high - low) * share("snr", sample_id)


def snr_bin(snr_db: float) -> str:
    """The five-decibel bin of a ratio: `snr_05_10` up to `snr_25_30`."""
    low = min(int(snr_db // 5) * 5, 25)
    return f"snr_{low:02d}_{low + 5:02d}"
