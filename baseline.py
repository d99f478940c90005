"""`python baseline.py` is `atlas baseline`."""

from attention_atlas.pipeline.commands import baseline

if __name__ == "__main__":
    baseline()
