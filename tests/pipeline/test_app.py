"""From the command line to the job, in real processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from attention_atlas.pipeline.app import parse_arguments
from tests.commands import REPOSITORY, content, invoke_script, run_script, start_training

JOB = """
import sys, time
from pathlib import Path
from attention_atlas.errors import InputError
from attention_atlas.pipeline.app import run_command

def main(config, folder):
    {body}

run_command(main, "train", Path({conf!r}), "A job.")
"""


@pytest.fixture
def script(tmp_path: Path):
    """A command like train.py whose job is given."""

    def write(body: str) -> str:
        path = tmp_path / "job.py"
        path.write_text(JOB.format(body=body, conf=str(REPOSITORY / "conf")))
        (tmp_path / "here").mkdir()
        return str(path)

    return write


def test_the_options_of_hydra_are_known() -> None:
    """Hydra has no public parser: this fails where a version of it has other options."""
    from hydra._internal.utils import get_args_parser

    typed = ["a=1", "b=2", "--multirun"]
    for action in get_args_parser()._actions:
        for flag in action.option_strings:
            if flag == "--version":  # Hydra prints it at once
                continue
            values = ["job" if action.choices and "job" in action.choices else "all"]
            for line in ([flag, *values], [flag]):
                takes = action.nargs == "?" or (action.nargs is None) == (len(line) == 2)
                if takes:
                    theirs = vars(get_args_parser().parse_args([*typed, *line]))
                    ours = vars(parse_arguments([*typed, *line]))
                    assert theirs.items() <= ours.items()
    theirs = set(vars(get_args_parser().parse_args([])))
    assert set(vars(parse_arguments([]))) - theirs == {"version", "shows_only"}


GROUPS = {
    "train.py": "attention augmentation callbacks capture data debug embedding encoder experiment "
    "logger optimizer schedule task trainer",
    "evaluate.py": "capture data",
    "baseline.py": "augmentation data embedding encoder task",
}


@pytest.mark.parametrize("name", GROUPS)
def test_help_tells_commands_groups_and_values_without_torch(name: str, tmp_path: Path) -> None:
    done = run_script([name, "--help"], tmp_path, torch=False)
    assert done.returncode == 0, done.stderr
    assert f"atlas {Path(name).stem} " in done.stdout
    assert f"python {name}" in done.stdout
    listed = dict(re.findall(r"^  (\w+): (.+)$", done.stdout.partition("Values (")[0], re.M))
    assert set(listed) - {"local"} == set(GROUPS[name].split())
    assert "audio_folder, cifar10, cifar100, csv, fashion_mnist" in listed["data"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate.py", "run=x", "task=nlp"], "task cannot be chosen in `atlas evaluate`; its "),
        (["evaluate.py", "run=x", "attention=dot"], "attention belongs to the trained model"),
        (["baseline.py", "task=nlp", "capture=off"], "capture cannot be chosen in `atlas baseline"),
    ],
)
def test_a_group_of_another_command_is_refused(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = invoke_script(arguments, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_a_job_gets_its_config_and_folder(script, tmp_path: Path) -> None:
    path = script('(folder / "seed.txt").write_text(str(config.seed))')
    done = run_script([path, "task=vision", "seed=5"], tmp_path / "here", torch=False)
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "here").glob("outputs/vision/*/seed.txt")
    assert written.read_text() == "5"
    assert (written.parent / ".hydra" / "config.yaml").is_file()


def test_input_that_is_refused_late_leaves_nothing(script, tmp_path: Path) -> None:
    path = script('raise InputError("line 3 is empty.")')
    done = run_script([path, "task=vision"], tmp_path / "here", torch=False)
    assert done.returncode == 2
    assert done.stderr == "error: line 3 is empty.\n"
    assert content(tmp_path / "here") == {}


def test_a_folder_of_the_user_is_not_removed(script, tmp_path: Path) -> None:
    path = script('raise InputError("line 3 is empty.")')
    mine = tmp_path / "here" / "mine"
    mine.mkdir(parents=False, exist_ok=True)
    (mine / "notes.txt").write_text("mine")
    done = run_script([path, "task=vision", "hydra.run.dir=mine"], tmp_path / "here", torch=False)
    assert done.returncode == 2
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_sweep_is_refused_before_its_first_job(script, tmp_path: Path) -> None:
    path = script('(folder / "ran.txt").write_text("")')
    arguments = [path, "-m", "task=vision", "encoder.num_heads=2,4,5"]
    done = run_script(arguments, tmp_path / "here", torch=False)
    assert done.returncode == 2
    assert "encoder.num_heads=5" in done.stderr
    assert content(tmp_path / "here") == {}


def test_a_sweep_runs_each_job_in_a_folder_of_its_name(script, tmp_path: Path) -> None:
    path = script("""(folder / "result.json").write_text('{"val/accuracy": 0.5}')""")
    arguments = [path, "-m", "task=vision", "encoder.num_heads=2,4", "attention=dot,cosine"]
    done = run_script(arguments, tmp_path / "here", torch=False)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "here" / "outputs" / "sweeps").iterdir()
    assert sorted(result.parent.name for result in sweep.glob("*/result.json")) == [
        "attention-cosine_encoder.num_heads-2",
        "attention-cosine_encoder.num_heads-4",
        "attention-dot_encoder.num_heads-2",
        "attention-dot_encoder.num_heads-4",
    ]


def test_a_folder_is_told_apart_by_microseconds(script, tmp_path: Path) -> None:
    path = script('(folder / "ran.txt").write_text("")')
    done = run_script([path, "task=vision"], tmp_path / "here", torch=False)
    assert done.returncode == 0, done.stderr
    (ran,) = (tmp_path / "here").glob("outputs/vision/*/ran.txt")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}", ran.parent.name)


@pytest.mark.parametrize(
    ("subfolder", "message"),
    [
        ("same", "Two jobs would write to sweep/same"),
        ("../elsewhere", "not a folder directly in that of the sweep"),
        ("a/b", "Two jobs would write|not a folder directly"),
    ],
)
def test_each_job_of_a_sweep_has_a_folder_of_its_own(
    subfolder: str, message: str, script, tmp_path: Path
) -> None:
    path = script("""(folder / "result.json").write_text('{"val/accuracy": 1}')""")
    arguments = [path, "-m", "task=vision", "seed=1,2"]
    arguments += ["hydra.sweep.dir=sweep", f"hydra.sweep.subdir={subfolder}"]
    done = run_script(arguments, tmp_path / "here", torch=False)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert content(tmp_path / "here") == {}


RESULT_JOB = """
    time.sleep(1)
    (folder / "result.json").write_text('{"val/accuracy": %d, "seed": %d}' % (1, config.seed))
