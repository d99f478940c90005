"""The schema of the config: each key with its type, its range and what it does."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    create_model,
)

from attention_atlas.data.audio.options import AudioAugmentationOptions, AudioOptions
from attention_atlas.data.image.options import ImageAugmentationOptions, ImageOptions
from attention_atlas.data.text.options import TextAugmentationOptions, TextOptions
from attention_atlas.option_schema import (
    Fraction,
    Node,
    OpenKeywords,
    Rate,
    keyword,
)

Metric = Literal["val/loss", "val/accuracy", "val/macro_f1", "val/calibration_error"]
"""Metrics that each validation logs."""

MONITORED = {
    metric: "min" if metric in ("val/loss", "val/calibration_error") else "max"
    for metric in get_args(Metric)
}
"""Whether less or more of a metric is better."""

Positions = Literal["learned", "sinusoidal", "none"]
Readout = Literal["attention", "cls", "mean"]
Stem = Literal["conv", "pool", "linear"]


class EncoderSizes(Node):
    """Sizes of an encoder that is trained from scratch, and its dropout."""

    embed_dim: Annotated[int, Field(ge=1, le=2**16)] = Field(description="Width of the encoder.")
    num_heads: PositiveInt = Field(description="Attention heads of a block.")
    mlp_ratio: PositiveFloat = Field(description="Width of the MLP, in units of embed_dim.")
    depth: Annotated[int, Field(ge=0, le=1_000)] = Field(description="Blocks of the encoder.")
    dropout: Rate = Field(description="Dropout rate in the blocks.")
    head_dropout: Rate = Field(description="Dropout rate before the classifier.")


class Recipe(EncoderSizes):
    """Values that other groups take from the task; override them there."""

    lr: PositiveFloat = Field(description="Learning rate of the optimizer.")
    weight_decay: NonNegativeFloat = Field(description="Weight decay of the optimizer.")
    max_epochs: PositiveInt = Field(description="Epochs of a training.")
    short_epochs: PositiveInt = Field(description="Epochs in an experiment with many runs.")
    ema_decay: Rate = Field(description="Decay of the average of the weights, per step.")


class Task(Node):
    """The task: its name, modality and recipe."""

    name: str = Field(description="Name of the task, and of its folder below outputs/.")
    modality: Literal["text", "image", "audio"] = Field(description="What the task classifies.")
    label_smoothing: Rate = Field(description="Probability spread evenly over all classes.")
    class_weights: Literal["balanced"] | None = keyword(
        "Weights of the classes in the training loss: balanced makes all count alike."
    )
    recipe: Recipe = Field(description="Values that other groups take from the task.")


class TextEmbedding(Node):
    """From the tokens of a text to vectors."""

    init: Literal["cooccurrence", "random"] = Field(
        description="Initial vectors: from the co-occurrence of tokens in training, or random."
    )
    positions: Positions = Field(description="Position embeddings that are added.")
    dropout: Rate = Field(description="Dropout rate of the embedded tokens.")
    num_pairs: NonNegativeInt = Field(
        description="Frequent pairs of neighbouring tokens that get a vector of their own."
    )
    pair_dropout: Rate = Field(description="Fraction of the pairs left out in training.")


class ImageEmbedding(Node):
    """From the patches of an image to vectors."""

    patch_size: PositiveInt = Field(description="Height and width of a patch in pixels.")
    stem: Stem = Field(description="Layers from a patch to its vector.")
    positions: Positions = Field(description="Position embeddings that are added.")
    dropout: Rate = Field(description="Dropout rate of the embedded patches.")


class AudioEmbedding(Node):
    """From the patches of a spectrogram to vectors."""

    patch_frames: PositiveInt = Field(description="Frames of a patch.")
    patch_mels: PositiveInt | None = Field(description="Mel bands of a patch; null: all.")
    stem: Stem = Field(description="Layers from a patch to its vector.")
    positions: Positions = Field(description="Position embeddings that are added.")
    dropout: Rate = Field(description="Dropout rate of the embedded patches.")


class Encoder(EncoderSizes):
    """A Transformer trained from scratch."""

    name: str = Field(description="Name of the size, as results have it.")
    drop_path: Rate = Field(description="Stochastic depth: rate of the last block.")
    readout: Readout = Field(description="How one vector is made of all tokens.")


class PretrainedEncoder(Node):
    """A model of Hugging Face, fine-tuned."""

    name: str = keyword(
        "Id of a model on the Hugging Face Hub, a folder with its files, or minilm.",
        ...,
        allowed="the id of a model on the Hugging Face Hub, a folder, or minilm",
    )
    freeze: NonNegativeInt | Literal["none", "embeddings", "all"] = keyword(
        "What is not trained: an integer counts the first layers.",
        ...,
        allowed="none, embeddings, all, or the number of first layers, 0 or more",
    )
    lr: PositiveFloat = Field(
        description="Learning rate of the last layer; optimizer.lr is that of readout and head."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Learning rate of a layer, in units of that of the layer above."
    )
    lora: dict[str, Any] | None = Field(
        description="Options of peft.LoraConfig, such as {r: 8, lora_alpha: 16}."
    )
    num_heads: PositiveInt = Field(description="Attention heads of the readout.")
    readout: Readout = Field(description="How one vector is made of all tokens.")
    head_dropout: Rate = Field(description="Dropout rate before the classifier.")


class Attention(Node):
    """The mechanism of attention; what does not go together is checked by `Mechanism`."""

    score: Literal["dot", "scaled_dot", "cosine", "multiplicative", "additive"] = Field(
        description="Score of a query and a key."
    )
    bias: bool = Field(description="Whether the projections have a bias.")
    dropout: Rate = Field(
        description="Dropout rate of the weights; leaves the fused kernel on CPU."
    )
    num_kv_heads: PositiveInt | None = Field(
        description="Heads of keys and values; fewer than encoder.num_heads: grouped queries."
    )
    rotary: bool = Field(description="Rotary positions.")
    window: PositiveInt | None = Field(
        description="Steps to each side that a query sees, along each axis; null: all."
    )
    gate: Literal["headwise", "elementwise"] | None = Field(
        description="A sigmoid gate on the output of each head."
    )
    null_key: bool = Field(description="One more key, of score and value zero.")
    differential: bool = Field(description="The difference of two maps, which may be negative.")
    linear: bool = Field(description="A learned feature map in place of the softmax.")
    compile: bool = Field(description="The compiled form of the additive score.")


class Optimizer(OpenKeywords):
    """Keywords of a class of torch.optim."""

    lr: PositiveFloat = keyword("Peak learning rate.")
    weight_decay: NonNegativeFloat = keyword("Weight decay; none on norms, biases and positions.")
    momentum: Rate = keyword("Momentum of SGD.")
    betas: Annotated[list[Rate], Field(min_length=2, max_length=2)] = keyword(
        "Decay of the moments of Adam.",
        allowed="two numbers from 0 to below 1, such as [0.9,0.98]",
    )
    fused: bool | None = keyword("Whether one kernel updates all parameters.")


class Schedule(OpenKeywords):
    """Keywords of a learning-rate schedule."""

    warmup: Fraction = keyword("Fraction of the steps over which the rate rises.")
    final: Fraction = keyword("Last learning rate, in units of the peak.")


class Trainer(OpenKeywords):
    """Keywords of Lightning's Trainer."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = keyword("Kind of device.")
    devices: int | str | list[int] = keyword(
        "Number of devices, a list of their indices, or auto.",
        allowed="1, the index of one device in a list, or auto",
    )
    num_nodes: Literal[1] = keyword("Number of machines.")
    strategy: Literal["auto", "ddp", "fsdp"] = keyword("How several devices share a run.")
    precision: Literal["auto", "32-true", "bf16-mixed"] = keyword(
        "Precision; auto is bf16-mixed on a GPU and 32-true elsewhere."
    )
    sync_batchnorm: bool = keyword("Whether batch norms see the batches of all processes.")
    fast_dev_run: Literal[False] = keyword(
        "Not possible here.", allowed="debug=fast, which runs three batches of each split"
    )
    max_epochs: PositiveInt = keyword("Epochs of a training.")
    max_steps: Annotated[int, Field(ge=-1)] = keyword("Steps of a training; -1: by its epochs.")
    val_check_interval: PositiveInt | PositiveFloat | None = keyword(
        "Steps, or a fraction of an epoch, from one validation to the next."
    )
    check_val_every_n_epoch: PositiveInt = keyword("Epochs from one validation to the next.")
    num_sanity_val_steps: int | None = keyword("Validation batches before the first epoch.")
    gradient_clip_val: NonNegativeFloat | None = keyword("Maximum norm of the gradient.")
    accumulate_grad_batches: PositiveInt = keyword("Batches whose gradients are summed.")
    log_every_n_steps: PositiveInt = keyword("Steps from one logged training loss to the next.")
    limit_train_batches: PositiveFloat | None = keyword("Batches of an epoch, or a fraction.")
    limit_val_batches: PositiveFloat | None = keyword("Batches of a validation.")
    limit_test_batches: PositiveFloat | None = keyword("Batches of the test.")
    overfit_batches: NonNegativeFloat = keyword("Train on these batches alone; 0: on all.")
    enable_model_summary: bool | None = keyword("Whether Lightning prints the layers.")
    use_distributed_sampler: bool = keyword("Stays false: the loader divides the batches.")
    profiler: str | dict[str, Any] | None = keyword(
        "A profiler of Lightning.", allowed="a group of values, or null"
    )


