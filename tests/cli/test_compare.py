"""`atlas compare`: runs side by side, and sample by sample."""

import json
import shutil
from dataclasses import replace

import pytest

from attention_atlas.analysis.comparison import compare_samples
from attention_atlas.analysis.faithfulness import Faithfulness
from attention_atlas.atlas import AtlasWriter, open_atlas
from tests import made_atlases


def write(run, count, variant):
    """A run of images whose config says what its mechanism is."""
    config = {"attention": {"differential": bool(variant)}}
    attributes = replace(made_atlases.attributes("vision", variant=variant), config=config)
    with AtlasWriter(run / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add(
            made_atlases.sample("vision", number, maps=number < 3, variant=variant)
            for number in range(count)
        )
    return run


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two runs of one mechanism, and one of another; each later one has a sample more."""
    folder = tmp_path_factory.mktemp("compared")
    runs = []
    for number, (name, variant) in enumerate(
        {"first": None, "second": None, "signed": "differential"}.items()
    ):
        run = write(folder / name, 6 + number, variant)
        result = {
            "task": "vision",
            "data": "mnist5k",
            "attention": "differential" if variant else "scaled_dot",
            "encoder": "small",
            "seed": number,
            "test/accuracy": 0.9 + number / 50,
            "num_test_samples": 500,
            "cpu_seconds": 100.0 + number,
            "num_parameters": 64_000,
        }
        (run / "result.json").write_text(json.dumps(result))
        runs.append(run)
    return runs


def test_two_runs(printed, compared):
    words = printed("compare", *compared[::2])
    assert "vision, mnist5k" in words
    assert "accuracy (%)" in words
    assert "94.00 [91.5" in words.split("differential")[1]
    flat = " ".join(words.split())
    assert "in both 6 in one only 0 and 2" in flat
    assert "6 the same, 0 now right, 0 now wrong, 0 wrong in another way" in flat
    assert "divergence of layer 1" in flat
    assert "Most different:" in words


def test_json_says_the_same_as_the_functions(printed, compared):
    shown = json.loads(printed("compare", *compared[::2], "--json"))
    assert [group["label"] for group in shown["groups"]] == ["scaled_dot", "differential"]
    assert {d["quantity"] for d in shown["differences"]} >= {"accuracy"}
    expected = compare_samples(open_atlas(compared[0]), open_atlas(compared[2]))
    assert shown["samples"][0]["readout"] == pytest.approx(expected.readout)
    assert shown["samples"][0]["layers"] == pytest.approx(expected.layers)


def test_samples_where_asked_only(printed, compared):
    assert "Sample by sample" not in printed("compare", *compared)
    assert "Sample by sample" not in printed("compare", *compared[:2], "--no-samples")
    words = printed("compare", *compared, "--samples")
    assert words.count("Sample by sample") == 2
    assert json.loads(printed("compare", *compared, "--json"))["samples"] == []


@pytest.mark.parametrize("columns", [60, 100])
def test_fits_the_terminal(printed, compared, columns, monkeypatch):
    monkeypatch.chdir(compared[0].parent)
    lines = printed("compare", "first", "signed", columns=columns).splitlines()
    assert max(map(len, lines)) <= columns


def test_figure_and_markdown(printed, compared, tmp_path):
    printed("compare", *compared, "--save", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    printed("compare", *compared, "--save", tmp_path / "a.md")
    assert "| attention | runs | accuracy (%) |" in (tmp_path / "a.md").read_text()


def test_runs_of_other_tasks_are_listed_and_their_samples_not_compared(
    printed, command, trained_runs
):
    done = command("compare", *trained_runs.values())
    assert done.exit_code == 0, done.output
    for task in trained_runs:
        assert f"{task}, " in done.stdout
    done = command("compare", trained_runs["nlp"], trained_runs["vision"])
    assert "Samples are not compared, because the task of the runs differs" in done.stdout


def test_a_copy_of_a_run_counts_once_and_differs_nowhere(printed, compared, tmp_path):
    copy = shutil.copytree(compared[0], tmp_path / "copy")
    words = printed("compare", compared[0], copy)
    (row,) = [line for line in words.splitlines() if line.startswith("scaled_dot")]
    assert row.split()[1] == "1"
    assert "so it counts once" in words
    assert "No sample differs by 0.001 bits or more." in words
    assert "Most different" not in words


def add_faithfulness(run):
    """Evidence of five methods on eight samples."""
    methods = ("readout", "rollout", "gradient_rollout", "integrated_gradients", "random")
    measured = Faithfulness(
        removal="mean",
        removal_description="the mean",
        sample_ids=[str(number) for number in range(8)],
        values={
            method: {"comprehensiveness": [0.1 * place + number / 80 for number in range(8)]}
            for place, method in enumerate(methods)
        },
        titles={method: method for method in methods},
        thresholds=[0.1],
        steps=10,
    )
    (run / "faithfulness.json").write_text(json.dumps(measured.to_json()))
    return methods[:-1]


@pytest.mark.parametrize("columns", [80, 120])
def test_methods_stand_in_one_table(printed, compared, columns, tmp_path, monkeypatch):
    for run in compared[::2]:
        methods = add_faithfulness(shutil.copytree(run, tmp_path / run.name))
    monkeypatch.chdir(tmp_path)
    words = printed("compare", "first", "signed", columns=columns)
    lines = words.splitlines()
    assert max(map(len, lines)) <= columns
    assert words.count("Comprehensiveness over random (higher is better):") == 1
    place = lines.index("Comprehensiveness over random (higher is better):")
    assert lines[place + 1].split()[:2] == ["method", "scaled_dot"]
    assert [line.split()[0] for line in lines[place + 2 : place + 6]] == list(methods)
    assert all(line.count("[") == 2 for line in lines[place + 2 : place + 6])
    assert "  ;" not in words
    assert " ;" not in words


def test_groups_with_long_names_are_numbered(printed, compared, tmp_path, monkeypatch):
    sizes = ({"embed_dim": 16, "depth": 1}, {"embed_dim": 48, "depth": 2})
    for name, encoder in zip(("first", "second"), sizes, strict=True):
        config = {"attention": {}, "encoder": encoder, "trainer": {"max_epochs": 1}}
        attributes = replace(made_atlases.attributes("vision"), config=config)
        with AtlasWriter(tmp_path / name / "atlas.zarr", attributes, max_tokens=64) as writer:
            writer.add(made_atlases.sample("vision", number) for number in range(2))
        shutil.copy(compared[0] / "result.json", tmp_path / name)
        add_faithfulness(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lines = printed("compare", "first", "second", columns=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "(2) scaled_dot (embed_dim=48, depth=2)" in lines
    assert ["method", "(1)", "(2)"] in [line.split() for line in lines]
