"""Bad input ends in a one-line error, before torch is loaded or a file is written."""

import subprocess
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import content, invoke_script, run_script

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass
class Bad:
    """One thing that a user got wrong, and words that the sentence must hold."""

    arguments: list[str]
    words: list[str]
    files: dict[str, bytes] = field(default_factory=dict)


def train(*overrides: str, words: list[str], files: dict[str, bytes] | None = None) -> Bad:
    task = [] if any(override.startswith("task=") for override in overrides) else ["task=nlp"]
    return Bad(["train.py", *task, *overrides], words, files or {})


def table(*lines: bytes, words: list[str], override: str = "seed=0") -> Bad:
    arguments = ["data=csv", "data.path=reviews.csv", override]
    return train(
        *arguments, words=["reviews.csv", *words], files={"reviews.csv": b"\n".join(lines)}
    )


def picture() -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sound(seconds: float = 1.0) -> bytes:
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * int(16_000 * seconds)))
    return buffer.getvalue()


def folder(good: bytes, bad: bytes, suffix: str) -> dict[str, bytes]:
    """Two classes of which one file cannot be used."""
    files = {f"mine/{name}/{index}{suffix}": good for name in ("no", "yes") for index in range(4)}
    return files | {f"mine/yes/3{suffix}": bad}


def images(bad: bytes, words: list[str]) -> Bad:
    arguments = ["task=vision", "data=image_folder", "data.path=mine"]
    return train(*arguments, words=words, files=folder(picture(), bad, ".png"))


def sounds(bad: bytes, words: list[str]) -> Bad:
    arguments = ["task=speech", "data=audio_folder", "data.path=mine"]
    return train(*arguments, words=words, files=folder(sound(), bad, ".wav"))