class Checkpoint(OpenKeywords):
    """Keywords of the callback that saves the best checkpoint."""

    dirpath: str = keyword("Stays the folder `checkpoints` of the run.")
    filename: str = keyword("Stays `best`.")
    monitor: Metric = keyword("Metric that the best checkpoint is chosen by.")
    mode: Literal["min", "max"] = keyword("Whether less or more of it is better.")
    save_last: bool | None = keyword("Whether last.ckpt is saved, to resume from.")
    auto_insert_metric_name: bool = keyword("Whether file names hold the metric.")
    enable_version_counter: bool = keyword("Whether file names are counted.")


class EarlyStopping(OpenKeywords):
    """Keywords of Lightning's EarlyStopping."""

    monitor: Metric = keyword("Metric that has to improve.")
    mode: Literal["min", "max"] = keyword("Whether less or more of it is better.")
    patience: NonNegativeInt = keyword("Validations without improvement before the end.")


class Ema(OpenKeywords):
    """Keywords of the callback that averages the weights."""

    decay: Rate = keyword("Decay of the average, per step.")


class Pruning(OpenKeywords):
    """Keywords of the callback that ends poor trials of a search."""

    storage: str | None = keyword("URL of the database of the study.")
    study_name: str | None = keyword("Name of the study in it.")
    trial: int | None = keyword("Number of the trial.")
    monitor: Metric = keyword("Metric that trials are compared by.")
    startup_trials: NonNegativeInt = keyword("Finished trials before the first is ended.")
    warmup_epochs: NonNegativeInt = keyword("Epochs that each trial gets.")


