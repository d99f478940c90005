"""`python train.py` is `atlas train`."""

from attention_atlas.pipeline.commands import train

if __name__ == "__main__":
    train()