BAD = {
    "unknown task": train("task=nlpp", words=["task=nlpp", "Did you mean nlp", "speech", "vision"]),
    "unknown data": train("data=movie_review", words=["data=movie_review", "mean movie_reviews"]),
    "unknown attention": train("attention=aditive", words=["attention=aditive", "mean additive"]),
    "unknown group": train("atention=dot", words=["atention", "mean attention"]),
    "unknown key": train("optimizer.lrr=1", words=["optimizer.lrr", "mean optimizer.lr", "betas"]),
    "key without group": train("batch_size=1", words=["batch_size", "mean data.batch_size"]),
    "added unknown key": train("+encoder.heads=2", words=["encoder.heads", "num_heads"]),
    "text for a number": train("encoder.depth=two", words=["encoder.depth=two", "an integer"]),
    "fraction": train("data.batch_size=1.5", words=["data.batch_size=1.5", "an integer"]),
    "text for a fraction": train("optimizer.lr=high", words=["optimizer.lr=high", "above 0"]),
    "number for a switch": train("lr_find=3", words=["lr_find=3", "true or false"]),
    "value for a group": train("callbacks.ema=3", words=["callbacks.ema=3", "group"]),
    "group of other data": train(
        "+data.group=who", words=["data.group=who", "csv, image_folder, audio_folder", "leave it"]
    ),
    "pattern without a group": train(
        *("task=vision", "data=image_folder", "data.path=mine", "data.group=*.png"),
        words=["data.group=*.png", "% stands for the group", "data.group=%_*.wav"],
        files=folder(picture(), picture(), ".png"),
    ),
    "file of no group": train(
        *("task=speech", "data=audio_folder", "data.path=mine", "data.group=%_*.wav"),
        words=["mine/no/0.wav does not fit data.group=%_*.wav"],
        files=folder(sound(), sound(), ".wav"),
    ),
    "one group": train(
        *("task=vision", "data=image_folder", "data.path=mine", "data.group=*/*.%"),
        words=["data.group finds too few groups to divide, 1:"],
        files=folder(picture(), picture(), ".png"),
    ),
    "null": train("seed=null", words=["seed=null", "an integer"]),
    "negative rate": train("optimizer.lr=-1", words=["optimizer.lr=-1", "above 0"]),
    "share above 1": train("encoder.dropout=1.5", words=["encoder.dropout=1.5", "0 to below 1"]),
    "not a choice": train("encoder.readout=sum", words=["encoder.readout=sum", "cls", "mean"]),
    "zero epochs": train("trainer.max_epochs=0", words=["trainer.max_epochs=0", "1 or more"]),
    "heads": train("encoder.num_heads=7", words=["encoder.embed_dim", "encoder.num_heads=7"]),
    "shared heads": train("attention.num_kv_heads=3", words=["num_kv_heads=3", "1, 2, 4"]),
    "no window": train("attention.window=0", words=["attention.window=0", "1 or more, or null"]),
    "unknown gate": train(
        "attention.gate=head", words=["attention.gate=head", "headwise or elementwise, or null"]
    ),
    "unknown positions": train(
        "embedding.positions=rotary", words=["positions=rotary", "learned, sinusoidal, none"]
    ),
    "rotation that a score does not keep": train(
        *("attention=additive", "attention.rotary=true"),
        words=["attention.rotary", "attention.score=additive", "dot, scaled_dot or cosine"],
    ),
    "heads too narrow to turn on a grid": train(
        *("task=vision", "encoder.embed_dim=18", "attention.rotary=true"),
        words=["rows and columns", "encoder.embed_dim=18", "encoder.embed_dim=12 or 24"],
    ),
    "linear with another score": train(
        *("attention=cosine", "attention.linear=true"),
        words=["attention.linear", "attention.score=cosine", "attention.score=scaled_dot"],
    ),
    "null key of a difference": train(
        *("attention.differential=true", "attention.null_key=true"),
        words=["attention.differential", "attention.null_key", "Leave one"],
    ),
    "nothing to compile": train(
        "attention.compile=true", words=["attention.compile", "attention.score=additive"]
    ),
    "window of a CLS token": train(
        *("encoder.readout=cls", "attention.window=3"),
        words=["encoder.readout=cls", "attention.window=3", "attention.window=null"],
    ),
    "window without a layer": train(
        *("encoder.depth=0", "attention.window=3"),
        words=["attention.window", "encoder.depth=0", "encoder.depth=1"],
    ),
    "no layer to read": train("encoder.depth=0", "encoder.readout=cls", words=["readout=cls"]),
    "devices": train(
        "trainer=cpu", "trainer.devices=9999", words=["trainer.devices=9999", "more than"]
    ),
    "several devices": train("trainer=cpu", "trainer.devices=2", words=["devices=2", "devices=1"]),
    "a search by several": train(
        "trainer=ddp_cpu", "lr_find=true", words=["lr_find=true", "trainer.devices=1"]
    ),
    "a search for several": train(
        *("encoder=minilm", "lr_find=true"),
        words=["lr_find=true", "encoder.lr", "encoder.freeze=all"],
    ),
    "several machines": train("+trainer.num_nodes=2", words=["trainer.num_nodes=2", "take 1"]),
    "strategy of several devices": train("trainer.strategy=tp", words=["strategy=tp", "auto, ddp"]),
    "option of Lightning that is not in the config": train(
        "trainer.limit_train_batches=3", words=["add it by +trainer.limit_train_batches=VALUE"]
    ),
    "no validation": train(
        *("+trainer.check_val_every_n_epoch=9", "trainer.max_epochs=5"),
        words=["check_val_every_n_epoch=9", "trainer.max_epochs=5", "no validation"],
    ),
    "half precision": train("trainer.precision=16-mixed", words=["16-mixed", "32-true", "bf16"]),
    "double precision": train("trainer.precision=64-true", words=["64-true", "bf16-mixed"]),
    "no power of two": train(
        *("task=speech", "embedding.patch_frames=3"),
        words=["embedding.patch_frames=3", "power of two", "embedding.stem=linear"],
    ),
    "no power of two in an image": train(
        *("task=vision", "embedding.patch_size=6", "data.image_size=24"),
        words=["embedding.patch_size=6", "power of two", "embedding.stem=linear"],
    ),
    "patches that do not fill the image": train(
        *("task=vision", "embedding.patch_size=8"), words=["patch_size=8", "image_size=28", "14"]
    ),
    "patches that do not fill the mel bands": train(
        *("task=speech", "embedding=time_frequency", "embedding.patch_mels=16"),
        words=["embedding.patch_mels=16", "data.num_mels=40", "8, 10"],
    ),
    "negative pairs": train("embedding.num_pairs=-1", words=["embedding.num_pairs=-1", "0 or"]),
    "share of pairs": train("embedding.pair_dropout=3", words=["pair_dropout=3", "0 to below 1"]),
    "betas out of range": train("optimizer.betas=[2,3]", words=["optimizer.betas=[2, 3]", "two"]),
    "one beta": train("optimizer.betas=[0.9]", words=["optimizer.betas=[0.9]", "two numbers"]),
    "other augmentation": train("augmentation=image", words=["augmentation=image", "text or none"]),
    "augmentation of a baseline": Bad(
        ["baseline.py", "task=vision", "augmentation=text"], ["augmentation=text", "cutmix or none"]
    ),
    "code in the config": train("optimizer._target_=os.system", words=["os.system", "allowed"]),
    "code deep in the config": train(
        "+callbacks.mine={_target_: os.system}", words=["callbacks.mine._target_=os.system"]
    ),
    "code that is not told": train("optimizer._target_=${gone}", words=["gone", "not found"]),
    "modality of another task": train(
        *("data=mnist5k", "embedding=patches", "augmentation=none", "task.modality=image"),
        words=["task.modality=image", "task=vision"],
    ),
    "option that is left out": train(
        "data.eval_batch_size=16", words=["+data.eval_batch_size=VALUE"]
    ),
    "no best checkpoint": train("~callbacks.checkpoint", words=["callbacks.checkpoint", "missing"]),
    "device before data": train(
        *("data=csv", "data.path=table.csv", "trainer.precision=7"),
        words=["trainer.precision=7"],
        files={"table.csv": b"nothing"},
    ),
    "unknown modality": train("task.modality=foo", words=["modality=foo", "text, image"]),
    "unknown metric": train(
        "callbacks.checkpoint.monitor=val/acc", words=["monitor=val/acc", "val/accuracy"]
    ),
    "unknown metric to stop by": train(
        "callbacks.early_stopping.monitor=loss", words=["monitor=loss", "val/loss", "val/macro_f1"]
    ),
    "the worst for the best": train(
        "callbacks.checkpoint.monitor=val/loss", words=["mode=max", "worst val/loss", "mode=min"]
    ),
    "other name of the best": train(
        "callbacks.checkpoint.filename=top", words=["filename=top", "stays best"]
    ),
    "other place of the best": train(
        "callbacks.checkpoint.dirpath=mine", words=["dirpath=mine", "run folder"]
    ),
    "other place of the run": train("run_folder=mine", words=["run_folder=mine", "hydra.run.dir"]),
    "a dry run": train("+trainer.fast_dev_run=true", words=["fast_dev_run=true", "debug=fast"]),
    "used folder": train(
        "hydra.run.dir=old", words=["old", "result.json"], files={"old/result.json": b"{}"}
    ),
    "folder with checkpoints": train(
        *("hydra.run.dir=old",),
        words=["old", "checkpoints"],
        files={"old/checkpoints/last.ckpt": b"mine"},
    ),
    "used folder of a sweep": Bad(
        ["train.py", "-m", "task=nlp", "seed=1,2", "hydra.sweep.dir=old"],
        ["old/seed-1", "atlas.zarr"],
        {"old/seed-1/atlas.zarr/zarr.json": b"{}"},
    ),
    "folder that is not told": Bad(
        ["train.py", "-m", "task=nlp", "seed=1,2", "hydra.sweep.subdir=${hydra.gone}"],
        ["folder cannot be resolved", "gone"],
    ),
    "used folder of an evaluation": Bad(
        ["evaluate.py", "run=old", "hydra.run.dir=old"],
        ["old", "result.json"],
        {"old/result.json": b"{}"},
    ),
    "used folder of a baseline": Bad(
        ["baseline.py", "task=nlp", "hydra.run.dir=old"],
        ["old", "baseline.json"],
        {"old/baseline.json": b"{}"},
    ),
    "other modality": train("data=mnist5k", words=["data=mnist5k", "images", "task=vision"]),
    "other embedding": train("embedding=patches", words=["embedding=patches", "text"]),
    "no checkpoint": train("ckpt_path=gone.ckpt", words=["ckpt_path=gone.ckpt", "not exist"]),
    "cut checkpoint": train(
        "ckpt_path=cut.ckpt", words=["ckpt_path=cut.ckpt", "cut off"], files={"cut.ckpt": b"PK\3\4"}
    ),
    "several values": train("attention=dot,cosine", words=["attention=dot,cosine", "-m"]),
    "no override": train("vision", words=["'vision'", "key=value"]),
    "free text": train("ckpt_path=It's great!", words=["It's great!", "quotes"]),
    "bad job of a sweep": Bad(
        ["train.py", "-m", "task=nlp", "encoder.num_heads=4,7"], ["encoder.num_heads=7"]
    ),
    "unknown option in a sweep": Bad(
        ["train.py", "-m", "task=nlp", "attention=dot,cosin"], ["attention=cosin", "mean cosine"]
    ),
    "no file": train("data=csv", "data.path=gone.csv", words=["gone.csv", "not exist"]),
    "no path": train("data=csv", words=["data.path"]),
    "no column": table(
        b"review,label", b"good,1", words=["no column 'text'", "'review'", "data.text_column"]
    ),
    "empty table": table(b"", words=["empty"]),
    "header only": table(b"text,label", words=["header alone"]),
    "one class": table(b"text,label", b"good,1", b"fine,1", words=["one class"]),
    "empty text": table(b"text,label", b"good,1", b" ,0", words=["line 3", "empty"]),
    "not UTF-8": table(b"text,label", b"good,1", b"caf\xe9,0", words=["line 3", "UTF-8"]),
    "no folder": train("task=vision", "data=image_folder", "data.path=gone", words=["gone"]),
    "no image": images(b"not an image", words=["3.png"]),
    "no sound": sounds(b"not a sound", words=["3.wav"]),
    "empty sound": sounds(sound(0), words=["3.wav"]),
    "cut sound": sounds(sound()[:2000], words=["3.wav"]),
    "evaluate nothing": Bad(["evaluate.py", "split=val"], ["run is missing", "outputs/"]),
    "evaluate no run": Bad(["evaluate.py", "run=gone"], ["run=gone", "not exist"]),
    "evaluate another folder": Bad(
        ["evaluate.py", "run=mine"], ["run=mine", "not a run folder"], {"mine/notes.txt": b"mine"}
    ),
    "evaluate a folder of runs": Bad(
        ["evaluate.py", "run=nlp"], ["run=nlp", "nlp/one"], {"nlp/one/.hydra/config.yaml": b"a: 1"}
    ),
    "evaluate another model": Bad(
        ["evaluate.py", "run=mine", "attention.rotary=false"],
        ["attention.rotary belongs to the trained model", "train another"],
    ),
    "evaluate no split": Bad(["evaluate.py", "run=mine", "split=tset"], ["split=tset", "val"]),
    "baseline of nothing": Bad(["baseline.py", "task=speach"], ["task=speach", "mean speech"]),
    "baseline key": Bad(["baseline.py", "task=nlp", "data.pth=x"], ["data.pth"]),
}


