"""The accuracy of a classical model on the same split."""

import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from omegaconf import DictConfig
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from attention_atlas.config.instantiate import instantiate
from attention_atlas.console import make_console
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.output_files import write_json
from attention_atlas.pipeline.baseline_cache import store_baseline
from attention_atlas.pipeline.process import seed
from attention_atlas.pipeline.runs.result import accuracy_table, print_notes
from attention_atlas.run_folder import BASELINE

STRENGTHS = (1.0, 10.0)  # inverse regularisation, chosen on the validation split
VARIANCE = 0.9  # fraction that the principal components explain
MAX_COPIES = 3  # of each training sample, augmented: the network sees others in each epoch
CACHE_MIB = 1000  # of the kernel matrix; scikit-learn takes 200
MAX_TRAINING_SAMPLES = 50_000  # with the copies: the time of an SVM grows with their square

NAMES = {
    "text": "TF-IDF + logistic regression",
    "image": "RBF SVM on principal components",
    "audio": "RBF SVM on principal components of log-mel",
}


def run_baseline(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Measure, print and store the baseline of a data set.

    The folder gets `baseline.json`, whose content is returned.
    """
    seed(config.seed)
    datamodule: AtlasDataModule = instantiate(config.data)  # in the form of our own models
    datamodule.setup()
    print_notes(datamodule)
    measured = measure_baseline(datamodule)
    result = {"task": config.task.name, "data": config.data.name, "seed": config.seed} | measured
    write_json(folder / BASELINE, result)
    store_baseline(config, datamodule, result)
    title = f"{result['model']} on {result['data']}"
    console = make_console(soft_wrap=True)
    console.print(accuracy_table(result, ("val", "test"), title))
    console.print(f"{result['seconds']:.0f} s, saved in {folder / BASELINE}")
    return result


def measure_baseline(datamodule: AtlasDataModule) -> dict[str, Any]:
    """Fit on the training split, choose the regularisation on validation, score on test.

    Images and sounds are trained on with up to `MAX_COPIES` augmented copies where the data has
    augmentation, which the name of the model then says. Copies of texts without some of their words
    did not raise the accuracy of TF-IDF on validation.

    Returns:
        `model`, `strength`, `seconds`, `val/accuracy`, `test/accuracy` and, where the data has
        groups, `test/accuracy/<group>`.
    """
    started = time.perf_counter()
    features, classifier = _estimators(datamodule.modality)
    labels = {split: dataset.labels for split, dataset in datamodule.datasets.items()}
    inputs, num_copies = _training_inputs(datamodule)
    train, targets = features.fit_transform(inputs), (1 + num_copies) * list(labels["train"])
    val = features.transform(datamodule.baseline_features("val"))
    scored = []
    for strength in STRENGTHS:
        fitted = classifier(strength).fit(train, targets)
        scored.append((float(fitted.score(val, labels["val"])), strength, fitted))
    val_accuracy, strength, best = max(scored, key=lambda entry: (entry[0], -entry[1]))
    predictions = best.predict(features.transform(datamodule.baseline_features("test")))
    hits = [bool(p == label) for p, label in zip(predictions, labels["test"], strict=True)]
    by_group = defaultdict(list)
    for groups in _test_groups(datamodule):
        for group, hit in zip(groups, hits, strict=True):
            by_group[f"test/accuracy/{group}"].append(hit)
    name = NAMES[datamodule.modality]
    copies = f"{num_copies} augmented {'copy' if num_copies == 1 else 'copies'}"
    return {
        "model": f"{name}, {copies}" if num_copies else name,
        "strength": strength,
        "seconds": round(time.perf_counter() - started, 1),
        "val/accuracy": val_accuracy,
        "test/accuracy": fmean(hits),
        **{name: fmean(hits) for name, hits in sorted(by_group.items())},
    }


def _estimators(modality: str) -> tuple[BaseEstimator, Any]:
    """Return the feature extractor, and the function from a strength to a classifier."""
    if modality == "text":
        vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        return vectors, lambda strength: LogisticRegression(C=strength, max_iter=1000)
    # Many times faster than on pixels and spectrograms, and more accurate.
    return PCA(VARIANCE), lambda strength: SVC(C=strength, cache_size=CACHE_MIB)


def _training_inputs(datamodule: AtlasDataModule) -> tuple[list[str] | np.ndarray, int]:
    """Return the inputs of the training split with their copies behind them, and how many."""
    inputs = datamodule.baseline_features("train")
    fitting = MAX_TRAINING_SAMPLES // len(inputs) - 1
    copies = []
    for _ in range(min(MAX_COPIES, fitting)):
        copy = datamodule.augmented_features()
        if copy is not None:
            copies.append(copy)
    return (np.concatenate([inputs, *copies]) if copies else inputs), len(copies)


def _test_groups(datamodule: AtlasDataModule) -> list[list[str]]:
    """Return one list per kind of group, with the group of each test sample."""
    return list(datamodule.datasets["test"].groups.values())
