"""How a run ends before it is done. Never imports torch."""

import signal
from pathlib import Path

from hydra.errors import InstantiationException

from attention_atlas.errors import InputError

INTERRUPTED_EXIT_CODE = 130  # as shells have it: 128 + SIGINT
RESUME_HINT = "the same command with resume=auto goes on"
RESUME_SWEEP_HINT = "the same command goes on with the sweep"


class Interrupted(BaseException):
    """A signal asked the training to end, and it did after it had saved a checkpoint.

    Args:
        number: Of the signal.
        checkpoint: That was saved; None where there was nothing to save.
    """

    def __init__(self, number: int, checkpoint: Path | None) -> None:
        super().__init__(number, checkpoint)
        self.exit_code = 128 + number
        name = signal.Signals(number).name
        self.checkpoint = checkpoint
        saved = "" if checkpoint is None else f" after {checkpoint} was saved"
        self.sentence = f"ended by {name}{saved}"


NOT_VALIDATED = "Early stopping conditioned on metric"  # how Lightning's error opens


OUT_OF_MEMORY = (
    "The device ran out of memory: lower data.batch_size (trainer.accumulate_grad_batches raised "
    "by the same factor trains alike), data.eval_batch_size if it was while testing, the length "
    "of the inputs, or encoder.embed_dim and encoder.depth."
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, not imported here
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def sentence_of(error: BaseException) -> str | None:
    """The sentence that an error ends in; None for what is not the user's doing."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        if (
            isinstance(error.__cause__, TypeError | ValueError)
            and sentence_of(error.__cause__) is None
        ):
            return f"The config does not fit: {' '.join(str(error.__cause__).split())}"
        return sentence_of(error.__cause__)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and str(error).startswith(NOT_VALIDATED):
        return (
            "Training ended before its first validation, so there is no best checkpoint. Give it "
            "more steps (trainer.max_steps), or validate earlier (trainer.val_check_interval)."
        )
    if isinstance(error, ModuleNotFoundError) and "pip install" in str(error):
        return " ".join(str(error).split())
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, not imported here
        return " ".join(str(error).split())
    return None