class Callbacks(OpenKeywords):
    """Callbacks by name; more may be added."""

    checkpoint: Checkpoint = keyword(
        "Saves the best checkpoint.",
        ...,
        allowed="a group of values: the best checkpoint is what is tested",
    )
    early_stopping: EarlyStopping | None = keyword("Ends a training that no longer improves.")
    ema: Ema | None = keyword("Averages the weights over the steps.")
    pruning: Pruning | None = keyword("Ends trials that do worse than the median.")


class Logger(OpenKeywords):
    """Keywords of a logger of Lightning; metrics.csv is written in any case."""

    save_dir: str = keyword("Folder of the log.")
    name: str | None = keyword("Folder in it, or name of the run.")
    version: int | str | None = keyword("Folder in that one.")
    project: str = keyword("Project of Weights & Biases.")
    offline: bool = keyword("Whether Weights & Biases only writes to disk.")
    experiment_name: str = keyword("Experiment of MLflow.")
    tracking_uri: str | None = keyword("Address of MLflow, or of its database.")


class Capture(Node):
    """Samples and maps that are recorded into the atlas."""

    num_samples: NonNegativeInt | None = Field(
        description="Samples recorded in full, every layer and head; null: all."
    )
    dtype: Literal["float16", "float32"] = Field(
        description="Type of maps and spectrograms; statistics are always float32."
    )
    entropy_queries: PositiveInt | None = Field(
        description="Evenly spaced queries of a sample that entropies are taken of; null: all."
    )
    every_n_epochs: PositiveInt | None = Field(
        description="Record the chosen validation samples in training, after every n-th epoch."
    )
    digests: bool = Field(description="Whether a SHA-256 of each array is stored.")


