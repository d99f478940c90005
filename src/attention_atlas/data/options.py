"""Options that all data sets have in common. Nothing here imports torch."""

from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from attention_atlas.option_schema import Keywords, Options, check_options, keyword


class DataOptions(Keywords):
    """Keywords of every data module."""

    name: str = keyword("Name of the data set.", ...)
    path: str | None = keyword("File or folder with the data; null downloads it where possible.")
    batch_size: PositiveInt = keyword("Samples of a training batch, in each process.", 64)
    eval_batch_size: PositiveInt | None = keyword(
        "Samples of a validation or test batch; null: twice those of a training batch."
    )
    num_workers: NonNegativeInt = keyword(
        "Processes that load data beside the training; 0 is fastest for data in memory.", 0
    )
    seed: int = keyword("Seed of the split and of the shuffling.", 0)
    group: str | None = keyword(
        "Groups that a split does not divide: a column of a CSV file, or a pattern of file names "
        "in which % stands for the group and * for anything."
    )
    augmentation: dict[str, Any] | None = keyword("Options of the group `augmentation`.")


def read_options(model: type[Options], values: Mapping[str, Any] | None, prefix: str) -> Options:
    """Check options that may all be left out; see `check_options` for the arguments and errors."""
    return check_options(model, values or {}, prefix)
