"""Which parameters matter, where it is known which do."""

import numpy as np
import pytest

from attention_atlas.analysis.sweeps import Importance, read_sweep
from tests.made_sweeps import write_job, write_known


@pytest.mark.slow
def test_the_parameter_that_matters_is_found(tmp_path):
    importance = read_sweep(write_known(tmp_path, 24)).importance
    assert isinstance(importance, Importance)
    assert next(iter(importance.fractions)) == "optimizer.x"
    assert importance.fractions["optimizer.x"] > 0.95
    assert importance.fractions.keys() == {"optimizer.x", "attention", "seed"}
    assert sum(importance.fractions.values()) == pytest.approx(1)
    assert importance.r2 > 0.8
    assert importance.num_trials == 24


@pytest.mark.slow
def test_it_is_the_same_each_time(tmp_path):
    write_known(tmp_path, 12)
    assert read_sweep(tmp_path).importance == read_sweep(tmp_path).importance


@pytest.mark.slow
def test_words_matter_too_and_more_where_they_do_more(tmp_path):
    levels = {"dot": 0.0, "additive": 3.0, "cosine": 1.0, "gated": 2.0}
    draw = np.random.default_rng(0)
    for number in range(32):
        attention, depth = list(levels)[number % 4], number // 4 % 2
        value = levels[attention] + 0.4 * depth + 0.02 * draw.normal()
        overrides = [f"attention={attention}", f"depth={depth}", f"x={draw.uniform()}"]
        write_job(tmp_path, f"{number:02}", overrides, {"val/loss": value})
    importance = read_sweep(tmp_path, "val/loss").importance
    assert list(importance.fractions) == ["attention", "depth", "x"]
    assert importance.fractions["attention"] > 0.8
    assert importance.fractions["depth"] > 5 * importance.fractions["x"]


@pytest.mark.slow
def test_an_override_that_a_trial_has_not_got_matters(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(24):
        given = [f"weight={draw.uniform()}"] if number % 2 else []
        value = 0.5 + 0.3 * bool(given) + 0.01 * draw.normal()
        overrides = [*given, f"x={draw.uniform()}"]
        write_job(tmp_path, f"{number:02}", overrides, {"val/accuracy": value})
    assert read_sweep(tmp_path).importance.fractions["weight"] > 0.9


@pytest.mark.slow
def test_nothing_is_said_where_nothing_matters(tmp_path):
    importance = read_sweep(write_known(tmp_path, 24, slope=0.0)).importance
    assert isinstance(importance, str)
    assert importance.startswith("The 24 finished trials do not tell which parameter matters")


def test_too_few_trials(tmp_path):
    write_known(tmp_path, 7)
    write_job(tmp_path, "z", ["seed=1"], {"val/loss": 9.0, "pruned": True})
    expected = "can be told from 10 finished trials on, 3 more than there are."
    assert expected in read_sweep(tmp_path, "val/loss").importance


@pytest.mark.parametrize(("overrides", "here"), [("x={0}", "only one does"), ("x=0", "none does")])
def test_too_few_parameters(tmp_path, overrides, here):
    for number in range(12):
        result = {"val/accuracy": number / 12}
        write_job(tmp_path, f"{number}", [overrides.format(number)], result)
    assert f"here {here}." in read_sweep(tmp_path).importance


def test_values_that_are_all_the_same(tmp_path):
    for number in range(12):
        write_job(tmp_path, f"{number}", [f"x={number}", f"y={-number}"], {"val/accuracy": 0.5})
    assert "have the same value" in read_sweep(tmp_path).importance