class CaptureOff(OpenKeywords):
    """No atlas; what `debug` and experiments set beside is ignored."""

    num_samples: NonNegativeInt | None = keyword("Ignored.")


class Sweep(Node):
    """How a sweep starts."""

    resume: bool = Field(description="Whether the same command resumes an unfinished sweep.")


class BaselineConfig(Node):
    """The config of `baseline.py`."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(description="Seed of all draws.")
    task: Task = Field(description="What is learned.")
    data: TextOptions | ImageOptions | AudioOptions = Field(description="Data set.")
    augmentation: (
        TextAugmentationOptions | ImageAugmentationOptions | AudioAugmentationOptions | None
    ) = Field(description="How training samples are varied.")
    embedding: TextEmbedding | ImageEmbedding | AudioEmbedding = Field(
        description="From inputs to vectors."
    )
    encoder: Encoder | PretrainedEncoder = Field(description="The model between them.")


class TrainConfig(BaselineConfig):
    """The config of `train.py`, and of a run."""

    run_folder: str = Field(description="Folder of the run; follows hydra.run.dir.")
    num_threads: Annotated[int, Field(ge=1, le=1_024)] = Field(
        description="Threads of an operation on the CPU."
    )
    resume: Literal["auto"] | None = Field(
        description="auto resumes the unfinished run of the same command."
    )
    ckpt_path: str | None = Field(description="A checkpoint to resume from, of any run.")
    init: str | None = Field(description="A finished run whose weights training starts from.")
    lr_find: bool = Field(description="Search for a learning rate before training.")
    sweep: Sweep = Field(description="How a sweep starts.")
    attention: Attention = Field(description="Mechanism of attention.")
    optimizer: Optimizer = Field(description="Optimizer of torch.optim.")
    schedule: Schedule = Field(description="Learning rate over the steps.")
    trainer: Trainer = Field(description="Lightning's Trainer.")
    callbacks: Callbacks = Field(description="Callbacks of the trainer, by name.")
    logger: Logger | None = Field(description="A logger beside metrics.csv.")
    capture: Capture | CaptureOff = Field(
        description="Samples and maps that are recorded into the atlas."
    )


class EvaluationConfig(Node):
    """The config of `evaluate.py`, whose groups change the config of the run."""

    run: str = keyword("Folder of a finished run.", ..., allowed="the folder of a run")
    split: Literal["train", "val", "test"] | None = keyword(
        "Split that is tested; null: test, or all of new files that do not come in splits."
    )
    data: dict[str, Any] | None = keyword("Values or a data set in place of the run's.")
    capture: dict[str, Any] | None = keyword("Values in place of the run's.")
    trainer: dict[str, Any] | None = keyword("Values in place of the run's.")


VARIANTS: dict[str, dict[str, type[Node]]] = {
    "text": {
        "data": TextOptions,
        "augmentation": TextAugmentationOptions,
        "embedding": TextEmbedding,
    },
    "image": {
        "data": ImageOptions,
        "augmentation": ImageAugmentationOptions,
        "embedding": ImageEmbedding,
    },
    "audio": {
        "data": AudioOptions,
        "augmentation": AudioAugmentationOptions,
        "embedding": AudioEmbedding,
    },
}
"""Groups whose options depend on the modality of the task."""


def schema_of(root: type[Node], values: Mapping[str, Any]) -> type[Node]:
    """Return the schema of a command for a resolved config, whose `task` was checked before."""
    is_pretrained = "freeze" in (values.get("encoder") or {})
    is_recorded = "dtype" in (values.get("capture") or {})
    return _schema(root, values["task"]["modality"], is_pretrained, is_recorded)


@cache  # pydantic takes milliseconds for a model
def _schema(root: type[Node], modality: str, is_pretrained: bool, is_recorded: bool) -> type[Node]:
    variants = dict(VARIANTS[modality])
    variants["encoder"] = PretrainedEncoder if is_pretrained else Encoder
    variants["capture"] = Capture if is_recorded else CaptureOff
    fields: dict[str, Any] = {
        name: (model | None if name == "augmentation" else model, Field())
        for name, model in variants.items()
        if name in root.model_fields
    }
    return create_model(root.__name__, __base__=root, **fields)
