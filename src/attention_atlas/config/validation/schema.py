"""What each value of a config may be."""

from dataclasses import dataclass
from typing import Any

from attention_atlas.attention_options import GATES
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class Rule:
    """What a value may be, and how that is said.

    Attributes:
        words: What is accepted, to follow "take".
        types: Accepted types; a whole number is accepted where a float is.
        low: Least number.
        high: Greatest number.
        below: Whether `high` itself is out of range.
        above: Whether `low` itself is out of range.
        choices: The only values there are.
        optional: Whether null is accepted.
        items: What each item of a list must follow.
        length: How many items a list must have.
    """

    words: str
    types: tuple[type, ...]
    low: float = -float("inf")
    high: float = float("inf")
    below: bool = False
    above: bool = False
    choices: tuple[Any, ...] = ()
    optional: bool = False
    items: "Rule | None" = None
    length: int | None = None

    def accepts(self, value: Any) -> bool:
        """Whether a resolved value follows the rule."""
        if value is None:
            return self.optional
        if isinstance(value, bool) and bool not in self.types:
            return False
        if not isinstance(value, self.types):
            return False
        if self.choices:
            return value in self.choices
        if isinstance(value, list) and self.items is not None:
            return len(value) == self.length and all(self.items.accepts(item) for item in value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            too_low = value <= self.low if self.above else value < self.low
            too_high = value >= self.high if self.below else value > self.high
            return not (too_low or too_high or value != value)
        return True

    def check(self, key: str, value: Any) -> None:
        """Check the resolved value of a key.

        Raises:
            InputError: It does not follow the rule.
        """
        if not self.accepts(value):
            shown = "null" if value is None else repr(value) if value == "" else value
            null = ", or null" if self.optional else ""
            raise InputError(f"{key}={shown} is not possible: take {self.words}{null}.")


def whole(low: int, optional: bool = False) -> Rule:
    """A whole number of at least `low`."""
    return Rule(f"a whole number, {low} or more", (int,), low, optional=optional)


def share(below: bool = True) -> Rule:
    """A number from 0 to 1."""
    return Rule(f"a number from 0 to {'below ' if below else ''}1", (int, float), 0, 1, below)


def number(low: float, above: bool = False, optional: bool = False) -> Rule:
    """A number of at least, or above, `low`."""
    words = f"a number above {low:g}" if above else f"a number, {low:g} or more"
    return Rule(words, (int, float), low, above=above, optional=optional)


def choice(*choices: Any) -> Rule:
    """One of some values."""
    words = "one of " + ", ".join(str(value) for value in choices)
    return Rule(words, tuple({type(value) for value in choices}), choices=choices)


def text(words: str, optional: bool = False) -> Rule:
    """Any text."""
    return Rule(words, (str,), optional=optional)


MONITORED = {
    "val/loss": "min",
    "val/accuracy": "max",
    "val/macro_f1": "max",
    "val/calibration_error": "min",
}
"""Metrics that each validation logs, and whether less or more of it is better."""

RULES: dict[str, Rule] = {
    "seed": Rule("a whole number from 0 to 4294967295", (int,), 0, 2**32 - 1),
    "num_threads": whole(1),
    "ckpt_path": text("a checkpoint file", optional=True),
    "init": text("the folder of a finished run", optional=True),
    "resume": Rule("auto", (str,), choices=("auto",), optional=True),
    "run": text("the folder of a run"),
    "split": choice("train", "val", "test"),
    "task.label_smoothing": share(),
    "task.recipe.max_epochs": whole(1),
    "task.recipe.ema_decay": share(),
    "data.path": text("a file or folder", optional=True),
    "data.batch_size": whole(1),
    "data.eval_batch_size": whole(1, optional=True),
    "data.num_workers": whole(0),
    "embedding.init": choice("cooccurrence", "random"),
    "embedding.positions": choice("learned", "sinusoidal", "none"),
    "embedding.stem": choice("conv", "pool", "linear"),
    "embedding.patch_size": whole(1),
    "embedding.patch_frames": whole(1),
    "embedding.patch_mels": whole(1, optional=True),
    "embedding.num_pairs": whole(0),
    "embedding.pair_dropout": share(),
    "embedding.dropout": share(),
    "encoder.embed_dim": whole(1),
    "encoder.num_heads": whole(1),
    "encoder.depth": whole(0),
    "encoder.mlp_ratio": number(0, above=True),
    "encoder.dropout": share(),
    "encoder.drop_path": share(),
    "encoder.head_dropout": share(),
    "encoder.readout": choice("attention", "cls", "mean"),
    "encoder.name": text("the id of a model on the Hugging Face Hub, a folder, or minilm"),
    "encoder.freeze": Rule(
        "none, embeddings, all, or how many of the first layers", (str, int), low=0
    ),
    "encoder.lr": number(0, above=True),
    "encoder.layer_decay": Rule("a number above 0, at most 1", (int, float), 0, 1, above=True),
    "encoder.lora": Rule("a group of values", (dict,), optional=True),
    "attention.score": choice("dot", "scaled_dot", "cosine", "multiplicative", "additive"),
    "attention.dropout": share(),
    "attention.num_kv_heads": whole(1, optional=True),
    "attention.window": whole(1, optional=True),
    "attention.gate": Rule(" or ".join(GATES), (str,), choices=GATES, optional=True),
    "optimizer.lr": number(0, above=True),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": share(),
    "optimizer.betas": Rule(
        "two numbers from 0 to below 1, such as [0.9,0.98]", (list,), items=share(), length=2
    ),
    "schedule.warmup": share(below=False),
    "schedule.final": share(below=False),
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.devices": Rule("1, the number of one device in a list, or auto", (int, str, list)),
    "trainer.num_nodes": Rule("1", (int,), 1, 1),
    "trainer.strategy": choice("auto", "ddp", "fsdp"),
    "trainer.precision": choice("auto", "32-true", "bf16-mixed"),
    "trainer.fast_dev_run": Rule(
        "debug=fast, which runs three batches of each split", (bool,), choices=(False,)
    ),
    "trainer.max_epochs": whole(1),
    "trainer.check_val_every_n_epoch": whole(1),
    "trainer.gradient_clip_val": number(0, optional=True),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.log_every_n_steps": whole(1),
    "trainer.limit_train_batches": number(0, above=True, optional=True),
    "trainer.limit_val_batches": number(0, above=True, optional=True),
    "trainer.limit_test_batches": number(0, above=True, optional=True),
    "trainer.overfit_batches": number(0),
    "callbacks.checkpoint.monitor": choice(*MONITORED),
    "callbacks.checkpoint.mode": choice("min", "max"),
    "callbacks.early_stopping.monitor": choice(*MONITORED),
    "callbacks.early_stopping.mode": choice("min", "max"),
    "callbacks.early_stopping.patience": whole(0),
    "callbacks.ema.decay": share(),
    "capture.num_samples": whole(0, optional=True),
    "capture.entropy_queries": whole(1, optional=True),
    "capture.every_n_epochs": whole(1, optional=True),
    "capture.dtype": choice("float16", "float32"),
}
"""What a value may be where its default does not tell all of it."""


def check_rule(key: str, value: Any) -> None:
    """Check one value by the rule for its key.

    Raises:
        InputError: It does not follow the rule.
    """
    RULES[key].check(key, value)
