"""Speak words with eSpeak NG, in a process that does nothing else.

    python -m attention_atlas.data.audio.speak PLAN.json FOLDER

The plan is `{"seed": int, "utterances": [[language, variant, word, rate, pitch], ...]}`. The
folder receives `samples.npy`, the concatenated utterances (int16, at 22,050 Hz), and `ends.npy`,
the end of each.

eSpeak NG (GPL-3) is loaded by this process alone: the rest of the project only reads the audio that
it wrote. The same plan gives the same bits, because the library's noise generator is seeded once
and the utterances are spoken in the order of the plan.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

SAMPLE_RATE = 22_050

# From eSpeak NG's speak_lib.h and espeak_ng.h.
_SYNCHRONOUS = 1
_RATE, _PITCH = 1, 3
_CHARACTERS, _UTF8 = 1, 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)

Utterance = tuple[str, str, str, int, int]


class Speaker:
    """The eSpeak NG library, initialized."""

    def __init__(self, seed: int) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        self._variants = Path(data, "voices", "!v")
        self._library.espeak_ng_InitializePath(data.encode())
        _check(self._library.espeak_ng_Initialize(None), "eSpeak NG does not start")
        _check(
            self._library.espeak_ng_InitializeOutput(_SYNCHRONOUS, 0, None),
            "eSpeak NG gives no output",
        )
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._library.espeak_ng_SetRandSeed(seed)
        self._library.espeak_ng_Synthesize.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._spoken = bytearray()
        self._callback = _CALLBACK(self._append)  # the library holds no reference of its own
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice = ""

    def _append(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if samples and count > 0:
            self._spoken += ctypes.string_at(samples, 2 * count)
        return 0

    def speak(self, utterance: Utterance) -> np.ndarray:
        """Return the samples of one utterance, int16."""
        language, variant, word, rate, pitch = utterance
        voice = f"{language}+{variant}"
        if voice != self._voice:
            self._choose(voice)
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._spoken.clear()
        text = word.encode()
        status = self._library.espeak_ng_Synthesize(
            text, len(text) + 1, 0, _CHARACTERS, 0, _UTF8, None, None
        )
        _check(status, f"{voice} cannot say {word!r}")
        return np.frombuffer(bytes(self._spoken), dtype=np.int16)

    def _choose(self, voice: str) -> None:
        # eSpeak NG silently ignores a variant that it does not know.
        known = (self._variants / voice.partition("+")[2]).is_file()
        status = self._library.espeak_ng_SetVoiceByName(voice.encode())
        _check(status if known else 1, f"no voice named {voice}")
        self._voice = voice


def _check(status: int, problem: str) -> None:
    if status != 0:
        raise SystemExit(f"{problem} (status {status:#x}).")


def main(plan_file: Path, folder: Path) -> None:
    """Speak the plan into the folder."""
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    speaker = Speaker(plan["seed"])
    spoken = [speaker.speak(tuple(utterance)) for utterance in plan["utterances"]]
    np.save(folder / "samples.npy", np.concatenate(spoken))
    np.save(folder / "ends.npy", np.cumsum([len(samples) for samples in spoken]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
