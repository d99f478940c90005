"""`python evaluate.py` is `atlas evaluate`."""

from attention_atlas.interrupts import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()
    from attention_atlas.pipeline.commands import evaluate

    evaluate()
