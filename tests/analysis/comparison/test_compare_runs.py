"""Runs side by side: what is read, how it is grouped, where the data do not decide."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from attention_atlas.analysis.comparison import (
    Interval,
    compare_runs,
    compare_samples,
    comparison_markdown,
    describe_quantity,
    read_compared_run,
)
from attention_atlas.analysis.comparison.figure import compare_figure
from attention_atlas.analysis.comparison.markdown import format_interval
from attention_atlas.analysis.comparison.metrics import Quantity
from attention_atlas.analysis.faithfulness import Faithfulness
from attention_atlas.analysis.heads import head_statistics
from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.errors import InputError
from tests import made_atlases


def make_run(
    folder: Path,
    accuracy: float = 0.9,
    seed: int = 0,
    score: str = "scaled_dot",
    task: str = "nlp",
    atlas: bool = True,
    hits: Sequence[bool] = (),
    **config: Any,
) -> Path:
    """A run folder with a result and an atlas of three samples, or of all with these hits."""
    folder.mkdir(parents=True)
    accuracy = sum(hits) / len(hits) if hits else accuracy
    attributes = made_atlases.attributes(task)
    result = {
        "task": task,
        "data": attributes.data,
        "attention": score,
        "encoder": "tiny",
        "seed": seed,
        "num_parameters": 1000,
        "num_test_samples": len(hits) or 200,
        "train_seconds": 10.0 + seed,
        "cpu_seconds": 20.0 + seed,
        "test/accuracy": accuracy,
    }
    (folder / "result.json").write_text(json.dumps(result))
    whole = {"seed": seed, "run_folder": str(folder), "attention": {"score": score}, **config}
    if atlas:
        attributes = replace(attributes, config=whole)
        with AtlasWriter(folder / "atlas.zarr", attributes, max_tokens=64) as writer:
            writer.add(
                made_atlases.sample(task, number, **_predicted(number, hits))
                for number in range(len(hits) or 3)
            )
    return folder


def _predicted(number: int, hits: Sequence[bool]) -> dict[str, int]:
    return {"label": 0, "prediction": 0 if hits[number] else 1} if hits else {}


def add_faithfulness(run: Path, values: list[float]) -> Faithfulness:
    measured = Faithfulness(
        removal="mask",
        removal_description="the mask token",
        sample_ids=[str(number) for number in range(len(values))],
        values={
            "rollout": {"comprehensiveness": [*values]},
            "random": {"comprehensiveness": [0.0] * len(values)},
        },
        titles={"rollout": "rollout", "random": "random"},
        thresholds=[0.1],
        steps=10,
    )
    (run / "faithfulness.json").write_text(json.dumps(measured.to_json()))
    return measured


def test_a_run_says_what_it_reached_and_what_its_heads_do(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", accuracy=0.85, seed=3)
    measured = add_faithfulness(folder, [0.1, 0.2, 0.6])
    run = read_compared_run(folder)
    assert (run.task, run.data) == ("nlp", "movie_reviews")
    assert (run.mechanism, run.seed) == ("scaled_dot", 3)
    assert run.values["accuracy"] == 0.85
    assert (run.values["cpu_seconds"], run.values["num_parameters"]) == (23.0, 1000.0)
    statistics = head_statistics(open_atlas(folder))
    assert run.values["heads.sink_score"] == pytest.approx(statistics.mean["sink_score"].mean())
    readout = statistics.readout_mean["relative_entropy"].mean()
    assert run.values["readout.relative_entropy"] == pytest.approx(readout)
    name = "faithfulness.rollout.comprehensiveness"
    estimate = measured.estimates["rollout"]["comprehensiveness"]
    assert run.values[name] == pytest.approx(0.3)
    assert (run.intervals[name].low, run.intervals[name].high) == (estimate.low, estimate.high)
    assert run.notes == []


def test_runs_that_differ_in_their_seed_alone_make_a_group(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(seed), 0.8 + seed / 100, seed) for seed in range(3)]
    runs.append(make_run(tmp_path / "cosine", 0.9, 0, score="cosine"))
    comparison = compare_runs(runs)
    assert [(g.label, len(g.runs)) for g in comparison.groups] == [("scaled_dot", 3), ("cosine", 1)]
    seeds, alone = (group.intervals["accuracy"] for group in comparison.groups)
    # t(0.975, 2) = 4.3027, s = 0.01
    assert seeds.mean == pytest.approx(0.81)
    assert seeds.high - seeds.mean == pytest.approx(4.30265 * 0.01 / 3**0.5, rel=1e-4)
    assert (seeds.method, alone.method) == ("t", "Wilson")
    assert any("stands alone" in note for note in comparison.notes)


def test_other_options_of_one_mechanism_are_told_apart(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", encoder={"depth": 1}),
        make_run(tmp_path / "b", encoder={"depth": 2}),
    ]
    labels = [group.label for group in compare_runs(runs).groups]
    assert labels == ["scaled_dot (depth=1)", "scaled_dot (depth=2)"]


def test_an_option_that_is_off_is_one_that_an_older_config_lacks(tmp_path: Path) -> None:
    old = make_run(tmp_path / "old", seed=0, task_settings={"recipe": {"lr": 0.1}})
    new = make_run(
        tmp_path / "new",
        seed=1,
        attention={"score": "scaled_dot", "differential": False, "gate": None},
        callbacks={"ema": {"on": False}},
        task_settings={"recipe": {"lr": 0.1, "short_epochs": 8}},
    )
    (group,) = compare_runs([old, new]).groups
    assert (group.label, group.num_runs) == ("scaled_dot", 2)


def test_labels_name_what_really_differs(tmp_path: Path) -> None:
    small = {"encoder": {"name": "tiny", "embed_dim": 16, "depth": 1}}
    large = {"encoder": {"name": "small", "embed_dim": 48, "depth": 2, "dropout": 0.0}}
    off = {"score": "scaled_dot", "differential": False, "compile": False}
    runs = [
        make_run(
            tmp_path / "old",
            **small,
            trainer={"max_epochs": 1},
            optimizer={"_target_": "torch.optim.SGD"},
            augmentation={"flip": 0.5},
            data={"augmentation": {"flip": 0.5}},
        ),
        make_run(
            tmp_path / "new",
            **large,
            trainer={"max_epochs": 28},
            attention=off,
            optimizer={"_target_": "torch.optim.AdamW"},
            augmentation={"flip": 0.2},
            data={"augmentation": {"flip": 0.2}},
        ),
    ]
    assert [group.label for group in compare_runs(runs).groups] == [
        "scaled_dot (encoder=tiny, embed_dim=16, depth=1, max_epochs=1, optimizer=SGD, "
        "augmentation.flip=0.5)",
        "scaled_dot (encoder=small, embed_dim=48, depth=2, dropout=0.0, max_epochs=28, "
        "optimizer=AdamW, and 1 more)",
    ]


def test_other_mechanisms_say_what_else_differs(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", trainer={"max_epochs": 28}),
        make_run(tmp_path / "b", score="cosine", trainer={"max_epochs": 1}),
    ]
    labels = [group.label for group in compare_runs(runs).groups]
    assert labels == ["scaled_dot (max_epochs=28)", "cosine (max_epochs=1)"]


def test_no_two_groups_have_the_same_label(tmp_path: Path) -> None:
    sizes = [dict.fromkeys("abcdefg", number) | {"z": number // 2} for number in (1, 2)]
    runs = [make_run(tmp_path / str(place), encoder=size) for place, size in enumerate(sizes)]
    runs.append(make_run(tmp_path / "2", encoder=sizes[1] | {"z": 9}))
    labels = [group.label for group in compare_runs(runs).groups]
    assert len(set(labels)) == 3
    assert labels[1].endswith(f"and 2 more, {runs[1]})")


def test_intervals_end_where_their_quantity_does(tmp_path: Path) -> None:
    runs = []
    for score, accuracies, seconds in (
        ("dot", (0.99, 0.6), (4.3, 3.0)),
        ("cosine", (0.01, 0.4), (3.1, 3.1)),
    ):
        for seed, accuracy in enumerate(accuracies):
            runs.append(make_run(tmp_path / f"{score}{seed}", accuracy, seed, score, atlas=False))
            result = json.loads((runs[-1] / "result.json").read_text())
            result["cpu_seconds"] = seconds[seed]
            (runs[-1] / "result.json").write_text(json.dumps(result))
            (runs[-1] / ".hydra").mkdir()
            config = f"seed: {seed}\nattention: {{score: {score}}}\n"
            (runs[-1] / ".hydra" / "config.yaml").write_text(config)
    comparison = compare_runs(runs)
    first, second = (group.intervals for group in comparison.groups)
    assert (first["accuracy"].high, second["accuracy"].low) == (1, 0)
    assert first["accuracy"].low == 0  # 0.795 - 12.7 * 0.195
    assert first["cpu_seconds"].low == 0
    assert first["cpu_seconds"].high == pytest.approx(3.65 + 12.7062 * 0.65, rel=1e-4)
    (difference,) = [d for d in comparison.differences if d.quantity == "accuracy"]
    assert difference.interval.low == -1
    written = comparison.to_json()["groups"][0]["intervals"]["accuracy"]
    assert (written["low"], written["high"]) == (0, 1)
    text = comparison_markdown(comparison)
    assert "3.7 [0.0, 11.9] (tie)" in text or "3.6 [0.0, 11.9] (tie)" in text
    assert "**3.1 [3.1, 3.1]** (tie)" in text  # equal seconds are an interval too
    assert "| 1,000 |" in text  # and a number of parameters is none
    assert "cut at the ends" in text


@pytest.mark.parametrize(
    ("interval", "unit", "words"),
    [
        (Interval(-0.0001, -0.0004, 0.11), "", "0.000 [0.000, 0.110]"),
        (Interval(0.5, -0.00001, 0.6), "%", "50.00 [0.00, 60.00]"),
        (Interval(-0.5, -0.6, -0.4), "", "-0.500 [-0.600, -0.400]"),
    ],
)
def test_nothing_is_less_than_zero_by_nothing(interval: Interval, unit: str, words: str) -> None:
    assert format_interval(interval, Quantity("name", "title", unit)) == words


@pytest.mark.parametrize(
    ("accuracies", "is_tie"),
    [(((0.80, 0.81), (0.90, 0.91)), False), (((0.80, 0.86), (0.83, 0.85)), True)],
)
def test_a_difference_whose_interval_includes_zero_is_a_tie(
    accuracies: tuple[tuple[float, float], ...], is_tie: bool, tmp_path: Path
) -> None:
    runs = [
        make_run(tmp_path / f"{score}-{seed}", accuracy, seed, score)
        for score, pair in zip(("dot", "cosine"), accuracies, strict=True)
        for seed, accuracy in enumerate(pair)
    ]
    comparison = compare_runs(runs)
    (difference,) = [d for d in comparison.differences if d.quantity == "accuracy"]
    assert difference.is_tie == is_tie
    best = comparison.best("nlp", "movie_reviews", "accuracy")
    assert best == (["cosine", "dot"] if is_tie else ["cosine"])
    table = comparison_markdown(comparison, ["accuracy"])
    assert ("(tie) |" in table) == is_tie


def test_single_runs_are_compared_over_their_samples(tmp_path: Path) -> None:
    near = [make_run(tmp_path / "a", 0.90), make_run(tmp_path / "b", 0.92, score="dot")]
    far = make_run(tmp_path / "c", 0.60, score="cosine")
    comparison = compare_runs([*near, far])
    verdicts = {
        (d.first, d.second): d.is_tie for d in comparison.differences if d.quantity == "accuracy"
    }
    assert verdicts == {
        ("scaled_dot", "dot"): True,
        ("scaled_dot", "cosine"): False,
        ("dot", "cosine"): False,
    }
    assert comparison.best("nlp", "movie_reviews", "cpu_seconds") == []  # without an interval


@pytest.mark.parametrize(("fixed", "broken"), [(12, 2), (12, 5), (0, 0), (3, 12)])
def test_runs_on_the_same_samples_have_one_verdict(fixed: int, broken: int, tmp_path: Path) -> None:
    """Newcombe's interval, which takes them as independent, calls 12 of 149 fixed a tie."""
    both = 149 - fixed - broken - 8
    first = [True] * both + [False] * (8 + fixed) + [True] * broken
    second = [True] * both + [False] * 8 + [True] * fixed + [False] * broken
    runs = [
        make_run(tmp_path / "a", hits=first),
        make_run(tmp_path / "b", hits=second, score="cosine"),
    ]
    (difference,) = [d for d in compare_runs(runs).differences if d.quantity == "accuracy"]
    by_sample = compare_samples(*map(open_atlas, runs))
    assert by_sample.accuracy_difference == difference.interval
    assert difference.interval.mean == pytest.approx((fixed - broken) / 149)
    assert difference.is_tie == (by_sample.p_value > 0.05)
    assert difference.is_tie == (
        binomtest(fixed, max(fixed + broken, 1)).pvalue > 0.05 or not fixed
    )


