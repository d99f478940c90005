"""Keep the terminal for what a user acts on."""

import logging
import warnings


def quiet_libraries() -> None:
    """Leave out what Lightning tells on every run, such as devices and its own deprecations."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.handlers.clear()  # else each message comes twice
        logger.propagate = True
    for message in (
        ".*does not have many workers.*",  # data held in memory is loaded faster without
        ".*logs directory .* exists and is not empty.*",  # the run folder
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*number of training batches .* is smaller than the logging interval.*",  # small data
        ".*It is recommended to use `self.log\\('(val|test)/.*",  # what is logged is of all ranks
        ".*mixed precision and an auto_wrap_policy were specified.*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # encoder.freeze=all
        ".*isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)
