"""Ten command words in many synthetic voices: voices, utterances, and held-out voices."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attention_atlas.data.audio.speech_commands import WORDS
from attention_atlas.data.cache import cached
from attention_atlas.data.splits import SPLIT_VERSION, TEST_SEED, stable_hash
from attention_atlas.errors import InputError

ACCENTS = {
    "british": "gmw/en",
    "caribbean": "gmw/en-029",
    "scottish": "gmw/en-GB-scotland",
    "lancastrian": "gmw/en-GB-x-gbclan",
    "west_midlands": "gmw/en-GB-x-gbcwmd",
    "received": "gmw/en-GB-x-rp",
    "american": "gmw/en-US",
    "new_york": "gmw/en-US-nyc",
}
"""All English accents of eSpeak NG but `en-Shaw`, which reads another alphabet."""

FAMILIES = (
    ("Alex",),
    ("Alicia",),
    ("Andrea",),
    ("Annie",),
    ("Andy", "AnxiousAndy", "Mr serious", "Tweaky", "grandpa", "john", "norbert"),
    ("Demonic",),
    ("Denis",),
    ("Diogo", "Henrique", "Hugo", "anika", "anikaRobot", "michel", "miguel"),
    ("Gene", "Gene2"),
    ("Jacky",),
    ("Lee",),
    ("Marco",),
    ("Mario", "Michael", "gustave"),
    ("Mike", "mike2"),
    (
        *("Nguyen", "m8", "max", "RicishayMax", "RicishayMax2", "RicishayMax3"),
        *("robosoft", "robosoft2", "robosoft3", "robosoft4"),
        *("robosoft5", "robosoft6", "robosoft7", "robosoft8"),
    ),
    ("Reed",),
    ("Storm",),
    ("UniRobot",),
    ("adam", "benjamin", "caleb", "klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6"),
    ("announcer",),
    ("antonio",),
    ("aunty", "belinda", "f4", "linda"),
    ("boris",),
    ("croak",),
    ("david",),
    ("ed",),
    ("edward", "edward2"),
    ("f1",),
    ("f2", "f5", "whisperf"),
    ("f3",),
    ("grandma",),
    ("ian",),
    ("iven", "iven2", "iven3", "iven4"),
    ("kaukovalta",),
    ("m1",),
    ("m2",),
    ("m3",),
    ("m4",),
    ("m5",),
    ("m6",),
    ("m7",),
    ("marcelo",),
    ("pablo",),
    ("paul",),
    ("pedro",),
    ("quincy",),
    ("rob",),
    ("robert",),
    ("sandro",),
    ("shelby",),
    ("steph", "steph2", "steph3"),
    ("travis",),
    ("victor",),
    ("whisper",),
    ("zac",),
)
"""Voice variants of eSpeak NG, in families that sound alike.

A family holds variants of one name (`steph`, `steph2`; but `f1` to `f5` and `m1` to `m8` are
different voices) and variants whose files agree in two thirds of their formant lines (`m8` and
`robosoft`). `fast` is omitted: it is the standard voice with another speed limit. Utterances are
planned in this order.
"""

KLATT_TWINS = ("klatt", "edward", "Reed", "mike2")
"""One voice each of four families that are one since version 3 of the split.

