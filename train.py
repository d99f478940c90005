"""Train and test one model: python train.py task=nlp|vision|speech.

python train.py --help lists every choice.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from attention_atlas.pipeline.launch import run_command


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Compose, check, then import torch and train."""
    from attention_atlas.pipeline.train import train

    train(config, Path(config.run_folder))


if __name__ == "__main__":
    run_command(main)
