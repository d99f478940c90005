"""Someone else's run folder: it is read, evaluated and looked at, and runs nothing of its own."""

import contextlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.main import _get_rerun_conf
from omegaconf import DictConfig, OmegaConf

from attention_atlas.atlas import open_atlas
from attention_atlas.config.untrusted import read_run_config
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.pipeline.load_run import load_run
from tests.commands import content, evaluate, run_script
from tests.security.payload import Payload

SECRET = "ATLAS_TEST_SECRET"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What is there if an attack worked."""
    return tmp_path / "marker"


@pytest.fixture
def copied(tmp_path: Path, trained_runs: dict[str, Path]) -> Callable[[str], Path]:
    """A copy of a tiny run of a task, to be tampered with."""

    def copy(task: str) -> Path:
        folder = tmp_path / f"theirs-{task}"
        shutil.copytree(trained_runs[task], folder)
        return folder

    return copy


def tamper(run: Path, *changes: str, **nodes: Any) -> None:
    """Change values of the config in a run folder."""
    path = run / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    config.merge_with_dotlist(list(changes))
    for key, node in nodes.items():
        OmegaConf.update(config, key.replace("__", "."), node, merge=False, force_add=True)
    OmegaConf.save(config, path)


PLACES = [
    "data",
    "task",
    "optimizer",
    "schedule",
    "trainer",
    "trainer__profiler",
    "callbacks__mine",
    "logger",
    "data__augmentation",
    "encoder__deep__er",
]


@pytest.mark.parametrize("place", PLACES)
def test_code_in_the_config_of_a_run_is_refused(
    place: str, copied: Callable[[str], Path], tmp_path: Path, marker: Path
) -> None:
    run = copied("vision")
    target = "attention_atlas.pipeline.callbacks.best_checkpoint.shutil.copyfile"
    tamper(run, **{place: {"_target_": target, "src": __file__, "dst": str(marker)}})
    before = content(run)
    for use in (read_run_config, load_run, lambda run: evaluate(run, tmp_path / "out")):
        with pytest.raises(InputError, match=r"_target_=.*not allowed"):
            use(run)
    assert not marker.exists()
    assert not (tmp_path / "out").exists()
    assert content(run) == before


@pytest.mark.slow
def test_the_commands_refuse_code_in_the_config_of_a_run(
    copied: Callable[[str], Path], tmp_path: Path, marker: Path
) -> None:
    run = copied("nlp")
    target = "attention_atlas.pipeline.callbacks.best_checkpoint.shutil.copyfile"
    tamper(run, schedule={"_target_": target, "src": __file__, "dst": str(marker)})
    for command, torch_needed in (
        (["evaluate.py", f"run={run}"], False),
        (["atlas", "faithfulness", str(run)], True),
    ):
        finished = run_script(command, tmp_path, torch=torch_needed)
        assert finished.returncode == 2, finished.stderr
        assert "schedule._target_=" in finished.stderr
        assert "Traceback" not in finished.stderr
    assert not marker.exists()
    assert not (run / "evaluations").exists()


def test_yaml_that_makes_objects_is_refused(copied: Callable[[str], Path], marker: Path) -> None:
    run = copied("vision")
    text = f"data: !!python/object/apply:os.mkdir ['{marker}']\n"
    (run / ".hydra" / "config.yaml").write_text(text)
    with pytest.raises(InputError, match="cannot be read"):
        read_run_config(run)
    assert not marker.exists()
    yaml.load(text, yaml.UnsafeLoader)
    assert marker.exists()


BOMBS = {
    "aliases": "a: &a [x,x]\n"
    + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    "text": "".join(f"a{n}: ${{a{n + 1}}}${{a{n + 1}}}\n" for n in range(40)) + "a40: x\n",
    "nodes": "".join(f"a{n}: {{x: '${{a{n + 1}}}', y: '${{a{n + 1}}}'}}\n" for n in range(40)),
    "depth": "a: " + "[" * 1200 + "]" * 1200,
    "great depth": "a: " + "[" * 100_000,  # would be parsed for minutes
    "size": "a: " + "x" * 2**21,
    "itself": "a: {b: '${a}'}\n",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_config_that_grows_without_end_is_refused(
    text: str, copied: Callable[[str], Path]
) -> None:
    run = copied("vision")
    (run / ".hydra" / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml"):
        read_run_config(run)


@pytest.mark.parametrize(
    "reading",
    [
        f"${{oc.env:{SECRET}}}",
        f"${{oc.decode:'${{oc.env:{SECRET}}}'}}",
        f"${{${{seed_word}}.env:{SECRET}}}",
        f"${{oc.env:{SECRET},harmless}}",
    ],
)
def test_a_secret_of_the_environment_is_not_read_into_a_result(
    reading: str,
    copied: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SECRET, "hunter2")
    run = copied("vision")
    tamper(run, seed_word="oc", task__name=reading)
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    assert config.task.name == "hunter2"  # what a result would be written with
    with pytest.raises(InputError, match=f"environment variable {SECRET} as task.name") as error:
        read_run_config(run)
    assert "hunter2" not in str(error.value)


def test_a_secret_that_may_be_read_is_not_written_down(
    copied: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = copied("vision")
    config = read_run_config(run)
    monkeypatch.setenv(SECRET, str(config.data.path))
    tamper(
        run,
        data__path=f"${{oc.env:{SECRET}}}",
        logger={
            "_target_": "lightning.pytorch.loggers.CSVLogger",
            "save_dir": f"${{oc.env:{SECRET}}}",
        },
    )
    evaluate(run, tmp_path / "out")
    kept = open_atlas(tmp_path / "out").config
    assert kept["data"]["path"] == kept["logger"]["save_dir"] == f"${{oc.env:{SECRET}}}"
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or os.environ[SECRET].encode() not in path.read_bytes(), path


@pytest.mark.parametrize("with_trainer", [False, True])
def test_an_evaluation_writes_into_its_own_folder_only(
    with_trainer: bool, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    run = copied("vision")
    outside = tmp_path / "outside"
    tamper(
        run,
        run_folder=str(outside / "run_folder"),
        callbacks__checkpoint__dirpath=str(outside / "checkpoints"),
        trainer__default_root_dir=str(outside / "root"),
        trainer__profiler={
            "_target_": "lightning.pytorch.profilers.SimpleProfiler",
            "dirpath": str(outside),
            "filename": "../profile",
        },
        logger={
            "_target_": "lightning.pytorch.loggers.TensorBoardLogger",
            "save_dir": str(outside / "logs"),
        },
    )
    before = content(tmp_path)
    overrides = ["+trainer.limit_test_batches=1"] if with_trainer else []
    evaluate(run, tmp_path / "out", *overrides)
    after = {name: value for name, value in content(tmp_path).items() if name != "out"}
    assert {name: value for name, value in after.items() if not name.startswith("out/")} == before
    assert not outside.exists()


def test_the_profiler_of_such_a_run_would_write_outside(tmp_path: Path) -> None:
    from lightning.pytorch.profilers import SimpleProfiler

    (tmp_path / "inside").mkdir()
    profiler = SimpleProfiler(dirpath=tmp_path / "inside", filename="../profile")
    profiler.setup("test")
    profiler.describe()
    profiler.teardown("test")
    assert any(path.name.endswith("profile.txt") for path in tmp_path.rglob("*"))


def test_evaluations_that_lead_elsewhere_are_refused(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    run = copied("vision")
    (tmp_path / "elsewhere").mkdir()
    (run / "evaluations").symlink_to(tmp_path / "elsewhere")
    finished = run_script(["evaluate.py", f"run={run}"], tmp_path, torch=False)
    assert finished.returncode == 2
    assert "is a link to" in finished.stderr
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_link_under_the_name_of_a_draft_is_not_followed(tmp_path: Path) -> None:
    """`atlas faithfulness` writes into the folder of the run."""
    mine, run = tmp_path / "mine", tmp_path / "theirs"
    run.mkdir()
    mine.write_text("precious")
    (run / f".faithfulness.{os.getpid()}.draft.json").symlink_to(mine)
    (run / "faithfulness.json").symlink_to(mine)
    write_json(run / "faithfulness.json", {"a": 1})
    assert mine.read_text() == "precious"
    assert json.loads((run / "faithfulness.json").read_text()) == {"a": 1}
    assert not (run / "faithfulness.json").is_symlink()


@pytest.mark.filterwarnings("default")  # Hydra warns before it opens the pickle
@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "baseline.py"])
def test_the_pickle_of_a_job_is_not_opened(script: str, tmp_path: Path, marker: Path) -> None:
    path = tmp_path / ".hydra" / "config.pickle"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Payload(marker)))
    finished = run_script([script, "--experimental-rerun", str(path)], tmp_path, torch=False)
    assert finished.returncode == 2
    assert "opens a pickle" in finished.stderr
    assert not marker.exists()
    with contextlib.suppress(Exception):  # what comes out is no config
        _get_rerun_conf(str(path), [])
    assert marker.exists()


def test_a_pickle_in_place_of_a_checkpoint_is_not_opened(
    copied: Callable[[str], Path], tmp_path: Path, marker: Path
) -> None:
    run = copied("vision")
    best = run / "checkpoints" / "best.ckpt"
    best.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(InputError, match="best"):
        load_run(run, with_data=True)
    with pytest.raises(InputError, match="not a checkpoint"):
        evaluate(run, tmp_path / "out")
    assert not marker.exists()
    pickle.loads(best.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("key", ["state_dict", "callbacks", "ImageDataModule"])
def test_a_pickle_inside_a_checkpoint_is_not_opened(
    key: str, copied: Callable[[str], Path], marker: Path
) -> None:
    run = copied("vision")
    best = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(best, weights_only=True)
    torch.save(checkpoint | {key: Payload(marker)}, best)
    assert zipfile.is_zipfile(best)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        load_run(run, with_data=True)
    assert not marker.exists()
    torch.load(best, weights_only=False)
    assert marker.exists()


def test_a_checkpoint_that_blows_up_is_not_unpacked(copied: Callable[[str], Path]) -> None:
    """Half a gigabyte of zeros in some hundred kilobytes."""
    best = copied("vision") / "checkpoints" / "best.ckpt"
    torch.save({"state_dict": {"weight": torch.zeros(2**27)}}, best)
    with zipfile.ZipFile(best) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(best, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, values in entries.items():
            archive.writestr(name, values)
    assert best.stat().st_size < 2**23
    with pytest.raises(InputError, match="more than it has"):
        load_run(best.parent.parent, with_data=True)
    assert torch.load(best, weights_only=True)["state_dict"]["weight"].numel() == 2**27


def test_resuming_from_such_a_checkpoint_is_refused(
    copied: Callable[[str], Path],
    run_training: Callable[..., dict[str, Any]],
    tiny: dict[str, list[str]],
    tmp_path: Path,
    marker: Path,
) -> None:
    last = copied("vision") / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    torch.save(checkpoint | {"hyper_parameters": Payload(marker)}, last)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        run_training([*tiny["vision"], f"ckpt_path={last}"], tmp_path / "mine")
    assert not marker.exists()


def test_pickled_pairs_of_tokens_are_not_opened(
    copied: Callable[[str], Path], marker: Path
) -> None:
    run = copied("nlp")
    path = run / "token_pairs.npy"
    np.save(path, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"token_pairs\.npy holds no pairs"):
        load_run(run, with_data=True)
    assert not marker.exists()
    np.load(path, allow_pickle=True)
    assert marker.exists()


ODD_FILES: dict[str, tuple[str, str, bytes]] = {
    "a tokenizer that is a pickle": ("nlp", "tokenizer.json", pickle.dumps([1])),
    "a tokenizer of nothing": ("nlp", "tokenizer.json", b"{}"),
    "pairs of huge claims": (
        "nlp",
        "token_pairs.npy",
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999999,), }".ljust(117)
        + b"\n",
    ),
    "pairs of text": ("nlp", "token_pairs.npy", b"text"),
    "means that are code": ("vision", "images.json", b"__import__('os')"),
    "means that are text": ("vision", "images.json", b'{"classes": [], "mean": "x"}'),
    "many means": (
        "vision",
        "images.json",
        json.dumps({"classes": ["a"], "mean": [0.0] * 99, "deviation": [1.0] * 99}).encode(),
    ),
    "deep json": ("vision", "images.json", b"[" * 100_000),
    "a result that is a list": ("vision", "result.json", b"[]"),
    "a result of odd classes": ("vision", "result.json", b'{"classes": [{}]}'),
    "a result that is no json": ("vision", "result.json", b"\x80\x04."),
}


@pytest.mark.parametrize("odd", ODD_FILES.values(), ids=ODD_FILES)
def test_an_odd_file_ends_in_a_one_line_error(
    odd: tuple[str, str, bytes], copied: Callable[[str], Path]
) -> None:
    task, name, written = odd
    run = copied(task)
    (run / name).write_bytes(written)
    with pytest.raises(InputError, match=name):
        load_run(run, with_data=True)


def test_a_link_to_a_secret_file_shows_nothing_of_it(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2: hunter2\n")
    for name in ("images.json", "result.json", ".hydra/config.yaml", "checkpoints/best.ckpt"):
        run = copied("vision")
        (run / name).unlink()
        (run / name).symlink_to(secret)
        with pytest.raises(InputError) as error:
            load_run(run, with_data=True)
        assert "hunter2" not in str(error.value)
        shutil.rmtree(run)


def test_commands_for_the_terminal_in_a_config_are_refused(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    run = copied("vision")
    tamper(run, data__path="\x1b]0;owned\x07nowhere")
    finished = run_script(["evaluate.py", f"run={run}"], tmp_path, torch=False)
    assert finished.returncode == 2
    assert "would take for commands" in finished.stderr
    assert "\x1b" not in finished.stderr + finished.stdout