"""


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0, 0.05, 0.3, 0.8, 1.5, 2])
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_of_two_commands_in_one_folder_one_alone_runs(
    kind: str, gap: float, script, tmp_path: Path
) -> None:
    """The other one says so, and leaves the files of the first as they are."""
    here, path = tmp_path / "here", script(RESULT_JOB)
    where = ["hydra.run.dir=x"] if kind == "run" else ["-m", "hydra.sweep.dir=x"]
    commands = [[sys.executable, path, *where, "task=vision", f"seed={seed}"] for seed in (1, 2)]
    processes = []
    for command in commands:
        processes.append(subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True))
        time.sleep(gap)
    ends = {p.wait(timeout=120): p.communicate()[1] for p in processes}
    assert set(ends) == {0, 2}, ends
    assert re.search("Another process|earlier run|holds a (run|sweep)", ends[2])
    (result,) = (here / "x").rglob("result.json")
    (config,) = (here / "x").rglob(".hydra/config.yaml")
    seed = json.loads(result.read_text())["seed"]
    assert f"seed: {seed}\n" in config.read_text()
    assert [process.returncode for process in processes][seed - 1] == 0


@pytest.mark.slow
def test_a_folder_that_was_typed_wins_over_an_unfinished_run(script, tmp_path: Path) -> None:
    path, here = script('(folder / "ran.txt").write_text(""); raise RuntimeError("a bug")'), "here"
    command = [path, "task=vision", "resume=auto"]
    run_script([*command, "hydra.run.dir=runs/a"], tmp_path / here, torch=False)
    before = content(tmp_path / here / "runs" / "a")
    run_script([*command, "hydra.run.dir=runs/b"], tmp_path / here, torch=False)
    assert (tmp_path / here / "runs" / "b" / "ran.txt").is_file()
    assert content(tmp_path / here / "runs" / "a") == before


@pytest.mark.slow
def test_a_folder_that_was_typed_wins_over_a_sweep(script, tmp_path: Path) -> None:
    path, here = script(RESULT_JOB), tmp_path / "here"
    for folder in ("sweeps/a", "sweeps/b"):
        command = [path, "-m", "task=vision", "seed=1,2", f"hydra.sweep.dir={folder}"]
        assert run_script(command, here, torch=False).returncode == 0
    assert len(list(here.glob("sweeps/*/seed-1/result.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("left", ["", '{"val/accuracy": ', "[]"], ids=["empty", "cut", "a list"])
def test_a_job_whose_result_is_damaged_runs_again(left: str, script, tmp_path: Path) -> None:
    path, here = script(RESULT_JOB), tmp_path / "here"
    command = [path, "-m", "task=vision", "seed=1,2", "hydra.sweep.dir=sweep"]
    assert run_script(command, here, torch=False).returncode == 0
    damaged = here / "sweep" / "seed-2" / "result.json"
    damaged.write_text(left)
    done = run_script(command, here, torch=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(damaged.read_text())["seed"] == 2
    assert "is finished already" in done.stdout


@pytest.mark.parametrize("name", [".lock", "checkpoints", ".hydra/config.yaml", "a/b/c"])
@pytest.mark.slow
def test_a_resumed_run_writes_through_no_link(name: str, script, tmp_path: Path) -> None:
    path, here = script('raise RuntimeError("a bug")'), tmp_path / "here"
    command = [path, "task=vision", "resume=auto", "hydra.run.dir=run"]
    run_script(command, here, torch=False)
    link = here / "run" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    mine = tmp_path / "mine"
    if link.exists():
        link.rename(mine)
    else:
        mine.write_text("mine")
    link.symlink_to(mine)
    before = mine.read_bytes(), mine.stat().st_mtime_ns
    done = run_script(command, here, torch=False)
    assert done.returncode == 2, done.stderr
    assert f"{name} is a link" in done.stderr
    assert (mine.read_bytes(), mine.stat().st_mtime_ns) == before
    assert link.is_symlink()


def test_a_reader_that_goes_ends_no_job(script, tmp_path: Path) -> None:
    path = script("""
    time.sleep(1)
    (folder / "done.txt").write_text("")
    print("done", flush=True)