@pytest.mark.slow
def test_runs_of_the_same_seeds_on_the_same_samples_are_paired(tmp_path: Path) -> None:
    """Seeds differ by much more than the mechanisms: Welch's interval would call it a tie."""
    runs = [
        make_run(tmp_path / f"{score}-{seed}", seed=seed, score=score,
                 hits=[index < 100 + 20 * seed + more for index in range(160)])
        for score, extra in (("dot", (0, 0, 0)), ("cosine", (3, 2, 3)))
        for seed, more in enumerate(extra)
    ]  # fmt: skip
    comparison = compare_runs(runs)
    (difference,) = [d for d in comparison.differences if d.quantity == "accuracy"]
    found = ttest_1samp([3 / 160, 2 / 160, 3 / 160], 0).confidence_interval(0.95)
    assert difference.interval.method == "paired t"
    assert (difference.interval.low, difference.interval.high) == pytest.approx(tuple(found))
    assert comparison.best("nlp", "movie_reviews", "accuracy") == ["cosine"]
    other_seed = compare_runs(runs[:-1])
    (difference,) = [d for d in other_seed.differences if d.quantity == "accuracy"]
    assert (difference.interval.method, difference.is_tie) == ("Welch", True)


def test_runs_on_other_samples_are_not_paired(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", hits=[True] * 30),
        make_run(tmp_path / "b", hits=[True] * 31, score="cosine"),
    ]
    (difference,) = [d for d in compare_runs(runs).differences if d.quantity == "accuracy"]
    assert difference.interval.method == "square-and-add"


