"""A finished run, rebuilt from its folder: its config, its data and its best weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from attention_atlas.atlas import Atlas, open_atlas
from attention_atlas.config.untrusted import read_run_config
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.loader import Batch
from attention_atlas.data.splits import stable_hash
from attention_atlas.data.user_inputs import collect_inputs
from attention_atlas.encoder import Classifier, TextEmbedding
from attention_atlas.errors import InputError, first_names
from attention_atlas.pipeline.build_model import build_datamodule, build_model
from attention_atlas.pipeline.process import prepare_process
from attention_atlas.pipeline.runs.checkpoints import read_checkpoint
from attention_atlas.run_folder import (
    RESULT,
    best_checkpoint,
    check_weights,
    find_run,
    read_classes,
    read_json,
)

MODEL = "model."
HEAD = f"{MODEL}head."
"""Prefixes of the names of weights in a checkpoint."""


@dataclass(frozen=True)
class LoadedRun:
    """A run as it was trained: its config, its data and its best weights.

    Attributes:
        folder: The run folder.
        config: As the run was composed, or as an evaluation changed it.
        datamodule: Prepares inputs, with what it learned from the training data of the run.
        model: With the weights that were best on the validation split, in evaluation mode.
    """

    folder: Path
    config: DictConfig
    datamodule: AtlasDataModule
    model: Classifier

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return self.datamodule.classes

    @property
    def atlas(self) -> Atlas:
        """The recorded maps of the run.

        Raises:
            InputError: The run has no atlas.
        """
        return open_atlas(self.folder)

    def prepare(self, *inputs: str | Path) -> Batch:
        """Return a batch that `model` takes.

        Args:
            inputs: Sentences, or files and folders of what the model was trained on.

        Raises:
            InputError: An input cannot be read, or there is none.
        """
        found = collect_inputs(self.datamodule.modality, [str(each) for each in inputs], list)
        raw = self.datamodule.make_dataset(found).__getitems__(list(range(len(found))))
        return self.datamodule.prepare(raw, training=False)

    def predict(self, *inputs: str | Path) -> list[dict[str, float]]:
        """Return the probability of each class, for each input; takes what `prepare` takes."""
        with torch.no_grad():
            probabilities = self.model(self.prepare(*inputs)).softmax(-1).tolist()
        return [dict(zip(self.classes, each, strict=True)) for each in probabilities]

    def batches(
        self, sample_ids: Sequence[str], batch_size: int, split: str = "test"
    ) -> Iterator[Batch]:
        """Prepared batches of some samples of a split, samples of like length together.

        Raises:
            InputError: The split has no sample of such an id.
        """
        dataset = self.datamodule.datasets[split]
        indices = {sample_id: index for index, sample_id in enumerate(dataset.sample_ids)}
        for sample_id in sample_ids:
            if sample_id not in indices:
                raise InputError(f"The {split} split of {self.folder} has no sample {sample_id!r}.")
        order = [indices[sample_id] for sample_id in sample_ids]
        if dataset.lengths is not None:
            order.sort(key=dataset.lengths.__getitem__)
        for start in range(0, len(order), batch_size):
            raw = dataset.__getitems__(order[start : start + batch_size])
            yield self.datamodule.prepare(raw, training=False)

    def fresh_model(self, seed: int) -> Classifier:
        """A model of the same config with new random weights.

        They have nothing to do with those that a run of this seed started from. Token vectors that
        start from the training texts are dealt to other tokens.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stable_hash("fresh model", seed))
            model, _ = build_model(self.config, self.datamodule, with_weights=False)
            if isinstance(model.embedding, TextEmbedding):
                vectors = model.embedding.token.weight.data
                vectors[1:] = vectors[1:][torch.randperm(len(vectors) - 1)]
        return model.eval()


def load_run(
    run: str | Path,
    config: DictConfig | None = None,
    with_data: bool = False,
    is_new: bool = False,
) -> LoadedRun:
    """Rebuild a finished run from its folder.

    Args:
        run: The run folder; `last` or `last:<task>` is the newest finished one.
        config: Config of the run with other data or devices; by default the run's own.
        with_data: Whether to read the data, which `LoadedRun.batches` needs.
        is_new: Whether the data is not what the run was trained on: all of it is `test`, unless it
            comes in splits.

    Raises:
        InputError: The folder, its checkpoint or its data cannot be used.
    """
    folder = Path(find_run(str(run)))
    config = read_run_config(folder) if config is None else config
    check_weights(folder)
    prepare_process(config)
    content = read_checkpoint(best_checkpoint(folder))
    classes = read_classes(folder) if is_new else None
    datamodule = build_datamodule(
        config, folder, read=with_data, checkpoint=content, tested_classes=classes
    )
    if with_data:
        _check_classes(datamodule, folder)
    else:
        datamodule.classes = read_classes(folder)
    if (not with_data or is_new) and "init" in config.embedding:
        config.embedding.init = "random"  # it would be learned from the data, and is trained
    # Normalisation belongs to the model, also with other data.
    datamodule.load_state_dict(content.get(type(datamodule).__qualname__, {}))
    model, _ = build_model(config, datamodule, with_weights=False)
    load_weights(model, best_checkpoint(folder), content=content)
    return LoadedRun(folder, config, datamodule, model.eval())


def load_weights(
    model: Classifier,
    checkpoint: Path,
    with_head: bool = True,
    content: Mapping[str, Any] | None = None,
) -> None:
    """Load the weights of a checkpoint into a model, optionally without those of its head.

    Args:
        model: As the config of the checkpoint builds it.
        checkpoint: The file.
        with_head: Whether to load the head, too.
        content: Its content, where it was read before.

    Raises:
        InputError: The file is not a checkpoint, or its weights do not fit the model.
    """
    weights = dict((content or read_checkpoint(checkpoint))["state_dict"])
    own = {f"{MODEL}{name}": value for name, value in model.state_dict().items()}
    if not with_head:
        weights |= {name: value for name, value in own.items() if name.startswith(HEAD)}
    for name in sorted(own.keys() | weights.keys()):
        if name not in weights or name not in own or weights[name].shape != own[name].shape:
            raise InputError(
                f"{checkpoint} does not fit the config: {name} is {_shape(weights.get(name))} in "
                f"the checkpoint and {_shape(own.get(name))} in the model. "
                "Take the data, embedding, encoder and attention that it was trained with."
            )
    model.load_state_dict({name.removeprefix(MODEL): value for name, value in weights.items()})


def _check_classes(datamodule: AtlasDataModule, run_folder: Path) -> None:
    """The data has the classes that the run was trained on, in the same order."""
    if read_json(run_folder, RESULT) is None:
        return  # the run was interrupted; a wrong number of classes is found with the weights
    classes = read_classes(run_folder)
    if datamodule.classes != classes:
        raise InputError(
            f"data={datamodule.name} has the classes {first_names(datamodule.classes)}, and "
            f"{run_folder} was trained on {first_names(classes)}. They must be the same."
        )


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))
