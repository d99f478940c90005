"""Faithfulness over trainings: intervals, the table, and when a method counts as better."""

import numpy as np
import pytest
from scipy import stats

from attention_atlas.analysis.faithfulness import Faithfulness
from attention_atlas.analysis.faithfulness.trainings import (
    over_trainings,
    trainings_table,
    verdict_over_trainings,
)
from attention_atlas.errors import InputError


def training(gain: float, seed: int, steps: int = 4) -> Faithfulness:
    """A training in which rollout is so much better than random, and raw attention is not."""
    generator = np.random.default_rng(seed)
    random = generator.normal(0.1, 0.02, 40)
    values = {
        "random": random,
        "rollout": random + gain + generator.normal(0, 0.01, 40),
        "raw": random + generator.normal(0, 0.01, 40),
    }
    return Faithfulness(
        removal="mask",
        removal_description="",
        sample_ids=[str(index) for index in range(40)],
        values={name: {"comprehensiveness": list(each)} for name, each in values.items()},
        titles={"rollout": "rollout", "raw": "raw attention", "random": "random"},
        thresholds=[0.5],
        steps=steps,
    )


def test_the_interval_is_the_t_interval_of_the_means_of_the_trainings() -> None:
    measured = [training(gain, seed) for seed, gain in enumerate((0.2, 0.25, 0.3))]
    means = [each.differences["rollout"]["comprehensiveness"].mean for each in measured]
    low, high = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    found = over_trainings(measured)["rollout"]
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(means), low, high))
    assert found.num_samples == 3


def test_the_verdict_names_what_beats_random_in_all_trainings() -> None:
    said = verdict_over_trainings([training(0.2 + seed / 100, seed) for seed in range(3)])
    assert said.startswith("Over 3 trainings: Rollout beats random by 0.21 [")
    assert "raw attention (0.00 [" in said
    assert said.endswith("does not.")


def test_what_beats_random_in_each_training_but_varies_too_much_is_not_named() -> None:
    """Each interval over samples is far above 0; that over the trainings is not."""
    measured = [training(gain, seed) for seed, gain in enumerate((0.02, 0.03, 0.4))]
    assert all(each.better_than_random("rollout", "comprehensiveness") for each in measured)
    assert "nothing beats random" in verdict_over_trainings(measured)


def test_two_trainings_are_too_few_for_a_verdict() -> None:
    assert "too few" in verdict_over_trainings([training(0.2, seed) for seed in range(2)])


def test_measurements_of_other_options_are_refused() -> None:
    with pytest.raises(InputError, match=r"different ways .*4 steps.*5 steps"):
        over_trainings([training(0.2, 0), training(0.2, 1, steps=5)])


def test_the_table_has_a_column_for_each_training() -> None:
    measured = [training(0.2, seed) for seed in range(3)]
    headings, rows = trainings_table(measured, ["seed 0", "seed 1", "seed 2"])
    assert headings == ["method", "over trainings", "seed 0", "seed 1", "seed 2"]
    assert [row[0] for row in rows] == ["rollout", "raw", "random itself"]
    assert rows[0][2] == str(measured[0].differences["rollout"]["comprehensiveness"])
