"""`python evaluate.py` is `atlas evaluate`."""

from attention_atlas.pipeline.commands import evaluate

if __name__ == "__main__":
    evaluate()
