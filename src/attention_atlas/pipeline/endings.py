"""How a run ends before it is done. Never imports torch."""

import signal
from pathlib import Path

INTERRUPTED_EXIT_CODE = 130  # as shells have it: 128 + SIGINT
TO_GO_ON = "the same command with resume=auto goes on"
TO_GO_ON_WITH_A_SWEEP = "the same command goes on with the sweep"


class SavedAndEnded(BaseException):
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