""")
    line = f"'{sys.executable}' '{path}' task=vision | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path / "here", capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "here").glob("outputs/vision/*/done.txt"))


def test_options_between_overrides_are_told(script, tmp_path: Path) -> None:
    done = run_script(
        [script("pass"), "task=vision", "-m", "seed=0,1"], tmp_path / "here", torch=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unrecognized arguments: seed=0,1. Options such as -m")
    assert done.stderr.count("\n") == 1


def test_a_bug_is_no_bad_input(script, tmp_path: Path) -> None:
    path = script('raise RuntimeError("a bug")')
    done = run_script([path, "task=vision"], tmp_path / "here", torch=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert list((tmp_path / "here").glob("outputs/vision/*/.hydra"))


def test_a_full_disk_ends_a_sweep(script, tmp_path: Path) -> None:
    """The next jobs could not be written either, and Hydra would show a traceback."""
    path = script("""
    print("started", flush=True)
    raise OSError(28, "No space left on device")
""")
    done = run_script([path, "-m", "task=vision", "seed=1,2"], tmp_path / "here", torch=False)
    assert done.returncode == 1
    assert done.stdout.count("started") == 1
    assert re.match("error: .*, or a file of the run, cannot be written: No space", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_lightning_refuses_ends_in_a_one_line_error(script, tmp_path: Path) -> None:
    path = script("from lightning.pytorch import Trainer; Trainer(fast_dev_run=-1)")
    done = run_script([path, "task=vision"], tmp_path / "here")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "fast_dev_run=-1" in done.stderr


def test_an_interrupt_is_quiet(script, tmp_path: Path) -> None:
    path = script('print("started", flush=True); time.sleep(600)')
    process = subprocess.Popen(
        [sys.executable, path, "task=vision"],
        cwd=tmp_path / "here",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # A shell starts its background jobs with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"


@pytest.mark.slow
def test_an_interrupted_training_says_what_was_kept(tiny, tmp_path: Path) -> None:
    process = start_training(
        tiny["vision"],
        tmp_path,
        epoch=3,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert process.returncode == 130, errors
    assert errors.splitlines() == [
        "",
        "saving after this step; ctrl-C again leaves at once",
        f"ended by SIGINT after {last} was saved; the same command with resume=auto resumes it",
    ]
    assert last.is_file()


@pytest.mark.slow
def test_a_run_folder_that_cannot_be_made_ends_in_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_script(
        ["train.py", "task=vision", f"hydra.run.dir={tmp_path / 'file' / 'run'}"], tmp_path
    )
    assert done.returncode == 2
    path = tmp_path / "file"
    assert (
        done.stderr == f"error: {path / 'run'} cannot be written: {str(path)!r} is not a folder.\n"
    )
    assert done.stderr.count("\n") == 1


def test_half_of_the_variables_of_a_launcher_is_refused(tmp_path: Path) -> None:
    done = run_script(["train.py", "task=vision"], tmp_path, torch=False, LOCAL_RANK="1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: RANK or LOCAL_RANK is set, and RANK is not")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("data.path=reviews.csv", "{here}/reviews.csv"),
        ("data.path=./reviews.csv", "{here}/reviews.csv"),
        ("data.path={here}/reviews.csv", "{here}/reviews.csv"),
        ("data.path=${{oc.env:DATA}}/reviews.csv", "${{oc.env:DATA}}/reviews.csv"),
        (
            "data.splits={{train:reviews.csv,test:reviews.csv}}",
            {"train": "{here}/reviews.csv", "test": "{here}/reviews.csv"},
        ),
    ],
)
@pytest.mark.slow
def test_a_run_names_its_data_by_a_path_that_holds_anywhere(
    typed: str, stored: str | dict[str, str], script, reviews: Path, tmp_path: Path
) -> None:
    path, here = script('raise RuntimeError("a bug")'), tmp_path / "here"
    shutil.copy(reviews, here / "reviews.csv")
    key, _, _ = typed.partition("=")
    command = [path, "task=nlp", "data=csv", typed.format(here=here), "hydra.run.dir=run"]
    run_script(command, here, torch=False, DATA=str(here))
    config = here / "run" / ".hydra" / "config.yaml"
    found = OmegaConf.to_container(OmegaConf.load(config))["data"][key.removeprefix("data.")]
    wanted = stored if isinstance(stored, dict) else {"": stored}
    assert (found if isinstance(found, dict) else {"": found}) == {
        split: each.format(here=here) for split, each in wanted.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("of_earlier_version", [False, True])
@pytest.mark.parametrize("typed", ["reviews.csv", "{here}/reviews.csv"])
def test_a_run_is_resumed_by_any_spelling_of_its_data(
    typed: str, of_earlier_version: bool, script, reviews: Path, tmp_path: Path
) -> None:
    path, here = script('raise RuntimeError("a bug")'), tmp_path / "here"
    shutil.copy(reviews, here / "reviews.csv")
    command = [path, "task=nlp", "data=csv", "resume=auto"]
    run_script([*command, "data.path=reviews.csv"], here, torch=False)
    (config,) = here.glob("outputs/nlp/*/.hydra/config.yaml")
    if of_earlier_version:  # which stored the path as it was typed
        config.write_text(config.read_text().replace(f"{here}/reviews.csv", "reviews.csv"))
    run_script([*command, f"data.path={typed.format(here=here)}"], here, torch=False)
    assert list(here.glob("outputs/nlp/*/.hydra/config.yaml")) == [config]
    shutil.copy(reviews, here / "other.csv")
    run_script([*command, "data.path=other.csv"], here, torch=False)
    assert len(list(here.glob("outputs/nlp/*/.hydra/config.yaml"))) == 2