# The same in processes of their own, where importing torch is an error: one for each command, and
# one for each kind of check.
AS_PROCESSES = (
    "unknown task",
    "fraction",
    "code in the config",
    "heads",
    "bad job of a sweep",
    "not UTF-8",
    "no image",
    "evaluate another model",
    "baseline key",
)


@pytest.mark.parametrize(
    ("name", "run"),
    [
        *((name, invoke_script) for name in BAD),
        *((name, partial(run_script, torch=False)) for name in AS_PROCESSES),
    ],
)
@pytest.mark.slow
def test_bad_input_ends_in_a_one_line_error(name: str, run: Run, tmp_path: Path) -> None:
    bad = BAD[name]
    here = tmp_path / "here"
    here.mkdir()
    for path, data in bad.files.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(data)
    before = content(here)

    done = run(bad.arguments, here, ATTENTION_ATLAS_CACHE=str(tmp_path / "cache"))

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in bad.words:
        assert word in done.stderr
    assert content(here) == before
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_training_that_ends_before_it_is_validated_ends_in_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    arguments = ["train.py", "task=vision", "+trainer.max_steps=1"]
    done = run_script(arguments, tmp_path / "here", ATTENTION_ATLAS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "before its first validation" in done.stderr
    assert content(tmp_path / "here") == {}


def test_the_traceback_is_shown_on_request(tmp_path: Path) -> None:
    done = run_script(["train.py", "task=nlpp"], tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "task=nlpp does not exist" in done.stderr


def test_a_missing_compiler_is_reported_before_torch_is_loaded(tmp_path: Path) -> None:
    arguments = ["train.py", "task=nlp", "attention=additive", "attention.compile=true"]
    here = tmp_path / "here"
    here.mkdir()
    done = run_script(arguments, here, torch=False, CXX="no-such-compiler")
    assert done.returncode == 2, done.stderr
    assert "needs a C++ compiler" in done.stderr
    assert "no-such-compiler" in done.stderr
    assert content(here) == {}
