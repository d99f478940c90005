"""What others report on the data of the experiments, and where."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """A row of the page of results.

    Attributes:
        name: The option of the group `experiment`.
        published: Figures of others on the same test set, in percent.
        source: Where they are reported, or why there is none.
        remark: Behind the name.
        evaluated_on: Name of the other data that the row is of, by `evaluate.py`; None for the
            test of the runs themselves.
    """

    name: str
    published: str
    source: str
    remark: str = ""
    evaluated_on: str | None = None


EXPERIMENTS = [
    Experiment(
        "rotten_tomatoes_minilm",
        "76.1 CNN, 81.5 CNN with word2vec (other splits)",
        "Kim 2014, Convolutional Neural Networks for Sentence Classification, table 2: ten folds "
        "of all 10,662 sentences, of which these are 8,530",
    ),
    Experiment(
        "sst2_scratch",
        "82.7 CNN with random vectors",
        "Kim 2014, table 2",
    ),
    Experiment(
        "sst2_minilm",
        "dev 91.5 MiniLM-L6",
        "Wang 2020, MiniLM: Deep Self-Attention Distillation; the test labels of GLUE are "
        "withheld, so that most figures are of the dev sentences",
    ),
    Experiment(
        "fashion_mnist",
        "92.5 small CNN, 93.5 VGG16, 94.9 ResNet18",
        "the list of submissions in the README of zalandoresearch/fashion-mnist; small ViTs are "
        "reported with 92.3 to 93.5 after 100 epochs",
    ),
    Experiment("speech_commands_10", "", "none: the split is our own, of the official test clips"),
    Experiment("speech_commands_10_after_synthesised", "", ""),
    Experiment(
        "synthesised_voices",
        "",
        "",
        remark=", tested on the real clips of `speech_commands_10`",
        evaluated_on="speech_commands",
    ),
    Experiment(
        "speech_commands_v2_12",
        "97.7 KWT-1",
        "the README of ARM-software/keyword-transformer",
    ),
    Experiment(
        "speech_commands_v2_35",
        "96.85 KWT-1",
        "Berg 2021, Keyword Transformer, table 2",
    ),
    Experiment(
        "cifar10",
        "89.17 CCT-2/3x2, 200 epochs",
        "the README of SHI-Labs/Compact-Transformers",
    ),
]
