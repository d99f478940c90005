"""Ranks, and means over seeds, by hand."""

from statistics import mean, stdev

import pytest

from attention_atlas.analysis.sweeps import read_sweep
from tests.made_sweeps import write_job

VALUES = {  # of each setting, seed by seed
    ("dot", 1): [0.80, 0.90],
    ("dot", 2): [0.70, 0.72, 0.74],
    ("cosine", 1): [0.95],
}


@pytest.fixture
def seeded(tmp_path):
    for (attention, depth), values in VALUES.items():
        for seed, value in enumerate(values):
            overrides = [f"attention={attention}", f"encoder.depth={depth}", f"seed={seed}"]
            name = f"{attention}-{depth}-{seed}"
            write_job(tmp_path, name, overrides, {"val/accuracy": value, "seed": seed})
    overrides = ["attention=dot", "encoder.depth=1", "seed=2"]
    write_job(tmp_path, "pruned", overrides, {"val/accuracy": 0.1, "pruned": True})
    write_job(tmp_path, "failed", [*overrides[:2], "seed=3"], failure="Too little memory.")
    return tmp_path


def test_ties_are_in_the_order_of_names(tmp_path):
    for name, value in {"d": 0.5, "b": 0.25, "c": 0.5, "a": 0.5}.items():
        write_job(tmp_path, name, [], {"val/accuracy": value})
    for name, value in {"f": 0.125, "e": 0.75}.items():
        write_job(tmp_path, name, [], {"val/accuracy": value, "pruned": True})
    for name in ("z", "y"):
        write_job(tmp_path, name, [])
    for name in ("x", "w"):
        write_job(tmp_path, name, [], failure="No.")
    ranked = "".join(trial.name for trial in read_sweep(tmp_path).trials)
    assert ranked == "acdb" + "ef" + "yz" + "wx"


def test_the_least_is_first_where_less_is_better(tmp_path):
    for name, value in {"a": 2.0, "b": -1.0, "c": 0.0}.items():
        write_job(tmp_path, name, [], {"val/loss": value})
    assert "".join(t.name for t in read_sweep(tmp_path, "val/loss").trials) == "bca"


def test_means_over_seeds(seeded):
    sweep = read_sweep(seeded)
    ranked = {
        (each.parameters["attention"], each.parameters["encoder.depth"]): each
        for each in sweep.settings
    }
    assert list(ranked) == [("cosine", 1), ("dot", 1), ("dot", 2)]
    for setting, values in VALUES.items():
        assert ranked[setting].mean == pytest.approx(mean(values))
        assert ranked[setting].num_seeds == len(values)
        if len(values) > 1:
            assert ranked[setting].deviation == pytest.approx(stdev(values))
    assert ranked["cosine", 1].deviation is None
    pooled = (stdev([0.8, 0.9]) ** 2 + 2 * stdev([0.70, 0.72, 0.74]) ** 2) / 3
    assert sweep.spread_of_seeds == pytest.approx(pooled**0.5)


def test_no_seeds_to_take_together(tmp_path):
    write_job(tmp_path, "a", ["x=1"], {"val/accuracy": 0.5})
    write_job(tmp_path, "b", ["x=2"], {"val/accuracy": 0.5})
    assert read_sweep(tmp_path).settings is None


def test_one_seed_for_each_setting_has_no_spread(tmp_path):
    write_job(tmp_path, "a", ["x=1", "seed=0"], {"val/accuracy": 0.5})
    write_job(tmp_path, "b", ["x=2", "seed=1"], {"val/accuracy": 0.5})
    assert read_sweep(tmp_path).spread_of_seeds is None
