"""Train a Transformer with one shared attention module, test it, and keep its maps.

python train.py task=nlp                       text sentiment (also: vision, speech)
python train.py task=nlp attention=additive    another mechanism
python train.py task=nlp data=csv data.path=reviews.csv
python train.py task=nlp resume=auto           go on where the same command was ended
python train.py -m task=nlp,vision,speech attention=scaled_dot,additive
"""

from pathlib import Path

from omegaconf import DictConfig

from attention_atlas.pipeline.app import run_command
from attention_atlas.pipeline.sweeps.jobs import objective_of


def main(config: DictConfig, folder: Path) -> float | None:
    """Import torch and train; the config was composed and checked before."""
    from attention_atlas.pipeline.train import train

    train(config, folder)
    return objective_of(config, folder)


if __name__ == "__main__":
    run_command(main, "train", Path(__file__).with_name("conf"), __doc__)
