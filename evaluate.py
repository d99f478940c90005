"""Test a finished run again, and record what its model attends to.

  python evaluate.py run=outputs/nlp/<time>                    as it was tested after training
  python evaluate.py run=outputs/nlp/<time> split=val capture=full
  python evaluate.py run=outputs/nlp/<time> data=csv data.path=reviews.csv

The run is rebuilt from its folder, so nothing that it was trained with is typed again. The outcome
goes to <run>/evaluations/<time>/; the run's own files stay as they are.
"""

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from attention_atlas.pipeline.app import run_command
from attention_atlas.pipeline.evaluation_config import check_evaluation

NODES_OF_THE_RUN = ("data.", "capture.", "trainer.")


def main(config: DictConfig, folder: Path) -> None:
    """Import torch and evaluate; the config was composed and checked before."""
    from attention_atlas.pipeline.evaluate import evaluate_run

    evaluate_run(config, folder, HydraConfig.get().runtime.choices)


if __name__ == "__main__":
    # Values of the run are not in conf/evaluate.yaml, so Hydra is told to add what is given.
    sys.argv[1:] = [
        f"++{argument}" if argument.startswith(NODES_OF_THE_RUN) else argument
        for argument in sys.argv[1:]
    ]
    conf = Path(__file__).with_name("conf")
    run_command(main, "evaluate", conf, __doc__, check_evaluation)
