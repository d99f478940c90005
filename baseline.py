"""Measure what a classical model reaches on the same split.

  python baseline.py task=nlp       TF-IDF and logistic regression
  python baseline.py task=vision    support vector machine on principal components
  python baseline.py task=speech    support vector machine on spectrograms

Takes the data and the seed as train.py does, writes outputs/baselines/<task>/<time>/baseline.json,
and keeps the figures where train.py finds them for its closing table.
"""

from pathlib import Path

from omegaconf import DictConfig

from attention_atlas.config.validation import check_data
from attention_atlas.pipeline.app import run_command


def main(config: DictConfig, folder: Path) -> None:
    """Import the data modules and measure; the config was composed and checked before."""
    from attention_atlas.pipeline.baseline import run_baseline

    run_baseline(config, folder)


if __name__ == "__main__":
    run_command(main, "baseline", Path(__file__).with_name("conf"), __doc__, check_data)
