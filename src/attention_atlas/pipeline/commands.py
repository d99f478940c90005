"""The Hydra applications `train`, `evaluate` and `baseline`; torch is imported once one runs."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from attention_atlas.config.compose import Check
from attention_atlas.config.overrides import quoted
from attention_atlas.config.validation import check_config, check_data
from attention_atlas.console import checked_output
from attention_atlas.errors import InputError
from attention_atlas.interrupts import raising_signals
from attention_atlas.pipeline.app import run_command
from attention_atlas.pipeline.evaluation_config import check_evaluation
from attention_atlas.pipeline.exits import exits
from attention_atlas.pipeline.job import Job
from attention_atlas.pipeline.sweeps.jobs import objective_of
from attention_atlas.run_folder import find_run

TRAIN = """
Train a Transformer with one shared attention module, test it, and save its attention maps.

  atlas train task=nlp                       sentiment of film reviews
  atlas train task=vision                    handwritten digits
  atlas train task=speech                    spoken commands
  atlas train task=nlp attention=additive    another mechanism
  atlas train task=nlp data=csv data.path=reviews.csv
  atlas train task=nlp resume=auto           resume where the same command was stopped
  atlas train -m task=nlp,vision,speech attention=scaled_dot,additive

`atlas train --help` lists all options and values; in a checkout, `python train.py` is the same
command.
"""

EVALUATE = """
Test a finished run again, and record what its model attends to.

  atlas evaluate run=outputs/nlp/<time>      as it was tested after training
  atlas evaluate run=last                    the newest finished run; last:nlp: of the task
  atlas evaluate run=outputs/nlp/<time> split=val capture=full
  atlas evaluate run=outputs/nlp/<time> data=csv data.path=reviews.csv
  atlas evaluate run=outputs/nlp/<time> data.batch_size=16 trainer.devices=1

The run is rebuilt from its folder, so nothing that it was trained with is typed again. The outcome
goes to <run>/evaluations/<time>/; the run's own files stay as they are. In a checkout,
`python evaluate.py` is the same command.
"""

BASELINE = """
Measure what a classical model reaches on the same split.

  atlas baseline task=nlp       TF-IDF and logistic regression
  atlas baseline task=vision    support vector machine on principal components
  atlas baseline task=speech    support vector machine on spectrograms

Takes the data and the seed as `atlas train` does, writes
outputs/baselines/<task>/<time>/baseline.json, and stores the figures where training finds them for
its closing table. In a checkout, `python baseline.py` is the same command.
"""

NODES_OF_THE_RUN = ("data.", "capture.", "trainer.")
RUN_KEYS = ("run", "init")


def conf_folder() -> Path:
    """Return the folder of the configs: in the installed package, or at the root of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def train() -> None:
    """Run `atlas train` with the arguments in `sys.argv`."""
    _run(_train, "train", TRAIN, partial(check_config, checked_data=set()))


def evaluate() -> None:
    """Run `atlas evaluate` with the arguments in `sys.argv`."""
    # Values of the run are not in conf/evaluate.yaml, so Hydra has to add them.
    sys.argv[1:] = [
        f"++{argument}" if argument.startswith(NODES_OF_THE_RUN) else argument
        for argument in sys.argv[1:]
    ]
    _run(_evaluate, "evaluate", EVALUATE, check_evaluation)


def baseline() -> None:
    """Run `atlas baseline` with the arguments in `sys.argv`."""
    _run(_baseline, "baseline", BASELINE, check_data)


def _run(job: Job, name: str, usage: str, check: Check) -> None:
    if len(sys.argv) == 1:
        print(usage.strip())
        return
    with checked_output(), exits(), raising_signals():
        sys.argv[1:] = map(_with_run_found, sys.argv[1:])
        run_command(job, name, conf_folder(), usage, check)


def _with_run_found(argument: str) -> str:
    """Replace `last` by the newest finished run."""
    key, _, run = argument.partition("=")
    if key not in RUN_KEYS:
        return argument
    found = find_run(run)
    if Path(found).is_file():
        raise InputError(f"{argument} is a file; give the folder of a run: outputs/<task>/<time>.")
    return argument if found == run else f"{key}={quoted(found)}"


def _train(config: DictConfig, folder: Path) -> Any:
    from attention_atlas.pipeline.train import train

    train(config, folder)
    return objective_of(config, folder)


def _evaluate(config: DictConfig, folder: Path) -> None:
    from attention_atlas.pipeline.evaluate import evaluate_run

    evaluate_run(config, folder, HydraConfig.get().runtime.choices)


def _baseline(config: DictConfig, folder: Path) -> None:
    from attention_atlas.pipeline.baseline import run_baseline

    run_baseline(config, folder)
