"""An atlas with values of a wrong type, or beyond its own bounds: never a traceback."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_atlas.atlas import AtlasWriter, open_atlas
from attention_atlas.atlas.schema import AtlasAttributes
from attention_atlas.errors import InputError
from tests import made_atlases
from tests.commands import invoke_atlas

VALUES: list[Any] = [None, 5, True, 1e308, "x", [], [1], {}, {"a": 1}, [["x"]]]
RIGHT: dict[str, list[Any]] = {
    "task": ["x"],
    "data": ["x"],
    "classes": [[]],
    "layers": [[]],
    "mechanism": [{}, {"a": 1}],
    "config": [{}, {"a": 1}],
    "checkpoint_digest": [None, "x"],
    "versions": [{}],
    "mel_frequencies": [None, [], [1]],
    "frame_seconds": [None, 5, 1e308],
    "signed": [True],
    "multi_label": [True],
    "leading_tokens": [[]],
    "trailing_tokens": [[]],
}


def set_attribute(run: Path, name: str, value: Any) -> None:
    path = run / "atlas.zarr" / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"][name] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", [entry.name for entry in fields(AtlasAttributes)])
def test_an_attribute_has_its_type(name: str, tmp_path: Path) -> None:
    run = made_atlases.write(tmp_path / "run", "nlp")
    for value in VALUES:
        set_attribute(run, name, value)
        if any(value == right and type(value) is type(right) for right in RIGHT.get(name, [])):
            open_atlas(run)
        else:
            with pytest.raises(InputError, match=f"{name}|Unknown token layout"):
                open_atlas(run)


def test_a_bad_run_is_one_line_in_the_list(tmp_path: Path) -> None:
    for number, value in enumerate(VALUES[:6]):
        set_attribute(made_atlases.write(tmp_path / str(number), "nlp"), "mechanism", value)
    (tmp_path / "deep" / "atlas.zarr").mkdir(parents=True)
    (tmp_path / "deep" / "atlas.zarr" / "zarr.json").write_text("[" * 100_000)
    made_atlases.write(tmp_path / "good", "nlp")
    done = invoke_atlas(tmp_path, "list", ".")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 2 + 7  # a heading, the good one, and a line for each other
    assert done.stdout.splitlines()[1].startswith("good\t")


CHANGES: dict[str, dict[str, Any]] = {
    "label": {"label": 99},
    "prediction": {"prediction": 99},
    "no prediction": {"prediction": -1},
    "NaN in the readout": {"readout": np.nan},
    "infinite readout": {"readout": np.inf},
    "NaN in maps": {"maps": np.nan},
    "NaN in logits": {"logits": np.nan},
    "NaN in the entropy": {"entropy": np.nan},
    "boxes beyond the text": {"boxes": 10**6},
    "negative boxes": {"boxes": -7},
    "another line": {"sample_id": "a\nerror: forged"},
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_values_of_a_sample_end_in_no_traceback(changed: dict[str, Any], tmp_path: Path) -> None:
    samples = []
    for number in range(3):
        sample = made_atlases.sample("nlp", number)
        for name, value in changed.items():
            old = getattr(sample, name)
            sample = replace(
                sample, **{name: np.full_like(old, value) if hasattr(old, "shape") else value}
            )
        samples.append(replace(sample, sample_id=f"{sample.sample_id}{number}"))
    attributes = made_atlases.attributes("nlp")
    with AtlasWriter(tmp_path / "theirs" / "atlas.zarr", attributes, max_tokens=64) as writer:
        writer.add(samples)
    made_atlases.write(tmp_path / "mine", "nlp")
    for command in (
        ["list", "."],
        ["info", "theirs"],
        ["show", "theirs"],
        ["show", "theirs", "1", "--layer", "0"],
        ["stats", "theirs"],
        ["compare", "theirs", "mine"],
        ["export", "theirs", "--out", "a.csv"],
        ["export", "theirs", "--out", "a.html"],
    ):
        done = invoke_atlas(tmp_path, *command)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code in (0, 2)
        assert not any(line.startswith("error: forged") for line in done.output.splitlines()), (
            command,
            done.output,
        )