They are made by eSpeak's second synthesizer (`klatt` in their files) and sound alike: the log-mel
spectra of `edward2` and `benjamin` differ less than those of most variants of one name. Other
voices of that synthesizer, such as `david` and `UniRobot`, sound different.
"""

_FORMAT = 2
_UP, _DOWN = 320, 441  # 22,050 Hz to 16,000 Hz
_SEED = 20_170_817


@dataclass(frozen=True)
class Utterance:
    """One word said by one voice.

    Attributes:
        voice: A variant of eSpeak NG.
        accent: A key of `ACCENTS`.
        word: One of `WORDS`.
        rate: Words per minute.
        pitch: 0 to 99 around the voice's own pitch, which is 50.
        take: Number of the repetition by the same voice in the same accent.
    """

    voice: str
    accent: str
    word: str
    rate: int
    pitch: int
    take: int

    @property
    def sample_id(self) -> str:
        """A unique id, the same in every run."""
        voice = self.voice.replace(" ", "_")
        return f"spoken_commands/{self.word}/{voice}/{self.accent}/{self.take}"


def plan(takes: int) -> list[Utterance]:
    """List utterances: each voice, accent and word `takes` times, at random rates and pitches."""
    random = np.random.default_rng(_SEED)
    return [
        Utterance(
            voice,
            accent,
            word,
            rate=int(random.integers(120, 221)),
            pitch=int(random.integers(20, 81)),
            take=take,
        )
        for family in FAMILIES
        for voice in family
        for accent in ACCENTS
        for word in WORDS
        for take in range(takes)
    ]


def speak(utterances: Sequence[Utterance]) -> list[np.ndarray]:
    """Synthesize the utterances at 16 kHz (int16), silence around them trimmed; cached.

    Raises:
        InputError: eSpeak NG does not run here.
    """
    key = {
        "format": _FORMAT,
        "library": importlib.metadata.version("espeakng-loader"),
        "scipy": importlib.metadata.version("scipy"),
        "seed": _SEED,
        "utterances": [
            [ACCENTS[said.accent], said.voice, said.word, said.rate, said.pitch]
            for said in utterances
        ],
    }
    folder = cached("spoken-commands", key, lambda draft: _make(key, draft))
    samples, ends = np.load(folder / "clips.npy"), np.load(folder / "clip_ends.npy")
    return np.split(samples, ends[:-1])


def _make(key: dict[str, object], draft: Path) -> None:
    plan_file = draft / "plan.json"
    plan_file.write_text(json.dumps(key), encoding="utf-8")
    command = [sys.executable, "-m", "attention_atlas.data.audio.speak", str(plan_file), str(draft)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
        raise InputError(
            f"data.name=spoken_commands: eSpeak NG could not speak the words: {reason} "
            "Reinstall espeakng-loader, or choose data=speech_commands or data=audio_folder."
        )
    spoken = np.split(np.load(draft / "samples.npy"), np.load(draft / "ends.npy")[:-1])
    from scipy.signal import firwin

    # scipy would design the same filter again for each clip, which takes most of the time.
    taps = firwin(20 * _DOWN + 1, 1 / _DOWN, window=("kaiser", 5.0)).astype(np.float32)
    clips = [_resample(_trim(samples), taps) for samples in spoken]
    np.save(draft / "clips.npy", np.concatenate(clips))
    np.save(draft / "clip_ends.npy", np.cumsum([len(clip) for clip in clips]))
    for file in ("samples.npy", "ends.npy", "plan.json"):
        (draft / file).unlink()


def _trim(samples: np.ndarray, threshold: float = 0.002) -> np.ndarray:
    """Trim both ends where the signal is below a fraction of its peak."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= threshold * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def _resample(samples: np.ndarray, taps: np.ndarray) -> np.ndarray:
    from scipy.signal import resample_poly

    resampled: np.ndarray = resample_poly(samples.astype(np.float32), _UP, _DOWN, window=taps)
    return resampled.round().clip(-32_768, 32_767).astype(np.int16)


def split_voices(seed: int, version: int = SPLIT_VERSION) -> dict[str, list[str]]:
    """Draw the voices of each split, in whole families.

    A fifth of all voices are for `test`, the same for every seed since version 3; then a tenth for
    `val`, and the rest for `train`.
    """
    families = voice_families(version)
    total = sum(len(family) for family in families)
    test = _draw_families(families, TEST_SEED if version > 2 else seed, total / 5)
    rest = [family for family in families if family not in test]
    val = _draw_families(rest, seed, total / 10)
    train = [family for family in rest if family not in val]
    return {
        name: [voice for family in drawn for voice in family]
        for name, drawn in (("test", test), ("val", val), ("train", train))
    }


def voice_families(version: int = SPLIT_VERSION) -> list[tuple[str, ...]]:
    """Return the families of voices that a version of the split leaves together."""
    if version < 3:
        return list(FAMILIES)
    twins = [family for family in FAMILIES if set(KLATT_TWINS) & set(family)]
    joined = tuple(voice for family in twins for voice in family)
    return [family for family in FAMILIES if family not in twins] + [joined]


def _draw_families(
    families: Sequence[tuple[str, ...]], seed: int, num_voices: float
) -> list[tuple[str, ...]]:
    """Draw families until they have so many voices."""
    drawn: list[tuple[str, ...]] = []
    for family in sorted(families, key=lambda family: stable_hash(seed, *family)):
        if sum(len(each) for each in drawn) >= num_voices:
            break
        drawn.append(family)
    return drawn