def test_faithfulness_on_the_same_samples_is_compared_sample_by_sample(tmp_path: Path) -> None:
    """Samples differ by much more than the runs."""
    levels = np.linspace(-0.9, 0.8, 40)
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", score="cosine")]
    add_faithfulness(runs[0], list(levels))
    add_faithfulness(runs[1], list(levels + np.tile([0.04, 0.06], 20)))
    name = "faithfulness.rollout.comprehensiveness"
    comparison = compare_runs(runs)
    (difference,) = [d for d in comparison.differences if d.quantity == name]
    assert difference.interval.method == "paired bootstrap"
    assert difference.interval.low == pytest.approx(0.047, abs=0.002)
    assert comparison.best("nlp", "movie_reviews", name) == ["cosine"]


def test_faithfulness_of_single_runs_is_compared_by_its_intervals(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", score="cosine")]
    add_faithfulness(runs[0], [0.1, 0.12, 0.11, 0.1])
    add_faithfulness(runs[1], [0.6, 0.6, 0.6, 0.6])
    comparison = compare_runs(runs)
    name = "faithfulness.rollout.comprehensiveness"
    assert comparison.best("nlp", "movie_reviews", name) == ["cosine"]
    text = comparison_markdown(comparison)
    assert "comprehensiveness over random by attribution method (higher is better):" in text
    assert "| attention | runs | rollout |" in text
    assert "| cosine | 1 | **0.600 [0.600, 0.600]** |" in text


def test_faithfulness_measured_in_different_ways_is_not_compared(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", score="cosine")]
    add_faithfulness(runs[0], [0.1, 0.12, 0.11, 0.1])
    add_faithfulness(runs[1], [0.6, 0.6, 0.6])
    comparison = compare_runs(runs)
    assert comparison.best("nlp", "movie_reviews", "faithfulness.rollout.comprehensiveness") == []
    assert not [d for d in comparison.differences if d.quantity.startswith("faithfulness")]
    assert any("measured in different ways" in note for note in comparison.notes)


def test_a_repeated_seed_counts_once(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, 0.9, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    comparison = compare_runs(runs)
    (group,) = comparison.groups
    assert (len(group.runs), group.num_runs) == (3, 2)
    assert "| scaled_dot | 2 |" in comparison_markdown(comparison)
    assert comparison.to_json()["groups"][0]["num_runs"] == 2
    assert group.intervals["accuracy"].runs == 2
    assert any("counts once" in note for note in comparison.notes)


def test_other_tasks_are_listed_but_not_subtracted(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / task, task=task) for task in ("nlp", "speech")]
    comparison = compare_runs(runs)
    assert comparison.tasks == [("nlp", "movie_reviews"), ("speech", "spoken_commands")]
    assert comparison.differences == []
    assert any("different tasks or data" in note for note in comparison.notes)
    text = comparison_markdown(comparison)
    assert text.count("| attention | runs |") == 2


def test_a_run_without_an_atlas_is_grouped_by_its_own_config(tmp_path: Path) -> None:
    runs = []
    for seed in (0, 1):
        runs.append(make_run(tmp_path / str(seed), seed=seed, atlas=False))
        (runs[-1] / ".hydra").mkdir()
        (runs[-1] / ".hydra" / "config.yaml").write_text(
            f"seed: {seed}\nrun_folder: ${{hydra:runtime.output_dir}}\n"
            "data: {name: movie_reviews, seed: '${seed}'}\n"
            "callbacks: {checkpoint: {dirpath: '${run_folder}/checkpoints'}}\n"
        )
    comparison = compare_runs(runs)
    assert [len(group.runs) for group in comparison.groups] == [2]
    assert "capture=off" in comparison.notes[0]


def test_a_run_of_someone_else_reads_no_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ATLAS_TEST_SECRET", "secret")
    run = make_run(tmp_path / "run", atlas=False)
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("seed: ${oc.env:ATLAS_TEST_SECRET}\n")
    with pytest.raises(InputError, match="environment variable ATLAS_TEST_SECRET as seed"):
        compare_runs([run])


def test_runs_at_urls_are_read(tmp_path: Path) -> None:
    here = make_run(tmp_path / "run")
    add_faithfulness(here, [0.1, 0.2])
    fsspec.filesystem("memory").put(str(here), "/compared/run", recursive=True)
    comparison = compare_runs([here, "memory://compared/run"])
    assert [len(group.runs) for group in comparison.groups] == [2]
    local, remote = comparison.groups[0].runs
    assert remote.values == local.values
    with pytest.raises(InputError, match="given twice"):
        compare_runs(["memory://compared/run", "memory://compared/run/"])


def test_an_evaluation_of_another_split_has_its_own_accuracy(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    del result["test/accuracy"], result["train_seconds"]
    result |= {"split": "val", "val/accuracy": 0.7, "num_val_samples": 50}
    (folder / "result.json").write_text(json.dumps(result))
    run = read_compared_run(folder)
    assert (run.split, run.num_samples, run.values["accuracy"]) == ("val", 50, 0.7)
    assert "train_seconds" not in run.values


def test_bad_runs_end_in_a_one_line_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(InputError, match="no run to compare"):
        compare_runs([])
    with pytest.raises(InputError, match="given twice"):
        compare_runs([run, tmp_path / "run" / ".." / "run"])
    with pytest.raises(InputError, match="no run 'nowhere'"):
        compare_runs(["nowhere"])
    with pytest.raises(InputError, match=r"no result\.json"):
        compare_runs([run / "atlas.zarr"])
    (run / "faithfulness.json").write_text("{")
    with pytest.raises(InputError, match=r"faithfulness\.json cannot be read"):
        compare_runs([run])
    (run / "faithfulness.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match=r"faithfulness\.json cannot be read.*99"):
        compare_runs([run])


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    comparison = compare_runs([make_run(tmp_path / "run", accuracy=0.9)])
    text = comparison_markdown(comparison, ["accuracy", "heads.distance_characters"])
    assert "| attention | runs | accuracy (%) | distance (characters) |" in text
    assert "| scaled_dot | 1 | 90.00 [85.06, 93.43] |" in text
    with pytest.raises(InputError, match="No run has 'speed'"):
        comparison_markdown(comparison, ["speed"])
    with pytest.raises(InputError, match="nothing to draw"):
        compare_figure(comparison, ["speed"])


def test_the_figure_has_a_panel_for_each_task_and_quantity(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / task, task=task) for task in ("nlp", "speech")]
    figure = compare_figure(compare_runs(runs), ["accuracy", "heads.entropy"])
    labels = [axes.get_xlabel() for axes in figure.get_axes()]
    assert labels == ["accuracy (%)", "entropy (nats)"] * 2
    drawn = figure.get_axes()[0].get_lines()
    assert drawn[0].get_xdata() == pytest.approx([85.06, 93.43], abs=0.01)
    assert drawn[1].get_xdata() == pytest.approx([90.0])


def test_json_has_groups_and_differences(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", score="cosine")]
    content = json.loads(json.dumps(compare_runs(runs).to_json(), allow_nan=False))
    assert [group["label"] for group in content["groups"]] == ["scaled_dot", "cosine"]
    assert content["differences"][0]["quantity"] == "accuracy"
    assert content["differences"][0]["is_tie"] is True
    assert content["groups"][0]["runs"][0]["run"] == str(runs[0])


def test_progress_counts_runs(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1)]
    compare_runs(runs, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]


def test_every_quantity_of_a_run_is_described(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    add_faithfulness(folder, [0.1, 0.2])
    for name in read_compared_run(folder).values:
        assert describe_quantity(name).name == name


@pytest.mark.slow
def test_trained_runs_of_all_tasks(trained_runs: dict[str, Path]) -> None:
    comparison = compare_runs(list(trained_runs.values()))
    assert [group.task for group in comparison.groups] == ["nlp", "vision", "speech"]
    for group in comparison.groups:
        assert {"accuracy", "cpu_seconds", "heads.sink_score"} <= set(group.intervals)
    assert comparison_markdown(comparison).count("scaled_dot") == 3
